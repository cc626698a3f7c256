"""`authz diff` and `authz prove`: what they print, how they end, and that what they print can be tried."""

import json
import shlex
import subprocess

import pytest
from click.testing import CliRunner

from authz.cli import main

OLD = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
roles:
  op: {groups: [ops]}
  etl: {clients: [etl]}
  contractor: {groups: [contractors]}
rules:
  - {id: ops, plane: inbound, roles: [op], operations: [airflow.op]}
  - {id: sales, plane: inbound, roles: [etl], operations: ["dags:read", "dag_runs:create"], dags: ["sales_eu_*"]}
  - {id: limit, deny: true, roles: [contractor], operations: ["connections:*", "variables:*"]}
  - {id: orders, plane: egress, roles: [etl], hosts: [orders.internal], methods: [GET], paths: ["/v1/orders"]}
  - {id: stock, plane: egress, destinations: [stock], paths: ["/**"], dags: ["stock_*"], identity: verified-bearer}
"""
WIDER = (
    OLD.replace("sales_eu_*", "sales_*")
    .replace(', "variables:*"', "")
    .replace('"/v1/orders"', '"/v1/**"')
    .replace("stock_*", "stock_eu_*")
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(WIDER)

    def call(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)

    call.folder = tmp_path
    return call


def test_it_says_who_gains_and_who_loses(run):
    found = run("diff", "old.yaml", "new.yaml")
    assert found.exit_code == 0
    gained = ", ".join(f"variables:{action}" for action in ("bulk", "create", "delete", "read", "update"))
    assert found.output.splitlines()[:3] == [
        f"gains group `ops` and group `contractors` (op): {gained}",
        "    rule `ops`; the deny rule `limit` is narrower",
        "    try: authz check GET /api/v2/variables --host z --group ops --group contractors --issuer corp",
    ]
    assert "gains client `etl` (etl): dag_runs:create, dags:read, DAG sales_*" in found.output
    assert "gains client `etl` (etl): GET orders.internal /v1/**" in found.output
    assert "loses a run: stock /**, as a run (verified, verified-bearer), DAG stock_*" in found.output


def test_each_request_that_it_prints_is_answered_as_it_says(run):
    changes = json.loads(run("diff", "old.yaml", "new.yaml", "--json").output)["changes"]
    assert len(changes) >= 4
    for change in changes:
        allowing, denying = ("new.yaml", "old.yaml") if change["change"] == "gains" else ("old.yaml", "new.yaml")
        told = json.loads(run("check", *change["check"], "--policy", allowing, "--json").output)
        assert told["decision"] == "allow", change
        assert told["rule"] == change["rule"] or change["shows"]
        other = run("check", *change["check"], "--policy", denying, "--json")
        if not change["shows"]:
            assert json.loads(other.output)["decision"] == "deny", change


UPGRADE = """  - {id: ui, plane: inbound, roles: [contractor], operations: ["ui:read"]}
  - {id: links, plane: inbound, roles: [contractor], operations: ["connections:read"], hosts: ["c.example"]}
