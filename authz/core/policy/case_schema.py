"""The shape of `callers` and `tests`, in the policy file and in the files that `test_files` names.

Law: strict, like the rest of the policy. A caller is what a token, grants or a run show: groups, a client, a subject,
entries of `grantable`. It never has roles: which roles follow is what a test is about. What keys say together, and what
they refer to, is checked where a test becomes requests (`authz.core.cases.compile`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from authz.core.documents.wording import Mistake, kind
from authz.core.policy.fields import ABSENT, Destination, NotEmpty, Section, Text, parse_name
from authz.core.policy.patterns import parse_one_id
from authz.core.policy.rule_schema import Never

ANONYMOUS: Final = "anonymous"
AUTHENTICATED: Final = "authenticated"
BUILT_IN_CALLERS: Final = (ANONYMOUS, AUTHENTICATED)
"""The callers that every policy has: without a token, and with a valid one that has no group, client or subject."""

EVERYONE: Final = "everyone"
NO_ONE: Final = "none"
_RESERVED: Final = (*BUILT_IN_CALLERS, EVERYONE, NO_ONE)


def _caller_name(value: str) -> str:
    if value in _RESERVED:
        raise Mistake(f"`{value}` cannot be defined: every policy has it", "choose another name")
    return parse_name(value)


def _allowed(value: object) -> str | tuple[str, ...]:
    """The callers of one row of a matrix. An empty list may be one that got lost, so it has a word."""
    if value in {EVERYONE, NO_ONE}:
        return str(value)
    if not isinstance(value, tuple):
        found = f"`{value}`" if isinstance(value, str) else kind(value)
        raise Mistake(f"expected a list of callers, found {found}", f"write [reader, op], {EVERYONE} or {NO_ONE}")
    if not value:
        raise Mistake("this is empty", f"write `{NO_ONE}` if no one may do it")
    for position, name in enumerate(value):
        if not isinstance(name, str):
            raise Mistake(f"expected the name of a caller, found {kind(name)}", "define callers under `callers`")
        if name in value[:position]:
            raise Mistake(f"`{name}` is listed twice", "remove one of them")
    return value


def _named(value: object) -> object:
    if isinstance(value, dict):
        raise Mistake(f"expected the name of a caller, found {kind(value)}", "define it under `callers`, and name it")
    return value


def _either(value: object) -> str:
    return "caller" if isinstance(value, dict | CallerEntry) else "name"


_DagId = Annotated[
    str, PlainValidator(partial(parse_one_id, what="DAG")), WithJsonSchema({"type": "string", "pattern": r"^[\w.-]+$"})
]
_TaskId = Annotated[
    str, PlainValidator(partial(parse_one_id, what="task")), WithJsonSchema({"type": "string", "pattern": r"^[\w.-]+$"})
]
_Outcome = Literal["allow", "deny"]
_Row = Annotated[
    str | tuple[str, ...],
    PlainValidator(_allowed),
    WithJsonSchema({"anyOf": [{"enum": [EVERYONE, NO_ONE]}, {"type": "array", "items": {"type": "string"}}]}),
]


class RunEntry(Section):
    """The run that a call comes from; without an account, one that has a token of its own."""

    dag: _DagId = Field(description="the DAG of the run")
    task: _TaskId = Field("", description="the task of the run")
    identity: Literal["verified", "verified-bearer", "asserted"] = Field(
        ABSENT, description="its assurance level; without it `verified`, or `asserted` beside an account"
    )


class CallerEntry(Section):
    """Who asks: what a token shows, or a run. Roles follow from it by `roles`."""

    groups: Annotated[tuple[Text, ...], *NotEmpty] = Field((), description="groups of the token")
    client: Text = Field("", description="client id of the token, for service accounts")
    subject: Text = Field("", description="subject (`sub`) of the token")
    issuer: Text = Field("", description="issuer of the token, by its name; default: the first with an audience there")
    grants: Annotated[tuple[Text, ...], *NotEmpty] = Field((), description="entries of `grantable` that are granted")
    run: RunEntry = Field(ABSENT, description="egress: the run that the call comes from")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerDraft:
    """A caller that has the right shape; `run` has DAG, task and level."""

    groups: tuple[str, ...] = ()
    client: str = ""
    subject: str = ""
    issuer: str = ""
    grants: tuple[str, ...] = ()
    run: tuple[str, str, str] | None = None


def slim_caller(entry: CallerEntry) -> CallerDraft:
    """The entry as a draft."""
    run: RunEntry | None = entry.run or None
    return CallerDraft(
        groups=entry.groups,
        client=entry.client,
        subject=entry.subject,
        issuer=entry.issuer,
        grants=entry.grants,
        run=(run.dag, run.task, run.identity) if run is not None else None,
    )


_Caller = Annotated[CallerEntry, AfterValidator(slim_caller)]
_Who = Annotated[Annotated[str, Tag("name")] | Annotated[_Caller, Tag("caller")], Discriminator(_either)]


class CaseEntry(Section):
    """One test: one question and its answer, a `table` of one caller's questions, or a `matrix` of who may do what."""

    name: Text = Field("", description="what it shows, for people; unique in its file")
    who: _Who = Field(ABSENT, description="a name of `callers`, `anonymous`, `authenticated`, or groups, client …")
    request: Text = Field("", description="METHOD and path or URL: GET /api/v2/dags")
    operation: Text = Field("", description="instead of `request`: every route of the operation, dag_runs:create")
    dag: _DagId = Field("", description="with `operation`: the routes that are about one DAG, with this one")
    expect: _Outcome = Field(ABSENT, description="what the gate decides")
    reason: Text = Field("", description="the reason of the decision, as in the decision log")
    rule: Text = Field("", description="the rule that decides, as in the decision log")
    shows: Annotated[tuple[_DagId, ...], *NotEmpty] = Field(
        (), description="DAGs that are in the list where Airflow narrows it"
    )
    hides: Annotated[tuple[_DagId, ...], *NotEmpty] = Field(
        (), description="DAGs that are not in the list where Airflow narrows it"
    )
    table: Annotated[dict[Text, _Outcome], Field(min_length=1)] = Field(
        default_factory=dict,
        description="instead of one question: `METHOD URL`, `operation` or `operation DAG`, and what is decided",
    )
    matrix: Annotated[dict[Text, _Row], Field(min_length=1)] = Field(
        default_factory=dict,
        description="instead of one caller: `METHOD URL`, `operation` or `operation DAG`, and exactly who may",
    )
    among: Annotated[tuple[Annotated[Text, BeforeValidator(_named)], ...], *NotEmpty] = Field(
        (), description="with `matrix`: the callers that are asked for; default: `anonymous` and all of `callers`"
    )
    plane: Literal["inbound", "egress"] = Field(
        ABSENT, description="side of Airflow; default: egress for runs, destinations and CONNECT, else inbound"
    )
    host: Text = Field("", description="Host of the request; default: localhost, or that of the URL")
    destination: Destination = Field(
        ABSENT, description="egress: the destination that Envoy has chosen, by its name in the settings"
    )
    base: Text = Field("", description="the path that Airflow is served under, as `base_path` in the settings")
    narrowed: bool = Field(
        False, description="Airflow limits lists to permitted DAGs, as `narrows_dags` in the settings says"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDraft:
    """A test that has the right shape, in a fraction of the memory that pydantic's own object takes."""

    name: str
    who: str | CallerDraft
    request: str
    operation: str
    dag: str
    expect: str
    reason: str
    rule: str
    shows: tuple[str, ...]
    hides: tuple[str, ...]
    table: dict[str, str]
    matrix: dict[str, str | tuple[str, ...]]
    among: tuple[str, ...]
    plane: str
    host: str
    destination: str
    base: str
    narrowed: bool


def slim_case(entry: CaseEntry) -> CaseDraft:
    """The entry as a draft; of ten thousand entries one at a time is there."""
    values: dict[str, Any] = {name: getattr(entry, name) for name in CaseEntry.model_fields}
    return CaseDraft(**values)


Callers = dict[Annotated[str, AfterValidator(_caller_name)], _Caller]
Cases = tuple[Annotated[CaseEntry, AfterValidator(slim_case)], ...]


class CaseFile(Section):
    """A file that `test_files` names."""

    description: Text = Field("", description="for people")
    callers: Callers = Field({}, description="callers for these tests; those of the policy file are known too")
    tests: Cases = Field((), description="what the policy must decide, or it does not come into force")
    never: Never = Field((), description="what the policy must allow no one, or it does not come into force")
