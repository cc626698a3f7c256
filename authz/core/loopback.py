"""Checks by its name alone whether a host is this machine.

Law: pure. `authz.fetching.guard` checks the addresses that a name resolves to.
"""

import ipaddress


def names_loopback(host: str) -> bool:
    """Whether the name itself says loopback: `localhost`, `x.localhost` (RFC 6761 §6.3) or a loopback literal."""
    return host.endswith(".localhost") or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether it is `localhost` or a loopback literal, which do not depend on DNS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
