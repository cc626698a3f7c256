"""Rules for outbound calls: where they go, which run makes them, and at which assurance level.

Law: careful on both sides. An allow rule about runs applies only to a known run whose assurance level is at least the
rule's `identity`. A deny rule about DAGs or tasks also applies if the run is unknown or only asserted: an assertion may
be a lie. A tunnel (CONNECT) shows neither path nor method of what goes through it: an allow rule applies to it only if
it says so, and deny rules apply whatever their `paths` and `methods` are.

These are the plain definitions, which `explain` shows; the index gives the same answers from its levels.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from authz.core.model import Level, Run
from authz.core.policy.patterns import Glob
from authz.core.request.path import CONNECT

_STRONGEST_FIRST: Final = tuple(Level)

SATISFIED: Final[Mapping[Level, tuple[Level, ...]]] = MappingProxyType(
    {level: _STRONGEST_FIRST[position:] for position, level in enumerate(_STRONGEST_FIRST)}
)
"""What a rule's `identity` may be for a run of this level: the level itself and the weaker ones."""


def sure(run: Run | None) -> bool:
    """Whether the run is more than asserted: deny rules about other runs then spare it."""
    return run is not None and run.level is not Level.ASSERTED


def strong_enough(run: Run | None, least: Level) -> bool:
    """Whether there is a run of at least this level."""
    return run is not None and least in SATISFIED[run.level]


def concerns(globs: Iterable[Glob], name: str | None, *, surely: bool, deny: bool) -> bool:
    """Whether a rule's `dags` or `tasks` concern a run; `name` is that of its DAG or task, None if there is none."""
    if deny and not surely:
        return True
    return name is not None and any(glob.matches(name) for glob in globs)


def in_tunnel(level: Level | None) -> Level | None:
    """The level of a run that asks for a tunnel: CONNECT has no URL for a proof, so it sends a token alone."""
    return Level.VERIFIED_BEARER if level is Level.VERIFIED else level


def is_tunnel(methods: tuple[str, ...]) -> bool:
    """Whether a rule's `methods` are those of a rule for tunnels, which have CONNECT alone."""
    return CONNECT in methods
