"""`authz unused`: what it prints of a log, and a proposal that the prover and a replay accept."""

import json

import pytest

from authz.core.policy import Bundle, load
from authz.core.reasons import Reason
from tests.support.factories.decision_logs import Writer
from tests.unit.cli.test_replay import ALICE, BOB, ETL, OLD, RUN, inbound, outbound, run

assert run  # a fixture

ASKED = [
    (inbound("/api/v2/dags/sales_a"), ALICE),
    (inbound("/api/v2/dags/sales_b"), BOB),
    (inbound("/api/v2/dags/hr"), BOB),
    (inbound("/api/v2/monitor/health"), None),
    (outbound("orders.test", destination="orders"), None, RUN),
]


@pytest.fixture
def log(run):
    writer = Writer(load(Bundle(OLD.encode(), "old.yaml")))
    for asked in ASKED:
        writer.ask(*asked)
    path = run.folder / "decisions.jsonl"
    path.write_bytes(b"".join(writer.sink.lines))
    return path


def test_it_says_what_was_used_and_what_was_not(run, log):
    found = run("unused", log, "--policy", "old.yaml")
    lines = found.output.splitlines()
    assert found.exit_code == 0
    assert lines[:6] == [
        "5 decisions in 1 file, from 2026-11-22T02:39:35.500000Z to 2026-11-22T02:39:36.500000Z",
        "any caller",
        "  used 1 of health:read  (rule health, last 2026-11-22T02:39:36.250000Z)",
        "  used 1 of orders, DAG sales_a  (rule orders, last 2026-11-22T02:39:36.500000Z)",
        "op",
        "  used 2 of dags:read, DAG sales_a, sales_b  (rule ops, last 2026-11-22T02:39:35.750000Z)",
    ]
    [left] = [line for line in lines if line.startswith("  not used dag_runs:")]
    assert ("dag_runs:create, " in left, left.endswith(", DAG sales_*")) == (True, True)
    assert lines[-1] == "rules that decided nothing: files"


def test_json_has_the_same(run, log):
    told = json.loads(run("unused", log, "--policy", "old.yaml", "--json").output)
    assert (told["decisions"], told["rules"], told["unknown"]) == (5, ["files"], [])
    assert {(one["role"], one["target"], one["rule"], one["count"]) for one in told["used"]} == {
        ("any caller", "health:read", "health", 1),
        ("any caller", "orders", "orders", 1),
        ("op", "dags:read", "ops", 2),
    }
    assert {"role": "op", "operation": "dag_runs:create", "dags": ["sales_*"], "not": [], "rules": ["ops"]} in told[
        "unused"
    ]


def test_the_proposal_is_not_wider_and_changes_nothing_of_the_log(run, log):
    made = run("unused", log, "--policy", "old.yaml", "--yaml")
    assert made.exit_code == 0
    assert made.output.splitlines()[0].startswith("# From 5 decisions in 1 file, from 2026-11-22T02:39:35.500000Z to ")
    (run.folder / "proposal.yaml").write_text(made.output)
    assert run("prove", "no-new-access", "old.yaml", "proposal.yaml").output == "PASS\n"
    assert run("prove", "no-new-access", "proposal.yaml", "old.yaml").exit_code == 1
    replayed = run("replay", log, "--policy", "proposal.yaml")
    assert (replayed.exit_code, replayed.output.splitlines()[1]) == (0, "5 the same")
    assert "  # files: not used\n" in made.output
    assert run("lint", "proposal.yaml").exit_code == 0


def test_what_could_not_be_evaluated_is_said(run, log):
    writer = Writer(load(Bundle(OLD.encode(), "old.yaml")))
    writer.ask(inbound("/x"), ETL, reason=Reason.EXPIRED)
    with log.open("ab") as file:
        file.write(b"".join(writer.sink.lines))
    text = run("unused", log, "--policy", "old.yaml").output
    assert "1 cannot be evaluated again: what they used is not known\n  1 refused_token: " in text
    made = run("unused", log, "--policy", "old.yaml", "--yaml").output
    assert made.splitlines()[0].endswith("; 1 decisions could not be evaluated.")


def test_many_dags_are_cut_in_a_line(run):
    writer = Writer(load(Bundle(OLD.encode(), "old.yaml")))
    for number in range(10):
        writer.ask(inbound(f"/api/v2/dags/sales_{number}"), ALICE)
    (run.folder / "a").write_bytes(b"".join(writer.sink.lines))
    assert "sales_7 and 2 more  (rule ops" in run("unused", "a", "--policy", "old.yaml").output


