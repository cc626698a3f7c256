"""The section `envoy.egress` of the settings file: the destinations that tasks may reach.

Law: data and its checks only, as in `authz.settings`. A destination has names of its own; a request that names none of
them has no route. Names are exact or `*.suffix`, so that it is always known which server Envoy must meet.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from authz.core.addresses import HostPort, own_hosts, parse_address, same_place, shown
from authz.core.documents.quantities import Duration
from authz.core.documents.wording import Mistake
from authz.core.request.path import is_base
from authz.settings.destinations import Credential, DestinationLimits
from authz.settings.named_files import Authority, Loc
from authz.settings.sections import (
    SYSTEM_CA,
    Disagreement,
    HealthPath,
    IdleTimeout,
    ListenAddress,
    LongestStream,
    Place,
    Places,
    Section,
    ServiceName,
    duplicates,
    is_loopback,
    needs_tls,
    ports_of,
)

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_IPV4: Final = re.compile(r"[0-9.]+")


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise Mistake(
            f"{shown(text)}: a destination's host is a lower-case name or *.suffix, without port",
            "write api.example.com, or *.example.com",
        )
    return text


def _base_url_path(text: str) -> str:
    if text and not is_base(text):
        raise Mistake(
            f"{text!r}: a base URL's path is plain and ends without a slash, as /orders does", "write /orders"
        )
    return text


def _resolver(text: str) -> str:
    address = parse_address(text)
    if not (isinstance(address, HostPort) and address.is_ip):
        raise Mistake(f"{shown(text)}: a DNS server is written as ip:port", "write 10.0.0.2:53")
    return text


class Destination(Section):
    """One service that tasks call."""

    name: ServiceName = Field(description="its name, in rules (`destinations`), logs and metrics")
    address: Places = Field(description="host:port of the service, or a list of them")
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        min_length=1, description="Host values that are routed to it: names, or `*.suffix` for all below one"
    )
    audience: str | None = Field(None, description="`aud` of its assertions; without one it gets no identity")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the Host of each request")
    timeout: Duration = Field(
        30.0,
        description="longest time for a whole response; 0s: as long as there is traffic, up to `egress.longest_stream`",
    )
    health_path: HealthPath | None = Field(None, description="path of its health check; without one: no active check")
    keep_authorization: bool = Field(
        False, description="pass the task's own `Authorization` on, if `X-Run-Identity` identifies the call"
    )
    credential: Credential | None = Field(None, description="what Envoy adds to every call, and no task ever holds")
    insecure_credential: bool = Field(False, description="allow a `credential` without `tls` beyond this machine")
    limits: DestinationLimits = Field(
        DestinationLimits(), description="calls that it gets, and when it counts as broken"
    )
    listen: ListenAddress | None = Field(
        None, description="a base URL, `http://127.0.0.1:9101`: all calls to this address are for the first host"
    )
    path: Annotated[str, AfterValidator(_base_url_path)] | None = Field(
        None, description="a base URL at `egress.listen`: `/orders`; calls below it are for the first host"
    )
    tunnel: bool = Field(
        False, description="let proxy clients CONNECT to its hosts, on the port of `address`; paths are not visible"
    )

    @property
    def authority(self) -> str:
        """The CA bundle by which its certificate is verified."""
        return self.tls_ca or SYSTEM_CA

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that can be TLS server names: neither patterns nor addresses."""
        return tuple(host for host in self.hosts if not host.startswith(("*", "[")) and not _IPV4.fullmatch(host))

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports of the addresses."""
        return ports_of(self.address)

    @property
    def named(self) -> str:
        """The first host that is not a pattern, "" if there is none."""
        return next((host for host in self.hosts if not host.startswith("*")), "")

    def disagreements(self) -> Iterator[Disagreement]:
        """TLS options without TLS, an unsafe credential, a base URL of a pattern, a tunnel to nowhere."""
        if not self.tls:
            yield from needs_tls(self, "tls_ca", "tls_name")
        if self.credential is not None:
            yield from self._unsafe_credential()
        for key in ("listen", "path"):
            if getattr(self, key) and self.hosts[0].startswith("*"):
                yield Disagreement(
                    (key,),
                    f"destination {self.name}: a base URL stands for the first host, which cannot be a pattern",
                    "write a whole name first in `hosts`",
                    without=(("hosts",),),
                )
        if self.tunnel and not (self.names and self.ports):
            yield Disagreement(
                ("tunnel",),
                f"destination {self.name}: a tunnel needs a host that is a name, and a TCP port",
                "write a whole name in `hosts`, and host:port in `address`",
                without=(("hosts",),),
            )

    def _unsafe_credential(self) -> Iterator[Disagreement]:
        """A credential that others could read in transit, or where it is unclear which one is used."""
        if not (self.tls or self.insecure_credential or all(map(is_loopback, self.address))):
            yield Disagreement(
                ("credential",),
                f"destination {self.name}: its credential would cross the network in the clear: set `tls: true`,"
                " or `insecure_credential: true` where the network itself is safe",
                "add `tls: true`",
                without=(("tls",), ("insecure_credential",)),
            )
        if self.keep_authorization:
            yield Disagreement(
                ("keep_authorization",),
                f"destination {self.name}: `credential` and `keep_authorization` exclude each other: either the gate's"
                " credential goes there, or the task's own",
                "remove one of them",
            )
        if self.tunnel:
            yield Disagreement(
                ("tunnel",),
                f"destination {self.name}: `credential` and `tunnel` exclude each other: nothing can be added"
                " inside a tunnel",
                "remove one of them",
            )


class Dynamic(Section):
    """Any other host that the rules allow, at public addresses only."""

    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (443, 80), min_length=1, max_length=8, description="ports; 80 is plain HTTP, Envoy speaks TLS on all others"
    )
    ca: Authority | None = Field(None, description="authority of the certificates, PEM; default: the system's")
    resolvers: tuple[Annotated[Place, AfterValidator(_resolver)], ...] = Field(
        (), description="DNS servers, `ip:port`; default: the system's"
    )

    @property
    def authority(self) -> str:
        """The CA bundle by which certificates are verified."""
        return self.ca or SYSTEM_CA

    def disagreements(self) -> Iterator[Disagreement]:
        """Duplicate ports."""
        ports = [(("ports", position), str(port)) for position, port in enumerate(self.ports)]
        yield from duplicates(ports, "port of dynamic destinations")


class Egress(Section):
    """Envoy's listener for calls by tasks."""

    listen: ListenAddress = Field(
        "127.0.0.1:8090", description="address of the listener; also a forward proxy (`http_proxy`, `https_proxy`)"
    )
    destinations: tuple[Destination, ...] = Field((), description="services that tasks may call, chosen by Host")
    dynamic: Dynamic | None = Field(
        None, description="any other host that the rules allow; without it, none. Needs Envoy 1.39"
    )
    idle_timeout: IdleTimeout = 300.0
    longest_stream: LongestStream = 3600.0

    @property
    def listens(self) -> tuple[tuple[Loc, str], ...]:
        """All listening addresses, with their places in this section."""
        theirs = [(("destinations", at, "listen"), one.listen) for at, one in enumerate(self.destinations)]
        return (("listen",), self.listen), *((loc, listen) for loc, listen in theirs if listen)

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """The Host values under which a task on this machine reaches the listener."""
        return own_hosts(self.listen)

    def disagreements(self) -> Iterator[Disagreement]:
        """Duplicates, conflicting paths, and destinations that are Envoy itself."""
        if not (self.destinations or self.dynamic):
            yield Disagreement(
                (),
                f"{self.listen!r}: the egress listener needs a destination",
                "write `destinations`, or `dynamic: {}` for any host that the rules allow",
                without=(("destinations",), ("dynamic",)),
            )
        names = [(("destinations", at, "name"), one.name) for at, one in enumerate(self.destinations)]
        yield from duplicates(names, "destination name")
        yield from duplicates(self._hosts(), "host")
        yield from self._paths_in_the_way()
        for at, one in enumerate(self.destinations):
            for position, address in enumerate(one.address):
                if any(same_place(address, own) for _loc, own in self.listens):
                    yield Disagreement(
                        ("destinations", at, "address", position),
                        f"{address!r}: a destination that is the egress listener itself would call itself",
                        "write the address of the service",
                        without=tuple(own for own, _listen in self.listens),
                    )

    def _hosts(self) -> Iterator[tuple[Loc, str]]:
        for at, one in enumerate(self.destinations):
            for position, host in enumerate(one.hosts):
                yield ("destinations", at, "hosts", position), host

    def _paths_in_the_way(self) -> Iterator[Disagreement]:
        """The paths of base URLs: each once, none below another, and all at a host that no destination has."""
        places: list[tuple[Loc, str]] = [
            (("destinations", at, "path"), one.path) for at, one in enumerate(self.destinations) if one.path
        ]
        yield from duplicates(places, "path of a base URL")
        for loc, path in places:
            if any(other.startswith(f"{path}/") for _loc, other in places):
                text = f"{path!r}: the path of another destination is below it"
                yield Disagreement(loc, text, "give each a path of its own, as /orders and /bank")
        for loc, host in self._hosts() if places else ():
            if host in self.own_hosts:
                yield Disagreement(
                    loc,
                    f"{host!r}: this is the listener's own host, where the paths of base URLs are",
                    "write another host, or no `path`",
                )
