"""Checks teams, and the roles and rules that the file has for all of them.

Law: one mistake is one problem, however many teams it concerns: it stands where the file has it, and names a team.
No DAG may belong to two teams, no group may give roles of two, and a team's name must not choose what a role is.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from authz.core.documents.wording import Vocabulary
from authz.core.documents.yaml_document import Loc
from authz.core.errors import Problem
from authz.core.policy import teams
from authz.core.policy.disjoint import Owned, Shared, shared
from authz.core.policy.draft import Draft
from authz.core.policy.patterns import TEAM
from authz.core.policy.rule_schema import RuleDraft, is_reserved
from authz.core.policy.rules import AIRFLOW_ROLES, AUTHENTICATED
from authz.core.policy.schema import RoleDraft
from authz.core.policy.team_schema import TEAM_DAGS, WORD

_SHOWN: Final = 3
_MEMBERS: Final = ("groups", "clients", "subjects")
_ADD: Final = f'add them above `roles`: teams: [{{names: [sales, finance], dags: ["{TEAM}_*"]}}]'

_WHY: Final = "where DAG or run are not sure it denies lists and calls of all DAGs, so it would deny them to everyone"

_Found = tuple[tuple[str | int, ...], str, str]
"""Where in the role or rule, what, what to do."""


def check_teams(draft: Draft) -> Iterator[Problem]:
    """Every mistake that concerns teams, roles with `{team}` and rules for all teams."""
    declared = list(teams.declared(draft.written.teams))
    if "teams" in draft.document.data:
        yield from _use(draft, len(declared))
    else:
        yield from _missing(draft)
    yield from _names(draft, declared)
    yield from _same_for_all(draft)
    yield from _overlaps(draft, declared)
    if draft.made.teams != (teams.ANY,):
        yield from _made_roles(draft)
        yield from _members(draft)
    known = _known_roles(draft)
    for name, role in draft.written.roles.items():
        unknown = _unknown("includes", role.includes, known) if TEAM in name else ()
        for loc, message, hint in (*_role(name, role), *unknown):
            yield draft.document.problem(("roles", name, *loc), message, hint, key=not loc)
    for index, rule in draft.written.rules.items():
        found = _rule(rule) if teams.is_for_teams(rule) else ()
        for loc, message, hint in (*found, *_paths(rule, draft), *_unknown("roles", rule.roles, known)):
            yield draft.document.problem(("rules", index, *loc), message, hint)


def _missing(draft: Draft) -> Iterator[Problem]:
    """The first use of `{team}` in a file without teams."""
    places: list[Loc] = [("roles", name) for name in draft.written.roles if TEAM in name]
    places += [("rules", index) for index, rule in draft.written.rules.items() if teams.is_for_teams(rule)]
    if places:
        message = "this is for each team, and the file has no `teams`"
        yield draft.document.problem(places[0], message, _ADD, key=places[0][0] == "roles")


def _use(draft: Draft, number: int) -> Iterator[Problem]:
    """Patterns that no rule uses, and more teams than the roles and rules for all of them allow."""
    partial = any(loc[0] == "rules" for loc in draft.partial) or not draft.written.whole
    partial |= not isinstance(draft.document.data.get("rules", ()), tuple)
    partial |= any(entry.team for entry in draft.include.values())  # their files may say `dags: team`
    if not partial and not any(rule.dags == TEAM_DAGS for rule in draft.written.rules.values()):
        message = f"no rule says `dags: {WORD}`, so the patterns of the teams have no effect"
        yield draft.document.problem(("teams",), message, f"add dags: {WORD} to a rule, or remove `teams`", key=True)
    made = teams.count(draft.written, number)
    if made > teams.MOST_MADE:
        message = f"with {number} teams, the roles and rules for all of them are {made}: more than {teams.MOST_MADE}"
        hint = "for what is alike for many teams use one role and one rule without {team}"
        yield draft.document.problem(("teams",), message, hint, key=True)


def _names(draft: Draft, declared: Iterable[teams.Team]) -> Iterator[Problem]:
    """Teams that are there twice, also in other letters: people would take one for the other."""
    first: dict[str, teams.Team] = {}
    for team in declared:
        before = first.setdefault(team.name.lower(), team)
        if before is not team:
            line = draft.document.place(before.place)[0]
            message = f"the team `{team.name}` is there twice"
            if before.name != team.name:
                message = f"the teams `{before.name}` and `{team.name}` differ only in the case of letters"
            hint = f"the first is on line {line}: list it once, with all its patterns"
            yield draft.document.problem(team.place, message, hint)


def _same_for_all(draft: Draft) -> Iterator[Problem]:
    """Patterns that are the same for several teams."""
    for index, entry in draft.written.teams.items():
        for position, text in enumerate(entry.dags if len(entry.names) > 1 else ()):
            if TEAM not in text:
                message = f"`{text}` belongs to {len(entry.names)} teams, `{entry.names[0]}` among them"
                hint = f'name the team in it, "{TEAM}_*", or give the team that owns it an entry of its own'
                yield draft.document.problem(("teams", index, "dags", position), message, hint)


def _overlaps(draft: Draft, declared: list[teams.Team]) -> Iterator[Problem]:
    """Teams that own a DAG of one before them: one problem for each entry of `teams`."""
    whole = draft.written.teams
    owned: list[Owned] = []
    numbers: dict[str, int] = {}
    for number, team in enumerate(declared):
        entry = whole[int(team.place[1])]
        alike = len(entry.names) > 1
        texts = {text.replace(TEAM, team.name) for text in entry.dags if TEAM in text or not alike}
        owner = numbers.setdefault(team.name, number)
        owned += [Owned(owner, glob) for glob in team.dags if glob.text in texts]
    pairs: dict[str | int, list[tuple[Owned, Owned, str]]] = {}
    for one, other, dag_id in map(_in_order, shared(owned)):
        pairs.setdefault(declared[other.owner].place[1], []).append((one, other, dag_id))
    for found in pairs.values():
        found.sort(key=lambda pair: (pair[1].owner, pair[0].owner))
        one, other, dag_id = found[0]
        first, second = declared[one.owner], declared[other.owner]
        also = dict.fromkeys((declared[one.owner].name, declared[other.owner].name) for one, other, _ in found)
        message = (
            f"a DAG may have two owners: `{other.glob.text}` of the team `{second.name}` and `{one.glob.text}` of"
            f" `{first.name}` match `{dag_id}`{_more([*also][1:])}"
        )
        hint = f'end the name with what no team\'s name has, as in "{TEAM}.*", or give one of them other patterns'
        yield draft.document.problem(second.place, message, hint)


def _in_order(pair: Shared) -> tuple[Owned, Owned, str]:
    one, other = sorted((pair.one, pair.other))
    return one, other, pair.dag_id


def _more(pairs: list[tuple[str, str]]) -> str:
    named = [f"`{one}` and `{other}`" for one, other in pairs[:_SHOWN]]
    left = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return f"; DAGs of {', '.join(named)}{left} too" if pairs else ""


def _made_roles(draft: Draft) -> Iterator[Problem]:
    """Roles of teams whose names are not free: one problem for each role of the file."""
    first: dict[str, tuple[str, str]] = {name: (name, "") for name in draft.written.roles if TEAM not in name}
    reported: set[str] = set()
    for name, key, team, _ in teams.each_role(draft.written.roles, draft.made.teams):
        before = first.setdefault(name, (key, team))
        if not team or key in reported or is_reserved(key):  # a reserved name was reported as it is written
            continue
        wrong = _taken(draft, before) if before != (key, team) else _reserved(name)
        if wrong:
            reported.add(key)
            message = f"for the team `{team}` this is the role `{name}`, {wrong}"
            yield draft.document.problem(
                ("roles", key), message, "choose names of roles that no team's name can make equal", key=True
            )


def _taken(draft: Draft, before: tuple[str, str]) -> str:
    key, team = before
    line = draft.document.place(("roles", key), key=True)[0]
    return f"which is that of the team `{team}` on line {line} too" if team else f"which line {line} defines too"


def _reserved(name: str) -> str:
    """Why a role may not be named so; "" if it may. A team's name must not choose what a role is."""
    if name == AUTHENTICATED or is_reserved(name):
        return "whose name is reserved"
    return "which is Airflow's own role of that name" if name in AIRFLOW_ROLES else ""


