"""`authz who-can` and `what-can`: what they print and how they end."""

import csv
import json

import pytest
from click.testing import CliRunner

from authz.cli import main

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
roles:
  reader: {groups: [readers, auditors]}
  op: {groups: [ops], includes: [reader]}
  etl: {clients: [etl]}
rules:
  - {id: r, plane: inbound, roles: [reader], operations: ["dags:read", "pools:read"]}
  - {id: t, plane: inbound, roles: [etl, op], operations: ["dag_runs:create"], dags: ["sales_*"]}
  - {id: d, plane: inbound, deny: true, operations: ["dags:read"], dags: ["*_secret"]}
  - {id: c, plane: egress, roles: [etl], destinations: [orders], methods: [GET], paths: ["/v1/**"]}
  - {id: s, plane: egress, destinations: [stock], methods: [GET], paths: ["/**"], dags: ["s_*"], identity: verified}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)

    def call(*arguments, columns=200):
        monkeypatch.setenv("COLUMNS", str(columns))
        return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)

    return call


def test_who_can_do_an_operation(run):
    found = run("who-can", "dags:read")
    assert found.output == "group `auditors`, group `readers`, group `ops`: all DAGs, not *_secret  (rule r)\n"
    assert found.exit_code == 0
    (row,) = json.loads(run("who-can", "pools:read", "--json").output)
    assert row["who"] == ["group `auditors`", "group `readers`", "group `ops`"]
    assert (row["what"], row["rules"], row["paths"], row["except"]) == ("yes", ["r"], [], [])


def test_who_can_for_a_dag(run):
    assert "client `etl`" in run("who-can", "dag_runs:create", "--dag", "sales_eu").output
    nobody = run("who-can", "dag_runs:create", "--dag", "stock")
    assert (nobody.output, nobody.exit_code) == ("no one\n", 1)
    assert run("who-can", "dags:read", "--dag", "a_secret").output == "no one\n"


def test_who_can_call_a_destination(run):
    assert run("who-can", "--destination", "orders").output == "client `etl` (etl): GET orders /v1/**  (rule c)\n"
    assert run("who-can", "--destination", "stock").output.startswith("a run: GET stock /**")
    refused = run("who-can", "--destination", "order")
    assert refused.exit_code == 2
    assert "no rule names the destination order (did you mean `orders`?)" in refused.output


def test_a_question_that_is_none_is_refused(run):
    assert "did you mean `dags:read`?" in run("who-can", "dag:read").output
    for words in ([], ["dags:read", "--destination", "orders"]):
        refused = run("who-can", *words)
        assert refused.exit_code == 2
        assert "name an operation, or a --destination" in refused.output
    assert "there is no operation xxxxx (see `authz operations`)" in run("who-can", "xxxxx").output
    assert "did you mean `op`?" in run("what-can", "--role", "ops").output
    assert "see its `roles`" in run("what-can", "--role", "zzzzzz").output
    assert "give it alone" in run("what-can", "--role", "op", "--group", "ops").output
    assert "it has corp" in run("what-can", "--issuer", "other").output
    assert "the policy has no role x" in run("matrix", "--role", "x").output


def test_what_a_caller_can_do(run):
    lines = run("what-can", "--group", "readers").output.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:2]] == [
        ["dags:read", "all DAGs, not *_secret"],
        ["pools:read", "yes"],
    ]
    found = run("what-can", "--client", "etl", "--as", "x", "--issuer", "corp").output.splitlines()
    assert found[0].split(maxsplit=1) == ["dag_runs:create", "sales_*"]
    assert found[1] == "call GET orders /v1/**"
    assert run("what-can").output == "nothing\n"
    assert lines[-1] == "in Airflow itself: viewer"
    assert json.loads(run("what-can", "--group", "ops", "--json").output)["airflow_role"] == "op"
    as_json = json.loads(run("what-can", "--role", "op", "--json").output)
    reading = as_json["operations"]["dags:read"]
    assert (reading["dags"], reading["not"], reading["rules"]) == (["*"], ["*_secret"], ["r"])
    assert as_json["calls"] == []


def test_what_no_role_has_is_said_beside_the_answer(run):
    """An answer about a group that no role has is one about no one: perhaps a slip."""
    near = "note: no role has the group `reeders` (did you mean `readers`?)\n"
    for more in ([], ["--json"]):
        found = run("what-can", "--group", "reeders", *more)
        assert (found.exit_code, found.stderr, "note" in found.stdout) == (0, near, False)
        assert run("what-can", "--group", "readers", "--group", "of-something-else", *more).stderr == ""
    assert run("what-can", "--client", "elt").stderr == "note: no role has the client `elt` (did you mean `etl`?)\n"
    assert run("what-can", "--as", "quite-other").stderr == "note: no role has the subject `quite-other`\n"
    question = ("GET", "/api/v2/dags", "--group", "reeders")
    assert near.removeprefix("note: ") in run("check", *question).stdout
    assert near.removeprefix("note: ") in run("explain", *question).stdout
    assert json.loads(run("check", *question, "--json").stdout)["notes"][-1] == near[6:-1]