"""


@pytest.fixture
def upgrade(run):
    (run.folder / "policy.yaml").write_text(
        "".join(line for line in OLD.splitlines(keepends=True) if "limit" not in line) + UPGRADE
    )
    return lambda command, *options: run(*command, "--airflow", "3.2.2", "3.3.2", "policy.yaml", *options)


def test_an_upgrade_of_airflow_says_who_gains_and_loses_which_routes(upgrade):
    lines = upgrade(["diff"]).output.splitlines()
    assert lines[0] == "every route of Airflow 3.2 is compared with the same request to Airflow 3.3"
    gone = "GET /ui/pending_partitioned_dag_run/{dag_id}/{partition_key}"
    assert f"loses group `contractors` (contractor): ui:read by {gone}, DAG *" in lines
    assert any(line.startswith("    try: authz check GET ") and line.endswith(" --airflow 3.3") for line in lines)
    assert any(line.startswith("    try: authz check GET ") and line.endswith(" --airflow 3.2") for line in lines)


def test_each_request_of_an_upgrade_is_answered_as_it_says(run, upgrade):
    report = json.loads(upgrade(["diff"], "--json").output)
    assert report["airflow"] == ["3.2", "3.3"]
    assert {change["change"] for change in report["changes"]} == {"gains", "loses"}
    for change in report["changes"]:
        versions = ("3.3", "3.2") if change["change"] == "gains" else ("3.2.2", "3.3.2")
        asked = ["check", *change["check"], "--json", "--airflow"]
        allowed, denied = (json.loads(run(*asked, version).output)["decision"] for version in versions)
        assert (allowed, denied) == ("allow", "deny" if not change["shows"] else denied), change
        assert json.loads(run("explain", *asked[1:], versions[0]).output)["decision"] == "allow"


def test_an_upgrade_that_widens_ends_with_status_1_where_that_is_asked(run, upgrade):
    assert upgrade(["diff"]).exit_code == 0
    assert upgrade(["diff"], "--fail-on-widen").exit_code == 1
    proved = upgrade(["prove", "no-new-access"])
    assert (proved.exit_code, proved.output.splitlines()[0]) == (1, "FAIL")
    less = OLD[: OLD.index("  - {id: ops")] + UPGRADE.splitlines()[1] + "\n"  # which only loses
    (run.folder / "policy.yaml").write_text(less)
    assert upgrade(["diff"], "--fail-on-widen").exit_code == 0
    assert upgrade(["prove", "no-new-access"]).output == "PASS\n"


def test_an_upgrade_as_a_table(upgrade):
    lines = upgrade(["diff"], "--markdown").output.splitlines()
    assert lines[0] == "> **every route of Airflow 3.2 is compared with the same request to Airflow 3.3**"
    rows = [line for line in lines if line.startswith(("| gains", "| loses"))]
    assert any("ui:read by GET " in row for row in rows)
    assert all(" --airflow 3." in row and row.count(" | ") == 4 for row in rows)


def test_two_files_for_two_versions_of_airflow_are_compared_route_by_route(run, upgrade):
    text = (run.folder / "policy.yaml").read_text()
    for name, version in (("old.yaml", "3.2"), ("new.yaml", "3.3")):
        (run.folder / name).write_text(text.replace("version: 1", f'version: 1\nairflow: "{version}"'))
    of_files, of_versions = (
        json.loads(found.output)
        for found in (run("diff", "old.yaml", "new.yaml", "--json"), upgrade(["diff"], "--json"))
    )
    assert of_files == of_versions
    assert "--airflow" not in run("diff", "old.yaml", "new.yaml").output


def test_a_change_of_the_policy_and_an_upgrade_are_one_question(run):
    both = run("diff", "--airflow", "3.2", "3.3", "old.yaml", "new.yaml").output
    assert "gains client `etl` (etl): GET orders.internal /v1/**" in both


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["old.yaml"], "give OLD and NEW, or one policy and two versions of Airflow"),
        (["--airflow", "3.2", "9.9", "old.yaml"], "there is no catalogue for Airflow '9.9': known are 3.1, 3.2, 3.3"),
        (["--airflow", "3.2", "3.3.2rc1", "old.yaml"], "there is no catalogue for Airflow '3.3.2rc1'"),
    ],
)
def test_versions_that_cannot_be_compared_are_a_mistake(run, arguments, said):
    found = run("diff", *arguments)
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())


def test_an_operation_that_one_version_lacks_is_a_mistake_of_the_policy(run):
    text = OLD.replace("[airflow.op]", '["dag_runs:bulk"]')
    (run.folder / "policy.yaml").write_text(text)
    found = CliRunner().invoke(main, ["diff", "--airflow", "3.2", "3.3", "policy.yaml"])
    assert found.exit_code == 2
    assert "unknown operation `dag_runs:bulk` (Airflow 3.2)" in found.output


def test_a_list_that_shows_more_names_the_dag(run):
    (run.folder / "old.yaml").write_text(OLD.replace('["dags:read", "dag_runs:create"]', '["dags:read"]'))
    (run.folder / "new.yaml").write_text(
        OLD.replace('["dags:read", "dag_runs:create"]', '["dags:read"]').replace(
            '["sales_eu_*"]', '["sales_eu_*", "stock"]'
        )
    )
    (change,) = json.loads(run("diff", "old.yaml", "new.yaml", "--json").output)["changes"]
    assert (change["dags"], change["operations"]) == (["stock"], ["dags:read"])
    listed = run("check", "GET", "/api/v2/dags", "--client", "etl", "--narrowed", "--policy", "new.yaml").output
    assert "stock" in listed


def test_nobody_gains_under_the_same_policy(run):
    found = run("diff", "old.yaml", "old.yaml", "--fail-on-widen")
    assert (found.exit_code, found.output) == (0, "no one gains or loses anything by the rules\n")
    assert run("diff", "old.yaml", "old.yaml", "--markdown").output == "No one gains or loses anything by the rules.\n"
    assert run("prove", "no-new-access", "old.yaml", "old.yaml").output == "PASS\n"


def test_a_gain_ends_with_status_1_where_that_is_asked(run):
    assert run("diff", "old.yaml", "new.yaml", "--fail-on-widen").exit_code == 1
    proved = run("prove", "no-new-access", "old.yaml", "new.yaml")
    assert (proved.exit_code, proved.output.splitlines()[0]) == (1, "FAIL")
    assert "loses" not in proved.output
    as_json = json.loads(run("prove", "no-new-access", "old.yaml", "new.yaml", "--json").output)
    assert (as_json["result"], {change["change"] for change in as_json["changes"]}) == ("FAIL", {"gains"})


def test_less_is_no_gain(run):
    (run.folder / "less.yaml").write_text(OLD.replace("[airflow.op]", "[airflow.user]"))
    assert run("diff", "old.yaml", "less.yaml", "--fail-on-widen").exit_code == 0
    assert run("prove", "no-new-access", "old.yaml", "less.yaml").exit_code == 0
    assert run("prove", "no-new-access", "less.yaml", "old.yaml").exit_code == 1


def test_a_change_of_who_is_believed_widens(run):
    (run.folder / "new.yaml").write_text(OLD.replace("[RS256]", "[RS256, PS256]"))
    found = run("diff", "old.yaml", "new.yaml", "--fail-on-widen")
    assert found.exit_code == 1
    changed = "the issuer https://idp.example.com, algorithms: RS256 → PS256, RS256"
    assert found.output.splitlines() == [
        f"whose tokens are accepted, or what is read in them, has changed: {changed}",
        "no one gains or loses anything by the rules; see the conditions above",
    ]
    assert run("prove", "no-new-access", "old.yaml", "new.yaml").exit_code == 1
    lines = run("diff", "old.yaml", "new.yaml", "--markdown").output.splitlines()
    assert lines[0].startswith("> **whose tokens are accepted, or what is read in them, has changed")
    assert lines[-1] == "No one gains or loses anything by the rules; see the conditions above."


def test_it_prints_a_table_for_a_pull_request(run):
    lines = run("diff", "old.yaml", "new.yaml", "--markdown").output.splitlines()
    assert lines[:2] == ["| | who | what | rule | try `authz check` |", "| --- | --- | --- | --- | --- |"]
    assert all(line.count(" | ") == 4 for line in lines[2:])
    assert {line.split(" | ")[0] for line in lines[2:]} == {"| gains", "| loses"}


def test_many_changes_are_cut_in_text_and_whole_in_json(run):
    rules = "".join(
        f'  - {{id: r{n}, plane: inbound, roles: [etl], operations: ["dag_runs:create"], dags: ["d{n}_*"]}}\n'
        for n in range(60)
    )
    (run.folder / "new.yaml").write_text(OLD + rules)
    assert "and 10 more that gain: see --json" in run("diff", "old.yaml", "new.yaml").output
    assert "and 10 more" in run("diff", "old.yaml", "new.yaml", "--markdown").output
    assert len(json.loads(run("diff", "old.yaml", "new.yaml", "--json").output)["changes"]) == 60


def test_what_everybody_gains_lists_nobody_else(run):
    (run.folder / "new.yaml").write_text(
        OLD + '  - {id: all, plane: inbound, roles: [authenticated], operations: ["pools:read"]}\n'
    )
    assert (
        "gains every caller of corp, but not group `ops` (authenticated): pools:read"
        in run("diff", "old.yaml", "new.yaml").output
    )
    (run.folder / "new.yaml").write_text(
        OLD + "  - {id: all, public: true, methods: [GET], paths: [/api/v2/version]}\n"
    )
    assert (
        "gains everyone, also without a token, but not group `ops`: version:read"
        in run("diff", "old.yaml", "new.yaml").output
    )


@pytest.fixture
def git(run):
    def call(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words],
            cwd=run.folder,
            check=True,
            capture_output=True,
        )

    call("init", "-q")
    return call


def test_a_policy_of_another_revision_comes_from_git(run, git):
    (run.folder / "policy.yaml").write_text(OLD)
    git("add", "policy.yaml")
    git("commit", "-qm", "old")
    (run.folder / "policy.yaml").write_text(WIDER)
    found = run("diff", "git:HEAD:policy.yaml", "policy.yaml")
    assert found.output == run("diff", "old.yaml", "new.yaml").output
    refused = run("diff", "git:nowhere:policy.yaml", "policy.yaml")
    assert refused.exit_code == 2
    assert "git has no such policy" in refused.output
    for wrong in ("git:HEAD", "git:--output=x:policy.yaml", "git::"):
        refused = run("diff", wrong, "policy.yaml")
        assert refused.exit_code == 2
        assert "is not git:REVISION:PATH" in refused.output


def test_the_files_that_a_policy_names_come_from_the_same_revision(run, git, monkeypatch):
    named = OLD.replace("version: 1", 'version: 1\ntest_files: ["tests/*.yaml", more.yaml]')
    folder = run.folder / "policies"
    (folder / "tests").mkdir(parents=True)
    (folder / "policy.yaml").write_text(named)
    (folder / "more.yaml").write_text("callers: {reader: {groups: [x]}}\n")
    (folder / "tests" / "a.yaml").write_text("tests: []\n")
    git("add", "policies")
    git("commit", "-qm", "old")
    (folder / "tests" / "a.yaml").unlink()
    (folder / "policy.yaml").write_text(WIDER)
    expected = run("diff", "old.yaml", "new.yaml").output
    assert run("diff", "git:HEAD:policies/policy.yaml", "policies/policy.yaml").output == expected
    monkeypatch.chdir(folder)
    assert run("diff", "git:HEAD:policy.yaml", "policy.yaml").output == expected
    git("rm", "-q", "--cached", "policies/more.yaml")
    git("commit", "-qm", "less")
    found = run("diff", "git:HEAD:policy.yaml", "policy.yaml")
    hidden = "invariants: not compared, because mistakes hide entries of `never`\n"
    assert (found.exit_code, found.stdout) == (0, hidden + expected), "the file may have had some"
    assert "more.yaml: cannot be read: it is not in HEAD" in found.stderr


def test_a_policy_with_mistakes_is_refused_with_their_places(run):
    (run.folder / "new.yaml").write_text(OLD.replace("roles: [op],", "roles: [opp],"))
    found = run("diff", "old.yaml", "new.yaml")
    assert found.exit_code == 2
    assert "new.yaml:13:" in found.output


def test_the_words_are_quoted_for_a_shell(run):
    (run.folder / "new.yaml").write_text(OLD.replace("groups: [ops]", 'groups: [ops, "all of us"]'))
    (line,) = [line for line in run("diff", "old.yaml", "new.yaml").output.splitlines() if "try:" in line][:1]
    assert "all of us" in shlex.split(line)


WITH_KEYS = OLD.replace("algorithms: [RS256]", "algorithms: [RS256]\n    jwks_file: keys.json")


def test_keys_in_a_file_are_compared_by_their_content(run, git):
    (run.folder / "policy.yaml").write_text(WITH_KEYS)
    (run.folder / "keys.json").write_text('{"keys": []}')
    git("add", "policy.yaml", "keys.json")
    git("commit", "-qm", "old")
    assert run("prove", "no-new-access", "git:HEAD:policy.yaml", "policy.yaml").output == "PASS\n"
    (run.folder / "elsewhere").mkdir()
    (run.folder / "elsewhere" / "policy.yaml").write_text(WITH_KEYS)
    (run.folder / "elsewhere" / "keys.json").write_text('{"keys": []}')
    assert run("prove", "no-new-access", "policy.yaml", "elsewhere/policy.yaml").output == "PASS\n"
    (run.folder / "keys.json").write_text('{"keys": [{}]}')
    for old in ("git:HEAD:policy.yaml", "elsewhere/policy.yaml"):
        found = run("prove", "no-new-access", old, "policy.yaml")
        assert found.exit_code == 1
        assert "the keys in the file of the issuer https://idp.example.com" in found.output


def test_keys_that_cannot_be_read_are_those_of_the_same_file_only(run, git):
    (run.folder / "policy.yaml").write_text(WITH_KEYS)
    git("add", "policy.yaml")
    git("commit", "-qm", "old")
    assert run("prove", "no-new-access", "policy.yaml", "policy.yaml").output == "PASS\n"
    assert run("prove", "no-new-access", "git:HEAD:policy.yaml", "git:HEAD:policy.yaml").output == "PASS\n"
    found = run("prove", "no-new-access", "git:HEAD:policy.yaml", "policy.yaml")
    assert (found.exit_code, "or one cannot be read" in found.output) == (1, True)
    absolute = WITH_KEYS.replace("keys.json", "/nowhere/keys.json")
    (run.folder / "policy.yaml").write_text(absolute)
    git("add", "policy.yaml")
    git("commit", "-qm", "absolute")
    assert run("prove", "no-new-access", "git:HEAD:policy.yaml", "policy.yaml").output == "PASS\n"


def test_a_higher_level_in_airflow_is_no_pass(run):
    (run.folder / "new.yaml").write_text(OLD.replace("{clients: [etl]}", "{clients: [etl], airflow: admin}"))
    found = run("prove", "no-new-access", "old.yaml", "new.yaml")
    said = "the level in Airflow of callers with the role etl (client `etl`) is raised from user to admin"
    assert (found.exit_code, said in found.output) == (1, True)


def ending(until):
    return OLD.replace("id: ops,", f"id: ops, until: {until},")


def test_it_says_from_when_on_somebody_gains_or_loses_by_an_end(run):
    (run.folder / "new.yaml").write_text(ending("2098-12-31T18:00Z"))
    lines = run("diff", "old.yaml", "new.yaml").output.splitlines()
    assert lines[:3] == ["now:", "no one gains or loses anything by the rules", "from 2098-12-31T18:00Z on:"]
    assert lines[3].startswith("loses group `ops` (op): ")
    assert lines[5].endswith(" --at 2098-12-31T18:00Z")
    found = json.loads(run("diff", "old.yaml", "new.yaml", "--json").output)
    assert (found["changes"], [(one["from"], len(one["changes"])) for one in found["later"]]) == (
        [],
        [("2098-12-31T18:00Z", len(found["later"][0]["changes"]))],
    )
    assert {change["change"] for change in found["later"][0]["changes"]} == {"loses"}


def test_a_gain_that_comes_with_an_end_widens(run):
    (run.folder / "new.yaml").write_text(ending("2098-12-31T18:00Z"))
    assert run("diff", "old.yaml", "new.yaml", "--fail-on-widen").exit_code == 0
    assert run("diff", "new.yaml", "old.yaml", "--fail-on-widen").exit_code == 1
    assert run("prove", "no-new-access", "old.yaml", "new.yaml").output == "PASS\n"
    found = run("prove", "no-new-access", "new.yaml", "old.yaml")
    assert (found.exit_code, found.output.splitlines()[:4]) == (
        1,
        ["FAIL", "now:", "no one gains or loses anything by the rules", "from 2098-12-31T18:00Z on:"],
    )


def test_a_request_that_shows_a_later_change_can_be_tried(run):
    (run.folder / "new.yaml").write_text(ending("2098-12-31T18:00Z"))
    words = next(line for line in run("diff", "old.yaml", "new.yaml").output.splitlines() if "try: authz" in line)
    asked = shlex.split(words.partition("try: authz ")[2])
    assert [run(*asked, "--policy", name).exit_code for name in ("old.yaml", "new.yaml")] == [0, 1]


def test_markdown_has_a_table_for_each_time(run):
    (run.folder / "new.yaml").write_text(ending("2098-12-31T18:00Z"))
    text = run("diff", "old.yaml", "new.yaml", "--markdown").output
    assert "**now:**" in text
    assert "**from 2098-12-31T18:00Z on:**" in text
    assert " --at 2098-12-31T18:00Z" in text


TESTS = """
tests:
  - {name: etl reads, who: {clients: [etl]}, request: GET /api/v2/dags, expect: allow, rule: gone}
  - {name: misspelt, who: nobody, request: GET /api/v2/dags, expect: maybe}
