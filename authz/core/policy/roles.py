"""Checks and compiles roles, and finds who has which.

Law: only the claims of one verified token, and the grants that its caller holds, give a role. Finding the roles costs
two lookups per group of the token, however many roles there are. The tables are linear in the file (see
`authz.core.policy.role_graph`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from authz.core.documents.wording import Vocabulary
from authz.core.documents.yaml_document import Loc
from authz.core.errors import Problem
from authz.core.model import Claims, HeldGrant, Identity
from authz.core.policy import built_in, role_graph
from authz.core.policy.draft import Draft
from authz.core.policy.grant_schema import GrantableDraft
from authz.core.policy.patterns import TEAM
from authz.core.policy.rules import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, Grantable, Member, Role
from authz.core.policy.schema import RoleDraft

_MOST_KNOWN: Final = 1024  # sets of roles; a full table is cleared


def check_roles(draft: Draft) -> Iterator[Problem]:
    """Every mistake that concerns roles."""
    yield from built_in.closed(draft.document)
    yield from _references(draft)
    includes = _includes(draft)
    found = role_graph.circles(includes)
    reported: set[Loc] = set()
    for name, back in found:
        loc = (*draft.role_loc(name), "includes")
        if loc in reported:
            continue  # the same for another team
        reported.add(loc)
        message = f"the role `{name}`{draft.for_team(name)} includes itself" + (
            f" through `{back}`" if back != name else ""
        )
        hint = "remove one of the `includes` of the circle"
        yield draft.document.problem(loc, message, hint)
    if not found and role_graph.closures(includes) is None:
        message = f"the roles include more than {role_graph.MOST} roles, directly or through others"
        yield draft.document.problem(("roles",), message, "include fewer, or list the groups where they are meant")
    yield from _unassigned(draft, includes)


def _references(draft: Draft) -> Iterator[Problem]:
    """Roles' references to undefined names."""
    issuers, roles = Vocabulary(draft.issuer_names), Vocabulary((draft.role_names | BUILT_IN.keys()) - {AUTHENTICATED})
    for name, entry in draft.written.roles.items():
        for position, issuer in enumerate(entry.issuers):
            if issuer not in draft.issuer_names:
                hint = issuers.near(issuer) or "it must be the `name` of an issuer of this file"
                yield draft.document.problem(("roles", name, "issuers", position), f"unknown issuer `{issuer}`", hint)
        for position, included in enumerate(entry.includes):
            if TEAM not in included and (included == AUTHENTICATED or included not in draft.role_names):
                hint = roles.near(included) or "define it under `roles`"
                loc = ("roles", name, "includes", position)
                yield draft.document.problem(loc, f"unknown role `{included}`", hint)


def _unassigned(draft: Draft, includes: role_graph.Includes) -> Iterator[Problem]:
    """Roles that no one can have."""
    if draft.role_names - {AUTHENTICATED, *draft.roles} or _lost(draft):
        return  # a role or an entry that could not be read whole may be the one that gives the others
    given = _given(draft, includes)
    reported: set[Loc] = set()
    for name in draft.roles:
        # A built-in role without an entry is there because another role includes it.
        if (
            name not in given
            and name not in draft.granting
            and (name not in BUILT_IN or draft.built_in.get(name) == ("roles", name))
        ):
            loc = draft.role_loc(name)
            if loc not in reported:
                reported.add(loc)
                hint = "give it groups, clients, subjects or issuers, or include it in another role"
                message = f"no one can have the role `{name}`{draft.for_team(name)}"
                yield draft.document.problem(loc, message, hint, key=True)


def _lost(draft: Draft) -> bool:
    granted = draft.document.data.get("grantable", ())
    whole = isinstance(granted, tuple) and len(granted) == len(draft.grantable)
    return not whole or any(loc[0] in {"roles", "grantable"} for loc in draft.partial)


def _given(draft: Draft, includes: role_graph.Includes) -> set[str]:
    """The roles that someone can have; by a grant too, if someone can ask for it and someone can approve it."""
    concerned: dict[str, list[GrantableDraft]] = defaultdict(list)
    for entry in draft.grantable.values():
        for role in (*entry.requesters, *entry.approvers):
            concerned[role].append(entry)
    starting = [name for name, entry in draft.roles.items() if _has_condition(entry)]
    # Everyone has `authenticated`; what is not defined is another mistake.
    starting += concerned.keys() - (draft.roles.keys() - draft.granting.keys())

    def granted(role: str, found: set[str]) -> Iterable[str]:
        return (given for entry in concerned.get(role, ()) if _can_be_held(entry, found) for given in entry.roles)

    return role_graph.reached(starting, includes, granted)


def _can_be_held(entry: GrantableDraft, given: set[str]) -> bool:
    return not given.isdisjoint(entry.requesters) and (not entry.approvers or not given.isdisjoint(entry.approvers))


def _includes(draft: Draft) -> role_graph.Includes:
    return {name: entry.includes for name, entry in draft.roles.items() if entry.includes}


def _has_condition(entry: RoleDraft) -> bool:
    return bool(entry.groups or entry.clients or entry.subjects or entry.issuers)


def compile_roles(draft: Draft) -> dict[str, Role]:
    """The roles of a draft without mistakes, with their `includes` closed."""
    closed = role_graph.closures(_includes(draft)) or {}
    sets = _Sets()
    return {
        name: _compile(name, entry, closed.get(name) or frozenset((name,)), draft, sets)
        for name, entry in draft.roles.items()
    }


