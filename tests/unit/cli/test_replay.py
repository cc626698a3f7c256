"""`authz replay`: real logs of two workers, renamed and compressed; what it prints, how it ends, what can be tried."""

import gzip
import json
import pathlib
import shlex
import subprocess
import time

import pytest
from click.testing import CliRunner

from authz.cli import main, replay
from authz.core.model import Level, Plane, Run
from authz.core.policy import Bundle, load
from authz.core.reasons import Reason
from authz.ops.decision_log import DecisionSink
from tests.e2e.envoy_harness import wait_for
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.simulators.idp import PATIENCE_S

ISSUER = "https://idp.example.com"
OLD = f"""
version: 1
issuers:
  - name: corp
    issuer: {ISSUER}
    audiences: {{inbound: [airflow], egress: [outbound]}}
    algorithms: [RS256]
    groups: [groups]
roles:
  op: {{groups: [ops]}}
  etl: {{clients: [etl]}}
rules:
  - {{id: ops, plane: inbound, roles: [op], operations: ["dags:*", "dag_runs:*"], dags: ["sales_*"]}}
  - {{id: health, public: true, plane: inbound, operations: ["health:read"]}}
  - {{id: orders, plane: egress, destinations: [orders], paths: ["/**"], dags: ["sales_*"], identity: verified-bearer}}
  - {{id: files, plane: egress, roles: [etl], hosts: [files.test], paths: ["/v1/**"]}}
"""
NEW = OLD.replace('["dags:*", "dag_runs:*"], dags: ["sales_*"]', '["dags:*"], dags: ["*"]').replace('"/v1/**"', "/v2")
ALICE = claims(ISSUER, "alice", groups=["ops", "x y"])
BOB = claims(ISSUER, "bob", groups=["ops"])
EVE = claims(ISSUER, "eve")
ETL = claims(ISSUER, client="etl")
RUN = Run("sales_a", "r1", "load", -1, 1, Level.VERIFIED)


def inbound(path, method="GET", **more):
    return request(Plane.INBOUND, method, "airflow.test", path, **more)


def outbound(host, **more):
    return request(Plane.EGRESS, "GET", host, "/v1/x", **more)


ASKED = [
    (inbound("/api/v2/dags/sales_a"), ALICE),
    (inbound("/api/v2/dags/hr"), ALICE),
    (inbound("/api/v2/dags/hr"), BOB),
    (inbound("/api/v2/dags/sales_a/dagRuns", "POST"), BOB),
    (inbound("/api/v2/dags", narrowed=True), BOB),
    (inbound("/api/v2/monitor/health"), None),
    (inbound("/api/v2/dags/sales_a"), EVE),
    (outbound("orders.test", destination="orders"), None, RUN),
    (outbound("files.test"), ETL),
]
PER_ROUND = len(ASKED)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)

    def call(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)

    call.folder = tmp_path
    return call


@pytest.fixture
def logs(run):
    """A folder with a log of two workers that was renamed twice, and compressed as logrotate does."""
    folder = run.folder / "log"
    folder.mkdir()
    path = folder / "decisions.jsonl"
    policy = load(Bundle(OLD.encode(), "old.yaml"))
    sinks = [DecisionSink(path) for _ in range(2)]
    workers = [Writer(policy, sink, worker) for worker, sink in enumerate(sinks)]
    try:
        for name in ("decisions.jsonl.2", "decisions.jsonl.1", None):
            for asked in ASKED:
                for worker in workers:
                    worker.ask(*asked)
            assert all(sink.flush(PATIENCE_S) for sink in sinks)
            if name is not None:
                path.rename(folder / name)
                for sink in sinks:
                    sink.reopen()
                wait_for(lambda: all(sink.offers for sink in sinks), "no next file", pause=time.sleep)
    finally:
        assert [sink.close(PATIENCE_S) for sink in sinks] == [0, 0]
    old = folder / "decisions.jsonl.2"
    (folder / "decisions.jsonl.2.gz").write_bytes(gzip.compress(old.read_bytes()))
    old.unlink()
    (folder / "decisions.jsonl.salts").write_text("secret\n")
    return folder


