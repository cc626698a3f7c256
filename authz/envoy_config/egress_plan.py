"""What a caller says about the way out: the destinations that tasks may be let through to.

Law: as in `authz.envoy_config.plan`, of which this is a part. A destination is a place with names of its own; whoever
names none of them goes nowhere. Names are exact or `*.suffix`, so that it is always known whom Envoy must meet there.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final

from authz.envoy_config.credential_plan import Credential
from authz.envoy_config.limits_plan import Limits
from authz.envoy_config.peers import ClientTls, HostPort, SocketPath, check_endpoints, check_unique, parse_address
from authz.login_plan import SYSTEM_CA

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTls:
    """TLS to a server that is asked for by the Host of each request, and whose certificate must name that very Host."""

    ca: str = SYSTEM_CA


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One service that tasks call.

    `hosts` are the Host values (without port) that lead there, exact or `*.suffix`. `audience` becomes the `aud` of the
    assertion that it receives; without one it receives no identity. With `HostTls` server name and certificate follow
    the Host; `ClientTls` fixes one name for all hosts. `timeout` limits the whole response, 0 leaves only the
    listener's idle limit. `health_path` turns on active health checks (a 200 is healthy). `keep_authorization` lets the
    task's own `Authorization` through, where the authorizer knows the caller by another header. `credential` is what
    Envoy adds to every call; in the clear it goes beyond this machine only with `insecure_credential`. `limits` is what
    the destination may take.
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
            check_credential(self.name, safe=safe, keep_authorization=self.keep_authorization)

    @property
    def named(self) -> str:
        """The first host that is one and not a pattern, "" without one."""
        return next((host for host in self.hosts if not host.startswith("*")), "")


def check_credential(name: str, *, safe: bool, keep_authorization: bool) -> None:
    """Refuse a credential where others could read it on the way, or where it is not clear whose counts.

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


def _is_here(address: str) -> bool:
    match parse_address(address):
        case SocketPath():
            return True
        case HostPort(host, _port, is_ip=True):
            return ipaddress.ip_address(host).is_loopback
        case HostPort(host):
            return host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The outbound listener and what is behind it. `idle` and `longest_stream` are those of `plan.Listener`."""

    listen: str
    destinations: tuple[Destination, ...]
    idle: float = 300
    longest_stream: float = 3600

    def __post_init__(self) -> None:
        address = parse_address(self.listen)
        if isinstance(address, HostPort) and not address.is_ip:
            raise ValueError(f"{self.listen!r}: a listener needs an IP address, not a name")
        if not self.destinations:
            raise ValueError(f"{self.listen!r}: the egress listener needs a destination")
        if self.idle <= 0 or self.longest_stream <= 0:
            raise ValueError(f"{self.listen!r}: idle and longest_stream must be more than 0")
        check_unique([destination.name for destination in self.destinations], "destination name")
        check_unique([host for destination in self.destinations for host in destination.hosts], "host")
