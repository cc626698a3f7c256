"""The command line: what it prints, how it ends, and that it never shows a token."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core import catalogue
from tests.support.factories.policies import NARROWED, narrowing_catalogue
from tests.support.factories.proofs import run_token, task_key
from tests.support.factories.tokens import access_claims, jwks_of, make_key, sign
from tests.support.simulators.idp import IdP

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [RS256]
    username: preferred_username
    groups: [groups]
roles:
  viewer: {{groups: [data-readers]}}
  sales-etl: {{clients: [sales-etl]}}
rules:
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}}
  - {{id: sales, plane: inbound, roles: [sales-etl], operations: ["dag_runs:create"], dags: ["sales_*"]}}
  - {{id: orders, plane: egress, roles: [sales-etl], hosts: [orders.internal], methods: [GET], paths: ["/v1/**"]}}
"""
SETTINGS = """
version: 1
assertion: {issuer: "https://gate.test", keys: [k.pem]}
envoy:
  inbound:
    upstreams:
      - {name: rest, address: "127.0.0.1:1", audience: rest}
      - {name: one, address: "127.0.0.1:2", hosts: [one.test], audience: one, narrows_dags: true}
      - {name: two, address: "127.0.0.1:3", hosts: ["*.two.test"], audience: two}
      - {name: three, address: "127.0.0.1:4", hosts: ["*.a.two.test"], audience: three, narrows_dags: true}
"""
KEY = make_key("RS256", kid="k1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_TOKEN", raising=False)
    (tmp_path / "policy.yaml").write_text(POLICY.format(issuer="https://idp.example.com"))

    def call(*arguments, stdin=None, env=None):
        return CliRunner().invoke(main, [*map(str, arguments)], input=stdin, env=env, catch_exceptions=False)

    call.folder = tmp_path
    return call


@pytest.fixture
def few_dags(run, monkeypatch):
    """A policy under which somebody may list some DAGs, where Airflow narrows the list."""
    monkeypatch.setattr(catalogue, "load", lambda version: narrowing_catalogue(version, frozenset(NARROWED)))
    path = run.folder / "few.yaml"
    rules = """  - {id: some, plane: inbound, roles: [sales-etl], operations: ["dags:read"], dags: ["sales_*"]}
  - {id: no-hr, deny: true, plane: inbound, roles: [sales-etl], dags: ["hr_*"]}
"""
    path.write_text(POLICY.format(issuer="https://idp.example.com") + rules)
    return path


@pytest.fixture
def runs(run):
    """A policy with rules about runs, as an option."""
    path = run.folder / "runs.yaml"
    rules = """  - {id: runs, plane: egress, destinations: [orders], paths: [/v1/x], dags: ["sales_*"], tasks: [load_1]}
  - {id: tunnel, plane: egress, destinations: [orders], methods: [CONNECT], identity: asserted}
"""
    path.write_text(POLICY.format(issuer="https://idp.example.com") + rules)
    return "--policy", path


def ways(run, *, isolated):
    """Settings with one destination; `isolated` is None where no call comes from a run."""
    path = run.folder / "authz.yaml"
    text = """version: 1
policy: runs.yaml
assertion: {issuer: https://gate.example.com, keys: [a.pem]}
envoy:
  egress:
    destinations:
      - {name: orders, address: "10.0.0.1:443", hosts: [orders.internal], listen: "127.0.0.1:9101", path: /orders,
         tunnel: true}
"""
    if isolated is not None:
        text += f"""run_identity:
  airflow: https://airflow.internal
  issuer: airflow
  jwks_file: keys.json
  signing_key_isolated: {str(isolated).lower()}
"""
    path.write_text(text)
    return path


def token(**changes):
    now = int(time.time())
    headers = changes.pop("headers", None)
    claims = access_claims(**{"iss": "https://idp.example.com", "iat": now - 5, "exp": now + 300, **changes})
    return sign(claims, KEY, headers)


@pytest.fixture
def jwks(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks_of([KEY]))
    return path


