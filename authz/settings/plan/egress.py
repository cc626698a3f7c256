"""Plan of the egress plane: the destinations that tasks may reach.

Law: as in `authz.settings.plan.front`, of which this is a part. A destination has names of its own; a request that
names none of them has no route. Names are exact or `*.suffix`, so that it is always known which server Envoy must meet.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from authz.core.addresses import MAX_PORT, HostPort, SocketPath, own_hosts, parse_address, same_place
from authz.core.loopback import is_loopback
from authz.core.model import SERVICE_NAME
from authz.core.request.path import is_base
from authz.settings.plan.credentials import Credential
from authz.settings.plan.limits import Limits
from authz.settings.plan.login import SYSTEM_CA
from authz.settings.plan.peers import ClientTls, check_endpoints, check_listen, check_unique

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_IPV4: Final = re.compile(r"[0-9.]+")
_NAME: Final = re.compile(SERVICE_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTls:
    """TLS to a server whose server name is the Host of each request; its certificate must name exactly that Host."""

    ca: str = SYSTEM_CA


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One service that tasks call.

    `hosts` are the Host values (without port) that lead there, exact or `*.suffix`. `audience` becomes the `aud` of the
    assertion that it receives; without one it receives no identity. With `HostTls` server name and certificate follow
    the Host; `ClientTls` fixes one name for all hosts. `timeout` limits the whole response, 0 leaves only the
    listener's idle limit. `health_path` turns on active health checks (a 200 is healthy). `keep_authorization` lets the
    task's own `Authorization` through, where another header identifies the caller to the authorizer. `credential` is
    what Envoy adds to every call; it leaves this machine in clear text only with `insecure_credential`. `limits` are
    the destination's limits.

    Besides its hosts it may have base URLs: `listen`, an address of its own, and `path`, below which it is found at the
    egress listener's own address. A request there is evaluated, and sent to the destination, with the first of the
    hosts. `tunnel` lets `CONNECT` through to a host and the port of the address; the gate sees only that the inside is
    TLS for that host.
    """

    name: str
    addresses: tuple[str, ...]
    hosts: tuple[str, ...]
    audience: str = ""
    tls: ClientTls | HostTls | None = None
    timeout: float = 30
    health_path: str = ""
    keep_authorization: bool = False
    credential: Credential | None = None
    insecure_credential: bool = False
    limits: Limits = field(default_factory=Limits)
    listen: str = ""
    path: str = ""
    tunnel: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: a destination's name is lower-case letters, digits, - and _")
        check_endpoints(self.addresses, f"destination {self.name}")
        if not self.hosts:
            raise ValueError(f"destination {self.name}: at least one host is needed")
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r}: a destination's host is a lower-case name or *.suffix, without port")
        if self.health_path and not self.health_path.startswith("/"):
            raise ValueError(f"{self.health_path!r}: a health path starts with /")
        if self.timeout < 0:
            raise ValueError(f"destination {self.name}: the timeout cannot be negative")
        if self.credential:
            safe = self.tls is not None or self.insecure_credential or all(map(_is_here, self.addresses))
            check_credential(self.name, safe=safe, keep_authorization=self.keep_authorization, tunnel=self.tunnel)
        if self.listen:
            check_listen(self.listen)
        if self.path and not is_base(self.path):
            raise ValueError(f"{self.path!r}: a base URL's path is plain and ends without a slash, as /orders does")
        if (self.listen or self.path) and self.hosts[0].startswith("*"):
            raise ValueError(f"destination {self.name}: a base URL asks for the first host, which is no pattern then")
        if self.tunnel and not (self.names and self.ports):
            raise ValueError(f"destination {self.name}: a tunnel leads to hosts that are names, on a TCP port")

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that can be TLS server names: neither patterns nor addresses."""
        return tuple(host for host in self.hosts if not host.startswith(("*", "[")) and not _IPV4.fullmatch(host))

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports of the addresses."""
        parsed = (parse_address(address) for address in self.addresses)
        return tuple(dict.fromkeys(address.port for address in parsed if isinstance(address, HostPort)))

    @property
    def named(self) -> str:
        """The first host that is not a pattern, "" if there is none."""
        return next((host for host in self.hosts if not host.startswith("*")), "")


def check_credential(name: str, *, safe: bool, keep_authorization: bool, tunnel: bool) -> None:
    """Refuse a credential that others could read in transit, or where it is unclear which one is used.

    Raises:
        ValueError: as said.
    """
    if not safe:
        raise ValueError(
            f"destination {name}: its credential would cross the network in the clear: say `tls: true`,"
            " or `insecure_credential: true` where the network itself is safe"
        )
    if keep_authorization:
        raise ValueError(
            f"destination {name}: `credential` and `keep_authorization` exclude each other: either the gate's"
            " credential goes there, or the task's own"
        )
    if tunnel:
        raise ValueError(
            f"destination {name}: `credential` and `tunnel` exclude each other: nothing can be added to what is inside"
            " of a tunnel"
        )


def _is_here(address: str) -> bool:
    match parse_address(address):
        case SocketPath():
            return True
        case HostPort(host):
            return is_loopback(host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """Hosts that belong to no destination, on these ports: plain HTTP on 80, TLS valid for the host on all others.

    Envoy connects only to public addresses. `resolvers` are DNS servers, `ip:port`; none: those of the system.
    """

    ports: tuple[int, ...] = (443, 80)
    ca: str = SYSTEM_CA
    resolvers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ports or not all(1 <= port <= MAX_PORT for port in self.ports):
            raise ValueError("dynamic destinations need ports, from 1 to 65535")
        check_unique(map(str, self.ports), "port of dynamic destinations")
        for resolver in self.resolvers:
            address = parse_address(resolver)
            if not (isinstance(address, HostPort) and address.is_ip):
                raise ValueError(f"{resolver!r}: a DNS server is written as ip:port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The outbound listener and what is behind it. `idle` and `longest_stream` are those of `plan.Listener`.

    Without `dynamic`, hosts that belong to no destination have no route.
    """

    listen: str
    destinations: tuple[Destination, ...]
    dynamic: Dynamic | None = None
    idle: float = 300
    longest_stream: float = 3600

    def __post_init__(self) -> None:
        check_listen(self.listen)
        if not (self.destinations or self.dynamic):
            raise ValueError(f"{self.listen!r}: the egress listener needs a destination")
        if self.idle <= 0 or self.longest_stream <= 0:
            raise ValueError(f"{self.listen!r}: idle and longest_stream must be more than 0")
        check_unique([destination.name for destination in self.destinations], "destination name")
        check_unique([host for destination in self.destinations for host in destination.hosts], "host")
        check_unique([self.listen, *(one.listen for one in self.destinations if one.listen)], "address of a listener")
        paths = [one.path for one in self.destinations if one.path]
        check_unique(paths, "path of a base URL")
        for path in paths:
            if any(other.startswith(f"{path}/") for other in paths):
                raise ValueError(f"{path!r}: there is the path of another destination below it")
        theirs = [host for one in self.destinations for host in one.hosts if paths and host in self.own_hosts]
        if theirs:
            raise ValueError(f"{theirs[0]!r}: this is the listener's own host, where the paths of base URLs are")
        for address in (address for one in self.destinations for address in one.addresses):
            if any(same_place(address, own) for own in self.listens):
                raise ValueError(f"{address!r}: a destination that is the egress listener itself would call itself")

    @property
    def listens(self) -> tuple[str, ...]:
        """All listening addresses."""
        return (self.listen, *(one.listen for one in self.destinations if one.listen))

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """The Host values by which a task on this machine knows the listener."""
        return own_hosts(self.listen)
