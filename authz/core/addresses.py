"""Addresses as settings write them: `unix:/path`, `host:port` or `[v6]:port`.

Law: pure. Anything else is refused with a `ValueError` that names it, unless it may hold a password.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

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
    """A TCP address; `is_ip` is False for a name that must be looked up."""

    host: str
    port: int
    is_ip: bool


def shown(text: str) -> str:
    """A value for a message, in quotes; not one with an `@`, which a password may stand before."""
    return "this value" if "@" in text else repr(text)


def is_port(text: str) -> bool:
    """Whether the text is the number of a port, in ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 1 <= int(text) <= MAX_PORT


def parse_address(text: str) -> SocketPath | HostPort:
    """Read `unix:/path`, `host:port` or `[v6]:port`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or path.endswith("/") or "\0" in path:
            raise ValueError(f"{shown(text)}: a Unix socket is written unix:/absolute/path")
        return SocketPath(path)
    host, colon, port = text.rpartition(":")
    if not colon or not is_port(port):
        raise ValueError(f"{shown(text)}: an address is written host:port, [v6]:port or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        try:
            return HostPort(str(ipaddress.IPv6Address(host[1:-1])), int(port), is_ip=True)
        except ValueError:
            raise ValueError(f"{shown(text)}: no IPv6 address is between the brackets") from None
    try:
        return HostPort(str(ipaddress.IPv4Address(host)), int(port), is_ip=True)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{shown(text)}: the part before the port is not a host name") from None
        return HostPort(host, int(port), is_ip=False)


def own_hosts(listen: str) -> tuple[str, ...]:
    """The Host values with which a client on this machine addresses this listener."""
    address = parse_address(listen)
    if isinstance(address, SocketPath):
        return (_LOCALHOST,)
    number = ipaddress.ip_address(address.host)
    if number.is_unspecified:
        number = ipaddress.ip_address("127.0.0.1" if number.version == 4 else "::1")  # noqa: PLR2004 IPv4
    return (f"[{number}]" if ":" in str(number) else str(number), _LOCALHOST)


def same_place(address: str, listen: str) -> bool:
    """Whether a client of `address` reaches the listener on `listen`, as far as is known without asking DNS."""
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
