"""`teams` in the policy file: its shape, and where `{team}` may stand in names and patterns.

Law: a team's name comes from people and becomes a part of patterns, roles and groups, so it is a plain word: without
`*`, `/`, braces and dots.
"""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, WrapValidator

from authz.core.documents.wording import Mistake
from authz.core.policy import patterns
from authz.core.policy.fields import NotEmpty, Section, Text, parse_name
from authz.core.policy.patterns import TEAM, Glob

WORD: Final = "team"
"""What `dags` of a rule says for the patterns of each team. A DAG with this id is written in a list."""

TEAM_DAGS: Final = (Glob(TEAM, (TEAM,)),)
"""What `dags: team` is until each team has a rule of its own: no DAG's id, and no pattern that a file may have."""

_LONGEST: Final = 64
_NAME_FORM: Final = rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{_LONGEST - 1}}}"
_NAME: Final = re.compile(_NAME_FORM)
_ANY: Final = "x" * _LONGEST


def _team_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        hint = f"it becomes a part of names: up to {_LONGEST} letters, digits, `_` and `-`, the first a letter or digit"
        raise Mistake(f"`{value}` is not the name of a team", hint)
    return value


def parse_team_dag(value: object) -> str:
    """A pattern for the DAGs of each team, with or without `{team}`; it fits every name that a team may have."""
    if not isinstance(value, str):
        return patterns.parse_dag(value).text
    left = value.replace(TEAM, "")
    if "{" in left or "}" in left:
        raise Mistake(f"`{value}` has more than `{TEAM}` in braces", f'`{TEAM}` is the name of the team: "{TEAM}_*"')
    try:
        patterns.parse_dag(value.replace(TEAM, _ANY))
    except Mistake as mistake:
        raise Mistake(mistake.message.replace(_ANY, TEAM), mistake.hint) from None
    return value


def parse_role_name(value: str) -> str:
    """The name of a role, which may have `{team}` in it: then there is one for each team."""
    if "{" not in value and "}" not in value:
        return parse_name(value)
    try:
        parse_name(value.replace(TEAM, _ANY))
    except Mistake:
        hint = f'letters, digits, `_`, `-`, `.` and `{TEAM}`, at most 128 with a long team name: "{TEAM}-viewer"'
        raise Mistake(f"`{value}` is not a name", hint) from None
    return value


def _word_or_list(value: Any, read: Any) -> Any:
    if isinstance(value, str) and value != WORD:
        raise Mistake("expected a list, found text", f"write it as [item, item], or for the DAGs of each team: {WORD}")
    return TEAM_DAGS if value == WORD else read(value)


_DAG_FORM: Final = {"type": "string", "pattern": r"^[^~/ ]+$"}
Dag = Annotated[Glob, PlainValidator(patterns.parse_dag), WithJsonSchema(_DAG_FORM)]
"""A pattern for DAG ids."""

RuleDags = Annotated[
    tuple[Dag, ...],
    *NotEmpty,
    WrapValidator(_word_or_list),
    WithJsonSchema({"anyOf": [{"const": WORD}, {"type": "array", "items": _DAG_FORM, "minItems": 1}]}),
]
"""`dags` of a rule: patterns, or the word `team`."""


class TeamEntry(Section):
    """Teams whose DAGs have names of the same form. No DAG may belong to two teams."""

    names: Annotated[
        tuple[
            Annotated[
                str, AfterValidator(_team_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME_FORM}$"})
            ],
            ...,
        ],
        *NotEmpty,
    ] = Field(description="the teams: letters, digits, `_` and `-`")
    dags: Annotated[
        tuple[Annotated[str, PlainValidator(parse_team_dag), WithJsonSchema(_DAG_FORM)], ...], *NotEmpty
    ] = Field(description='DAG ids of each team; `{team}` is its name, `*` stands for any characters: ["{team}_*"]')
    description: Text = Field("", description="for people")