def changes(found):
    return json.loads(found.output)["changes"]


def skipped(told):
    """The skipped lines by reason, without empty ones: a writer that meets another one's half line ends it first."""
    return {one["reason"]: one["count"] for one in told["skipped"] if one["reason"] != "empty"}


def test_under_the_same_policy_nothing_changes_in_logs_of_two_workers(run, logs):
    assert sorted(path.name for path in logs.iterdir()) == [
        "decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2.gz", "decisions.jsonl.salts",
    ]  # fmt: skip
    found = run("replay", logs, "--policy", "old.yaml")
    assert found.output.splitlines()[1:] == [f"{6 * PER_ROUND} the same"]
    assert found.output.startswith(f"{6 * PER_ROUND} decisions in 3 files, from 2026-11-22T02:39:35.500000Z to ")
    assert found.exit_code == 0
    checked = run("replay", logs, "--policy", "old.yaml", "--check")
    assert (checked.exit_code, checked.output) == (0, found.output)


def test_it_says_what_would_change_for_whom(run, logs):
    found = run("replay", logs, "--policy", "new.yaml")
    lines = found.output.splitlines()
    assert lines[1:5] == [
        "30 the same",
        "12 now allowed",
        "12 now denied",
        "  6 lists stay allowed; which DAGs Airflow shows in them is not on record: see `authz diff`",
    ]
    assert found.exit_code == 1
    gain = next(number for number, line in enumerate(lines) if line.startswith("now allowed"))
    assert lines[gain].startswith("now allowed 12 of op (alice, bob): dags:read, DAG hr, 2026-11-22T02:39:3")
    assert lines[gain + 1] == "    was no_rule, now ops"
    assert lines[gain + 2].endswith(
        "try: authz check GET /api/v2/dags/hr --host airflow.test --group ops --group 'x y' --as alice --issuer corp"
    )
    lost = [line.partition(", 2026")[0] for line in lines if line.startswith("now denied")]
    assert lost == [
        "now denied 6 of op (bob): dag_runs:create, DAG sales_a",
        "now denied 6 of etl (etl): GET files.test",
    ]


def test_each_witness_is_answered_as_it_says_under_both_policies(run, logs):
    found = changes(run("replay", logs, "--policy", "new.yaml", "--json"))
    assert len(found) == 3
    for change in found:
        answers = {
            name: json.loads(run("check", *change["check"], "--policy", name, "--json").output)
            for name in ("old.yaml", "new.yaml")
        }
        allowed = {name: told["decision"] == "allow" for name, told in answers.items()}
        assert allowed == {"old.yaml": change["change"] == "denied", "new.yaml": change["change"] == "allowed"}
        assert (answers["new.yaml"]["rule"] or answers["new.yaml"]["reason"]) == change["now"]
        assert (answers["old.yaml"]["rule"] or answers["old.yaml"]["reason"]) == change["was"]
        assert any(change["decision"].encode() in line for line in _all_lines(logs))


