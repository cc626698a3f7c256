"""`authz audit story`: what a name stands for, what is recorded about it, and what is not asserted."""

import gzip
import json

import pytest
from click.testing import CliRunner

from authz.cli import audit_story, main
from tests.support.factories.asked_logs import (
    EXTRACT,
    PREPARE,
    TOLD_RUN,
    access_of,
    evil,
    inbound,
    outcome_of,
    rotated,
    six,
    story,
)
from tests.support.factories.decision_logs import Writer, claims
from tests.support.factories.policies import ISSUER, load
from tests.support.factories.written_logs import opened

OTHER = EXTRACT.replace("1111", "3333")


def write(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "decisions.jsonl", story())


def run(*arguments):
    """Exit status, standard output and standard error."""
    done = CliRunner().invoke(main, ["audit", "story", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def recorded(*arguments):
    status, out, err = run(*arguments, "--format", "json")
    assert (status, err) == (0, "")
    return json.loads(out)


def ids(some):
    return [int(one["decision"]["id"], 16) for one in some]


@pytest.mark.parametrize("name", [f"sales_eu/{TOLD_RUN}", TOLD_RUN])
def test_a_run_by_its_dag_and_id_or_by_its_id(log, name):
    found = recorded(name, log)
    assert (found["kind"], found["dag"], found["run"], found["left_out"]) == ("run", "sales_eu", TOLD_RUN, 0)
    assert [(task["task"], ids(task["calls"])) for task in found["tasks"]] == [("extract", [8, 2, 4]), ("load", [3])]
    assert [call["outcome"]["ended_by"] for task in found["tasks"] for call in task["calls"]] == [
        "gate",
        "upstream",
        "envoy",
        "gate",
    ]
    assert (ids(found["requests"]), found["reads"]) == ([7], 2)
    assert found["requests"][0]["outcome"] is None


def names(accesses):
    return [(one["action"], one["kind"], one["name"], one["status"], one.get("claimed")) for one in accesses]


def test_what_a_task_read_is_among_its_calls_in_their_order(log):
    extract, load = recorded(TOLD_RUN, log)["tasks"]
    assert names(extract["accesses"]) == [
        ("read", "xcom", "day", 200, None),
        ("read", "connection", "orders_db", 200, None),
        ("read", "variable", "region", 200, None),
    ]
    assert load["accesses"] == []
    _, out, _ = run(TOLD_RUN, log)
    lines = [line.partition("T02:")[2] for line in out.partition("task extract")[2].splitlines()[1:7]]
    assert [line[:12] for line in lines] == [
        "39:50Z  issu",
        "39:51Z  read",
        "39:52Z  read",
        "39:53Z  read",
        "39:55Z  allo",
        "40:35Z  allo",
    ]
    assert lines[1] == "39:51Z  read  try 1  xcom day of prepare  → 200 by upstream"


def test_a_task_that_loops_is_a_line_and_a_count(log):
    """Only of what says the same in a row; two are two lines."""
    again = json.loads(next(line for line in log.read_bytes().splitlines() if b'"/v1/items"' in line))
    for number in range(1, 213):
        time = f"2026-11-22T02:{41 + number // 60}:{number % 60:02}.000000Z"
        more = {"id": f"{number:024x}".replace("0", "f", 1), "time": time, "path": "/v1/more"}
        with log.open("ab") as file:
            file.write(json.dumps({**again, **more}, separators=(",", ":")).encode() + b"\n")
    _, out, _ = run(TOLD_RUN, log)
    task = out.partition("task extract")[2].partition("├─ task load")[0].splitlines()
    assert task[-2:] == [
        "│  ├─ 2026-11-22T02:41:01Z  allow  try 1  GET orders/v1/more  rule orders  f00000000000000000000001",
        "│  └─ … the same 211 more times, until 2026-11-22T02:44:32Z",
    ]
    assert len(task) == 9
    assert len(recorded(TOLD_RUN, log)["tasks"][0]["calls"]) == 215


def test_the_policies_that_decided_are_said(log):
    head = run(TOLD_RUN, log)[1].splitlines()
    revision = json.loads(log.read_bytes().splitlines()[1])["revision"]
    assert f"├─ policy: {revision[:12]}" in head
    lines = log.read_bytes().splitlines()
    changed = [line.replace(revision.encode(), b"c" * 64) if b'"/v1/items"' in line else line for line in lines]
    log.write_bytes(b"\n".join([*changed, b""]))
    told = run(TOLD_RUN, log)[1].splitlines()
    at = told.index("├─ policies, each from its first decision on:")
    assert told[at + 1 : at + 3] == [
        f"│  ├─ 2026-11-22T02:39:50Z  {revision[:12]}",
        "│  └─ 2026-11-22T02:40:35Z  cccccccccccc",
    ]


def test_a_run_of_another_dag_with_the_same_id_has_a_story_of_its_own(log):
    """Runs that Airflow schedules have the same id in all DAGs of a schedule."""
    before = recorded(f"sales_eu/{TOLD_RUN}", log)
    other = log.read_bytes().replace(b"sales_eu", b"sales_us").replace(EXTRACT.encode(), OTHER.encode())
    other = other.replace(b'"0000000000000000000000', b'"1000000000000000000000').replace(b"orders_db", b"other_db")
    log.write_bytes(log.read_bytes() + other)
    assert recorded(f"sales_eu/{TOLD_RUN}", log) == before
    extract, _ = recorded(f"sales_us/{TOLD_RUN}", log)["tasks"]
    assert names(extract["accesses"])[1] == ("read", "connection", "other_db", 200, None)
    status, _, err = run(TOLD_RUN, log)
    assert (status, "several DAGs have a run of this name" in err) == (2, True)


def test_what_airflow_did_not_accept_is_apart(log):
    assert names(recorded(TOLD_RUN, log)["claimed"]) == [("read", "connection", "payroll", 403, True)]
    _, out, _ = run(TOLD_RUN, log)
    assert out.endswith(
        "└─ Airflow did not accept, so who asked is only claimed: 1 request\n"
        "   └─ 2026-11-22T02:39:58Z  read  as extract, try 1  connection payroll  → 403 by upstream\n"
    )


def test_refused_requests_leave_out_no_access_of_a_task(log, monkeypatch):
    """Anyone who reaches Envoy's listener can send as many as they like, with the id of a task or without a token."""
    monkeypatch.setattr(audit_story, "_MOST_ACCESSES", 4)
    monkeypatch.setattr(audit_story, "_MOST_CLAIMED", 3)
    before = recorded(TOLD_RUN, log)
    with log.open("ab") as file:
        for number in range(50):
            xcom = f"xcoms/sales_eu/{TOLD_RUN}/prepare/day"
            who = {"instance": EXTRACT, "status": 403} if number % 2 else {"status": 401}
            file.write(access_of(xcom, number=100 + number, second=59, **who) + b"\n")
    found = recorded(TOLD_RUN, log)
    assert (found["tasks"], found["accesses_of_others"]) == (before["tasks"], before["accesses_of_others"])
    assert (len(found["claimed"]), found["claimed_left_out"], found["accesses_left_out"]) == (3, 48, 0)
    _, out, _ = run(TOLD_RUN, log)
    assert "└─ Airflow did not accept, so who asked is only claimed: 51 requests\n" in out
    assert "read  as unknown  xcom day of prepare  → 401 by upstream\n" in out
    assert out.endswith("   └─ 48 older left out\n")


def test_xcoms_of_a_run_by_a_task_that_got_no_identity(log):
    found = recorded(TOLD_RUN, log)["accesses_of_others"]
    assert names(found) == [("write", "xcom", "day", 201, None)]
    _, out, _ = run(TOLD_RUN, log)
    assert f"02:39:40Z  write  by {PREPARE}  xcom day of prepare  → 201 by upstream\n" in out


def test_accesses_of_another_run_or_time_are_not_of_this_story(log):
    assert recorded(TOLD_RUN, log, "--since", "2026-11-22T02:39:53Z")["tasks"][0]["accesses"] == []
    found = recorded(TOLD_RUN, log, "--until", "2026-11-22T02:39:53Z")
    assert len(found["tasks"][0]["accesses"]) == 2
    other = log.read_bytes().replace(TOLD_RUN.encode(), b"manual__other")
    assert recorded("manual__other", write(log, other.splitlines()))["accesses_of_others"]
    moved = log.read_bytes().replace(b"/manual__other/", b"/x/").replace(b'"run":"manual__other"', b'"run":"x"')
    assert recorded("manual__other", write(log, moved.splitlines()))["accesses_of_others"] == []


def test_the_newest_accesses_are_shown_and_the_others_counted(log, monkeypatch):
    monkeypatch.setattr(audit_story, "_MOST_ACCESSES", 3)
    found = recorded(TOLD_RUN, log)
    assert found["accesses_left_out"] == 1
    assert names(found["tasks"][0]["accesses"])[-1] == ("read", "variable", "region", 200, None)
    assert "1 older access left out" in run(TOLD_RUN, log)[1]


def test_a_run_of_which_only_its_xcoms_are_on_record(log):
    write(log, [line for line in log.read_bytes().splitlines() if b'"type":"access"' in line])
    found = recorded(f"sales_eu/{TOLD_RUN}", log)
    assert (found["tasks"], len(found["accesses_of_others"])) == ([], 2)


def test_who_triggered_a_run_is_not_asserted(log):
    _, out, _ = run(TOLD_RUN, log)
    assert "├─ may have been triggered by:\n│  └─ 2026-11-22T02:39:35Z  allow  ben  dag_runs:create" in out
    assert "\ntriggered" not in out
    assert ids(recorded(TOLD_RUN, log)["may_have_been_triggered_by"]) == [1]
    _, out, _ = run("manual__1", rotated(log.parent / "other", six()))
    assert "├─ triggered by: not on record\n" in out


def test_who_triggered_a_run_is_said_where_airflow_named_it(log):
    log.write_bytes(
        log.read_bytes().replace(b'"ended_by":"upstream"}', b'"ended_by":"upstream","run":"%s"}' % TOLD_RUN.encode())
    )
    found = recorded(TOLD_RUN, log)
    assert (ids([found["triggered_by"]]), found["may_have_been_triggered_by"]) == ([1], [])
    _, out, _ = run(TOLD_RUN, log)
    assert "├─ triggered by:\n│  └─ 2026-11-22T02:39:35Z  allow  ben  dag_runs:create" in out


def test_a_run_of_which_only_its_trigger_is_on_record(tmp_path):
    trigger = [line for line in story() if b'"dag_runs:create"' in line]
    log = write(tmp_path / "a.jsonl", [*trigger, outcome_of(f"{1:024x}", 200, run=TOLD_RUN)])
    found = recorded(f"sales_eu/{TOLD_RUN}", log)
    assert (ids([found["triggered_by"]]), found["tasks"], found["requests"]) == ([1], [], [])
    assert run(f"sales_eu/{TOLD_RUN}0", log)[0] == run(f"sales_us/{TOLD_RUN}", log)[0] == 1


def test_a_run_that_airflow_made(log):
    text = log.read_text().replace(TOLD_RUN, "scheduled__2026-11-22T02:00:00+00:00")
    log.write_text(text)
    _, out, _ = run("scheduled__2026-11-22T02:00:00+00:00", log)
    assert "├─ triggered by: not on record; its id is one that Airflow gives to runs of its own\n" in out


def test_several_dags_with_a_run_of_one_name_are_named(log):
    again = log.read_text().replace("sales_eu", "sales_us")
    log.write_text(log.read_text() + again)
    status, _, err = run(TOLD_RUN, log)
    assert status == 2
    assert f"several DAGs have a run of this name: sales_eu/{TOLD_RUN}, sales_us/{TOLD_RUN}" in err
    assert recorded(f"sales_us/{TOLD_RUN}", log)["dag"] == "sales_us"
    assert run(f"finance/{TOLD_RUN}", log)[0] == 1


def test_a_decision(log):
    found = recorded(f"{3:024x}", log)
    assert (found["decision"]["decision"], found["outcome"]["ended_by"], found["caller"]) == ("deny", "gate", None)
    _, out, _ = run(f"{1:024x}", log)
    assert out.startswith(f"decision {1:024x} of 2026-11-22T02:39:35.500000Z\n├─ caller: ben\n")
    assert "groups: data-users, team-sales\n" in out
    assert "├─ answer: allow rule\n│  ├─ rule: operators\n" in out
    assert "└─ outcome: 200 by upstream, inbound.airflow at 10.0.0.8:8080, 512 bytes in 31 ms\n" in out
    _, out, _ = run(f"{5:024x}", log)
    assert "└─ outcome: not on record\n" in out


@pytest.mark.parametrize("name", ["ben", "ada"])
def test_a_caller(log, name):
    found = recorded(name, log)
    assert (found["kind"], found["caller"], [day["day"] for day in found["days"]]) == ("caller", name, ["2026-11-22"])
    (day,) = found["days"]
    assert day["decisions"] == {"ben": 3, "ada": 1}[name]
    assert ids(day["changes"]) == {"ben": [1, 7], "ada": []}[name]


def test_a_caller_by_the_name_of_the_user_or_the_client(tmp_path):
    writer = Writer(load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read']}"))
    user = claims(ISSUER, "0815", groups=["data-readers"])
    writer.ask(inbound("GET", "/api/v2/dags/a"), type(user)(**{**fields(user), "username": "ada"}))
    writer.ask(inbound("GET", "/api/v2/dags/a"), claims(ISSUER, client="etl"))
    log = write(tmp_path / "a.jsonl", b"".join(writer.sink.lines).splitlines())
    assert [recorded(name, log)["decisions"] for name in ("ada", "0815", "etl")] == [1, 1, 1]


def fields(made):
    return {name: getattr(made, name) for name in made.__dataclass_fields__}


def test_a_caller_whose_entry_is_in_no_file(log):
    write(log, [line for line in story() if b'"type":"identity"' not in line])
    assert recorded("ben", log)["decisions"] == 3
    named = log.read_bytes().replace(b'"subject":"ben","client":""', b'"subject":"","client":"c"')
    write(log, named.splitlines())
    assert recorded("c", log)["decisions"] > 0


def test_a_name_of_a_run_and_of_a_caller_has_to_be_said(log):
    log.write_text(log.read_text().replace(TOLD_RUN, "ben"))
    status, _, err = run("ben", log)
    assert (status, "--kind run or --kind caller" in err) == (2, True)
    assert recorded("ben", log, "--kind", "run")["kind"] == "run"
    assert recorded("ben", log, "--kind", "caller")["kind"] == "caller"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-one"],
        ["f" * 24],
        ["a/b"],
        ["ben", "--kind", "run"],
        ["ben", "--kind", "decision"],
        ["ben", "--since", "2027-01-01"],
    ],
)
def test_nothing_on_record(log, arguments):
    status, out, err = run(*arguments, log)
    assert (status, out) == (1, "")
    assert "nothing is on record about" in err


def test_only_a_time(log):
    assert recorded("ben", log, "--since", "2026-11-22T02:50Z")["decisions"] == 2
    assert recorded("ben", log, "--until", "2026-11-22T03:00Z")["decisions"] == 1


def test_over_the_files_of_a_signed_log_and_of_a_rotated_one(tmp_path):
    lines = story()
    signed = opened(tmp_path / "signed")
    signed.append(lines[:4])
    signed.rotate()
    while signed.compress() is not None:
        pass
    signed.append(lines[4:])
    signed.close()
    plain = tmp_path / "plain"
    plain.mkdir()
    write(plain / "decisions.jsonl", lines[:6])
    (plain / "decisions.jsonl.1.gz").write_bytes(gzip.compress(b"\n".join(lines[6:]) + b"\n"))
    whole = recorded(TOLD_RUN, write(tmp_path / "one.jsonl", lines))
    assert recorded(TOLD_RUN, tmp_path / "signed") == recorded(TOLD_RUN, plain) == whole


def test_what_a_caller_sent_stays_text(tmp_path):
    path = evil(tmp_path)
    record = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(record | {"type": "decision", "identity": ""}) + "\n")
    for form in ("tree", "json"):
        for kind in ("decision", "caller"):
            status, out, _ = run(record["id"], path, "--kind", kind, "--format", form)
            assert status == 0
            assert not set(out) & {"\x1b", "\x07", "\x7f", "\x9b", "\u202e"}


def test_lines_that_cannot_be_read_are_said_once(log):
    with log.open("ab") as file:
        file.write(b"broken\n")
    _, _, err = run(TOLD_RUN, log)
    assert err.count("1 line skipped") == 1


def test_what_is_too_much_is_left_out_and_counted(log, monkeypatch):
    monkeypatch.setattr(audit_story, "_MOST", 2)
    assert recorded(TOLD_RUN, log)["left_out"] == 5
    _, out, _ = run(TOLD_RUN, log)
    assert out.endswith("└─ 5 older decisions left out\n")