def test_of_many_questions_each_has_the_notes_that_it_has_alone(run, tmp_path):
    asked = ["GET /api/v2/dags --group reeders", "GET /api/v2/pools --group readers", "POST /api/v2/pools --client elt"]
    (tmp_path / "asked").write_text("\n".join(asked))
    for more in ([], ["--json"]):
        found = run("check", "--requests", tmp_path / "asked", *more)
        alone = [run("check", *question.split(), *more) for question in asked]
        assert found.stderr == ""
        if more:
            shown = [json.loads(line)["notes"] for line in found.stdout.splitlines()]
            assert shown == [json.loads(one.stdout)["notes"] for one in alone]
            assert [bool(notes) for notes in shown] == [True, False, True]
        else:
            notes = [line for one in alone for line in one.stdout.splitlines() if "no role has" in line]
            lines = found.stdout.splitlines()
            assert [line for line in lines if line.startswith("  ")] == notes
            assert [line.rpartition("  ")[2] for line in lines if not line.startswith("  ")] == asked
            assert lines[1] == "  no role has the group `reeders` (did you mean `readers`?)"


GRANTABLE = (
    POLICY
    + """grantable:
  - {id: oncall, requesters: [reader], approvers: [op], longest: 3d, roles: [etl], operations: ["pools:delete"]}
  - {id: night, requesters: [reader], approvers: none, longest: 1h, operations: ["variables:read"]}
"""
)


@pytest.fixture
def granting(run, tmp_path):
    (tmp_path / "policy.yaml").write_text(GRANTABLE)
    return run


def test_who_can_names_grants(granting):
    found = granting("who-can", "dag_runs:create")
    assert found.output == "group `ops`, client `etl`, grant `oncall`: sales_*  (rule t)\n"
    assert granting("who-can", "pools:delete").output == "grant `oncall`: yes  (rule grant/oncall)\n"
    (row,) = json.loads(granting("who-can", "--destination", "orders", "--json").output)
    assert row["who"] == ["client `etl`", "grant `oncall`"]


def test_what_can_a_grant_and_several_things_together(granting):
    assert granting("what-can", "--grant", "oncall").output.splitlines() == [
        "dag_runs:create            sales_*",
        "pools:delete               yes",
        "call GET orders /v1/**",
        "in Airflow itself: op",
    ]
    both = granting("what-can", "--grant", "oncall", "--grant", "night", "--group", "readers").output
    assert {line.split()[0] for line in both.splitlines()} == {
        "call", "dag_runs:create", "dags:read", "in", "pools:delete", "pools:read", "variables:read",
    }  # fmt: skip


def test_what_can_says_what_a_caller_may_ask_for(granting):
    lines = granting("what-can", "--group", "readers").output.splitlines()
    assert lines[-2:] == [
        "may ask for a grant of `night`, for 1h at most",
        "may ask for a grant of `oncall`, for 3d at most, which op approves",
    ]
    assert granting("what-can", "--role", "reader").output.splitlines()[-2:] == lines[-2:]
    assert "may ask" not in granting("what-can", "--client", "etl").output
    assert "`night`" not in granting("what-can", "--group", "readers", "--grant", "night").output
    as_json = json.loads(granting("what-can", "--group", "readers", "--json").output)
    assert as_json["may_ask_for"] == ["night", "oncall"]
    assert json.loads(granting("what-can", "--json").output)["may_ask_for"] == []


@pytest.mark.parametrize("command", [("what-can",), ("check", "GET", "/api/v2/pools"), ("explain", "GET", "/x")])
def test_a_grant_that_the_policy_has_not_is_an_error_and_never_an_empty_answer(granting, command):
    found = granting(*command, "--grant", "onkall")
    assert found.exit_code == 2
    assert "the policy has no entry onkall of `grantable` (did you mean `oncall`?)" in found.output
    assert "it has oncall, night" in granting(*command, "--grant", "zzz").output


def test_a_role_stands_for_a_caller_alone(granting):
    assert "give it alone" in granting("what-can", "--role", "op", "--grant", "oncall").output


def test_check_and_explain_ask_for_a_caller_who_holds_grants(granting):
    path = "/api/v2/pools/small"
    assert granting("check", "DELETE", path, "--group", "readers").exit_code == 1
    found = granting("check", "DELETE", path, "--group", "readers", "--grant", "night", "--grant", "oncall")
    assert found.exit_code == 0
    assert found.output.startswith("allow 200 reason=rule rule=grant/oncall operation=pools:delete\n")
    assert "grant/oncall" in granting("explain", "DELETE", path, "--grant", "oncall").output
    outbound = ("GET", "http://orders.internal/v1/x", "--plane", "egress", "--destination", "orders")
    assert granting("check", *outbound, "--grant", "oncall").exit_code == 0
    assert granting("check", *outbound, "--grant", "night").exit_code == 1