"""


def test_mistakes_in_tests_are_told_and_do_not_stop_the_comparison(run):
    expected = run("diff", "old.yaml", "new.yaml").output
    (run.folder / "new.yaml").write_text(WIDER + TESTS.replace("clients: [etl]", "client: etl"))
    found = run("diff", "old.yaml", "new.yaml")
    assert (found.exit_code, found.stdout) == (0, expected)
    first, *others = found.stderr.splitlines()
    assert first == "warning: the tests have mistakes, for which a gate refuses the policy; the rules are compared"
    assert any(line.startswith("  new.yaml:20:") and "unknown rule `gone`" in line for line in others)
    assert any("maybe" in line for line in others)
    assert run("diff", "old.yaml", "new.yaml", "--fail-on-widen").exit_code == 1
    assert run("diff", "new.yaml", "new.yaml").stderr.splitlines() == [first, *others]


def test_no_new_access_is_proven_whatever_mistakes_the_tests_have(run):
    (run.folder / "old.yaml").write_text(OLD + TESTS)
    (run.folder / "less.yaml").write_text(OLD.replace("[airflow.op]", "[airflow.user]") + TESTS)
    found = run("prove", "no-new-access", "old.yaml", "less.yaml")
    assert (found.exit_code, found.stdout) == (0, "PASS\n")
    assert ["old.yaml:" in found.stderr, "less.yaml:" in found.stderr] == [True, True]
    assert run("prove", "no-new-access", "less.yaml", "old.yaml").exit_code == 1


@pytest.mark.parametrize("command", [["diff"], ["prove", "no-new-access"]])
def test_mistakes_in_tests_are_a_field_of_json(run, command):
    (run.folder / "new.yaml").write_text(OLD + TESTS)
    found = run(*command, "old.yaml", "new.yaml", "--json")
    told = json.loads(found.stdout)["test_mistakes"]
    assert found.stderr == ""
    assert {one["file"] for one in told} == {"new.yaml"}
    assert all(one["line"] > 0 and one["message"] for one in told)
    assert json.loads(run(*command, "old.yaml", "old.yaml", "--json").stdout)["test_mistakes"] == []


@pytest.mark.parametrize(
    ("rules", "said"),
    [("roles: [opp],", "unknown role `opp`"), ("roles: [op], colour: red,", "colour")],
)
def test_mistakes_in_rules_stop_it_and_those_in_tests_are_told_beside_them(run, rules, said):
    (run.folder / "new.yaml").write_text(OLD.replace("roles: [op],", rules) + TESTS)
    found = run("diff", "old.yaml", "new.yaml")
    assert (found.exit_code, found.stdout) == (2, "")
    assert [said in found.stderr, "maybe" in found.stderr] == [True, True]


def test_a_half_written_file_stops_it(run):
    (run.folder / "new.yaml").write_text(OLD.replace("version: 1", "version: 1\nend_mark: true") + TESTS)
    found = run("diff", "old.yaml", "new.yaml")
    assert (found.exit_code, "it is half written" in found.stderr) == (2, True)


def test_other_commands_refuse_mistakes_in_tests(run):
    (run.folder / "policy.yaml").write_text(OLD + TESTS)
    for command in (["who-can", "dags:read"], ["check", "GET", "/x"], ["test"], ["prove", "never", "policy.yaml"]):
        assert run(*command).exit_code == 2


def test_files_of_teams_come_from_the_same_revision(run, git):
    include = "version: 1\ninclude: [{file: teams/a.yaml, roles: [contractor], dags: [a]}]"
    (run.folder / "teams").mkdir()
    rule = '{id: r, plane: inbound, roles: [contractor], operations: ["dags:delete"], dags: [a]}'
    (run.folder / "teams" / "a.yaml").write_text("rules: []\n")
    (run.folder / "policy.yaml").write_text(OLD.replace("version: 1", include))
    git("add", ".")
    git("commit", "-qm", "old")
    (run.folder / "teams" / "a.yaml").write_text(f"rules: [{rule}]\n")
    found = run("diff", "git:HEAD:policy.yaml", "policy.yaml", "--fail-on-widen")
    assert found.exit_code == 1
    assert "r/teams/a.yaml" in found.output
    (run.folder / "teams" / "a.yaml").write_text(f"rules: [{rule.replace('[a]', '[b]')}]\n")
    refused = run("diff", "git:HEAD:policy.yaml", "policy.yaml")
    assert (refused.exit_code, "`b` is not within the DAGs of this file" in refused.output) == (2, True)


def test_wider_confines_of_a_file_fail_though_no_rule_changes(run):
    """Its team could use them without another review of the policy file."""
    (run.folder / "teams").mkdir()
    (run.folder / "teams" / "a.yaml").write_text("rules: []\n")
    for name, dags in (("old.yaml", '["sales_*"]'), ("new.yaml", '["*"]')):
        include = f"version: 1\ninclude: [{{file: teams/a.yaml, roles: [contractor], dags: {dags}}}]"
        (run.folder / name).write_text(OLD.replace("version: 1", include))
    said = (
        "the confines of `teams/a.yaml`, what its team may give without another change of the policy file, have become"
    )
    said += " wider: dags: sales_* → *"
    for words in (
        ("diff", "old.yaml", "new.yaml", "--fail-on-widen"),
        ("prove", "no-new-access", "old.yaml", "new.yaml"),
    ):
        found = run(*words)
        assert (found.exit_code, said in found.output) == (1, True)
        found = run(*words, "--json")
        assert json.loads(found.stdout)["conditions"] == [{"text": said, "widens": True}]
    assert "> **the confines of &#96;teams/a.yaml&#96;, " in run("diff", "old.yaml", "new.yaml", "--markdown").output
    back = run("diff", "new.yaml", "old.yaml", "--fail-on-widen")
    assert (back.exit_code, "have become narrower: dags: * → sales_*" in back.output) == (0, True)
    assert run("prove", "no-new-access", "new.yaml", "old.yaml").output == "PASS\n"


def test_an_end_that_changes_nothing_of_a_difference_does_not_repeat_it(run):
    """Temporary access of someone else, in both policies, is not what the pull request is about."""
    more = "  visitor: {subjects: [{name: carol, until: 2098-06-30}]}\nrules:\n"
    rule = "  - {id: visits, plane: inbound, roles: [visitor], operations: [pools:read]}\n"
    for name, text in (("old.yaml", OLD), ("new.yaml", WIDER)):
        (run.folder / name).write_text(text)
    expected = run("diff", "old.yaml", "new.yaml").output
    for name, text in (("old.yaml", OLD), ("new.yaml", WIDER)):
        (run.folder / name).write_text(text.replace("rules:\n", more + rule))
    assert run("diff", "old.yaml", "new.yaml").output == expected


def test_what_is_so_until_an_end_is_said_with_it(run):
    more = "  - {id: more, plane: inbound, roles: [etl], operations: [pools:read], until: 2098-12-31T18:00Z}\n"
    (run.folder / "new.yaml").write_text(OLD + more)
    for options in ((), ("--markdown",)):
        output = run("diff", "old.yaml", "new.yaml", *options).output
        assert "now, until 2098-12-31T18:00Z:" in output
        assert output.count("pools:read") == 1


NEVER = """
never:
  - {name: "no secrets | for contractors", roles: [contractor], operations: ["connections:*"]}
  - {name: pools are for op, except: [op], operations: ["pools:create", "pools:delete"]}
