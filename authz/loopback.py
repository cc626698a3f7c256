"""Whether a host is this machine, by its name alone.

Law: pure. What a name resolves to is judged where a connection is made (`authz.keys.network`).
"""

import ipaddress


def names_loopback(host: str) -> bool:
    """Whether the name itself says loopback: `localhost`, `x.localhost` (RFC 6761 §6.3) or a loopback literal."""
    return host.endswith(".localhost") or is_loopback(host)


def is_loopback(host: str) -> bool:
    """`localhost` or a loopback literal: what no resolver can lead elsewhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
