"""Built-in roles: Airflow's own four, whose members the policy sets, and one rule for each that it uses.

Law: Airflow defines what a built-in role may do, and the catalogue says it; the policy says only who has the role.
Each includes the weaker ones, as Airflow's do. A role that the policy does not use is not loaded and costs nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from authz.core.documents.yaml_document import Document, Loc
from authz.core.errors import Problem
from authz.core.model import Plane
from authz.core.policy.bundle import INCLUDE
from authz.core.policy.grant_schema import GrantableDraft
from authz.core.policy.rule_schema import is_reserved
from authz.core.policy.rules import BUILT_IN, Effect, Rule
from authz.core.policy.schema import RoleDraft

_NAMES: Final = tuple(BUILT_IN)
_CLOSED: Final[Mapping[str, str]] = {
    "includes": "let a role of your own include both",
    "agent": "let a role of your own include it, and be an agent",
    "airflow": "its name says what it is to Airflow",
}
"""What the entry of a built-in role cannot say, because it would be another role under that name, and what to do."""


def used(roles: Mapping[str, RoleDraft], grantable: Mapping[int, GrantableDraft]) -> Mapping[str, Loc]:
    """The built-in roles that have an entry, are included by name or can be granted, and where."""
    found: dict[str, Loc] = {name: ("roles", name) for name in roles if name in BUILT_IN}
    for name, entry in roles.items():
        for position, included in enumerate(entry.includes):
            if included in BUILT_IN:
                found.setdefault(included, ("roles", name, "includes", position))
    for index, granting in grantable.items():
        for position, given in enumerate(granting.roles):
            if given in BUILT_IN:
                found.setdefault(given, ("grantable", index, "roles", position))
    return found


def completed(roles: Mapping[str, RoleDraft], places: Mapping[str, Loc]) -> dict[str, RoleDraft]:
    """The roles, and the built-in ones that are used or come with one that is; each includes the next weaker one."""
    found = dict(roles)
    for rank, name in enumerate(_NAMES):
        if any(stronger in places for stronger in _NAMES[rank:]):
            weaker = _NAMES[max(rank - 1, 0) : rank]
            found[name] = replace(roles.get(name, RoleDraft()), includes=weaker)
    return found


def suffice(document: Document, places: Mapping[str, Loc]) -> bool:
    """Whether `rules` is not missing: the file has it or other files with rules, or uses a built-in role.

    A mistake in `roles` may be why it uses none.
    """
    roles = document.data.get("roles", {})
    meant = not isinstance(roles, dict) or any(map(is_reserved, roles))
    return not document.data.keys().isdisjoint({"rules", INCLUDE}) or bool(places) or meant


def closed(document: Document) -> Iterator[Problem]:
    """Keys that entries of built-in roles must not have."""
    roles = document.data.get("roles")
    entries = [(name, roles.get(name)) for name in _NAMES] if isinstance(roles, dict) else []
    for name, entry in entries:
        for key, hint in _CLOSED.items():
            if isinstance(entry, dict) and key in entry:
                yield document.problem(
                    ("roles", name, key), f"the built-in role `{name}` has no `{key}`", hint, key=True
                )


def place(name: str, places: Mapping[str, Loc]) -> Loc:
    """Where the policy adds a role: a built-in one under its own name, or a stronger one's."""
    if name not in BUILT_IN:
        return "roles", name
    return next((places[stronger] for stronger in _NAMES[_NAMES.index(name) :] if stronger in places), ("roles", name))


def rules(places: Mapping[str, Loc], document: Document) -> Iterator[Rule]:
    """The rule of each built-in role that the policy uses. A stronger role's rule covers those only included."""
    for name, loc in places.items():
        line, column = document.place(loc, key=True)
        yield Rule(
            id=name,
            effect=Effect.ALLOW,
            planes=frozenset({Plane.INBOUND}),
            roles=(name,),
            operations=(name,),
            description=f"What Airflow's own role {BUILT_IN[name]} may do.",
            line=line,
            column=column,
        )