def _all_lines(logs):
    for path in logs.iterdir():
        data = path.read_bytes()
        yield from (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()


def test_json_has_every_count(run, logs):
    told = json.loads(run("replay", logs, "--policy", "new.yaml", "--json").output)
    assert told["counts"] == {
        "same": 30, "other_reason": 0, "allowed": 12, "denied": 12, "not_reproduced": 0, "other_revision": 0,
    }  # fmt: skip
    assert (told["decisions"], len(told["files"]), told["unknown"], skipped(told), told["damaged"]) == (
        54,
        3,
        [],
        {},
        [],
    )
    assert list(told["revisions"].values()) == [54]
    assert told["lists"] == 6
    (gain,) = [change for change in told["changes"] if change["change"] == "allowed"]
    assert gain["callers"] == {"count": 2, "subjects": ["alice", "bob"]}
    assert (gain["operation"], gain["dag"], gain["roles"], gain["caller"]) == ("dags:read", "hr", ["op"], "token")


@pytest.mark.parametrize(("fail_on", "new", "status"), [
    ("change", OLD, 0), ("change", NEW, 1), ("allow", NEW, 1), ("deny", NEW, 1),
    ("allow", OLD.replace("[ops]", "[nobody]"), 0), ("deny", OLD.replace("[ops]", "[nobody]"), 1),
    ("allow", OLD.replace('dags: ["sales_*"]', 'dags: ["*"]', 1), 1),
    ("deny", OLD.replace('dags: ["sales_*"]', 'dags: ["*"]', 1), 0),
    ("change", OLD.replace("id: ops", "id: operators"), 0),
])  # fmt: skip
def test_the_exit_status_follows_what_is_asked(run, logs, fail_on, new, status):
    (run.folder / "new.yaml").write_text(new)
    assert run("replay", logs, "--policy", "new.yaml", "--fail-on", fail_on).exit_code == status


def test_a_check_finds_a_decision_that_the_policy_does_not_make(run, logs):
    path = logs / "decisions.jsonl"
    made, other = b'"deny","reason":"no_rule","rule":""', b'"allow","reason":"rule","rule":"ops"'
    path.write_bytes(path.read_bytes().replace(made, other, 1))
    found = run("replay", logs, "--policy", "old.yaml", "--check")
    assert found.exit_code == 1
    assert "1 not reproduced: the same policy decides otherwise" in found.output
    assert "    was ops, now no_rule" in found.output
    other = run("replay", logs, "--policy", "new.yaml", "--check")
    assert other.exit_code == 2
    assert f"54 by another policy ({revision('old.yaml')}), not compared" in other.output
    assert "error: no record that could be evaluated is by this policy, so this confirms nothing" in other.stderr


def revision(name):
    return load(Bundle(pathlib.Path(name).read_bytes(), name)).revision[:12]


def test_what_another_policy_decided_confirms_nothing_of_the_promoted_one(run, logs):
    """The log of a promotion: most of it is by the policy before."""
    writer = Writer(load(Bundle(NEW.encode(), "new.yaml")))
    for _ in range(5):
        writer.ask(inbound("/api/v2/dags/hr"), ALICE)
    path = logs / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + b"".join(writer.sink.lines))
    found = run("replay", logs, "--policy", "new.yaml", "--check")
    assert found.exit_code == 2
    assert found.stdout.splitlines()[1:] == [
        "5 the same",
        f"54 by another policy ({revision('old.yaml')}), not compared",
    ]
    assert "error: only 5 of 59 records could be evaluated and are by this policy, less than 50 %" in found.stderr
    for asked, status in ((("--min-evaluated", "8"), 0), (("--min-evaluated", "9"), 2)):
        assert run("replay", logs, "--policy", "new.yaml", "--check", *asked).exit_code == status
    assert run("replay", logs, "--policy", "old.yaml", "--check").exit_code == 0, "91 % are by that one"
    assert run("replay", logs, "--policy", "new.yaml", "--fail-on", "allow").exit_code == 1, "a comparison takes all"


def test_a_check_finds_a_decision_that_does_not_go_with_its_reason(run, logs):
    path = logs / "decisions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"deny","reason":"no_rule"', b'"allow","reason":"no_rule"', 1))
    found = run("replay", logs, "--policy", "old.yaml", "--check")
    assert found.exit_code == 1
    assert "  1 malformed: " in found.output
    assert run("replay", logs, "--policy", "old.yaml").exit_code == 0


