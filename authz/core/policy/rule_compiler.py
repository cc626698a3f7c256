"""A rule entry without mistakes → the compiled rule.

Law: total. What the entry leaves out is decided here, once: the planes of a rule, and the level that it requires.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from authz.core.model import Level, Plane
from authz.core.policy.rule_schema import RuleDraft
from authz.core.policy.rules import Effect, Rule

_PLANES: Final[Mapping[str, frozenset[Plane]]] = {
    "": frozenset(Plane),
    **{plane.value: frozenset({plane}) for plane in Plane},
}


def compile_rule(
    entry: RuleDraft, place: tuple[int, int], share: Callable[[Any], Any] = lambda part: part, *, file: str = ""
) -> Rule:
    """The compiled rule of an entry; `share` makes equal parts one object. `file`: where it stands, as in `Rule`."""
    effect = Effect.DENY if entry.deny else Effect.PUBLIC if entry.public else Effect.ALLOW
    plane = entry.plane or (Plane.INBOUND if entry.public else "")
    return Rule(
        id=entry.id,
        effect=effect,
        planes=_PLANES[plane],
        roles=share(entry.roles),
        operations=share(entry.operations),
        hosts=share(entry.hosts),
        methods=share(entry.methods),
        paths=entry.paths,
        dags=share(entry.dags),
        destinations=share(entry.destinations),
        tasks=share(entry.tasks),
        identity=_least(entry, effect, plane),
        until=entry.until,
        description=entry.description,
        team=entry.team,
        file=file,
        line=place[0],
        column=place[1],
    )


def _least(entry: RuleDraft, effect: Effect, plane: str) -> Level | None:
    """The level that an allow rule requires; the strongest if it names runs but no level."""
    if effect is not Effect.ALLOW or plane == Plane.INBOUND:
        return None
    if entry.identity:
        return Level(entry.identity)
    return Level.VERIFIED if entry.dags or entry.tasks else None
