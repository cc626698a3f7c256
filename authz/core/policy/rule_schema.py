"""The shape of a rule, and of an entry of `never`, which is written like a deny rule.

Law: strict, like the rest of the policy. Text is parsed into patterns here, once. What conditions say together, and
what they refer to, is checked by `authz.core.policy.rule_checks`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from authz.core.documents.moments import End
from authz.core.documents.wording import Mistake, near
from authz.core.policy import patterns
from authz.core.policy.fields import ABSENT, Destination, NotEmpty, Section, Text, parse_name
from authz.core.policy.patterns import TEAM
from authz.core.policy.rules import AIRFLOW_ROLES, BUILT_IN, NEVER, RESERVED
from authz.core.policy.team_schema import Dag, RuleDags

_SETS: Final = f"{re.escape(RESERVED)}(?:{'|'.join(AIRFLOW_ROLES)})"
_OPERATION_FORM: Final = rf"\*|(?:[a-z][a-z_]*|\*):(?:[a-z][a-z_]*|\*)|{_SETS}"
_OPERATION: Final = re.compile(_OPERATION_FORM)


def _rule_id(value: str) -> str:
    if is_reserved(value):
        raise Mistake(f"`{value}`: ids that begin with `{RESERVED}` are those of built-in rules", "choose another id")
    if TEAM in value:
        raise Mistake(f"`{value}`: the id of a rule has no `{TEAM}`", "each team's rule has the id, `/` and the team")
    return parse_name(value)


def is_reserved(value: str) -> bool:
    """In any letter case, because people would take it for the built-in one."""
    return value.lower().startswith(RESERVED)


def _operation(value: str) -> str:
    if not _OPERATION.fullmatch(value):
        meant = near(RESERVED + value if value in AIRFLOW_ROLES else value.lower(), BUILT_IN)
        hint = meant or "write area:action, area:*, *:action, * or a set as airflow.viewer"
        raise Mistake(f"`{value}` is not an operation", hint)
    return "*" if value == "*:*" else value


_RuleId = Annotated[
    str, AfterValidator(_rule_id), WithJsonSchema({"type": "string", "pattern": f"^(?!{re.escape(RESERVED)})"})
]
Operation = Annotated[
    str, AfterValidator(_operation), WithJsonSchema({"type": "string", "pattern": f"^({_OPERATION.pattern})$"})
]
Path = Annotated[
    patterns.PathPattern,
    PlainValidator(patterns.parse_path),
    WithJsonSchema({"type": "string", "pattern": "^/[^?#%]*$"}),
]
Host = Annotated[
    patterns.HostPattern,
    PlainValidator(patterns.parse_host),
    WithJsonSchema({"type": "string", "pattern": r"^(\*\.)?[^*/:?#]+$|^\[.*\]$"}),
]
Task = Annotated[
    patterns.Glob, PlainValidator(patterns.parse_task), WithJsonSchema({"type": "string", "pattern": r"^[^~/ ]+$"})
]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"]


class RuleEntry(Section):
    """One rule: it applies when every condition that is there holds; a list holds when any of its entries fits."""

    id: _RuleId = Field(description="unique; stands in logs and answers")
    description: Text = Field("", description="for people")
    deny: bool = Field(False, description="forbid instead of allow; a deny rule always wins")
    public: bool = Field(False, description="allow everyone, also without a token; exact paths only")
    plane: Literal["inbound", "egress"] = Field(ABSENT, description="side of Airflow; without it, both")
    roles: Annotated[tuple[str, ...], *NotEmpty] = Field((), description="who; `authenticated` is every valid token")
    operations: Annotated[tuple[Operation, ...], *NotEmpty] = Field(
        (),
        description="what, in Airflow's catalogue; airflow.viewer, .user, .op, .admin: all that such a role may do;"
        " *:change: all that is not a read",
    )
    hosts: Annotated[tuple[Host, ...], *NotEmpty] = Field((), description="host, or *.suffix")
    destinations: Annotated[tuple[Destination, ...], *NotEmpty] = Field(
        (), description="egress: destinations, by their names in the settings"
    )
    methods: Annotated[tuple[Method, ...], *NotEmpty] = Field(
        (), description="HTTP methods; GET covers HEAD; CONNECT, alone and on egress, is a tunnel"
    )
    paths: Annotated[tuple[Path, ...], *NotEmpty] = Field((), description="path patterns, decoded, without query")
    dags: RuleDags = Field(
        (), description="DAG ids; `*` stands for any characters; on egress, the DAG of the run that calls; or: team"
    )
    tasks: Annotated[tuple[Task, ...], *NotEmpty] = Field(
        (), description="egress: task ids of the run that calls; `*` stands for any characters"
    )
    identity: Literal["verified", "verified-bearer", "asserted"] = Field(
        ABSENT, description="egress: minimum assurance level of the calling run; with `dags` or `tasks`: verified"
    )
    until: End = Field(
        ABSENT, description="when the rule ends: 2026-12-31T18:00Z; a date is the end of that day in UTC"
    )


@dataclass(slots=True, kw_only=True)
class RuleDraft:
    """A rule entry that has the right shape, in a seventh of the memory that pydantic's own object takes.

    `team` is set where the rule is one team's of a rule for all teams.
    """

    id: str
    description: str
    deny: bool
    public: bool
    plane: str
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    hosts: tuple[patterns.HostPattern, ...]
    methods: tuple[str, ...]
    paths: tuple[patterns.PathPattern, ...]
    dags: tuple[patterns.Glob, ...]
    destinations: tuple[str, ...]
    tasks: tuple[patterns.Glob, ...]
    identity: str
    until: float = NEVER
    team: str = ""


def slim(entry: RuleEntry) -> RuleDraft:
    """The entry as a draft; of ten thousand entries one at a time is there."""
    return RuleDraft(
        id=entry.id,
        description=entry.description,
        deny=entry.deny,
        public=entry.public,
        plane=entry.plane,
        roles=entry.roles,
        operations=entry.operations,
        hosts=entry.hosts,
        methods=entry.methods,
        paths=entry.paths,
        dags=entry.dags,
        destinations=entry.destinations,
        tasks=entry.tasks,
        identity=entry.identity,
        until=entry.until if entry.until != ABSENT else NEVER,
    )


class NeverEntry(Section):
    """What must never be allowed: an entry holds if a deny rule with its conditions would take nothing from anyone."""

    name: Text = Field("", description="what it shows, for people; unique in its file")
    plane: Literal["inbound", "egress"] = Field(ABSENT, description="side of Airflow; without it, both")
    roles: Annotated[tuple[str, ...], *NotEmpty] = Field(
        (),
        description="who: holders of one of these roles, whatever else they have, and anonymous callers; default: all",
    )
    excepted: Annotated[tuple[str, ...], *NotEmpty] = Field(
        (), alias="except", description="roles whose holders it is not about; `anonymous`: callers without a token"
    )
    operations: Annotated[tuple[Operation, ...], *NotEmpty] = Field((), description="as in a deny rule")
    hosts: Annotated[tuple[Host, ...], *NotEmpty] = Field((), description="as in a deny rule")
    destinations: Annotated[tuple[Destination, ...], *NotEmpty] = Field((), description="as in a deny rule")
    methods: Annotated[tuple[Method, ...], *NotEmpty] = Field((), description="as in a deny rule")
    paths: Annotated[tuple[Path, ...], *NotEmpty] = Field((), description="as in a deny rule")
    dags: Annotated[tuple[Dag, ...], *NotEmpty] = Field((), description="as in a deny rule")
    tasks: Annotated[tuple[Task, ...], *NotEmpty] = Field((), description="as in a deny rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverDraft:
    """An entry of `never` that has the right shape; `rule` is the deny rule that would say the same."""

    name: str
    excepted: tuple[str, ...]
    rule: RuleDraft


def slim_never(entry: NeverEntry) -> NeverDraft:
    """The entry as a draft."""
    rule = RuleDraft(
        id="never",
        description="",
        deny=True,
        public=False,
        plane=entry.plane,
        roles=entry.roles,
        operations=entry.operations,
        hosts=entry.hosts,
        methods=entry.methods,
        paths=entry.paths,
        dags=entry.dags,
        destinations=entry.destinations,
        tasks=entry.tasks,
        identity="",
    )
    return NeverDraft(name=entry.name, excepted=entry.excepted, rule=rule)


Never = tuple[Annotated[NeverEntry, AfterValidator(slim_never)], ...]
