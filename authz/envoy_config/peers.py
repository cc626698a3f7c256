"""The ends of Envoy's connections: where something listens, and by which certificates the two sides know each other.

Law: data and its checks only, and no import of the Envoy types. What cannot be rendered is refused with a `ValueError`
that names the value. An address is `unix:/path` or `host:port` (`[::1]:port` for IPv6).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from authz.login_plan import SYSTEM_CA

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
MAX_PORT: Final = 65535
_LOCALHOST: Final = "localhost"
_LOCAL: Final = frozenset({"127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class SocketPath:
    """A Unix socket."""

    path: str


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; `is_ip` tells an address from a name that must be looked up."""

    host: str
    port: int
    is_ip: bool


def parse_address(text: str) -> SocketPath | HostPort:
    """Read `unix:/path`, `host:port` or `[v6]:port`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"{text!r}: a Unix socket is written unix:/absolute/path")
        return SocketPath(path)
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(f"{text!r}: an address is written host:port, [v6]:port or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        return HostPort(str(ipaddress.IPv6Address(host[1:-1])), int(port), is_ip=True)
    try:
        return HostPort(str(ipaddress.IPv4Address(host)), int(port), is_ip=True)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{text!r}: {host!r} is not a host name") from None
        return HostPort(host, int(port), is_ip=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """The certificate that a listener shows: two PEM files on Envoy's machine, readable by Envoy.

    With `client_ca` (mutual TLS) only clients with a certificate of that authority get a connection.
    """

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How Envoy makes sure of a server: its certificate must be signed by `ca` and name `server_name`.

    `ca` is the system's bundle (as Debian and Envoy's image name it) unless said: Envoy checks no name without a
    bundle that it was given. `certificate` and `key` (both or none) are Envoy's own, for mutual TLS.
    """

    server_name: str
    ca: str = SYSTEM_CA
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if not self.server_name or not self.ca:
            raise ValueError("TLS to a server needs a CA and the server_name that its certificate must carry")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("mutual TLS needs both a certificate and its key")


def check_endpoints(addresses: tuple[str, ...], whose: str) -> None:
    """Refuse what one cluster cannot consist of."""
    if not addresses:
        raise ValueError(f"{whose}: at least one address is needed")
    check_unique(addresses, f"address of {whose}")
    parsed = [parse_address(address) for address in addresses]
    names = [address for address in parsed if isinstance(address, HostPort) and not address.is_ip]
    if names and any(isinstance(address, SocketPath) for address in parsed):
        raise ValueError(f"{whose}: Envoy cannot mix Unix sockets with host names that must be looked up")


def check_unique(values: Iterable[str], what: str) -> None:
    """Refuse what is there twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r}: this {what} is given twice")
        seen.add(value)


def check_listen(listen: str) -> None:
    """Refuse what Envoy cannot listen on."""
    address = parse_address(listen)
    if isinstance(address, HostPort) and not address.is_ip:
        raise ValueError(f"{listen!r}: a listener needs an IP address, not a name")


def own_hosts(listen: str) -> tuple[str, ...]:
    """The Host values by which somebody on this machine knows what listens there."""
    address = parse_address(listen)
    if isinstance(address, SocketPath):
        return (_LOCALHOST,)
    number = ipaddress.ip_address(address.host)
    if number.is_unspecified:
        number = ipaddress.ip_address("127.0.0.1" if number.version == 4 else "::1")  # noqa: PLR2004 IPv4
    return (f"[{number}]" if ":" in str(number) else str(number), _LOCALHOST)


def same_place(address: str, listen: str) -> bool:
    """Whether who connects to `address` reaches what listens on `listen`, as far as can be known without asking DNS."""
    one, other = parse_address(address), parse_address(listen)
    if isinstance(one, SocketPath) or isinstance(other, SocketPath):
        return one == other
    return one.port == other.port and _same_host(one.host.lower(), ipaddress.ip_address(other.host))


def _same_host(host: str, listening: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host == _LOCALHOST and (listening.is_unspecified or str(listening) in _LOCAL)
    everywhere = listening.is_unspecified and number.is_loopback
    return number == listening or everywhere or (number.is_unspecified and listening.is_loopback)
