"""`authz audit query --sql` and `--schema`: what is printed, how it ends, and what it says without DuckDB."""

import csv
import gzip
import io
import json
import sys

import duckdb
import pytest

from tests.support.factories.asked_logs import evil, rotated, six
from tests.unit.cli.test_audit_query import run

RULES = (
    "SELECT rule, count(*) AS n, min(time) AS first, list(dag ORDER BY dag) AS dags"
    " FROM decisions GROUP BY rule ORDER BY n"
)
CELLS = "SELECT -1 AS n, '-1' AS t, NULL AS x, 'nan'::DOUBLE AS f, 1.5::DECIMAL(3,1) AS d"


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return rotated(tmp_path / "log", six())


def test_a_table(log):
    status, out, err = run(log, "--sql", RULES)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "rule     n  first                        dags",
        'readers  2  2026-11-22T02:39:35.500000Z  ["sales_eu", "sales_us"]',
        '         4  2026-11-22T03:40:35.500000Z  ["", "sales_us", "sales_us", "sales_us"]',
    ]


def test_json_and_csv(log):
    _, out, _ = run(log, "--sql", RULES, "--format", "json")
    first = json.loads(out.splitlines()[0])
    assert first.pop("dags") == ["sales_eu", "sales_us"]
    assert first == {"rule": "readers", "n": 2, "first": "2026-11-22T02:39:35.500000Z"}
    _, out, _ = run(log, "--sql", CELLS, "--format", "csv")
    assert [*csv.DictReader(io.StringIO(out))] == [{"n": "-1", "t": "'-1", "x": "", "f": "nan", "d": "1.5"}]
    _, out, _ = run(log, "--sql", "SELECT run FROM decisions WHERE run IS NOT NULL", "--format", "json")
    assert json.loads(out)["run"]["task_id"] == "extract"


def test_no_row_is_a_negative_answer(log):
    assert run(log, "--sql", "SELECT id FROM decisions WHERE dag = 'none'") == (1, "", "")


def test_rows_beyond_the_limit_are_said(log):
    status, out, err = run(log, "--sql", "SELECT id FROM decisions ORDER BY id", "--limit", "2")
    assert (status, len(out.splitlines())) == (0, 3)
    assert err == "printed: the first 2 rows (--limit)\n"


def test_lines_that_are_no_record_are_said(log):
    path = log / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + b'{"v":1,"ty\n{"v":2}\n')
    _, _, err = run(log, "--sql", "SELECT 1")
    assert err.splitlines() == [
        "1 line skipped: not one JSON object; without --sql the place is shown",
        "1 line skipped: another version of the format",
    ]


@pytest.mark.parametrize("line", [b'{"v":1,"type":"decision","id":"\xff"}', b'{"v":1,"type":"decision","id":"7"}}'])
def test_a_line_that_only_begins_and_ends_as_a_record_is_said(log, line):
    path = log / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    status, out, err = run(log, "--sql", "SELECT count(*) AS n FROM decisions")
    assert (status, out.split()) == (0, ["n", "6"])
    assert err == "1 line skipped: not one JSON object; without --sql the place is shown\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"\n" * (16 << 20)), "it is compressed better than any log of the gate: the rest is not read"),
        (gzip.compress(b"".join(line + b"\n" for line in six()))[:-20], "the compressed file is damaged or cut"),
    ],
)
def test_a_damaged_file_is_not_handed_to_duckdb(log, data, said):
    path = log / "decisions.jsonl.2.gz"
    path.write_bytes(data)
    status, out, err = run(log, "--sql", RULES)
    assert (status, out) == (2, "")
    assert f"log/{path.name}:" in err
    assert said in err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_control_character_reaches_the_output(tmp_path, form):
    sql = "SELECT *, ' ' || path AS \"a\x1b[2J\" FROM decisions"
    status, out, err = run(evil(tmp_path), "--format", form, "--sql", sql)
    assert (status, err) == (0, "")
    assert all(character.isprintable() for character in out.replace("\n", ""))
    assert "owned" in out


@pytest.mark.parametrize(
    "options",
    [
        ["--sql", "SELEC"],
        ["--sql", "SELECT 1", "--subject", "ada"],
        ["--schema", "--since", "2d"],
        ["--sql", "SELECT 1", "--schema"],
        ["--sql", "COPY decisions TO 'x'"],
    ],
)
def test_mistakes(log, options):
    status, out, err = run(log, *options)
    assert (status, out) == (2, "")
    assert "error: " in err.lower()


def test_without_duckdb_it_says_how_to_install_it_and_everything_else_works(log, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    status, out, err = run(log, "--sql", "SELECT 1")
    assert (status, out) == (2, "")
    assert err == "error: --sql: DuckDB is not installed (pip install duckdb)\n"
    assert run(log, "--schema")[0] == 0
    assert run(log, "--subject", "ada")[0] == 0


def test_the_statements_are_for_any_duckdb(log):
    status, out, err = run(log, "--schema")
    assert (status, err) == (0, "")
    own = duckdb.connect()
    own.execute(out)
    assert own.execute("SELECT count(*) FROM decisions").fetchall() == [(6,)]
