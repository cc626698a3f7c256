"""The shape of `include` in the policy file, and of the files that it names.

Law: strict, like the rest of the policy. What a team's file may say is a part of what the policy file may say: it has
rules and tests, and neither roles nor issuers, because these decide who a caller is.
"""

from typing import Annotated, Final, cast

from pydantic import AfterValidator, Field, WithJsonSchema

from authz.core.documents.wording import Mistake
from authz.core.policy import bundle
from authz.core.policy.case_schema import Callers, Cases
from authz.core.policy.fields import Destination, NotEmpty, Section, Text
from authz.core.policy.rule_schema import Never, Operation, RuleDraft, RuleEntry, slim
from authz.core.policy.team_schema import Dag

_FORM: Final = {"type": "string", "pattern": r"^[^/\\*][^\\*]*\.ya?ml$"}


def _one_file(value: str) -> str:
    bundle.parse_name(value)
    if "*" in value:
        raise Mistake(f"`{value}` stands for many files", "name one file: each has an entry with its confines")
    return value


class IncludeEntry(Section):
    """One file with rules of a team, and its confines: what they may be about, and for which callers."""

    file: Annotated[str, AfterValidator(_one_file), WithJsonSchema(_FORM)] = Field(
        description="the file, relative to this one"
    )
    team: Text = Field("", description="a team of `teams`: its DAGs, and its roles, are within the confines")
    roles: Annotated[tuple[str, ...], *NotEmpty] = Field((), description="roles that the file's rules may name too")
    dags: Annotated[tuple[Dag, ...], *NotEmpty] = Field(
        (), description="DAG ids that they may be about too; on egress, those of the runs that call"
    )
    operations: Annotated[tuple[Operation, ...], *NotEmpty] = Field(
        (), description="what they may be about inbound; default: every operation on the DAGs"
    )
    destinations: Annotated[tuple[Destination, ...], *NotEmpty] = Field(
        (), description="what they may be about on egress; default: nothing"
    )
    description: Text = Field("", description="for people")


class IncludedFile(Section):
    """Rules and tests of a team, within the confines of its entry of `include` in the policy file."""

    end_mark: bool = Field(
        False, description="the file ends with a line `...`; where it is missing, the file is half written and refused"
    )
    description: Text = Field("", description="for people")
    rules: tuple[Annotated[RuleEntry, AfterValidator(slim)], ...] = Field(
        (), description="who may do what; a deny rule is about the team's roles only; `dags: team` are the team's DAGs"
    )
    callers: Callers = Field({}, description="callers for these tests; those of the policy file are known too")
    tests: Cases = Field((), description="what the policy must decide, or this file does not come into force")
    never: Never = Field((), description="what the policy must allow no one, or this file does not come into force")

    @property
    def drafts(self) -> tuple[RuleDraft, ...]:
        """What `rules` really holds: the annotation is that of the file."""
        return cast("tuple[RuleDraft, ...]", self.rules)