class TestCheck:
    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["GET", "/api/v2/dags"], 1, "deny 401 reason=no_token"),
            (["GET", "/api/v2/dags", "--group", "data-readers"], 0, "allow 200 reason=rule rule=readers"),
            (["get", "/api/v2/dags", "--group", "data-readers"], 0, "allow 200"),
            (["GET", "/api/v2/dags", "--as", "alice"], 1, "deny 403 reason=no_role"),
            (["POST", "/api/v2/dags/sales_x/dagRuns", "--client", "sales-etl"], 0, "rule=sales"),
            (["POST", "/api/v2/dags/hr_x/dagRuns", "--client", "sales-etl"], 1, "reason=no_rule"),
            (["GET", "/api/v2/../x", "--as", "alice"], 1, "deny 400 reason=bad_path"),
            (["BREW", "/x", "--as", "alice"], 1, "deny 400 reason=bad_method"),
            (["GET", "http://orders.internal/v1/a", "--plane", "egress", "--client", "sales-etl"], 0, "rule=orders"),
            (["GET", "https://orders.internal:8443/v1/a", "--plane", "egress", "--client", "sales-etl"], 0, "allow"),
            (["GET", "/v1/a", "--host", "other", "--plane", "egress", "--client", "sales-etl"], 1, "deny 403"),
            (["GET", "http://orders.internal", "--plane", "egress", "--client", "sales-etl"], 1, "deny 403"),
            (["GET", "http://a,b/v1/a", "--plane", "egress", "--client", "sales-etl"], 1, "reason=bad_host"),
        ],
    )
    def test_the_answer_and_the_exit_status(self, run, arguments, status, words):
        result = run("check", *arguments)
        assert words in result.output
        assert result.exit_code == status

    def test_json(self, run):
        result = run("check", "POST", "/api/v2/dags/hr_x/dagRuns", "--client", "sales-etl", "--json")
        assert json.loads(result.output) == {
            "decision": "deny",
            "status": 403,
            "reason": "no_rule",
            "help": "No rule allows this request for the identity's roles.",
            "rule": "",
            "operation": "dag_runs:create",
            "dag": "hr_x",
            "dags": None,
            "detail": "",
            "notes": [],
        }

    @pytest.mark.parametrize(
        ("changes", "status", "words"),
        [
            ({}, 0, "rule=readers"),
            ({"exp": 10, "iat": 5}, 1, "reason=expired"),
            ({"aud": "other"}, 1, "reason=audience"),
            ({"iss": "https://evil.example.com"}, 1, "reason=unknown_issuer"),
            ({"headers": {"kid": "other"}}, 1, "reason=unknown_key"),
        ],
    )
    def test_with_a_real_token(self, run, jwks, changes, status, words):
        made = token(**changes)
        result = run("check", "GET", "/api/v2/dags", "--token-file", "-", "--jwks", jwks, stdin=made)
        assert words in result.output
        assert result.exit_code == status
        assert made not in result.output
        assert made.rpartition(".")[2] not in result.output

    def test_the_dags_that_airflow_would_show(self, run, few_dags):
        asked = ("GET", "/api/v2/dags", "--client", "sales-etl", "--policy", few_dags)
        denied = run("check", *asked)
        assert denied.exit_code == 1
        assert "deny 403 reason=deny_rule rule=no-hr" in denied.output
        assert "(--narrowed, `narrows_dags`): Airflow shows only sales_*, not hr_*" in denied.output
        assert run("check", *asked, "--not-narrowed").output == denied.output
        allowed = run("check", *asked, "--narrowed")
        assert allowed.exit_code == 0
        assert allowed.output.endswith("\n  Airflow shows only sales_*, not hr_*\n")
        told = json.loads(run("check", *asked, "--narrowed", "--json").output)
        assert told["dags"] == {"allowed": ["sales_*"], "denied": ["hr_*"]}
        explained = run("explain", *asked)
        assert explained.exit_code == 1
        assert "(--narrowed, `narrows_dags`)" in explained.output
        assert "DAGs       Airflow shows only sales_*, not hr_*" in run("explain", *asked, "--narrowed").output

    def test_without_a_right_on_any_dag_narrowing_is_no_advice(self, run, few_dags):
        result = run("check", "GET", "/api/v2/dags", "--as", "alice", "--policy", few_dags)
        assert "--narrowed" not in result.output
        path = run("check", "GET", "/api/v2/../dags", "--as", "alice", "--policy", few_dags)
        assert "--narrowed" not in path.output

    @pytest.mark.parametrize(
        ("host", "narrowed"),
        [("one.test", True), ("a.two.test", False), ("b.a.two.test", True), ("two.test", False), ("other", False)],
    )
    def test_whether_airflow_narrows_is_said_by_the_settings(self, run, few_dags, host, narrowed):
        settings = run.folder / "authz.yaml"
        settings.write_text(SETTINGS + "policy: few.yaml\n")
        asked = ("GET", "/api/v2/dags", "--client", "sales-etl", "--policy", few_dags, "--host", host)
        assert run("check", *asked, "--settings", settings).exit_code == (0 if narrowed else 1)
        assert run("check", *asked).exit_code == 1
        assert run("check", *asked, "--settings", settings, "--not-narrowed").exit_code == 1
        assert run("check", *asked, "--settings", settings, "--narrowed").exit_code == 0
        settings.write_text("version: 1\npolicy: few.yaml\n")
        assert run("check", *asked, "--settings", settings).exit_code == 1

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["--dag", "sales_a", "--task", "load_1"], 0, "allow 200 reason=rule rule=runs dag=sales_a"),
            (["--dag", "sales_a"], 1, "reason=no_rule dag=sales_a"),
            (["--dag", "hr", "--task", "load_1"], 1, "reason=no_rule dag=hr"),
            (["--dag", "sales_a", "--task", "load_1", "--identity", "asserted"], 1, "reason=identity_too_weak"),
            (
                ["--dag", "sales_a", "--task", "load_1", "--identity", "verified-bearer"], 1,
                "the rule `runs` asks for `verified`, and the run is `verified-bearer`",
            ),
            (["--dag", "sales_a", "--task", "load_1", "--client", "sales-etl"], 1, "the run is `asserted`"),
            (["--client", "sales-etl"], 1, "reason=no_rule"),
            ([], 1, "deny 401 reason=no_token"),
        ],
    )  # fmt: skip
    def test_a_run_that_calls(self, run, runs, arguments, status, words):
        result = run("check", "GET", "/v1/x", "--plane", "egress", "--destination", "orders", *runs, *arguments)
        assert words in result.output
        assert result.exit_code == status

    def test_a_run_of_which_no_task_is_named(self, run, runs):
        output = run("explain", "GET", "/v1/x", "--plane", "egress", "--dag", "hr", *runs).output
        assert "  identity   hr of the gate\n" in output

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--plane", "egress", "--task", "x"], "say which DAG's with --dag"),
            (["--plane", "egress", "--identity", "verified"], "say which DAG's with --dag"),
            (["--dag", "x"], "add --plane egress"),
            (["--plane", "egress", "--dag", "x", "--client", "a", "--identity", "verified"], "can only assert"),
            (["--plane", "egress", "--dag", "x", "--token-file", "-"], "give one of them"),
            (["--plane", "egress", "--dag", "x", "--identity", "sure"], "'sure' is not one of"),
        ],
    )
    def test_options_about_runs_that_do_not_fit(self, run, arguments, words):
        result = run("check", "GET", "/x", *arguments)
        assert words in " ".join(result.output.split())
        assert result.exit_code == 2

    @pytest.mark.parametrize(
        ("asked", "status", "words"),
        [
            ("GET http://orders.internal/v1/x", 0, "rule=runs"),
            ("GET http://127.0.0.1:9101/v1/x", 0, "rule=runs"),
            ("GET http://localhost:8090/orders/v1/x", 0, "rule=runs"),
            ("GET http://localhost:8090/other/v1/x", 1, "Envoy leads this nowhere, whatever the rules say"),
            ("GET http://other.test/v1/x", 1, "Envoy leads this nowhere, whatever the rules say"),
            ("CONNECT orders.internal:443", 0, "rule=tunnel"),
            ("CONNECT orders.internal:80", 1, "Envoy leads this nowhere"),
            ("CONNECT orders.internal", 1, "reason=bad_host"),
            ("GET http://orders.internal/v1%2Fx", 1, "reason=bad_path"),
            ("GET http://orders.internal/v1/x?access_token=a", 1, "reason=bad_authorization"),
            ("GET http://2130706433/v1/x", 1, "reason=bad_host"),
        ],
    )
    def test_the_destination_is_found_as_envoy_finds_it(self, run, runs, asked, status, words):
        settings = ways(run, isolated=True)
        options = ("--plane", "egress", "--settings", settings, "--dag", "sales_a", "--task", "load_1", *runs)
        result = run("check", *asked.split(" "), *options)
        assert words in result.output
        assert "a run is `" not in result.output
        assert result.exit_code == status
        assert words in run("explain", *asked.split(" "), *options).output.replace("by rule `", "rule=")

    @pytest.mark.parametrize(
        ("isolated", "status", "note"),
        [
            (True, 0, []),
            (False, 1, ["with these settings a run is `asserted` at most: see `run_identity`"]),
            (None, 0, ["with these settings no call comes from a run: see `run_identity`"]),
        ],
    )
    def test_check_caps_the_level_of_a_run_at_what_the_settings_allow(self, run, runs, isolated, status, note):
        settings = ways(run, isolated=isolated)
        asked = ("--plane", "egress", "--settings", settings, "--dag", "sales_a", "--task", "load_1", *runs)
        result = run("check", "GET", "http://orders.internal/v1/x", *asked, "--json")
        assert json.loads(result.output)["notes"] == note
        assert result.exit_code == status

    def test_check_adds_no_notes_for_settings_without_egress(self, run, runs):
        (run.folder / "authz.yaml").write_text("version: 1\npolicy: runs.yaml\n")
        asked = ("--plane", "egress", "--settings", run.folder / "authz.yaml", "--dag", "sales_a", "--task", "load_1")
        result = run("check", "GET", "/v1/x", "--destination", "orders", *asked, *runs, "--json")
        assert json.loads(result.output)["notes"] == []
        assert result.exit_code == 0

    def test_an_issuer_that_is_not_there(self, run):
        result = run("check", "GET", "/api/v2/dags", "--as", "a", "--issuer", "other")
        assert result.exit_code == 2
        assert "it has corp" in result.output


