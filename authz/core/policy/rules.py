"""The compiled rule and role: the policy file's entries, checked and frozen.

Law: data only. An empty condition is no condition: the rule ignores that side of the request.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from authz.core.model import HeldGrant, Level, Plane
from authz.core.policy.patterns import Glob, HostPattern, PathPattern

AUTHENTICATED: Final = "authenticated"
"""The role of everyone with a valid token. A policy may use it, but not define it."""

AIRFLOW_ROLES: Final = ("viewer", "user", "op", "admin")
"""Airflow's own roles, the weakest first."""

RESERVED: Final = "airflow."
"""What the names of built-in roles, of their rules and of operation sets begin with, and no others."""

BUILT_IN: Final[Mapping[str, str]] = MappingProxyType({RESERVED + role: role for role in AIRFLOW_ROLES})
"""The built-in roles and operation sets, the weakest first, and what each is to Airflow itself."""


GRANT: Final = "grant"
"""What the roles and rules of entries of `grantable` are called; no rule of a file of a team is."""

NEVER: Final = math.inf
"""The end of what has none."""


def of_file(rule_id: str, name: str) -> str:
    """The id of a rule in a file that `include` names. No name of a team has a dot, and each such file's has one."""
    return f"{rule_id}/{name}"


def of_team(rule_id: str, team: str) -> str:
    """The id of a team's rule, of a rule for all teams. No written id has a `/`."""
    return f"{rule_id}/{team}"


def of_grant(entry: str) -> str:
    """The role and the rule of an entry of `grantable`. No written name has a `/`."""
    return f"{GRANT}/{entry}"


def held(entries: Iterable[str]) -> tuple[HeldGrant, ...]:
    """Grants of these entries, as a described caller holds them: without an id and an end."""
    return tuple(HeldGrant(entry, "", NEVER, 0, is_approved=True) for entry in entries)


def written(rule_id: str) -> str:
    """The id as the file has it."""
    return rule_id.partition("/")[0]


class Effect(StrEnum):
    """What a rule does when it applies."""

    DENY = "deny"
    PUBLIC = "public"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. It applies to a request when each of its conditions holds, that is, when any of its entries fits.

    `destinations`, `tasks` and `identity` are for egress. `identity` is the minimum level of the required run, also if
    only `dags` or `tasks` in the file imply it; None if no run is required. `team` is set where the file has one rule
    for all teams: then this is that team's. At the time `until`, in seconds since the epoch, it has ended. `file` is
    the file that has it, if that is not the policy file.
    """

    id: str
    effect: Effect
    planes: frozenset[Plane]
    roles: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    hosts: tuple[HostPattern, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[PathPattern, ...] = ()
    dags: tuple[Glob, ...] = ()
    destinations: tuple[str, ...] = ()
    tasks: tuple[Glob, ...] = ()
    identity: Level | None = None
    until: float = NEVER
    description: str = ""
    team: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def written(self) -> str:
        """The id as the file has it: a rule for all teams is written once."""
        return written(self.id) if self.team else self.id


class Member(NamedTuple):
    """A member of a role with an end. `kind` is the list that has it: `groups`, `clients` or `subjects`."""

    kind: str
    name: str
    until: float
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One role: who has it, and its role in Airflow. `includes` is closed: it has every role that this one gives.

    `issuers` are names; empty: any issuer of the policy. `grants` are entries of `grantable`: holding a grant of one
    gives the role; only the role that an entry becomes has them. `team` is set where the file has one role for all
    teams.
    `ends` are those of its members that have an end; `ended` are those that had one, and are no members any more.
    """

    name: str
    groups: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    includes: frozenset[str] = frozenset()
    agent: bool = False
    airflow: str = ""
    ends: tuple[Member, ...] = ()
    ended: tuple[Member, ...] = ()
    description: str = ""
    team: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantable:
    """One entry of `grantable`: the roles that may ask for it, and those that may approve it, or none if it needs none.

    `longest` is the longest time that a grant of it may last, in seconds. What it gives is the role `of_grant(id)`.
    """

    id: str
    requesters: frozenset[str]
    approvers: frozenset[str]
    longest: float
    description: str = ""
    line: int = 0
    column: int = 0
