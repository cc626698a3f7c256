"""Decision logs as tables for SQL: the views that `authz audit query --sql` has, for anyone's own DuckDB too.

Law: the columns are the fields of `authz.core.record`, with their types, so they cannot go out of step. A name of a
file stands in a variable, never within a statement.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints, is_typeddict

from authz.core.record import (
    ACCESS,
    DECISION,
    ENTRIES,
    IDENTITY,
    LOG,
    OUTCOME,
    VERSION,
    Memberships,
)

FILES: Final = "log_files"
"""The variable with the names of the files, or with patterns."""
_PLAIN: Final[Mapping[object, str]] = MappingProxyType({str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"})
_CONSTANT: Final = ("v", "type")
_TIME: Final = "time"


class View(NamedTuple):
    """A view: what a row is, the type of its lines, its columns with their types, and whether equal rows are one."""

    text: str
    kind: str
    columns: Mapping[str, str]
    distinct: bool = False


def _columns(kind: type) -> dict[str, str]:
    """The columns of lines with these fields."""
    found = get_type_hints(kind)
    return {
        name: "TIMESTAMP" if name == _TIME else _type(hint) for name, hint in found.items() if name not in _CONSTANT
    }


def _type(hint: Any) -> str:
    """The type of a field in SQL."""
    origin, inner = get_origin(hint), [part for part in get_args(hint) if part not in {type(None), ...}]
    if origin is Literal:
        return _PLAIN[type(inner[0])]
    if origin is tuple:
        return f"{_type(inner[0])}[]"
    if origin is UnionType:
        return _type(inner[0])
    if is_typeddict(hint):
        return f"STRUCT({', '.join(f'{_name(name)} {_type(one)}' for name, one in get_type_hints(hint).items())})"
    return _PLAIN[hint]


def _name(text: str) -> str:
    return f'"{text}"'


VIEWS: Final[Mapping[str, View]] = MappingProxyType(
    {
        "decisions": View("a decision", DECISION, _columns(ENTRIES[DECISION])),
        "identities": View(
            "the memberships of a caller, once; `decisions.identity` is its `id`",
            IDENTITY,
            {"id": "VARCHAR", **_columns(Memberships)},
            distinct=True,
        ),
        "outcomes": View(
            "what came of a decision; `outcomes.decision` is its `id`", OUTCOME, _columns(ENTRIES[OUTCOME])
        ),
        "accesses": View(
            "what a task read or changed through Airflow's execution API; `outcomes.instance` is its `instance`",
            ACCESS,
            _columns(ENTRIES[ACCESS]),
        ),
        "log_entries": View("what happened to the log itself", LOG, _columns(ENTRIES[LOG])),
    }
)


def create(name: str, *, strict: bool = False) -> str:
    """The statement that makes a view. In a strict one, a line that is no JSON object is an error."""
    view = VIEWS[name]
    shown = ", ".join(_name(column) for column in view.columns)
    kind = f"coalesce(type, '{DECISION}') = '{DECISION}'" if view.kind == DECISION else f"type = '{view.kind}'"
    rows = lines({"v": "BIGINT", "type": "VARCHAR", **view.columns}, strict=strict)
    distinct = " DISTINCT" * view.distinct
    return f"CREATE VIEW {name} AS SELECT{distinct} {shown}\n  FROM {rows}\n  WHERE v = {VERSION} AND {kind}"


def lines(columns: Mapping[str, str], *, strict: bool = False) -> str:
    """The lines of the files as a table. One that is no JSON object has no value in any column, or is an error."""
    types = ", ".join(f"{_name(name)}: '{_quoted(kind)}'" for name, kind in columns.items())
    left_out = "" if strict else ", ignore_errors = true"
    return f"read_json(getvariable('{FILES}'), format = 'newline_delimited'{left_out}, columns = {{{types}}})"


def script(files: Sequence[str]) -> str:
    """The statements that make all views of these files."""
    names = ", ".join(f"'{_quoted(file)}'" for file in files)
    return "".join(f"{one};\n" for one in (f"SET VARIABLE {FILES} = [{names}]", *map(create, VIEWS)))


def _quoted(text: str) -> str:
    """The text within single quotes."""
    return text.replace("'", "''")