class TestExplain:
    def test_text_names_the_nearest_rule_and_what_is_missing(self, run):
        result = run("explain", "POST", "/api/v2/dags/hr_x/dagRuns", "--client", "sales-etl")
        assert "nearest rule that would allow: `sales`" in result.output
        assert "missing dags" in result.output
        assert result.exit_code == 1

    def test_json(self, run):
        result = run("explain", "GET", "/api/v2/dags", "--group", "data-readers", "--json")
        told = json.loads(result.output)
        assert (told["decision"], told["explanation"]["decision"], result.exit_code) == ("allow", "allow", 0)

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_a_malformed_request_is_explained_as_a_denial(self, run, flags):
        result = run("explain", "GET", "/a//b", *flags)
        assert "bad_path" in result.output
        assert result.exit_code == 1


class TestLint:
    def test_a_good_policy(self, run):
        result = run("lint")
        assert (result.output, result.exit_code) == ("no findings\n", 0)

    def test_every_mistake_of_every_file(self, run):
        text = (run.folder / "policy.yaml").read_text()
        (run.folder / "one.yaml").write_text(text.replace("roles: [viewer]", "rolls: [viewer]"))
        (run.folder / "two.yaml").write_text(text.replace("[RS256]", "[HS256]"))
        result = run("lint", "one.yaml", "two.yaml", "missing.yaml")
        assert "error: one.yaml:14:35: unknown key `rolls` (did you mean `roles`?)" in result.output
        assert "error: two.yaml:7:18: `HS256` is symmetric" in result.output
        assert "error: missing.yaml: cannot be read" in result.output
        assert result.exit_code == 1

    def test_a_file_may_be_named_as_the_other_commands_name_it(self, run):
        named, plain = run("lint", "--policy", "missing.yaml"), run("lint", "missing.yaml")
        assert (named.exit_code, named.output) == (plain.exit_code, plain.output) == (1, plain.output)
        assert "missing.yaml" in named.output

    def test_beside_the_settings(self, run, runs):
        path = runs[1]
        path.write_text(path.read_text().replace("[orders], paths", "[order], paths"))
        assert run("lint", path).exit_code == 0
        result = run("lint", path, "--settings", ways(run, isolated=False))
        line = path.read_text().count("\n") - 1
        unknown = "the rule `runs` names an unknown destination `order` (did you mean `orders`?)"
        assert f"error: {path}:{line}:5: {unknown}" in result.output
        assert f"warning: {path}:{line}:5: the rule `runs` can allow nothing: it asks for `verified`" in result.output
        assert result.exit_code == 1

    def test_a_failing_test_does_not_hide_that_policy_and_settings_disagree(self, run, runs):
        """The wrong name may be why the test fails."""
        path = runs[1]
        text = path.read_text().replace("[orders], paths", "[order], paths")
        tests = "{who: {run: {dag: sales_a, task: load_1}}, request: GET /x, destination: orders, expect: allow}"
        path.write_text(f"{text}\ntests:\n  - {tests}\n")
        result = run("lint", path, "--settings", ways(run, isolated=True))
        assert result.exit_code == 1
        assert "fails: expected allow, found deny" in result.output
        assert "names an unknown destination `order` (did you mean `orders`?)" in result.output

    def test_the_candidate_of_the_settings_is_checked_as_the_gate_checks_it(self, run, runs):
        path, candidate = runs[1], run.folder / "candidate.yaml"
        settings = ways(run, isolated=True)
        settings.write_text(settings.read_text() + "shadow: candidate.yaml\n")
        before = run("lint", path, "--settings", settings)
        assert "the candidate" not in before.output, "it may be absent"
        candidate.write_text(path.read_text())
        assert run("lint", path, "--settings", settings).output == before.output
        candidate.write_text(path.read_text().replace("[orders], paths", "[order], paths"))
        result = run("lint", path, "--settings", settings)
        assert "warning: candidate.yaml:" in result.output
        assert "the candidate is not compared: the rule `runs` names an unknown destination `order`" in result.output
        assert result.exit_code == before.exit_code, "no answer depends on it"
        entry = "never:\n  - {plane: egress, destinations: [ordres], methods: [DELETE]}\n"
        candidate.write_text(path.read_text() + entry)
        result = run("lint", path, "--settings", settings)
        assert "of `never` names an unknown destination `ordres`" in result.output
        candidate.write_text("version: 2\n")
        assert "the candidate is not compared: " in run("lint", path, "--settings", settings).output
        candidate.unlink()
        candidate.mkdir()
        assert "the candidate is not compared: cannot be read" in run("lint", path, "--settings", settings).output

    def test_lint_finds_the_same_with_settings_without_egress(self, run):
        (run.folder / "authz.yaml").write_text("version: 1\n")
        assert run("lint", "--settings", "authz.yaml").output == run("lint").output

    def test_json_and_strict(self, run):
        text = (run.folder / "policy.yaml").read_text()
        (run.folder / "policy.yaml").write_text(
            text.replace("roles: [viewer]", "roles: [authenticated]").replace("dags:read", "*")
        )
        result = run("lint", "--json")
        found = json.loads(result.output)
        assert {row["severity"] for row in found} <= {"warning", "note"}
        assert {"file", "line", "column", "message", "hint", "severity"} == set(found[0])
        assert result.exit_code == 0
        assert run("lint", "--strict").exit_code == 1


