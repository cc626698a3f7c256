"""Roles: what is wrong with them, what they compile to, and who has which.

Law: a role is given by the claims of one verified token and by nothing else. Finding the roles costs one lookup per
group of the token, however many roles there are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from authz.errors import Problem
from authz.model import Claims, Identity
from authz.policy import built_in
from authz.policy.draft import Draft
from authz.policy.rules import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, Role
from authz.policy.schema import RoleEntry
from authz.wording import near

_NOBODY: frozenset[str] = frozenset()
_MOST_KNOWN: Final = 1024  # sets of roles; a table that is full is begun anew


def check_roles(draft: Draft) -> Iterator[Problem]:
    """Every mistake that concerns roles."""
    problem = draft.document.problem
    given: set[str] = set()
    yield from built_in.closed(draft.document)
    for name, entry in draft.roles.items():
        for position, issuer in enumerate(entry.issuers):
            if issuer not in draft.issuer_names:
                hint = near(issuer, draft.issuer_names) or "it must be the `name` of an issuer of this file"
                yield problem(("roles", name, "issuers", position), f"unknown issuer `{issuer}`", hint)
        for position, included in enumerate(entry.includes):
            if included not in draft.role_names - {AUTHENTICATED}:
                known = (draft.role_names | BUILT_IN.keys()) - {AUTHENTICATED}
                hint = near(included, known) or "define it under `roles`"
                yield problem(("roles", name, "includes", position), f"unknown role `{included}`", hint)
        if _has_condition(entry):
            given |= closure(name, draft.roles)
    yield from _cycles(draft)
    if draft.role_names - {AUTHENTICATED, *draft.roles} or any(loc[0] == "roles" for loc in draft.partial):
        return  # a role that could not be read whole may be the one that gives the others
    for name in draft.roles:
        # A built-in role without an entry is there because another role includes it.
        if name not in given and (name not in BUILT_IN or draft.built_in.get(name) == ("roles", name)):
            hint = "give it groups, clients, subjects or issuers, or include it in another role"
            yield problem(("roles", name), f"nobody can have the role `{name}`", hint, key=True)


def _has_condition(entry: RoleEntry) -> bool:
    return bool(entry.groups or entry.clients or entry.subjects or entry.issuers)


def closure(name: str, roles: Mapping[str, RoleEntry]) -> frozenset[str]:
    """The role and every role that it includes, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        role = waiting.pop()
        if role not in found and role in roles:
            found.add(role)
            waiting += roles[role].includes
    return frozenset(found)


def _cycles(draft: Draft) -> Iterator[Problem]:
    """One problem per cycle, at the role of it that comes first."""
    reported: set[str] = set()
    for name, entry in draft.roles.items():
        inside = [role for role in entry.includes if name in closure(role, draft.roles)]
        if inside and name not in reported:
            reported |= {role for role in closure(name, draft.roles) if name in closure(role, draft.roles)}
            message = f"the role `{name}` includes itself" + (f" through `{inside[0]}`" if inside[0] != name else "")
            yield draft.document.problem(
                ("roles", name, "includes"), message, "remove one of the `includes` of the circle"
            )


def compile_role(name: str, draft: Draft) -> Role:
    """One role, with its `includes` closed."""
    entry = draft.roles[name]
    line, column = draft.document.place(built_in.place(name, draft.built_in), key=True)
    return Role(
        name=name,
        groups=frozenset(entry.groups),
        clients=frozenset(entry.clients),
        subjects=frozenset(entry.subjects),
        issuers=frozenset(entry.issuers),
        includes=closure(name, draft.roles),
        agent=entry.agent,
        airflow=BUILT_IN.get(name, entry.airflow),
        description=entry.description,
        line=line,
        column=column,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """Whom one issuer's tokens make what: claim value → roles, closed over `includes`."""

    groups: Mapping[str, frozenset[str]]
    clients: Mapping[str, frozenset[str]]
    subjects: Mapping[str, frozenset[str]]
    everyone: frozenset[str]


class Roster:
    """Claims → identity, for all issuers of a policy.

    What a set of roles amounts to is worked out once, and equal sets of any number of identities are one object.
    """

    __slots__ = ("_agents", "_by_issuer", "_floor", "_known", "_ranks")

    def __init__(self, roles: Iterable[Role], issuers: Iterable[str], airflow: Mapping[str, str]) -> None:
        """`airflow` is the Airflow role of every role that has one, `authenticated` included."""
        roles = tuple(roles)
        self._by_issuer = {name: _members([r for r in roles if name in r.issuers or not r.issuers]) for name in issuers}
        self._agents = frozenset(role.name for role in roles if role.agent)
        self._ranks = {name: AIRFLOW_ROLES.index(word) for name, word in airflow.items()}
        self._floor = self._ranks.get(AUTHENTICATED, -1)
        self._known: dict[frozenset[str], tuple[frozenset[str], bool, str]] = {}

    def identify(self, claims: Claims) -> Identity:
        """Who the verified claims stand for under this policy."""
        members = self._by_issuer.get(claims.issuer_name)
        held: set[str] = set()
        if members is not None:
            held.update(members.everyone)
            held.update(members.clients.get(claims.client_id, _NOBODY), members.subjects.get(claims.subject, _NOBODY))
            for group in claims.groups:
                held.update(members.groups.get(group, _NOBODY))
        key = frozenset(held)
        roles, agent, airflow_role = self._known.get(key) or self._amount(key)
        return Identity(claims=claims, roles=roles, agent=agent, airflow_role=airflow_role)

    def _amount(self, held: frozenset[str]) -> tuple[frozenset[str], bool, str]:
        rank = max((self._ranks.get(role, -1) for role in held), default=-1)
        rank = max(rank, self._floor)
        known = held, not self._agents.isdisjoint(held), AIRFLOW_ROLES[rank] if rank >= 0 else ""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[held] = known
        return known


def _members(roles: Iterable[Role]) -> _Members:
    groups: dict[str, frozenset[str]] = {}
    clients: dict[str, frozenset[str]] = {}
    subjects: dict[str, frozenset[str]] = {}
    everyone: frozenset[str] = frozenset()
    for role in roles:
        for table, values in ((groups, role.groups), (clients, role.clients), (subjects, role.subjects)):
            for value in values:
                table[value] = table.get(value, _NOBODY) | role.includes
        if role.issuers and not (role.groups or role.clients or role.subjects):
            everyone |= role.includes
    return _Members(groups=groups, clients=clients, subjects=subjects, everyone=everyone)