def _members(draft: Draft) -> Iterator[Problem]:
    """Groups, clients and subjects that give roles of two teams, because of how their names are put together."""
    first = {
        (kind, text): (key, "")
        for key, entry in draft.written.roles.items()
        for kind in (_MEMBERS if TEAM in key else ())
        for text in getattr(entry, kind)
        if TEAM not in text
    }
    for key, entry in draft.written.roles.items():
        for kind in _MEMBERS if TEAM in key else ():
            found = _twice((kind, getattr(entry, kind)), key, draft.made.teams, first)
            if found is not None:
                hint = f"write {kind} so that no team's name can make two of them equal"
                yield draft.document.problem(("roles", key, kind), found, hint)


def _twice(
    members: tuple[str, Iterable[str]],
    key: str,
    of: Iterable[teams.Team],
    first: dict[tuple[str, str], tuple[str, str]],
) -> str | None:
    """What is wrong with a role's groups, clients or subjects.

    `first` has the role and the team of each known one; "" stands for every team.
    """
    kind, texts = members
    wrong = None
    for text in texts:
        for team in of if TEAM in text else ():
            value = text.replace(TEAM, team.name)
            role, other = first.setdefault((kind, value), (key, team.name))
            if other != team.name and wrong is None:
                whose = f"of `{other}`" if other else "of every team"
                wrong = f"`{value}` gives the role `{key}` of the team `{team.name}`, and `{role}` {whose}"
    return wrong