def test_mistakes_end_with_status_2(run, log):
    (run.folder / "empty").write_bytes(b"x\n")
    head, _, rules = OLD.partition("rules:\n")
    flow = ",\n".join(line.replace("  - ", "    ", 1) for line in rules.splitlines())
    (run.folder / "flow.yaml").write_text(f"{head}rules: [\n{flow}\n]\n")
    (run.folder / "json.yaml").write_text(f"{head}? rules\n:\n{rules}")
    for words, text in (
        (("unused", "--policy", "old.yaml"), "name the decision logs"),
        (("unused", "empty", "--policy", "old.yaml"), "no record could be evaluated"),
        (("unused", log, "--policy", "none.yaml"), "none.yaml: cannot be read"),
        (("unused", log, "--policy", "old.yaml", "--yaml", "--json"), "give one of them"),
        (("unused", log, "--policy", "flow.yaml", "--yaml"), "as a list of lines"),
        (("unused", log, "--policy", "json.yaml", "--yaml"), "needs `rules:` at the beginning of a line"),
    ):
        found = run(*words)
        assert (found.exit_code, text in found.output) == (2, True), found.output


BEFORE = """tests:
  - {name: files may be read, who: {client: etl}, request: GET http://files.test/v1/x, plane: egress, expect: allow}
"""
AFTER = """tests:
  - {name: health is public, who: anonymous, request: GET /api/v2/monitor/health, expect: allow, rule: health}
  - {name: by files, who: {client: etl}, request: GET http://files.test/v1/x, plane: egress, expect: allow, rule: files}
  - name: ops may start runs
    who: {groups: [ops]}
    table:
      GET /api/v2/dags/sales_a: allow
      dag_runs:create sales_a: allow
"""


def place_of(text, part):
    """Line and column of a part that the text has once."""
    before = text[: text.index(part)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_tests_that_need_what_was_not_used_are_named_with_their_places_in_the_proposal(run, log):
    (run.folder / "tested.yaml").write_text(OLD + AFTER)
    assert run("test", "tested.yaml").exit_code == 0
    made = run("unused", log, "--policy", "tested.yaml", "--yaml")
    assert made.exit_code == 0
    (run.folder / "proposal.yaml").write_text(made.stdout)
    assert run("lint", "proposal.yaml").exit_code == 1, "a gate refuses it, as the warning says"
    first, *told = made.stderr.splitlines()
    assert (
        first
        == "warning: a gate refuses this proposal: tests that do not fit: 2 (edit them, or put back what they need)"
    )
    by_files, starts = told
    at = place_of(made.stdout, "{name: by files")
    assert by_files.startswith(
        f"  proposal:{at}: the test `by files` fails: expected allow by rule `files`, found deny"
    )
    at = place_of(made.stdout, "dag_runs:create sales_a")
    assert starts.startswith(f"  proposal:{at}: the test `ops may start runs: dag_runs:create sales_a` fails: ")


def test_tests_above_the_rules_and_in_files_of_their_own_have_their_places(run, log):
    (run.folder / "cases.yaml").write_text(AFTER)
    text = OLD.replace("version: 1\n", "version: 1\ntest_files: [cases.yaml]\n").replace(
        "rules:\n", f"{BEFORE}rules:\n"
    )
    (run.folder / "tested.yaml").write_text(text)
    made = run("unused", log, "--policy", "tested.yaml", "--yaml")
    assert [line.partition(": ")[0] for line in made.stderr.splitlines()[1:]] == [
        f"  cases.yaml:{place_of(AFTER, '{name: by files')}",
        f"  cases.yaml:{place_of(AFTER, 'dag_runs:create sales_a')}",
        f"  proposal:{place_of(made.stdout, '{name: files may')}",
    ]


def test_a_proposal_that_its_tests_fit_has_no_warning(run, log):
    fitting = "".join(AFTER.splitlines(keepends=True)[:2])
    (run.folder / "tested.yaml").write_text(OLD + fitting)
    made = run("unused", log, "--policy", "tested.yaml", "--yaml")
    assert (made.exit_code, made.stderr) == (0, "")
    (run.folder / "proposal.yaml").write_text(made.stdout)
    assert run("test", "proposal.yaml").exit_code == 0


def test_many_tests_that_do_not_fit_are_cut(run, log):
    entry = (
        "  - {{name: t{}, who: {{client: etl}}, request: GET http://files.test/v1/x, plane: egress, expect: allow}}\n"
    )
    (run.folder / "tested.yaml").write_text(OLD + "tests:\n" + "".join(entry.format(n) for n in range(103)))
    told = run("unused", log, "--policy", "tested.yaml", "--yaml").stderr.splitlines()
    assert told[0].startswith("warning: a gate refuses this proposal: tests that do not fit: 103 ")
    assert (len(told), told[-1]) == (102, "  and 3 more")