class _Sets(dict[tuple[str, ...], frozenset[str]]):
    """Interns sets that many roles list: a set takes 200 bytes, and there may be 400,000 roles."""

    def __missing__(self, texts: tuple[str, ...]) -> frozenset[str]:
        made = self[texts] = frozenset(texts)
        return made


def _compile(name: str, entry: RoleDraft, includes: frozenset[str], draft: Draft, sets: _Sets) -> Role:
    origin = draft.made.origins.get(name)
    line, column = draft.document.place(
        draft.role_loc(name) if origin or entry.grants else built_in.place(name, draft.built_in), key=True
    )
    return Role(
        name=name,
        groups=sets[entry.groups],
        clients=sets[entry.clients],
        subjects=sets[entry.subjects],
        grants=sets[entry.grants],
        issuers=sets[entry.issuers],
        includes=includes,
        agent=entry.agent,
        airflow=BUILT_IN.get(name, entry.airflow),
        ends=tuple(_ends(name, entry, draft)) if entry.ends else (),
        description=entry.description,
        team=origin.team if origin else "",
        line=line,
        column=column,
    )


def _ends(name: str, entry: RoleDraft, draft: Draft) -> Iterator[Member]:
    loc = draft.role_loc(name)
    for end in entry.ends:
        line, column = draft.document.place((*loc, end.kind, end.position))
        yield Member(end.kind, end.name, end.until, line, column)


def compile_grantable(draft: Draft) -> dict[str, Grantable]:
    """The entries of `grantable` of a draft without mistakes."""
    found = {}
    for index, entry in draft.grantable.items():
        line, column = draft.document.place(("grantable", index))
        found[entry.id] = Grantable(
            id=entry.id,
            requesters=frozenset(entry.requesters),
            approvers=frozenset(entry.approvers),
            longest=entry.longest,
            description=entry.description,
            line=line,
            column=column,
        )
    return found


class _Members:
    """The roles that claims and grants give: claim value or entry → names. Included roles are added to a whole set."""

    __slots__ = ("clients", "everyone", "grants", "groups", "subjects")

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {}
        self.clients: dict[str, list[str]] = {}
        self.subjects: dict[str, list[str]] = {}
        self.grants: dict[str, list[str]] = {}
        self.everyone: list[str] = []

    def add(self, role: Role) -> None:
        """The members of one more role."""
        for table, values in (
            (self.groups, role.groups),
            (self.clients, role.clients),
            (self.subjects, role.subjects),
            (self.grants, role.grants),
        ):
            for value in values:
                table.setdefault(value, []).append(role.name)
        if role.issuers and not (role.groups or role.clients or role.subjects or role.grants):
            self.everyone.append(role.name)

    def give(self, claims: Claims, held: set[str]) -> None:
        """Add the roles that the claims give."""
        held.update(self.everyone)
        if self.clients:
            held.update(self.clients.get(claims.client_id, ()))
        if self.subjects:
            held.update(self.subjects.get(claims.subject, ()))
        if self.groups:
            for group in self.groups.keys() & claims.groups:
                held.update(self.groups[group])


class Roster:
    """Claims → identity, for all issuers of a policy.

    The result for a set of roles is computed once, and equal sets of any number of identities are one object.
    """

    __slots__ = ("_agents", "_anywhere", "_by_issuer", "_floor", "_includes", "_known", "_ranks")

    def __init__(self, roles: Iterable[Role], issuers: Iterable[str], airflow: Mapping[str, str]) -> None:
        """`airflow` is the Airflow role of every role that has one, `authenticated` included."""
        roles = tuple(roles)
        self._by_issuer = {name: _Members() for name in issuers}
        self._anywhere = _Members()
        for role in roles:
            for members in [self._by_issuer[name] for name in role.issuers] or [self._anywhere]:
                members.add(role)
        self._includes = {role.name: role.includes for role in roles}
        self._agents = frozenset(role.name for role in roles if role.agent)
        self._ranks = {name: AIRFLOW_ROLES.index(word) for name, word in airflow.items()}
        self._floor = self._ranks.get(AUTHENTICATED, -1)
        self._known: dict[frozenset[str], tuple[frozenset[str], bool, str]] = {}

    def identify(self, claims: Claims, grants: tuple[HeldGrant, ...], held: tuple[HeldGrant, ...]) -> Identity:
        """The identity for the verified claims under this policy, of a caller who holds grants, of which some count.

        `grants` are those that count, so the policy has their entries. Each entry is a role of its own, so the table
        has it; one that is not there would be a bug here, and the check is answered 503.
        """
        members = self._by_issuer.get(claims.issuer_name)
        given: set[str] = set()
        if members is not None:
            members.give(claims, given)
            self._anywhere.give(claims, given)
            for grant in grants:
                given.update(self._anywhere.grants[grant.entry])
        else:
            grants = ()
        key = frozenset(given)
        roles, agent, airflow_role = self._known.get(key) or self._amount(key)
        return Identity(claims, roles, agent, airflow_role, None, grants, held)  # by position: each new token makes one

    def _amount(self, given: frozenset[str]) -> tuple[frozenset[str], bool, str]:
        """All roles that the claims give, included ones too, and their combined result."""
        held = frozenset().union(*(self._includes[role] for role in given))
        rank = max((self._ranks.get(role, -1) for role in held), default=-1)
        rank = max(rank, self._floor)
        known = held, not self._agents.isdisjoint(held), AIRFLOW_ROLES[rank] if rank >= 0 else ""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[given] = known
        return known
