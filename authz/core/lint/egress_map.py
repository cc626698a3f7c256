"""The settings' egress routes, for commands that evaluate calls without making them: `check`, `explain`, `lint`.

Law: nothing here decides. A call is routed as Envoy routes it (`authz.envoy_config.egress.routes`): by an address or
a path of Envoy itself, else by Host, the exact one before the longest suffix; if neither fits, to other hosts if there
is a route to them. A tunnel is routed to an exact Host and a port of the destination's addresses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from authz.core.addresses import own_hosts, same_place
from authz.core.model import Level
from authz.core.policy.overlap import hosts
from authz.core.policy.patterns import HostPattern
from authz.core.request.path import CONNECT

_HTTP: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """One destination: `listen` and `path` are its base URLs, or ""; `ports` are those of its addresses."""

    name: str
    hosts: tuple[str, ...]
    ports: tuple[int, ...] = ()
    listen: str = ""
    path: str = ""
    tunnel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysOut:
    """All destinations. `listen` is the listener's address, `others` the ports of hosts outside the destinations.

    `surest` is the highest possible assurance level of a run here, None if no run is known.
    """

    file: str
    listen: str
    destinations: tuple[WayOut, ...]
    others: tuple[int, ...] = ()
    surest: Level | None = None


class Lead(NamedTuple):
    """Where a call is routed: the destination's name, and the host and base path that Envoy sets; each may be ""."""

    destination: str = ""
    host: str = ""
    base: str = ""
    somewhere: bool = True


NOWHERE = Lead(somewhere=False)


def lead(ways: WaysOut, *, method: str, host: str, port: int | None, path: str) -> Lead:
    """Where a request is routed; `host` and `port` are its canonical authority."""
    if method == CONNECT:
        way = _by_host(ways.destinations, host)
        opens = way is not None and way.tunnel and host in way.hosts and port in way.ports
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
    """Whether a host can match both patterns (`a.b`, `*.b`)."""
    return bool(hosts(HostPattern(pattern), HostPattern(other)))


def _by_host(ways: Iterable[WayOut], host: str) -> WayOut | None:
    fitting = [(name == host, len(name), way) for way in ways for name in way.hosts if HostPattern(name).matches(host)]
    return max(fitting, key=lambda found: found[:2])[2] if fitting else None
