"""The shape of `grantable`: access that people may ask for, and get until a moment.

Law: strict, like the rest of the policy. What an entry gives is roles, or what an allow rule with its conditions would
allow, or both. It becomes an ordinary role and an ordinary rule; what they refer to is checked with all others.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from authz.core.documents.quantities import Duration, duration_text
from authz.core.documents.wording import Mistake, kind
from authz.core.model import LONGEST_GRANT_S, Plane
from authz.core.policy.fields import ABSENT, Destination, Name, NotEmpty, Section, Text
from authz.core.policy.rule_schema import Host, Method, Operation, Path, RuleDraft, Task
from authz.core.policy.rules import of_grant
from authz.core.policy.team_schema import Dag

NO_APPROVAL: Final = "none"
"""What `approvers` says where none is needed. An empty list may be one that got lost, so it has a word."""


def _longest(value: float) -> float:
    if not 1 <= value <= LONGEST_GRANT_S:
        raise Mistake(
            "this duration is out of range",
            f"from 1s to {duration_text(LONGEST_GRANT_S)}; what lasts longer is a role with members",
        )
    return value


def _approvers(value: object) -> tuple[str, ...]:
    """Roles, none for the word."""
    if value == NO_APPROVAL:
        return ()
    if not isinstance(value, tuple):
        found = f"`{value}`" if isinstance(value, str) else kind(value)
        raise Mistake(f"expected a list of roles, found {found}", f"write [sales-lead], or {NO_APPROVAL}")
    if not value:
        raise Mistake("this is empty", f"write `{NO_APPROVAL}` if the entry needs no approval")
    for position, name in enumerate(value):
        if not isinstance(name, str):
            raise Mistake(f"expected the name of a role, found {kind(name)}", f"write [sales-lead], or {NO_APPROVAL}")
        if name in value[:position]:
            raise Mistake(f"`{name}` is listed twice", "remove one of them")
    return value


_Longest = Annotated[Duration, AfterValidator(_longest)]
_Approvers = Annotated[
    tuple[str, ...],
    PlainValidator(_approvers),
    WithJsonSchema({"anyOf": [{"const": NO_APPROVAL}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class GrantableEntry(Section):
    """Access for a time, on request: roles, or what an allow rule with these conditions allows, or both."""

    id: Name = Field(description="unique; people ask for it by this name")
    description: Text = Field("", description="for people who ask and approve")
    requesters: Annotated[tuple[str, ...], *NotEmpty] = Field(
        description="roles that may ask for it; `authenticated` is every valid token"
    )
    approvers: _Approvers = Field(description="roles that may approve it; or: none")
    longest: _Longest = Field(description="the longest time that it may be asked for: 8h, 3d; at most 30d")
    roles: Annotated[tuple[str, ...], *NotEmpty] = Field((), description="roles that it gives")
    plane: Literal["inbound", "egress"] = Field(ABSENT, description="as in a rule; with `operations`: inbound")
    operations: Annotated[tuple[Operation, ...], *NotEmpty] = Field((), description="as in a rule")
    hosts: Annotated[tuple[Host, ...], *NotEmpty] = Field((), description="as in a rule")
    destinations: Annotated[tuple[Destination, ...], *NotEmpty] = Field((), description="as in a rule")
    methods: Annotated[tuple[Method, ...], *NotEmpty] = Field((), description="as in a rule")
    paths: Annotated[tuple[Path, ...], *NotEmpty] = Field((), description="as in a rule")
    dags: Annotated[tuple[Dag, ...], *NotEmpty] = Field((), description="as in a rule; it does not limit `roles`")
    tasks: Annotated[tuple[Task, ...], *NotEmpty] = Field((), description="as in a rule")
    identity: Literal["verified", "verified-bearer", "asserted"] = Field(ABSENT, description="as in a rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantableDraft:
    """An entry of `grantable` that has the right shape.

    `rule` is the allow rule that it becomes, None if it gives roles only. No `approvers` means that it needs no
    approval. `longest` is in seconds.
    """

    id: str
    description: str
    requesters: tuple[str, ...]
    approvers: tuple[str, ...]
    longest: float
    roles: tuple[str, ...]
    rule: RuleDraft | None


def slim_grantable(entry: GrantableEntry) -> GrantableDraft:
    """The entry as a draft."""
    shared = {field.name for field in fields(RuleDraft)} & GrantableEntry.model_fields.keys()
    said: dict[str, Any] = {name: getattr(entry, name) for name in shared - {"id", "description", "roles"}}
    rule = None
    if any(said.values()):
        said["plane"] = entry.plane or (Plane.INBOUND.value if entry.operations else "")
        name = of_grant(entry.id)
        rule = RuleDraft(id=name, description=entry.description, deny=False, public=False, roles=(name,), **said)
    return GrantableDraft(
        id=entry.id,
        description=entry.description,
        requesters=entry.requesters,
        approvers=entry.approvers,
        longest=entry.longest,
        roles=entry.roles,
        rule=rule,
    )
