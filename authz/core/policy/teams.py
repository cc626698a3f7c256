"""Makes the roles and rules of each team from those that the file has for all teams.

Law: what is made are ordinary roles and rules: everything else in the policy knows only those. A team's rule has the
id of the written rule, `/` and the team, which no written id can be. A list of patterns is one object for all rules
of a team.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from authz.core.documents.yaml_document import Loc
from authz.core.policy.overlap import glob_of
from authz.core.policy.patterns import TEAM, Glob
from authz.core.policy.rule_schema import RuleDraft
from authz.core.policy.rules import of_team
from authz.core.policy.schema import EndDraft, RoleDraft
from authz.core.policy.team_schema import TEAM_DAGS, TeamEntry

MOST_MADE: Final = 100_000
"""Roles and rules that may be made for all teams together."""


@dataclass(frozen=True, slots=True)
class Team:
    """One team, the patterns of its DAGs, and the place of its name."""

    name: str
    dags: tuple[Glob, ...]
    place: Loc


class Origin(NamedTuple):
    """The role of the file that a team's role was made of."""

    written: str
    team: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the file has: teams, and roles and rules before any is made for a team.

    `whole` is false if some team may be missing, because the file's `teams` could not be read whole.
    """

    teams: Mapping[int, TeamEntry]
    roles: Mapping[str, RoleDraft]
    rules: Mapping[int, RuleDraft]
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What follows from it. `origins` has the roles of teams by name.

    `complete` is false if not every team has its roles and rules. Where no team has, they are there once, for a team
    that stands for any: mistakes in them are found all the same.
    """

    teams: tuple[Team, ...]
    roles: Mapping[str, RoleDraft]
    rules: tuple[tuple[int, RuleDraft], ...]
    origins: Mapping[str, Origin]
    complete: bool


def declared(entries: Mapping[int, TeamEntry]) -> Iterator[Team]:
    """The teams of the file, in its order; a duplicate is there too."""
    for index, entry in entries.items():
        for position, name in enumerate(entry.names):
            texts = dict.fromkeys(text.replace(TEAM, name) for text in entry.dags)
            yield Team(name, tuple(map(glob_of, texts)), ("teams", index, "names", position))


def made(written: Written) -> Made:
    """The roles and rules of the policy, those of each team among them."""
    teams = tuple({team.name: team for team in declared(written.teams)}.values())
    complete = written.whole and bool(teams) and count(written, len(teams)) <= MOST_MADE
    if not teams or count(written, len(teams)) > MOST_MADE:
        teams = (ANY,)
    roles: dict[str, RoleDraft] = {}
    origins: dict[str, Origin] = {}
    for name, key, team, entry in each_role(written.roles, teams):
        if roles.setdefault(name, entry) is entry and team:
            origins[name] = Origin(key, team)
    rules = tuple(_each_rule(written.rules, teams))
    return Made(teams=teams, roles=roles, rules=rules, origins=origins, complete=complete or not _used(written))


def count(written: Written, teams: int) -> int:
    """How many roles and rules would be made for so many teams."""
    return teams * (sum(TEAM in name for name in written.roles) + sum(map(is_for_teams, written.rules.values())))


def is_for_teams(entry: RuleDraft) -> bool:
    """Whether a rule of the file is one for all teams."""
    return entry.dags == TEAM_DAGS or any(TEAM in role for role in entry.roles)


def each_role(written: Mapping[str, RoleDraft], teams: Iterable[Team]) -> Iterator[tuple[str, str, str, RoleDraft]]:
    """Name, name in the file, team and entry of each role."""
    for key, entry in written.items():
        if TEAM not in key:
            yield key, key, "", entry
            continue
        for team in teams:
            yield named(key, team.name), key, team.name, _role(entry, team.name)


def named(text: str, team: str) -> str:
    """A text of the file as it is for one team."""
    return text.replace(TEAM, team)


def _used(written: Written) -> bool:
    return count(written, 1) > 0


def _each_rule(written: Mapping[int, RuleDraft], teams: Iterable[Team]) -> Iterator[tuple[int, RuleDraft]]:
    for index, entry in written.items():
        if is_for_teams(entry):
            yield from ((index, _rule(entry, team)) for team in teams)
        else:
            yield index, entry


def _all_named(texts: tuple[str, ...], team: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(named(text, team) for text in texts))


def _role(entry: RoleDraft, team: str) -> RoleDraft:
    return replace(
        entry,
        groups=_all_named(entry.groups, team),
        clients=_all_named(entry.clients, team),
        subjects=_all_named(entry.subjects, team),
        ends=tuple(_ends(entry, team)) if entry.ends else (),
        includes=_all_named(entry.includes, team),
        description=named(entry.description, team),
    )


def _ends(entry: RoleDraft, team: str) -> Iterator[EndDraft]:
    """The ends of the members of a team's role. What the file names twice for this team lasts as long as either."""
    ending = {(end.kind, end.position) for end in entry.ends}
    lasting = {
        (kind, named(text, team))
        for kind in ("groups", "clients", "subjects")
        for position, text in enumerate(getattr(entry, kind))
        if (kind, position) not in ending
    }
    last: dict[tuple[str, str], EndDraft] = {}
    for end in entry.ends:
        made = end._replace(name=named(end.name, team))
        place = (made.kind, made.name)
        if place not in lasting and (place not in last or last[place].until < made.until):
            last[place] = made
    yield from last.values()


def _rule(entry: RuleDraft, team: Team) -> RuleDraft:
    return replace(
        entry,
        id=of_team(entry.id, team.name),
        description=named(entry.description, team.name),
        roles=tuple(named(role, team.name) for role in entry.roles),
        dags=team.dags if entry.dags == TEAM_DAGS else entry.dags,
        team=team.name,
    )


ANY: Final = Team("team", (glob_of("team_*"),), ("teams",))
"""Stands for any team where the file's own cannot be used: only the shape of what is made counts."""