class TestSchema:
    @pytest.mark.parametrize(("which", "key"), [("policy", "rules"), ("settings", "listen"), ("tests", "callers")])
    def test_it_is_json_schema(self, run, which, key):
        made = json.loads(run("schema", which).output)
        assert key in made["properties"]


class TestTokenInspect:
    def test_a_good_token(self, run, jwks):
        result = run("token", "inspect", "--jwks", jwks, stdin=token())
        assert result.exit_code == 0
        assert "FAILED" not in result.output
        assert "roles    viewer" in result.output
        assert "allow  readers: operations dags:read" in result.output

    def test_every_failing_check_at_once_and_never_the_token(self, run, jwks):
        made = token(aud="other", exp=10, iat=5, headers={"typ": "logout+jwt"})
        result = run("token", "inspect", "--jwks", jwks, "--json", stdin=made)
        told = json.loads(result.output)
        failed = {check["name"]: check["reason"] for check in told["checks"] if check["outcome"] == "failed"}
        assert failed == {"kind": "token_type", "audience": "audience", "expiry": "expired"}
        assert result.exit_code == 1
        for part in made.split("."):
            assert part not in result.output

    @pytest.mark.parametrize(
        ("stdin", "env"), [("Bearer {token}\n", {}), (None, {"AUTHZ_TOKEN": "{token}"}), ("  {token}  ", {})]
    )
    def test_where_the_token_may_come_from(self, run, jwks, stdin, env):
        made = token()
        env = {name: value.format(token=made) for name, value in env.items()}
        result = run("token", "inspect", "--jwks", jwks, stdin=stdin and stdin.format(token=made), env=env)
        assert result.exit_code == 0

    @pytest.mark.parametrize("stdin", ["", "a b", "Bearer"])
    def test_what_is_not_one_token(self, run, stdin):
        result = run("token", "inspect", stdin=stdin)
        assert result.exit_code == 2
        assert "exactly one token" in result.output

    def test_offline_says_what_was_not_checked(self, run):
        result = run("token", "inspect", "--offline", stdin=token())
        assert "offline: the signature was not checked" in result.output
        assert result.exit_code == 1

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (run_token(task_key()), "it goes into X-Run-Identity, with a proof"),
            (run_token(None), "it goes into Proxy-Authorization"),
            (token(aud="urn:airflow.apache.org:task", scope="workload"), "an Airflow task token, scope 'workload'"),
        ],
        ids=["bound", "for proxies", "Airflow's"],
    )
    def test_whose_token_it_is_where_it_is_no_issuers(self, run, made, said):
        result = run("token", "inspect", "--offline", stdin=made)
        assert said in result.output
        assert result.exit_code == 1
        for part in made.split("."):
            assert part not in result.output

    def test_against_a_live_issuer(self, run):
        with IdP([KEY]) as idp:
            (run.folder / "policy.yaml").write_text(POLICY.format(issuer=idp.url))
            made = token(iss=idp.url)
            assert run("token", "inspect", stdin=made).exit_code == 0
            idp.misbehave(lambda handler: handler.send_error(500))
            result = run("token", "inspect", "--json", stdin=made)
        assert json.loads(result.output)["keys"]
        assert result.exit_code == 1


