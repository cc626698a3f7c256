"""DuckDB on decision logs: one question in SQL, over files that are named.

Law: it reads these files and no others, writes none, keeps nothing on the disk and fetches nothing from the network:
access to everything else is off and the configuration is locked before a statement of the user runs, and only one
statement that selects is run. DuckDB is an optional part: the extra `query`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.core.errors import ConfigError, Problem
from authz.core.record import VERSION
from authz.ops.log_views import FILES, VIEWS, create, lines

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = (b"BZh", b"\xfd7zXZ\x00")
_PATTERN: Final = frozenset("*?[")
_CONFIG: Final[Mapping[str, str | int | float | list[str]]] = MappingProxyType(
    {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "temp_directory": "",
    }
)
_LOCKED: Final = (
    "SET enable_progress_bar = false",  # it goes to standard output
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
INSTALL: Final = "pip install duckdb"


class Rows(NamedTuple):
    """The answer: names of columns, and rows; `more` says that there are more of them."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    more: bool


class LogDatabase:
    """The views of `log_views` over files. With `strict`, a question meets an error at a line that is no JSON object.

    Raises:
        ConfigError: DuckDB is not installed, or cannot read one of the files by its name.
    """

    def __init__(self, paths: Sequence[Path], *, strict: bool = False) -> None:
        if problems := [*unreadable(paths)]:
            raise ConfigError(problems)
        files = [str(path.absolute()) for path in paths]
        self._connection = connect(files)
        self._connection.execute(f"SET VARIABLE {FILES} = ?", [files])
        for name in VIEWS:
            self._connection.execute(create(name, strict=strict))

    def ask(self, sql: str, most: int) -> Rows:
        """At most so many rows of one statement.

        Raises:
            ConfigError: it is no statement that selects, or DuckDB refuses it.
        """
        with _explained():
            cursor = self._connection.execute(self._statement(sql))
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchmany(most + 1)
        return Rows(names, rows[:most], more=len(rows) > most)

    def check(self, sql: str) -> None:
        """Raise what `ask` would about the question, as far as it shows without reading the files.

        Raises:
            ConfigError: see `ask`.
        """
        self._statement(sql)
        with _explained():
            self._connection.execute(f"EXPLAIN {sql}")

    def _statement(self, sql: str) -> "Statement":
        """The question, if it is one statement that selects."""
        import duckdb  # noqa: PLC0415 an optional part

        with _explained():
            statements = self._connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ConfigError([Problem("--sql", 0, 0, "expected one statement that selects: SELECT … FROM decisions")])
        return statements[0]

    def unread(self) -> tuple[int, int]:
        """How many lines are no JSON object of ours, and how many are of another version of the format.

        Raises:
            ConfigError: a file cannot be read.
        """
        columns = {"v": "BIGINT", "type": "VARCHAR", "id": "VARCHAR", "time": "VARCHAR"}
        none = " AND ".join(f"{name} IS NULL" for name in columns)
        counts = f"count_if({none}), count_if(NOT ({none}) AND v IS DISTINCT FROM {VERSION})"
        sql = f"SELECT {counts} FROM {lines(columns)}"  # noqa: S608 all of it is ours
        ((broken, others),) = self.ask(sql, 1).rows
        return broken, others

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


@contextmanager
def _explained() -> Iterator[None]:
    """What DuckDB refuses, as text."""
    import duckdb  # noqa: PLC0415 an optional part

    try:
        yield
    except duckdb.Error as error:
        raise ConfigError([Problem("--sql", 0, 0, str(error).partition("\n\n")[0])]) from None


def connect(files: Sequence[str]) -> "DuckDBPyConnection":
    """A connection that can read these files and nothing else.

    Raises:
        ConfigError: DuckDB is not installed, or is too old.
    """
    try:
        import duckdb  # noqa: PLC0415 an optional part
    except ImportError:
        raise ConfigError([Problem("--sql", 0, 0, "DuckDB is not installed", INSTALL)]) from None
    try:
        made = duckdb.connect(":memory:", config=dict(_CONFIG))
        made.execute("SET allowed_paths = ?", [list(files)])
        for statement in _LOCKED:
            made.execute(statement)
    except duckdb.Error as error:
        what = f"DuckDB {duckdb.__version__} cannot be kept to the named files: {str(error).partition(chr(10))[0]}"
        raise ConfigError([Problem("--sql", 0, 0, what, "1.4 and later can")]) from None
    return made


def unreadable(paths: Sequence[Path]) -> Iterator[Problem]:
    """What DuckDB would read otherwise than the other commands do, or not at all."""
    for path in paths:
        with path.open("rb") as file:
            begin = file.read(max(map(len, _OTHERS)))
        if begin.startswith(_OTHERS):
            yield Problem(
                str(path), 0, 0, "is compressed with bzip2 or xz, which DuckDB cannot read", "decompress it first"
            )
        elif begin.startswith(_GZIP) is not (path.suffix == ".gz"):
            yield Problem(
                str(path), 0, 0, "is compressed with gzip and not named .gz, or the other way round", "rename it"
            )
        elif not _PATTERN.isdisjoint(str(path.absolute())):
            yield Problem(str(path), 0, 0, "DuckDB takes such a name for a pattern", "rename it")