def _role(name: str, entry: RoleDraft) -> Iterator[_Found]:
    """A role with `{team}` in its name has other members for each team; no other role has `{team}`."""
    if "{" not in name:
        for key in (*_MEMBERS, "includes"):
            for position, text in enumerate(getattr(entry, key)):
                if TEAM in text:
                    hint = f'name the role for each team too: "{TEAM}-{name}"'
                    yield (key, position), f"`{TEAM}` stands for no team here: `{name}` is one role", hint
        return
    given = any(getattr(entry, key) for key in (*_MEMBERS, "issuers"))
    if given and not any(TEAM in text for key in _MEMBERS for text in getattr(entry, key)):
        hint = f"write {TEAM} in its groups, clients or subjects, or leave it out of the role's name"
        yield (), "this role has the same members for each team", hint


def _rule(entry: RuleDraft) -> Iterator[_Found]:
    """A rule for all teams is about the teams' own roles: others would have it for every team at once."""
    others = [position for position, role in enumerate(entry.roles) if TEAM not in role]
    of_teams = entry.dags == TEAM_DAGS
    for position in others[:1]:
        role = entry.roles[position]
        message = f"`{role}` is no role of a team, and the rule is there for each team: it would be about all of them"
        if entry.deny and of_teams:
            message = f"`{role}` is no role of a team: {_WHY}"
        yield ("roles", position), message, f"name roles with {TEAM}, and give `{role}` a rule of its own"
    if entry.deny and of_teams and not entry.roles:
        hint = f'add roles: ["{TEAM}-viewer"], whichever the rule is about'
        yield (), f"a deny rule with dags: {WORD} names roles of the team: {_WHY}", hint
    if not of_teams and any(glob.text == WORD for glob in entry.dags):
        message = f"in a list `{WORD}` is the DAG with this id, not the DAGs of the team"
        yield ("dags",), message, f"write dags: {WORD}; a rule about that DAG has no role with {TEAM}"


def _paths(entry: RuleDraft, draft: Draft) -> Iterator[_Found]:
    """`{team}` in a path is any segment, whichever team asks."""
    if "teams" in draft.document.data or teams.is_for_teams(entry):
        for position, path in enumerate(entry.paths):
            if TEAM in path.text:
                hint = f"give the segment another name; for the DAGs of each team write dags: {WORD}"
                yield ("paths", position), f"in a path `{TEAM}` stands for any segment, not for the team", hint


def _unknown(key: str, named: Iterable[str], known: frozenset[str] | None) -> Iterator[_Found]:
    """Roles with `{team}` that the file does not have as they are written: a team's name cannot make one up."""
    for position, role in enumerate(named):
        if known is not None and TEAM in role and role not in known:
            hint = Vocabulary(known).near(role) or "define it under `roles`, as it is written here"
            yield (key, position), f"unknown role `{role}`", hint


def _known_roles(draft: Draft) -> frozenset[str] | None:
    """The names of roles as they are written; None if they cannot be read."""
    roles = draft.document.data.get("roles", {})
    return frozenset(roles) if isinstance(roles, dict) else None