class TestEnvoy:
    SETTINGS = """
version: 1
envoy:
  inbound: {upstreams: [{name: airflow, address: "127.0.0.1:8081", audience: airflow}]}
"""

    def test_yaml_json_and_a_file(self, run):
        (run.folder / "authz.yaml").write_text(self.SETTINGS)
        text = run("envoy").output
        assert "ext_authz" in text
        made = json.loads(run("envoy", "--format", "json").output)
        assert made["static_resources"]["clusters"]
        assert run("envoy", "--output", "envoy.yaml").output == ""
        assert (run.folder / "envoy.yaml").read_text() == text

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("version: 1\n", "there is no `envoy` section"),
            ("version: 1\nenvoy: {}\n", "`envoy` has neither `inbound` nor `egress` nor `execution`"),
            ("version: 1\nenvy: {}\n", "unknown key `envy` (did you mean `envoy`?)"),
        ],
    )
    def test_what_cannot_be_rendered(self, run, text, words):
        (run.folder / "authz.yaml").write_text(text)
        result = run("envoy")
        assert words in result.output
        assert result.exit_code == 2


class TestEnvoyLogin:
    SETTINGS = """
version: 1
envoy:
  inbound:
    tls: {certificate: tls.crt, key: tls.key}
    upstreams: [{name: airflow, address: "127.0.0.1:8081", audience: airflow}]
    login:
      public_url: https://airflow.test
      client_id: airflow-gate
      client_secret_file: client.secret
"""
    ENDPOINTS = """
      authorization_endpoint: https://idp.test/authorize
      token_endpoint: https://idp.test/token
"""

    def test_the_files_beside_the_configuration(self, run):
        (run.folder / "authz.yaml").write_text(self.SETTINGS + self.ENDPOINTS)
        (run.folder / "client.secret").write_text("canary-secret")
        (run.folder / "client.secret").chmod(0o600)  # otherwise a warning says who can read it
        result = run("envoy", "--output", "envoy.yaml")
        assert (result.exit_code, result.output) == (0, "")
        written = {path.name: path.read_text() for path in (run.folder / "sds").iterdir()}
        assert set(written) == {
            f"{name}.yaml" for name in ("listener_certificate", "login_client_secret", "login_cookie_secret")
        }
        assert f"filename: {run.folder}/client.secret" in written["login_client_secret.yaml"]
        made = (run.folder / "cookie.secret").read_text()
        rendered = (run.folder / "envoy.yaml").read_text()
        assert f"path: {run.folder}/sds/login_cookie_secret.yaml" in rendered
        for text in (rendered, *written.values()):
            assert made not in text
            assert "canary-secret" not in text
        assert run("envoy").output == rendered
        assert (run.folder / "cookie.secret").read_text() == made

    def test_envoy_warns_about_a_secret_with_a_newline_and_does_not_show_it(self, run):
        (run.folder / "authz.yaml").write_text(self.SETTINGS + self.ENDPOINTS)
        (run.folder / "client.secret").write_text("canary-secret\n")
        result = run("envoy", "--output", "envoy.yaml")
        assert result.exit_code == 0
        assert result.stderr.startswith(f"warning: {run.folder}/client.secret begins or ends with white space")
        assert "canary" not in result.output

    def test_the_issuer_is_asked(self, run):
        with IdP([KEY]) as idp:
            (run.folder / "authz.yaml").write_text(self.SETTINGS + f"      issuer: {idp.url}\n")
            result = run("envoy")
        assert result.exit_code == 2
        assert f"error: authz.yaml: envoy: {idp.url}/.well-known/openid-configuration has no " in result.output
        assert not (run.folder / "cookie.secret").exists()