def test_what_cannot_be_evaluated_is_counted_and_named(run, logs):
    path = logs / "decisions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    decision = next(line for line in lines if b'"reason":"rule"' in line)
    torn = decision[:40] + decision
    other = decision.replace(b'"v":1', b'"v":2')
    refused = decision.replace(b'"reason":"rule"', b'"reason":"expired"')
    path.write_bytes(b"".join([*lines, torn, other, refused, b'{"type":"checkpoint"}\n', b"\n", decision[:50]]))
    cut = logs / "decisions.jsonl.2.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    found = run("replay", logs, "--policy", "old.yaml")
    assert found.exit_code == 0
    assert "2 cannot be evaluated again" in found.output
    assert "  1 version: The record has another version of the format, or none." in found.output
    assert "  1 refused_token: The token was refused, so it is not known who called." in found.output
    place = f"{path}:{len(lines) + 1}, {path}:{len(lines) + 6}"
    assert f"The line is not one JSON object: it was cut, or something else wrote it. {place}" in found.output
    assert (
        f"1 line skipped: The line has a type that this version does not know. {path}:{len(lines) + 4}" in found.output
    )
    assert f"{cut}:" in found.output
    assert "the compressed file is damaged or cut" in found.output
    told = json.loads(run("replay", logs, "--policy", "old.yaml", "--json").output)
    assert {one["gap"]: one["count"] for one in told["unknown"]} == {"version": 1, "refused_token": 1}
    assert skipped(told) == {"broken": 3, "other_type": 1}
    assert told["damaged"]


def test_identity_entries_may_be_in_an_earlier_file_of_another_worker(run, logs):
    path = logs / "decisions.jsonl"
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"type":"identity"' not in line))
    assert run("replay", logs, "--policy", "old.yaml").output.splitlines()[1] == "54 the same"
    alone = run("replay", path, "--policy", "old.yaml")
    assert "14 cannot be evaluated again\n  14 identity_unknown: The identity entry" in alone.output
    error = "error: only 4 of 18 records could be evaluated, less than 50 %: this says little about the policy"
    assert (alone.exit_code, f"{error} (--min-evaluated)\n" in alone.stderr) == (2, True)
    for least, status in (("22", 0), ("22.3", 2), ("0", 0)):
        found = run("replay", path, "--policy", "old.yaml", "--json", "--min-evaluated", least)
        assert (found.exit_code, error[:54] in found.stderr) == (status, bool(status)), least


def test_a_change_that_was_found_is_a_change_however_little_could_be_evaluated(run, logs):
    path = logs / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + b"torn\n" * 100)
    same = run("replay", path, "--policy", "old.yaml", "--fail-on", "allow")
    assert "of 1" in same.stderr
    assert same.exit_code == 2
    changed = run("replay", logs, "--policy", "new.yaml", "--fail-on", "allow", "--min-evaluated", "90")
    assert (changed.exit_code, "54 of 154 records could be evaluated" in changed.stderr) == (1, True)
    told = run("unused", path, "--policy", "old.yaml")
    assert (told.exit_code, "this says little about the policy" in told.stderr) == (2, True)
    assert run("unused", path, "--policy", "old.yaml", "--min-evaluated", "1").exit_code == 0


def test_a_log_in_which_nothing_can_be_evaluated_says_nothing(run):
    writer = Writer(load(Bundle(OLD.encode(), "old.yaml")))
    writer.ask(inbound("/x"), ALICE, reason=Reason.EXPIRED)
    path = run.folder / "a.jsonl"
    for data in (b"".join(writer.sink.lines), b"", b"not a log\n"):
        path.write_bytes(data)
        found = run("replay", path, "--policy", "old.yaml")
        assert found.exit_code == 2
        assert "no record could be evaluated, so this says nothing about the policy" in found.output


