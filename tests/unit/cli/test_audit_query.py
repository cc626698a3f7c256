"""`authz audit query`: which decisions are found, how they are shown, and what is said of what could not be read."""

import csv
import gzip
import io
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from authz.audit.layout import closed_files
from authz.cli import audit_query, main
from tests.support.factories.asked_logs import POLICY, TOLD_RUN, evil, rotated, six, story
from tests.support.factories.policies import ISSUER, load
from tests.support.factories.written_logs import opened
from tests.support.ocsf import mistakes
from tests.support.terminal import in_terminal


@pytest.fixture
def lines():
    return six()


@pytest.fixture
def log(lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return rotated(tmp_path / "log", lines)


def run(*arguments):
    """Exit status, standard output and standard error."""
    done = CliRunner().invoke(main, ["audit", "query", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def ids(*arguments):
    status, out, _ = run(*arguments, "--format", "json")
    found = [int(json.loads(line)["id"], 16) for line in out.splitlines()]
    assert status == (0 if found else 1)
    return found


def test_a_row_for_each_decision_the_newest_last(log):
    status, out, err = run(log)
    assert status == 0
    assert out.splitlines() == [
        "time                  decision  caller                                   request               DAG       reason        id",  # noqa: E501
        "2026-11-22T02:39:35Z  allow     ada                                      dags:read             sales_eu  rule readers  000000000000000000000001",  # noqa: E501
        "2026-11-22T02:40:35Z  allow     ben                                      dag_runs:read         sales_us  rule readers  000000000000000000000002",  # noqa: E501
        "2026-11-22T03:40:35Z  deny      ada                                      dags:delete           sales_us  no_rule       000000000000000000000003",  # noqa: E501
        "2026-11-22T03:40:35Z  deny      sales-etl                                dag_runs:create       sales_us  no_rule       000000000000000000000004",  # noqa: E501
        "2026-11-22T03:40:36Z  deny      run manual__1 of sales_us, task extract  GET orders/v1/orders  sales_us  no_rule       000000000000000000000005",  # noqa: E501
        "2026-11-22T03:40:36Z  deny      -                                        GET /x%20y                      no_token      000000000000000000000006",  # noqa: E501
    ]  # fmt: skip
    assert err == "6 decisions found in 9 lines of 2 files\n"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("--subject ada", [1, 3]),
        ("--user ben", [2]),
        ("--user *e*", [2]),
        ("--user no-one", []),
        ("--client sales-*", [4]),
        ("--dag sales_us --decision allow", [2]),
        ("--dag sales_eu --dag sales_us --subject ada", [1, 3]),
        ("--run manual__1", [2, 5]),
        ("--operation dag_runs:*", [2, 4]),
        ("--destination orders", [5]),
        ("--host orders.*", [5]),
        ("--reason no_token", [6]),
        ("--rule readers", [1, 2]),
        ("--role user", [2]),
        ("--id 000000000000000000000003", [3]),
        ("--since 2026-11-22T03:00Z", [3, 4, 5, 6]),
        ("--until 2026-11-22T04:00+01:00", [1, 2]),
        ("--since 2026-11-22 --until 2026-11-22", [1, 2, 3, 4, 5, 6]),
        ("--since 2026-11-23", []),
        ("--until 2026-11-21", []),
        ("--limit 2", [5, 6]),
        ("--limit 1 --subject ada", [3]),
    ],
)
def test_filters(log, options, found):
    assert ids(log, *options.split()) == found


def test_a_large_log_is_searched_with_duckdb(log, monkeypatch):
    monkeypatch.setattr(audit_query, "_LARGE", 0)
    monkeypatch.setattr(audit_query, "Search", None)  # the other search
    assert ids(log, "--user", "ada", "--decision", "deny") == [3]
    assert run(log, "--dag", "sales_*") == (0, *run(log, "--dag", "sales_*", "--since", "2026-11-22")[1:])
    assert run(log, "--subject", "zoe") == (1, "", "0 decisions found in 9 lines of 2 files\n")


def test_a_revision_is_known_by_how_it_begins(log):
    revision = load(POLICY).revision
    assert ids(log, "--revision", revision[:7]) == ids(log, "--revision", revision) == [1, 2, 3, 4, 5, 6]
    assert ids(log, "--revision", revision[1:7]) == []


def test_times_before_now(tmp_path):
    path = tmp_path / "a.jsonl"
    stamps = [datetime.fromtimestamp(time.time(), UTC) - timedelta(hours=hours) for hours in (30, 3, 1)]
    path.write_text(
        "".join(
            f'{{"v":1,"type":"decision","id":"{at}","time":"{one:%Y-%m-%dT%H:%M:%S.%fZ}"}}\n'
            for at, one in enumerate(stamps)
        )
    )
    assert ids(path, "--since", "2h") == [2]
    assert ids(path, "--since", "1d", "--until", "90m") == [1]


@pytest.mark.parametrize("text", ["2x", "yesterday", "2026-11-30T18:00", "2026-02-30", "h", "-2h", "9999999999999d"])
def test_a_time_that_cannot_be_read_is_a_mistake(log, text):
    status, out, err = run(log, f"--since={text}")
    assert (status, out) == (2, "")
    assert "--since" in err
    assert "2026-12-31T18:00Z" in err


def test_json_is_the_record_with_its_caller(log, lines):
    _, out, _ = run(log, "--user", "ben", "--format", "json")
    found = json.loads(out)
    caller = found.pop("caller")
    assert found == json.loads(lines[3])
    assert caller == {
        "issuer": ISSUER,
        "subject": "ben",
        "client": "",
        "user": "ben",
        "groups": ["data-users", "team-sales"],
    }
    _, out, _ = run(log, "--reason", "no_token", "--format", "json")
    assert "caller" not in json.loads(out)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("--status 5*", [4]),
        ("--status 200", [1, 8, 2]),
        ("--status 200 --status 503 --destination orders", [2, 4]),
        ("--ended-by gate", [8, 3]),
        ("--ended-by envoy --status 503", [4]),
        ("--ended-by client", []),
        ("--status 200 --user ben", [1]),
    ],
)
def test_filters_of_what_came_of_it(tmp_path, options, found):
    """Outcomes may be in another file than their decisions. A decision without one is in no such answer."""
    assert ids(rotated(tmp_path / "log", story()), *options.split()) == found