class TestFailures:
    def test_a_broken_policy_ends_check_with_two_and_every_problem(self, run):
        (run.folder / "policy.yaml").write_text("version: 2\nrolls: {}\n")
        result = run("check", "GET", "/")
        assert result.exit_code == 2
        assert result.output.count("error: policy.yaml:") >= 2

    def test_serve_tells_settings_mistakes(self, run):
        (run.folder / "authz.yaml").write_text("version: 1\nlisten: [nowhere]\n")
        result = run("serve")
        assert result.exit_code == 2
        assert "error: authz.yaml:2:10: write an address" in result.output

    def test_a_missing_file_is_told(self, run):
        result = run("serve", "--settings", "none.yaml")
        hint = "name another one with --settings, or begin with `authz init`"
        told = f"error: none.yaml: cannot be read: No such file or directory ({hint})\n"
        assert (result.exit_code, result.output) == (2, told)

    def test_an_output_that_cannot_be_written(self, run):
        (run.folder / "authz.yaml").write_text(TestEnvoy.SETTINGS)
        result = run("envoy", "--output", "no/such/folder.yaml")
        assert result.exit_code == 2
        assert "no/such/folder.yaml" in result.output


class TestOperations:
    def test_all_of_them(self, run):
        result = run("operations")
        assert result.exit_code == 0
        assert "dag_runs:create" in result.output
        assert "connections:bulk" in result.output

    def test_one_area_with_its_routes(self, run):
        result = run("operations", "pools", "--routes")
        assert re.search(r"^    PATCH +/api/v2/pools$", result.output, re.MULTILINE)
        assert "dags:" not in result.output

    def test_json(self, run):
        told = {row["name"]: row for row in json.loads(run("operations", "--json").output)}
        assert told["tokens:create"]["named_only"]
        assert "GET /api/v2/dags" in told["dags:read"]["routes"]
        dags = dict(zip(told["dag_runs:clear"]["routes"], told["dag_runs:clear"]["dags"], strict=True))
        assert dags == {
            "POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear": {"dag": "one", "narrowed": False},
            "POST /api/v2/dags/{dag_id}/clearDagRuns": {"dag": "any", "narrowed": True},
            "POST /api/v2/dags/{dag_id}/clearPartitions": {"dag": "one", "narrowed": False},
        }

    def test_routes_say_which_dags_they_are_about(self, run):
        lines = [*run("operations", "dag_runs", "--routes", "--airflow", "3.3").output.splitlines()]
        assert "    POST    any DAG, narrowed   /api/v2/dags/{dag_id}/clearDagRuns" in lines
        assert "    POST    one DAG             /api/v2/dags/{dag_id}/clearPartitions" in lines
        assert "    GET     one DAG, ~ narrowed /api/v2/dags/{dag_id}/dagRuns" in lines
        upstream = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents"
        assert f"    GET     any DAG             {upstream}" in lines

    def test_what_a_set_includes(self, run):
        names = {row["name"] for row in json.loads(run("operations", "--set", "airflow.user", "--json").output)}
        assert {"dags:read", "dag_runs:create", "version:read"} <= names
        assert not names & {"pools:create", "event_logs:read", "tokens:create"}
        assert run("operations", "--set", "airflow.viewer", "plugins").output == ""
        everything = {row["name"] for row in json.loads(run("operations", "--set", "airflow.admin", "--json").output)}
        assert "event_logs:read" in everything
        assert not everything & {"tokens:create", "execution:call"}

    def test_a_set_that_is_not_there(self, run):
        result = run("operations", "--set", "airflow.usr")
        assert result.exit_code == 2
        assert "did you mean `airflow.user`?" in result.output

    def test_each_word_of_a_rule_is_a_set(self, run):
        every = {row["name"]: row for row in json.loads(run("operations", "--json").output)}
        for word, belongs in (
            ("*", lambda _: True),
            ("*:read", lambda name: name.endswith(":read")),
            ("pools:*", lambda name: name.startswith("pools:")),
            ("pools:change", lambda name: name.startswith("pools:") and every[name]["changes"]),
            ("*:change", lambda name: every[name]["changes"]),
            ("pools:read", lambda name: name == "pools:read"),
        ):
            found = {row["name"] for row in json.loads(run("operations", "--set", word, "--json").output)}
            assert found == {
                name for name in every if belongs(name) and (word == name or not every[name]["named_only"])
            }

    def test_an_area_that_is_not_there(self, run):
        result = run("operations", "dag_run")
        assert result.exit_code == 2
        assert "dag_runs" in result.output


