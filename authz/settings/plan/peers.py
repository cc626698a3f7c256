"""The ends of Envoy's connections: listening addresses, and the certificates that identify the two sides.

Law: data and its checks only, and no import of the Envoy types. What cannot be rendered is refused with a `ValueError`
that names the value. An address is `unix:/path` or `host:port` (`[::1]:port` for IPv6).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from authz.core.addresses import HostPort, SocketPath, parse_address
from authz.settings.plan.login import SYSTEM_CA


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """The certificate that a listener presents: two PEM files on Envoy's machine, readable by Envoy.

    With `client_ca` (mutual TLS) only clients with a certificate from that authority get a connection.
    """

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How Envoy verifies a server: its certificate must be signed by `ca` and name `server_name`.

    `ca` defaults to the system's bundle (as Debian and Envoy's image name it): Envoy checks no name without a
    configured bundle. `certificate` and `key` (both or none) are Envoy's own, for mutual TLS.
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
    """Refuse duplicates."""
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
