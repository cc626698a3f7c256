"""SQL over decision logs: columns follow the record's fields, and a question reaches nothing but the named files."""

import gzip
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import get_type_hints

import duckdb
import pytest

from authz.core.errors import ConfigError
from authz.core.model import Plane, Run
from authz.core.record import (
    AccessEntry,
    Event,
    LogEntry,
    Memberships,
    OutboundRecord,
    OutcomeEntry,
    followed_line,
    log_line,
)
from authz.ops import log_database
from authz.ops.log_database import LogDatabase
from authz.ops.log_views import VIEWS, script
from tests.support.factories.asked_logs import access_of
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import ISSUER, load

ADA = claims(ISSUER, "ada", groups=["data-readers"])
BROKEN = b'{"v":1,"type":"decision","id":"7\n[1]\n{"v":2,"type":"decision","id":"8"}\n\n'


@pytest.fixture
def path(tmp_path):
    """A log: three decisions, one entry twice, one of the log's own, lines that are none."""
    writer = Writer(load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: ['sales_*']}"))
    for dag in ("sales_eu", "finance"):
        writer.ask(request(Plane.INBOUND, "GET", "airflow.test", f"/api/v2/dags/{dag}"), ADA)
    run = Run("sales_us", "manual__1", "extract", -1, 1, "verified")
    writer.ask(request(Plane.EGRESS, "GET", "orders.internal", "/v1/orders", destination="orders"), None, run)
    entry = writer.sink.lines[0].splitlines(keepends=True)[0]
    stop = log_line(Event.GAP, worker=0, gate="gate", time="2026-11-22T02:39:35.500000Z", count=3, reason="disk")
    found = tmp_path / "decisions.jsonl"
    said = b'{"id":"926a3e91b7e7441cfa435aae","status":200,"upstream_host":"h:1","details":"via_upstream"}'
    outcome = followed_line(said)[1]
    more = b"\n".join((stop, outcome, access_of("variables/a"), b""))
    found.write_bytes(b"".join(writer.sink.lines) + entry + more + BROKEN)
    return found


@pytest.fixture
def database(path):
    made = LogDatabase([path])
    yield made
    made.close()


def rows(database, sql):
    return database.ask(sql, 1000).rows


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("decisions", OutboundRecord),
        ("identities", Memberships),
        ("outcomes", OutcomeEntry),
        ("accesses", AccessEntry),
        ("log_entries", LogEntry),
    ],
)
def test_a_view_has_the_fields_of_its_records(database, name, fields):
    found = database.ask(f"SELECT * FROM {name}", 1)  # noqa: S608 a name of ours
    own = {"id"} if fields is Memberships else set()
    assert set(found.names) == (get_type_hints(fields).keys() | own) - {"v", "type"}
    assert list(found.names) == list(VIEWS[name].columns)


def test_decisions_have_types(database):
    sql = "SELECT dag, time, roles, run.run_id, run.map_index FROM decisions ORDER BY time"
    first, second, third = rows(database, sql)
    assert first[0::2] == ("sales_eu", ["viewer"], None)
    assert isinstance(first[1], datetime)
    assert second[0] == "finance"
    assert third[3:] == ("manual__1", -1)


def test_callers_are_joined_and_stand_in_their_view_once(database):
    sql = 'SELECT decision, "user", groups FROM decisions JOIN identities ON identity = identities.id ORDER BY time'
    assert rows(database, sql) == [("allow", "ada", ["data-readers"]), ("deny", "ada", ["data-readers"])]


def test_entries_of_the_log(database):
    assert rows(database, "SELECT decision, status, ended_by FROM outcomes") == [
        ("926a3e91b7e7441cfa435aae", 200, "upstream")
    ]
    assert rows(database, "SELECT event, count, reason FROM log_entries") == [("gap", 3, "disk")]


def test_lines_that_are_no_record_are_counted(database):
    assert database.unread() == (2, 1)
    assert rows(database, "SELECT count(*) FROM decisions") == [(3,)]


def test_nothing_is_printed_while_it_works(database):
    assert rows(database, "SELECT current_setting('enable_progress_bar')") == [(False,)]


def test_rows_are_limited_and_it_is_said(database):
    found = database.ask("SELECT id FROM decisions", 2)
    assert (len(found.rows), found.more) == (2, True)
    assert not database.ask("SELECT id FROM decisions", 3).more


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELEC 1",
        "SELECT nothing FROM decisions",
        "SELECT 1; SELECT 2",
        "COPY decisions TO 'made'",
        "COPY (SELECT 1) TO 'decisions.jsonl'",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW decisions",
        "ATTACH 'made'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "PRAGMA threads = 1",
        "EXPORT DATABASE 'made'",
        "EXPLAIN ANALYZE COPY decisions TO 'made'",
        "SELECT * FROM read_text('secret')",
        "SELECT * FROM 'secret.csv'",
        "SELECT * FROM glob('*')",
        "SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''made''')",
    ],
)
def test_nothing_else_is_read_written_or_run(database, path, sql, monkeypatch):
    monkeypatch.chdir(path.parent)
    for name in ("secret", "secret.csv"):
        (path.parent / name).write_text("x\n1\n")
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        database.ask(sql, 10)
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["decisions.jsonl", "secret", "secret.csv"]


def test_no_other_file_is_touched(path, tmp_path):
    """The home folder stays empty: no extensions, no history, nothing that a large question spills."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from authz.ops.log_database import LogDatabase\n"
        "d = LogDatabase([Path(sys.argv[1])])\n"
        "print(d.ask('SELECT count(*) FROM (SELECT * FROM decisions, range(100000) ORDER BY random())', 1).rows)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[(300000,)]\n", "")
    assert [*home.iterdir()] == []


def test_files_of_all_kinds_are_read_through_links_too(path, tmp_path):
    (tmp_path / "a").mkdir()
    with gzip.open(tmp_path / "a" / "it's.jsonl.1.gz", "wb") as file:
        file.write(path.read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "a")
    database = LogDatabase([path, tmp_path / "link" / "it's.jsonl.1.gz"])
    assert rows(database, "SELECT count(*) FROM decisions") == [(6,)]
    assert rows(database, "SELECT count(*) FROM identities") == [(1,)]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.gz", b"{}\n", "not named"),
        ("a.jsonl", gzip.compress(b"{}\n", mtime=0), "not named"),
        ("a.bz2", b"BZh9", "bzip2"),
        ("a.xz", b"\xfd7zXZ\x00", "bzip2 or xz"),
        ("a[1].jsonl", b"{}\n", "pattern"),
    ],
)
def test_a_file_that_duckdb_would_read_otherwise_is_refused(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        LogDatabase([tmp_path / name])


def test_a_duckdb_that_cannot_be_locked_is_refused(path, monkeypatch):
    monkeypatch.setattr(log_database, "_LOCKED", ("SET no_such_lock = true",))
    with pytest.raises(ConfigError, match=r"cannot be kept to the named files"):
        LogDatabase([path])


def test_the_printed_statements_make_the_same_views_in_anyones_duckdb(path, database):
    own = duckdb.connect()
    own.execute(script([str(path)]))
    for name in VIEWS:
        sql = f"SELECT * FROM {name} ORDER BY ALL"  # noqa: S608 a name of ours
        assert own.execute(sql).fetchall() == rows(database, sql) != []
    own.execute(script(["it's"]).partition(";")[0])
    assert own.execute("SELECT getvariable('log_files')").fetchall() == [(["it's"],)]
