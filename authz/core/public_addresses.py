"""Which addresses are public: Envoy connects to no others for hosts that belong to no destination.

Law: pure. One list of each kind, for what Envoy's configuration refuses (`authz.envoy_config.egress.dynamic`), for the
guard of key fetches (`authz.fetching.guard`) and for lint.
"""

import ipaddress
from typing import Final

# All that is not a public unicast address: the registries for special purposes (RFC 6890), multicast, and every IPv6
# address that holds an IPv4 one (mapped, compatible, translated, 6to4, Teredo), because the gate cannot see where that
# one leads. And 168.63.129.16, which looks public: in Azure it is the host of each virtual machine, and serves its
# configuration.
NOT_PUBLIC: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    # of IPv6, only 2000::/3 is allocated at all
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
)
_BLOCKS: Final = tuple(map(ipaddress.ip_network, NOT_PUBLIC))
METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack; link-local anyway, named for the message
        "fd00:ec2::254",  # AWS over IPv6, a unique local address
        "fd20:ce::254",  # Google over IPv6, a unique local address
        "100.100.100.200",  # Alibaba, in the shared address space of RFC 6598
        "168.63.129.16",  # Azure's WireServer, a public address
        "192.0.0.192",  # Oracle
    )
)


def is_not_public(host: str) -> bool:
    """Whether a canonical host is an address, and not a public one."""
    address = _address(host)
    return address is not None and any(address in block for block in _BLOCKS)


def is_never_a_service(host: str) -> bool:
    """Whether it is an address of this machine, of its link or of a cloud's metadata: no service has it."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address is None:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified or address in METADATA


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