def test_patterns_and_git(run, logs):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words],
            cwd=run.folder, check=True, capture_output=True,
        )  # fmt: skip

    git("init", "-q")
    git("add", "new.yaml")
    git("commit", "-qm", "new")
    found = run("replay", logs / "decisions.jsonl*[0-9z]", "--policy", "git:HEAD:new.yaml", "--json")
    told = json.loads(found.output)
    assert (len(told["files"]), told["decisions"]) == (2, 36)
    assert found.exit_code == 1


def test_the_settings_name_the_log_and_the_policy(run, logs):
    (run.folder / "policy.yaml").write_text(OLD.replace("destinations: [orders]", "hosts: [orders.test]"))
    (run.folder / "authz.yaml").write_text("version: 1\npolicy: policy.yaml\nlog: {decisions: log/decisions.jsonl}\n")
    found = run("replay", "--settings", "authz.yaml")
    assert found.output.startswith("54 decisions in 3 files")
    assert found.exit_code == 0
    assert run("replay", "--settings", "authz.yaml", "--policy", "new.yaml").exit_code == 1
    stock = '{name: stock, address: "127.0.0.1:1", hosts: [stock.test]}'
    envoy = f"envoy: {{egress: {{destinations: [{stock}]}}}}\n"
    with (run.folder / "authz.yaml").open("a") as file:
        file.write(envoy + 'assertion: {issuer: "https://gate.test", keys: [k.pem]}\n')
    refused = run("replay", "--settings", "authz.yaml", "--policy", "new.yaml")
    assert refused.exit_code == 2, refused.output  # a gate with these settings would refuse it
    assert "new.yaml:" in refused.output
    assert "orders" in refused.output
    (run.folder / "authz.yaml").write_text("version: 1\npolicy: policy.yaml\n")
    refused = run("replay", "--settings", "authz.yaml")
    assert refused.exit_code == 2
    assert "name the decision logs" in refused.output


def test_mistakes_end_with_status_2(run, logs):
    for words, text in (
        (("replay", "--policy", "old.yaml"), "name the decision logs"),
        (("replay", "nothing", "--policy", "old.yaml"), "nothing: cannot be read: No such file or directory"),
        (("replay", logs, "--policy", "none.yaml"), "none.yaml: cannot be read"),
        (("replay", logs, "--policy", "git:x"), "is not git:REVISION:PATH"),
        (("replay", logs), "policy.yaml: cannot be read"),
    ):
        found = run(*words)
        assert (found.exit_code, text in found.output) == (2, True), found.output


def test_many_changes_are_cut_in_text_and_whole_in_json(run, logs, monkeypatch):
    monkeypatch.setattr(replay, "_SHOWN", 1)
    found = run("replay", logs, "--policy", "new.yaml")
    assert "and 1 more that are now denied, 6 decisions: see --json" in found.output
    (run.folder / "new.yaml").write_text(OLD.replace("[ops]", "[nobody]"))
    monkeypatch.setattr(replay, "_SHOWN", 50)
    assert "of op; now no role (alice): dags:read, DAG sales_a" in run("replay", logs, "--policy", "new.yaml").output


def test_what_callers_wrote_stays_one_line(run):
    writer = Writer(load(Bundle(OLD.encode(), "old.yaml")))
    writer.ask(inbound("/api/v2/dags/%E2%80%AEhr"), claims(ISSUER, "al\x1b[2Jice\nx", groups=["ops", "\u202e"]))
    (run.folder / "a\n.jsonl").write_bytes(b"".join(writer.sink.lines) + b"torn")
    found = run("replay", "a\n.jsonl", "--policy", "new.yaml")
    assert all(line.isprintable() for line in found.output.splitlines())
    assert "al\\x1b[2Jice\\nx" in found.output
    assert len(found.output.splitlines()) == 6


def test_the_words_are_quoted_for_a_shell(run, logs):
    (line,) = [line for line in run("replay", logs, "--policy", "new.yaml").output.splitlines() if "x y" in line]
    assert "x y" in shlex.split(line.partition("try: ")[2])
