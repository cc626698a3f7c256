"""What the settings say of the way out, for those who ask about calls without making them: `check`, `explain`, `lint`.

Law: nothing here decides. Where a call leads is found as Envoy finds it (`authz.envoy_config.egress_routes`): by an
address or a path of Envoy's own, else by Host, the exact one before the longest suffix; and where neither fits, at
other hosts if there is a way to them. A tunnel leads to an exact Host and the port of the destination's address.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from authz.core.addresses import own_hosts, same_place
from authz.core.model import Level
from authz.core.request.path import CONNECT

_HTTP: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """One destination: `listen` and `path` are its base URLs, "" without; `port` that of its address, 0 without."""

    name: str
    hosts: tuple[str, ...]
    port: int = 0
    listen: str = ""
    path: str = ""
    tunnel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysOut:
    """All of them. `listen` is the address of the listener, `others` the ports of hosts that are no destination's.

    `surest` is how sure it can be here at most which run calls, None where no run is known.
    """

    file: str
    listen: str
    destinations: tuple[WayOut, ...]
    others: tuple[int, ...] = ()
    surest: Level | None = None


class Lead(NamedTuple):
    """Where a call leads: the destination's name, and the host and base path that Envoy tells, each "" where none."""

    destination: str = ""
    host: str = ""
    base: str = ""
    somewhere: bool = True


NOWHERE = Lead(somewhere=False)


def lead(ways: WaysOut, *, method: str, host: str, port: int | None, path: str) -> Lead:
    """Where a request leads; `host` and `port` are those of its authority, canonical."""
    if method == CONNECT:
        way = _by_host(ways.destinations, host)
        opens = way is not None and way.tunnel and host in way.hosts and port == way.port
        return Lead(way.name) if way is not None and opens else NOWHERE
    for way in ways.destinations:
        if way.listen and same_place(f"{host}:{port or _HTTP}", way.listen):
            return Lead(way.name, way.hosts[0])
    way = _by_host(ways.destinations, host)
    if way is not None:
        return Lead(way.name)
    if host in own_hosts(ways.listen) and any(way.path for way in ways.destinations):
        below = [way for way in ways.destinations if way.path and (path == way.path or path.startswith(f"{way.path}/"))]
        deepest = max(below, key=lambda way: len(way.path), default=None)
        return NOWHERE if deepest is None else Lead(deepest.name, deepest.hosts[0], deepest.path)
    return Lead() if ways.others else NOWHERE


def overlap(pattern: str, other: str) -> bool:
    """Whether a host exists that both patterns (`a.b`, `*.b`) stand for."""
    if pattern.startswith("*.") and other.startswith("*."):
        return pattern.endswith(other[1:]) or other.endswith(pattern[1:])
    return _fits(pattern, other) or _fits(other, pattern)


def _fits(pattern: str, host: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _by_host(ways: Iterable[WayOut], host: str) -> WayOut | None:
    fitting = [(name == host, len(name), way) for way in ways for name in way.hosts if _fits(name, host)]
    return max(fitting, key=lambda found: found[:2])[2] if fitting else None