"""
WEAKER = NEVER.replace("except: [op]", "except: [op, etl]").replace(', "pools:delete"', "")


class TestInvariants:
    """Entries of `never` that are gone or say less are named, although they allow nothing by themselves."""

    @pytest.fixture
    def compare(self, run):
        def call(old, new, *more):
            (run.folder / "old.yaml").write_text(OLD + old)
            (run.folder / "new.yaml").write_text(OLD + new)
            return run("diff", "old.yaml", "new.yaml", *more)

        return call

    def test_what_is_removed_or_weaker_comes_first_with_its_place(self, compare):
        found = compare(NEVER, WEAKER.replace("contractors", "others").replace("connections:*", "connections:read"))
        assert found.stdout.splitlines() == [
            "invariants: 2 entries of `never` are removed or weaker: compare by hand",
            "    removed: no secrets | for contractors (old.yaml:20:5)",
            "    weaker in operations, except: pools are for op (old.yaml:21:5)",
            "no one gains or loses anything by the rules; see the invariants above",
        ]

    def test_they_are_a_field_of_json(self, compare):
        told = json.loads(compare(NEVER, WEAKER, "--json").stdout)
        assert told["invariants"] == [
            {
                "change": "weaker",
                "name": "pools are for op",
                "weaker_in": ["operations", "except"],
                "file": "old.yaml",
                "line": 21,
                "column": 5,
            }
        ]
        [gone, _] = json.loads(compare(NEVER, "", "--json").stdout)["invariants"]
        assert (gone["change"], gone["weaker_in"]) == ("removed", [])

    def test_markdown_lists_them(self, compare):
        lines = compare(NEVER, "", "--markdown").stdout.splitlines()
        assert lines[0] == "> **invariants: 2 entries of &#96;never&#96; are removed or weaker: compare by hand**"
        assert lines[2].startswith("- removed: no secrets &#124; for contractors ")
        assert lines[3:] == [
            r"- removed: pools are for op (old.yaml:21:5)",
            "",
            "No one gains or loses anything by the rules; see the invariants above.",
        ]

    def test_they_are_no_gain(self, compare, run):
        assert compare(NEVER, "", "--fail-on-widen").exit_code == 0
        assert run("prove", "no-new-access", "old.yaml", "new.yaml").stdout == "PASS\n"

    def test_more_or_the_same_is_not_listed(self, compare):
        for old, new in ((NEVER, NEVER), ("", NEVER), (WEAKER, NEVER)):
            assert compare(old, new).stdout == "no one gains or loses anything by the rules\n"
            assert json.loads(compare(old, new, "--json").stdout)["invariants"] == []

    def test_what_mistakes_hide_is_not_taken_for_removed(self, compare):
        found = compare(NEVER, NEVER + TESTS)
        hidden = "invariants: not compared, because mistakes hide entries of `never`"
        assert found.stdout.splitlines() == [
            hidden,
            "no one gains or loses anything by the rules; see the invariants above",
        ]
        assert compare(NEVER + TESTS, NEVER).stdout.splitlines()[0] == hidden
        assert json.loads(compare(NEVER, NEVER + TESTS, "--json").stdout)["invariants"] is None
        assert "invariants" not in compare("", TESTS).stdout, "there was none to lose"