def test_ocsf_is_an_event_for_each_decision_with_its_outcome(tmp_path):
    """Two of the outcomes are in the other file, as they may be."""
    log = rotated(tmp_path / "log", story())
    status, out, err = run(log, "--dag", "sales_*", "--format", "ocsf")
    found = [json.loads(line) for line in out.splitlines()]
    assert (status, [problem for one in found for problem in mistakes(one)]) == (0, [])
    assert err == "8 decisions found in 21 lines of 2 files\n"
    assert [one["metadata"]["uid"][-1] for one in found] == [*"18234567"]
    assert [(one["action"], one["status"]) for one in found] == [
        ("Allowed", "Success"),
        ("Allowed", "Success"),  # a task got its run identity
        ("Allowed", "Success"),
        ("Denied", "Failure"),
        ("Allowed", "Failure"),
        ("Denied", "Failure"),
        ("Allowed", "Unknown"),
        ("Allowed", "Unknown"),
    ]
    assert found[0]["actor"]["user"] == {
        "uid": "ben",
        "name": "ben",
        "groups": [{"name": "data-users"}, {"name": "team-sales"}],
    }
    assert {one["metadata"]["correlation_uid"] for one in found[1:5]} == {f"sales_eu/{TOLD_RUN}"}


def test_ocsf_is_not_for_rows(log):
    status, _, err = run(log, "--format", "ocsf", "--sql", "SELECT 1")
    assert (status, "use json" in err) == (2, True)


def test_csv(log):
    _, out, _ = run(log, "--user", "ben", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["user"], row["groups"], row["roles"]) == ("ben", "data-users team-sales", "user viewer")
    assert (row["path"], row["time"]) == ("/api/v2/dags/sales_us/dagRuns/manual__1", "2026-11-22T02:40:35.500000Z")
    _, out, _ = run(log, "--run", "manual__1", "--destination", "*", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["run_id"], row["task_id"], row["issuer"]) == ("manual__1", "extract", "")


def test_nothing_found_is_a_negative_answer(log):
    assert run(log, "--subject", "zoe") == (1, "", "0 decisions found in 9 lines of 2 files\n")