class TestTokenReport:
    def test_a_token_as_an_argument_is_refused_and_not_repeated(self, run):
        made = token()
        result = run("token", "inspect", made)
        assert result.exit_code == 2
        assert "standard input" in result.output
        assert not any(part in result.output for part in made.split("."))

    def test_an_issuer_with_a_slash_too_many_hides_no_other_mistake(self, run, jwks):
        made = token(iss="https://idp.example.com/", aud="other", exp=10, iat=5)
        told = json.loads(run("token", "inspect", "--jwks", jwks, "--json", stdin=made).output)
        failed = {check["name"] for check in told["checks"] if check["outcome"] == "failed"}
        assert failed >= {"issuer", "audience", "expiry"}
        assert not told["ok"]

    @pytest.mark.parametrize(
        ("changes", "flags", "verdict"),
        [
            ({}, [], "the gate accepts this token"),
            ({"exp": 10, "iat": 5}, [], "the gate refuses this token"),
            ({}, ["--offline"], "not decided: a check was skipped"),
        ],
    )
    def test_the_verdict(self, run, jwks, changes, flags, verdict):
        arguments = flags or ["--jwks", jwks]
        assert f"verdict  {verdict}" in run("token", "inspect", *arguments, stdin=token(**changes)).output

    def test_missing_groups_are_explained(self, run, jwks):
        result = run("token", "inspect", "--jwks", jwks, stdin=token(groups=None))
        assert "groups   - (none in groups; the token has aud, client_id," in result.output

    @pytest.mark.parametrize(
        ("groups", "notes"),
        [
            (["x", "data-raeders"], ["no role has the group `data-raeders` (did you mean `data-readers`?)"]),
            (["x"], ["no role has the group `x`"]),
            (["data-readers", "data-raeders"], []),
        ],
    )
    def test_a_caller_without_a_role_learns_which_group_is_nearly_one_of_a_role(self, run, jwks, groups, notes):
        made = token(groups=groups)
        shown = run("token", "inspect", "--jwks", jwks, stdin=made).output.splitlines()
        found = json.loads(run("token", "inspect", "--jwks", jwks, "--json", stdin=made).output)["notes"]
        assert [line.removeprefix("note     ") for line in shown if line.startswith("note")] == found
        assert [note for note in found if "group" in note] == notes

    def test_rules_are_shown_with_their_conditions(self, run, jwks):
        result = run("token", "inspect", "--jwks", jwks, stdin=token(client_id="sales-etl", azp=None))
        assert "allow  sales: operations dag_runs:create; dags sales_*" in result.output
        assert "Airflow  user" in result.output