def test_the_matrix_has_a_column_for_each_grant(granting):
    rows = list(csv.reader(granting("matrix", "--format", "csv").output.splitlines()))
    assert rows[0][-2:] == ["grant oncall", "grant night"]
    assert {row[0]: row[-2:] for row in rows[1:]}["pools:delete"] == ["yes", ""]
    only = list(csv.reader(granting("matrix", "--format", "csv", "--role", "grant/night").output.splitlines()))
    assert only == [["operation", "grant night"], ["variables:read", "yes"]]


def test_diff_reports_grants_and_fails_on_wider_ones(granting, tmp_path):
    (tmp_path / "old.yaml").write_text(POLICY)
    found = granting("diff", "old.yaml", "policy.yaml", "--fail-on-widen")
    assert found.exit_code == 1
    assert "gains grant `night`: variables:read" in found.output.replace(" (grant/night)", "")
    assert "--grant night" in found.output
    (tmp_path / "longer.yaml").write_text(GRANTABLE.replace("longest: 1h", "longest: 1d"))
    found = granting("diff", "policy.yaml", "longer.yaml", "--fail-on-widen")
    assert found.exit_code == 1
    assert "the longest time of grants of `night` has changed: 1h → 1d" in found.output
    assert granting("prove", "no-new-access", "policy.yaml", "longer.yaml").output.startswith("FAIL")
    assert granting("prove", "no-new-access", "longer.yaml", "policy.yaml").output == "PASS\n"


BLOCKED = '  - {id: b, deny: true, plane: inbound, roles: [reader], operations: ["variables:*"]}\ngrantable:'


class TestADenialThatAGrantWouldEnd:
    """`check` names the grants that this caller may ask for, and with which this very request would be allowed."""

    NIGHT = "could be asked for: authz grant request night --for 1h --reason REASON (without approval)"
    ONCALL = "could be asked for: authz grant request oncall --for 3d --reason REASON (approved by op)"

    def notes(self, run, *words, status=1):
        found = run("check", *words, "--json")
        assert found.exit_code == status
        notes = json.loads(found.stdout)["notes"]
        assert all(f"  {note}\n" in run("check", *words).stdout for note in notes)
        return [note for note in notes if "asked for" in note]

    @pytest.mark.parametrize(
        ("asked", "note"),
        [
            (("GET", "/api/v2/variables"), NIGHT),
            (("DELETE", "/api/v2/pools/x"), ONCALL),
            (("POST", "/api/v2/dags/sales_a/dagRuns"), ONCALL),  # by a role that the entry gives
        ],
    )
    def test_the_note_has_the_command(self, granting, asked, note):
        assert self.notes(granting, *asked, "--group", "readers") == [note]
        given = note.split()[7]
        assert granting("check", *asked, "--group", "readers", "--grant", given).exit_code == 0

    @pytest.mark.parametrize(
        "words",
        [
            ("GET", "/api/v2/variables"),  # anonymous
            ("GET", "/api/v2/variables", "--client", "etl"),  # may not ask
            ("GET", "/api/v2/variables", "--grant", "oncall"),  # a grant is no right to ask
            ("POST", "/api/v2/dags/hr/dagRuns", "--group", "readers"),  # no entry gives it
            ("DELETE", "/api/v2/connections/x", "--group", "readers"),
        ],
    )
    def test_no_note_where_asking_would_not_help_or_is_not_permitted(self, granting, words):
        assert self.notes(granting, *words) == []

    def test_no_note_where_it_is_allowed_already(self, granting):
        words = ("GET", "/api/v2/variables", "--group", "readers", "--grant", "night")
        assert self.notes(granting, *words, status=0) == []

    def test_no_note_where_a_deny_rule_would_win_over_the_grant(self, granting, tmp_path):
        (tmp_path / "policy.yaml").write_text(GRANTABLE.replace("grantable:", BLOCKED))
        assert self.notes(granting, "GET", "/api/v2/variables", "--group", "readers") == []

    def test_no_note_for_tokens_that_the_grants_port_refuses(self, granting, tmp_path):
        """They have no audience on the inbound plane."""
        entry = "requesters: [authenticated], approvers: none, longest: 1h, plane: egress, destinations: [new]"
        policy = GRANTABLE.replace("grantable:", f'grantable:\n  - {{id: way, {entry}, paths: ["/**"]}}')
        asked = ("GET", "/v1/x", "--plane", "egress", "--destination", "new", "--client", "etl")
        (tmp_path / "policy.yaml").write_text(policy)
        assert len(self.notes(granting, *asked)) == 1
        (tmp_path / "policy.yaml").write_text(policy.replace("inbound: [airflow], ", ""))
        assert self.notes(granting, *asked) == []

    def test_no_note_for_a_gate_without_grants(self, granting, tmp_path):
        words = ("GET", "/api/v2/variables", "--group", "readers", "--settings", "authz.yaml")
        settings = tmp_path / "authz.yaml"
        settings.write_text("version: 1\n")
        assert self.notes(granting, *words) == []
        settings.write_text("version: 1\ngrants: {file: grants.jsonl}\n")
        assert self.notes(granting, *words) == [self.NIGHT]
