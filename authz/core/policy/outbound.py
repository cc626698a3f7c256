"""What rules say of outbound calls: where they go, which run makes them, and how sure that must be.

Law: careful on both sides. An allow rule about runs applies to a run that is at least as sure as the rule's `identity`,
and never where no run is known. A deny rule about DAGs or tasks applies also where the run is not known surely: what is
only asserted may be a lie. A tunnel (CONNECT) shows neither path nor method of what goes through it: no allow rule
applies to it that does not say so, and deny rules apply whatever their `paths` and `methods` are.

These are the plain definitions, which `explain` shows; the index answers the same from its levels.
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
    """Whether the run is known surely enough for deny rules about other runs to let it be."""
    return run is not None and run.level is not Level.ASSERTED


def strong_enough(run: Run | None, least: Level) -> bool:
    """Whether there is a run, and one of at least this level."""
    return run is not None and least in SATISFIED[run.level]


def concerns(globs: Iterable[Glob], name: str | None, *, surely: bool, deny: bool) -> bool:
    """Whether a rule's `dags` or `tasks` concern a run; `name` is that of its DAG or task, None where there is none."""
    if deny and not surely:
        return True
    return name is not None and any(glob.matches(name) for glob in globs)


def is_tunnel(methods: tuple[str, ...]) -> bool:
    """Whether a rule's `methods` are those of a rule for tunnels; CONNECT stands alone there."""
    return CONNECT in methods