class TestRevoke:
    """`authz revoke` writes what every worker reads."""

    @pytest.fixture
    def file(self, run):
        (run.folder / "authz.yaml").write_text("version: 1\nrevocation: {file: revocations.jsonl, keep: 2h}\n")
        return run.folder / "revocations.jsonl"

    @pytest.mark.parametrize("issuer", ["corp", "https://idp.example.com"])
    @pytest.mark.parametrize("kind", ["sid", "jti", "subject"])
    def test_a_revocation_is_written(self, run, file, issuer, kind):
        now = int(time.time())
        result = run("revoke", "--issuer", issuer, f"--{kind}", "x1")
        assert result.exit_code == 0, result.output
        assert f"revoked: {kind} x1 of https://idp.example.com, remembered until 20" in result.output
        [line] = file.read_text().splitlines()
        written = json.loads(line)
        assert written[kind] == "x1"
        assert written["issuer"] == "https://idp.example.com"
        assert 0 <= written["until"] - now - 7200 <= 60
        assert ("before" in written) == (kind == "subject")
        assert now <= written.get("before", now) <= now + 60

    def test_it_is_remembered_no_shorter_than_a_token_lives(self, run, file):
        (run.folder / "policy.yaml").write_text(
            POLICY.format(issuer="https://idp.example.com").replace(
                "algorithms: [RS256]", "algorithms: [RS256]\n    max_lifetime: 10h"
            )
        )
        assert run("revoke", "--issuer", "corp", "--jti", "x1").exit_code == 0
        assert json.loads(file.read_text())["until"] - time.time() > 36_000

    def test_until_takes_a_timestamp(self, run, file):
        assert run("revoke", "--issuer", "corp", "--sid", "x", "--until", "2100-01-01T01:00:00+01:00").exit_code == 0
        assert json.loads(file.read_text())["until"] == 4_102_444_800

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ((), "give one of"),
            (("--sid", "a", "--jti", "b"), "give one of"),
            (("--sid", ""), "empty"),
            (("--sid", "a\nb"), "invisible characters"),
            (("--sid", "a", "--issuer", "nobody"), "there is corp"),
            (("--sid", "a", "--issuer", "https://a\udcff"), "invisible characters"),
            (("--sid", "a", "--until", "tomorrow"), "no time"),
            (("--sid", "a", "--until", "9999-12-31T23:59:59-23:59"), "no time"),
            (("--sid", "a", "--until", "2100-01-01"), "needs a time zone"),
            (("--sid", "a", "--until", "2001-01-01T00:00:00Z"), "in the past"),
        ],
    )
    def test_what_cannot_be_meant_writes_nothing(self, run, file, arguments, told):
        result = run("revoke", "--issuer", "corp", *arguments)
        assert (result.exit_code, file.exists()) == (2, False)
        assert told in result.output

    def test_revoke_without_revocation_file_in_the_settings_exits_with_2(self, run):
        (run.folder / "authz.yaml").write_text("version: 1\n")
        result = run("revoke", "--issuer", "corp", "--sid", "a")
        assert result.exit_code == 2
        assert "`revocation.file` is not set" in result.output

    def test_a_file_that_cannot_be_written_is_an_error(self, run, file):
        file.mkdir()
        result = run("revoke", "--issuer", "corp", "--sid", "a")
        assert result.exit_code == 2
        assert "revoked" not in result.output


def test_a_reader_who_has_left_is_no_error():
    """As `authz operations | head -1` leaves early."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "authz", "operations", "--routes"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