def test_what_cannot_be_read_is_said_with_its_place(log):
    path = log / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + b'{"v":1,"type":"decision","id":"7\n{}x\n{"v":2}\n\n{"v":1,"type":"new"}\n')
    (log / "decisions.jsonl.2.gz").write_bytes(gzip.compress(b"{}\n" * 9000)[:12])
    status, _, err = run(log, "--since", "2026-11-22", "--subject", "ada")
    assert status == 0
    said = err.splitlines()
    assert said[0].startswith("2 decisions found in ")
    assert said[1].startswith(f"2 lines skipped, the first is {path}:6: The line is not one JSON object: it was cut,")
    assert any("1 line skipped" in line and "decisions.jsonl:10" in line for line in said)
    assert any("decisions.jsonl:8: another version of the format" in line for line in said)
    assert any("decisions.jsonl.2.gz:1" in line and "damaged or cut" in line for line in said)


def test_a_signed_logs_folder(lines, tmp_path):
    log = opened(tmp_path / "audit")
    log.append(lines[:4])
    log.rotate()
    log.append(lines[4:])
    log.close()
    assert ids(tmp_path / "audit", "--user", "ada") == [1, 3]
    (closed,) = closed_files(tmp_path / "audit")
    packed = closed.path.with_name(closed.path.name + ".gz")
    packed.write_bytes(gzip.compress(closed.path.read_bytes()))
    assert ids(tmp_path / "audit", "--user", "ada") == [1, 3], "one that is there in both forms is read once"
    closed.path.unlink()
    assert ids(tmp_path / "audit", "--user", "ada") == [1, 3]


def test_the_log_of_the_settings_is_the_default(log, monkeypatch):
    monkeypatch.chdir(log.parent)
    assert run("--subject", "ada")[0] == 2
    (log.parent / "authz.yaml").write_text("version: 1\npolicy: p.yaml\nlog: {decisions: log/decisions.jsonl}\n")
    assert ids("--subject", "ada") == [1, 3]
    (log.parent / "other.yaml").write_text("version: 1\npolicy: p.yaml\nlog: {decisions: log/decisions.jsonl}\n")
    assert ids("--subject", "ada", "--settings", "other.yaml") == [1, 3]
    assert run("--subject", "ada", "--settings", "missing.yaml")[0] == 2


@pytest.mark.parametrize(
    "options", [["missing.jsonl"], ["log", "--limit", "0"], ["log", "--decision", "no"], ["log", "--dag", "a**b"]]
)
def test_mistakes(log, options):
    status, out, err = run(*options)
    assert (status, out) == (2, "")
    assert err


@pytest.mark.parametrize("form", ["table", "json", "csv", "ocsf"])
def test_no_control_character_reaches_the_output(tmp_path, form):
    path = evil(tmp_path)
    status, out, err = run(path, "--format", form)
    assert status == 0
    assert all(character.isprintable() for character in (out + err).replace("\n", ""))
    assert len(out.splitlines()) == {"table": 3, "json": 2, "csv": 3, "ocsf": 2}[form]
    if form == "json":
        assert [json.loads(line) for line in out.splitlines()][1] == json.loads(path.read_text().splitlines()[0])
    if form == "csv":
        assert [row["client"][:2] for row in csv.DictReader(io.StringIO(out))] == ["'=", "'="]


@pytest.mark.parametrize("columns", [80, 60, 200])
def test_a_table_fits_the_terminal(log, columns):
    shown = in_terminal("audit", "query", log, columns=columns, folder=log.parent)
    assert shown.status == 0
    assert max(map(len, shown.lines)) <= columns
    assert sum("0000000000000000000000" in line for line in shown.lines) == 6, "an id is never broken"
    text = " ".join(" ".join(shown.lines).split())
    assert "ada" in text
    assert "sales_us" in text
    if columns == 200:
        assert len(shown.lines) == 8


def test_control_characters_do_not_reach_a_terminal(tmp_path):
    shown = in_terminal("audit", "query", evil(tmp_path), folder=tmp_path, NO_COLOR="1")
    assert shown.status == 0
    assert "\x1b" not in shown.text
    assert "\\x1b]0;owned" in shown.text.replace("\n", "")
