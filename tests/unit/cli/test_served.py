"""`check`, `explain`, `lint` and `token inspect` with `--settings` answer as the gate with these settings would."""

import json
import os
import re
import time

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core.grants import Actor, Requested
from authz.core.revocation import Kind, Revocation
from authz.sessions.grants_file import GrantsFile
from authz.sessions.revocation_file import RevocationFile
from tests.support.factories.tokens import ISS, access_claims, jwks_of, sign
from tests.support.rigs.service import KEY, POLICY, Rig

BROKEN = "version: 1\nissuers: 7\n"
SETTINGS = """
version: 1
policy: policies/served.yaml
assertion: {issuer: "https://gate.test", keys: [k.pem]}
revocation: {file: revoked.jsonl}
limits: {token_bytes: 2KiB}
envoy:
  inbound:
    upstreams:
      - {name: one, address: "127.0.0.1:1", hosts: [one.test], audience: one}
      - {name: two, address: "127.0.0.1:2", hosts: [two.test], audience: two, base_path: /airflow, narrows_dags: true}
"""
RULES = """  - {id: some, plane: inbound, roles: [sales-etl], operations: ["dags:read"], dags: ["sales_*"]}
"""
COMMANDS = {
    "check": ("check", "GET", "/api/v2/dags", "--group", "data-readers"),
    "explain": ("explain", "GET", "/api/v2/dags", "--group", "data-readers"),
    "lint": ("lint",),
    "token inspect": ("token", "inspect", "--offline"),
}


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A folder with settings and their policy; the command runs in another one, which has a policy too."""
    monkeypatch.delenv("AUTHZ_TOKEN", raising=False)
    (tmp_path / "etc" / "policies").mkdir(parents=True)
    (tmp_path / "etc" / "authz.yaml").write_text(SETTINGS)
    (tmp_path / "etc" / "policies" / "served.yaml").write_text(POLICY + RULES)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "policy.yaml").write_text(POLICY)
    (tmp_path / "elsewhere" / "jwks.json").write_bytes(jwks_of([KEY]))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "etc"


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, [*map(str, arguments)], input=stdin, catch_exceptions=False)


def token(**changes):
    now = int(time.time())
    return sign(access_claims(**{"iat": now - 5, "exp": now + 300, **changes}), KEY)


class TestThePolicyOfTheSettings:
    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
    def test_a_broken_policy_of_the_gate_is_no_answer_about_another_one(self, gate, command):
        policy = gate / "policies" / "served.yaml"
        policy.write_text(BROKEN)
        result = run(*command, "--settings", gate / "authz.yaml", stdin=token())
        assert result.exit_code == (1 if command == ("lint",) else 2)
        assert f"{policy}:2:10" in result.output
        assert "no findings" not in result.output

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
    def test_a_policy_that_the_gate_refuses_beside_its_settings_has_no_answer(self, gate, command):
        """A deny rule for a host that no upstream serves: the gate keeps the policy before it."""
        rule = (
            '  - {id: never, deny: true, plane: inbound, roles: [viewer], hosts: [oen.test], paths: ["/api/v2/dags"]}\n'
        )
        (gate / "policies" / "served.yaml").write_text(POLICY + RULES + rule)
        result = run(*command, "--settings", gate / "authz.yaml", stdin=token())
        assert result.exit_code == (1 if command == ("lint",) else 2)
        assert "the deny rule `never` names the host `oen.test`, which no upstream serves" in result.output

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
    def test_another_policy_beside_the_settings_is_an_error_that_names_both(self, gate, command):
        result = run(*command, "--settings", gate / "authz.yaml", "--policy", "policy.yaml", stdin=token())
        assert result.exit_code == 2
        text = " ".join(result.output.split())
        assert f"serves the policy {gate / 'policies' / 'served.yaml'}, and policy.yaml is another file" in text

    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
    def test_the_same_policy_by_another_name_is_no_error(self, gate, command):
        same, one = "../etc/policies/served.yaml", token()
        result = run(*command, "--settings", gate / "authz.yaml", "--policy", same, stdin=one)
        alone = run(*command, "--settings", gate / "authz.yaml", stdin=one)
        output = result.output.replace(same, str(gate / "policies" / "served.yaml"))
        assert (result.exit_code, _timeless(output)) == (alone.exit_code, _timeless(alone.output))
        assert result.exit_code != 2

    def test_lint_takes_no_other_file_either(self, gate):
        assert run("lint", "policy.yaml", "--settings", gate / "authz.yaml").exit_code == 2
        assert run("lint", "../etc/policies/served.yaml", "--settings", gate / "authz.yaml").exit_code == 0

    def test_without_settings_it_is_the_policy_of_the_folder(self, gate):
        (gate.parent / "elsewhere" / "policy.yaml").write_text(BROKEN)
        assert run("check", "GET", "/api/v2/dags").exit_code == 2
        assert run("lint").exit_code == 1


class TestAsTheServer:
    """The same tokens and requests, asked of the service with what Envoy tells it, and of `authz check`."""

    @pytest.mark.parametrize(
        ("host", "target", "told"),
        [
            ("one.test", "/api/v2/dags", {}),
            ("one.test", "/api/v2/monitor/health", {}),
            ("one.test", "/airflow/api/v2/dags", {}),
            ("two.test", "/airflow/api/v2/dags", {"base": "/airflow", "dags": "narrowed"}),
            ("two.test", "/api/v2/dags", {"base": "/airflow", "dags": "narrowed"}),
            ("two.test", "/airflow/api/v2/monitor/health", {"base": "/airflow", "dags": "narrowed"}),
            ("two.test", "/airflow/api//v2", {"base": "/airflow", "dags": "narrowed"}),
        ],
    )
    @pytest.mark.parametrize(
        "changes",
        [
            {"groups": ["data-readers"]},
            {"azp": "sales-etl", "groups": []},
            {"aud": "airflow-egress"},
            {"exp": 20, "iat": 10},
            {"jti": "ended"},
            {"groups": ["g" * 3000]},
        ],
        ids=["reader", "narrowed", "other plane", "expired", "revoked", "too long"],
    )
    def test_a_token(self, gate, host, target, told, changes):
        made = token(**changes)
        ended = Revocation(issuer=ISS, kind=Kind.JTI, value="ended", until=int(time.time()) + 99, before=0, note="")
        RevocationFile(gate / "revoked.jsonl").append([ended])
        rig = Rig(POLICY + RULES, max_token_bytes=2048)
        rig.clock.set_wall(time.time())
        rig.authenticator.revoked.add([ended])
        answer = rig.check("GET", target, token=made, host=host, **told)
        result = run(
            *("check", "GET", f"http://{host}{target}", "--settings", gate / "authz.yaml", "--json"),
            *("--token-file", "-", "--jwks", "jwks.json"),
            stdin=made,
        )
        found = json.loads(result.output)
        assert (found["status"], found["reason"]) == (answer.http, answer.reason)
        assert result.exit_code == (0 if answer.allowed else 1)

    def test_no_token(self, gate):
        for target, told in (("/airflow/api/v2/monitor/health", 200), ("/airflow/api/v2/dags", 401), ("/x", 401)):
            answer = Rig(POLICY + RULES).check("GET", target, host="two.test", base="/airflow", dags="narrowed")
            result = run("check", "GET", f"http://two.test{target}", "--settings", gate / "authz.yaml", "--json")
            assert (json.loads(result.output)["status"], answer.http) == (told, told)

    def test_a_token_of_a_plane_that_the_issuer_does_not_serve(self, gate):
        policy = gate / "policies" / "served.yaml"
        policy.write_text(policy.read_text().replace(", egress: [airflow-egress]", ""))
        asked = ("GET", "http://orders.internal/v1/orders", "--plane", "egress", "--client", "sales-etl")
        result = run("check", *asked, "--policy", policy)
        assert "deny 401 reason=audience" in result.output
        assert result.exit_code == 1

    def test_the_issuer_is_one_with_an_audience_on_the_plane(self, gate):
        policy = gate / "policies" / "served.yaml"
        first = "issuers:\n  - {name: front, issuer: https://a.test, audiences: {inbound: [a]}, algorithms: [RS256]}\n"
        policy.write_text(policy.read_text().replace("issuers:\n", first))
        asked = ("GET", "http://orders.internal/v1/orders", "--plane", "egress", "--client", "sales-etl")
        assert run("check", *asked, "--policy", policy).exit_code == 0
        assert "reason=audience" in run("check", *asked, "--policy", policy, "--issuer", "front").output


class TestNotes:
    def test_json_says_all_that_the_text_says(self, gate):
        asked = ("check", "GET", "/api/v2/dags", "--client", "sales-etl", "--policy", gate / "policies" / "served.yaml")
        text, found = run(*asked).output, json.loads(run(*asked, "--json").output)
        [note] = found["notes"]
        assert "(--narrowed, `narrows_dags`): Airflow shows only sales_*" in note
        for line in text.splitlines()[1:]:
            assert line.strip() in {found["help"], found["detail"], *found["notes"]}

    def test_explain_in_json_says_all_that_the_text_says(self, gate):
        asked = ("explain", "GET", "http://one.test:8443/api/v2/dags", "--group", "data-readers")
        found = json.loads(run(*asked, "--json").output)["explanation"]
        assert (found["issuer"], found["groups"], found["port"]) == ("corp", ["data-readers"], 8443)

    def test_a_host_that_no_upstream_has(self, gate):
        result = run("check", "GET", "http://three.test/api/v2/dags", "--settings", gate / "authz.yaml")
        assert "Envoy answers 404: no upstream of the settings has the host three.test" in result.output

    def test_a_path_alone_is_asked_of_the_first_host_of_the_settings(self, gate):
        asked = ("GET", "/api/v2/dags", "--group", "data-readers", "--settings", gate / "authz.yaml")
        assert "one.test/api/v2/dags" in run("explain", *asked).output
        assert "below `/airflow`" in run("explain", *asked, "--host", "two.test").output

    def test_signing_out_where_people_log_in(self, gate):
        login = """    login: {public_url: "https://one.test", issuer: ISS, client_id: c, client_secret_file: s}
""".replace("ISS", ISS)
        settings = gate / "authz.yaml"
        settings.write_text(settings.read_text() + login)
        result = run("check", "GET", "/auth/logout", "--settings", settings)
        assert "from a browser that logged in at Envoy this ends the session, whatever the rules say" in result.output
        assert "from a browser" not in run("check", "GET", "/api/v2/dags", "--settings", settings).output

    @pytest.mark.parametrize("cut", ["none", "unset", "missing", "unreadable"])
    def test_whether_the_session_was_ended(self, gate, cut):
        settings = gate / "authz.yaml"
        if cut == "unset":
            settings.write_text(settings.read_text().replace("revocation: {file: revoked.jsonl}\n", ""))
        if cut == "unreadable":
            os.mkfifo(gate / "revoked.jsonl")
        asked = ("check", "GET", "/api/v2/dags", "--token-file", "-", "--jwks", "jwks.json")
        result = run(*asked, *(() if cut == "none" else ("--settings", settings)), stdin=token())
        assert ("not looked at: whether the session was ended" in result.output) == (cut != "missing")
        assert result.exit_code == 0

    @pytest.mark.parametrize("cut", ["", "unset", "unreadable", "missing"])
    def test_what_the_caller_was_granted(self, gate, cut):
        settings, now = gate / "authz.yaml", int(time.time())
        policy = gate / "policies" / "served.yaml"
        policy.write_text(
            policy.read_text()
            + "grantable: [{id: brief, requesters: [viewer], approvers: none, longest: 1h, "
            + "operations: ['pools:read']}]\n"
        )
        if cut != "unset":
            settings.write_text(settings.read_text() + "grants: {file: grants.jsonl}\n")
        if cut == "unreadable":
            os.mkfifo(gate / "grants.jsonl")
        elif cut != "missing":
            holder = Actor(issuer=ISS, subject="alice")
            event = Requested(id="g0000001", at=now, holder=holder, entry="brief", seconds=60, reason="x", open=True)
            GrantsFile(gate / "grants.jsonl").record(lambda _ledger: [event])
        asked = ("check", "GET", "/api/v2/pools", "--token-file", "-", "--jwks", "jwks.json")
        result = run(*asked, "--settings", settings, stdin=token())
        assert ("rule=grant/brief" in result.output) == (cut == "")
        assert result.exit_code == (1 if cut else 0)
        assert ("not looked at: what the caller was granted" in result.output) == (cut == "unreadable")


class TestManyRequests:
    LINES = """# what readers may do

GET /api/v2/dags --group data-readers
{"method": "GET", "url": "/api/v2/dags", "client": "sales-etl", "narrowed": true}
{"method": "DELETE", "url": "/api/v2/dags/x", "as": "alice", "group": ["data-readers", "others"], "narrowed": false}
GET http://orders.internal/v1/orders --plane egress --client sales-etl
"""

    def test_one_answer_per_request(self, gate):
        (gate / "requests").write_text(self.LINES)
        result = run("check", "--requests", gate / "requests", "--policy", gate / "policies" / "served.yaml")
        assert [line.split()[:3] for line in result.output.splitlines()] == [
            ["allow", "200", "reason=rule"],
            ["allow", "200", "reason=rule"],
            ["deny", "403", "reason=no_rule"],
            ["allow", "200", "reason=rule"],
        ]
        assert result.output.splitlines()[0].endswith("  GET /api/v2/dags --group data-readers")
        assert result.exit_code == 1

    def test_standard_input_json_and_what_the_command_line_says_for_all(self, gate):
        lines = "GET /api/v2/dags\nGET /api/v2/dags --group other\n"
        result = run("check", "--requests", "-", "--group", "data-readers", "--json", stdin=lines)
        first, second = map(json.loads, result.output.splitlines())
        assert (first["line"], first["decision"], first["request"]) == (1, "allow", "GET /api/v2/dags")
        assert (second["line"], second["decision"]) == (2, "deny")
        assert "help" in first
        assert run("check", "--requests", "-", "--group", "data-readers", stdin="GET /api/v2/dags").exit_code == 0

    def test_as_the_gate_with_the_settings_answers(self, gate):
        lines = "GET http://two.test/airflow/api/v2/dags --client sales-etl\n"
        assert run("check", "--requests", "-", "--settings", gate / "authz.yaml", stdin=lines).exit_code == 0

    def test_every_line_that_is_no_request_is_reported_and_nothing_is_answered(self, gate):
        lines = """GET
GET /x --policy other.yaml
GET /x --token-file /etc/passwd
GET "/x
{"method": "GET"
{"method": "GET", "url": 7}
{"method": "GET", "url": "/x", "issuer": "other", "as": "alice"}
GET /api/v2/dags
"""
        result = run("check", "--requests", "-", stdin=lines)
        assert result.exit_code == 2
        assert [line.split(": ")[1] for line in result.output.splitlines()] == [f"<stdin>:{n}:1" for n in range(1, 8)]
        assert "deny" not in result.output

    @pytest.mark.parametrize(
        "arguments",
        [
            ("check",),
            ("check", "GET"),
            ("check", "--requests", "-", "GET", "/x"),
            ("check", "--requests", "-", "--token-file", "-"),
        ],
    )
    def test_arguments_that_do_not_fit_together_exit_with_2(self, gate, arguments):
        assert run(*arguments, stdin="GET /x").exit_code == 2


def _timeless(output):
    """The output without its numbers: it says how many seconds a token has left."""
    return re.sub(r"[0-9]+", "0", output)


class TestPathsInReports:
    """A report names files as people write them in the current folder, also where settings say where they are."""

    SETTINGS = "version: 1\npolicy: ../policies/served.yaml\nshadow: ../policies/next.yaml\n"
    FAILING = "tests:\n  - {who: anonymous, request: GET /api/v2/dags, expect: allow}\n"

    @pytest.fixture(autouse=True)
    def _repository(self, tmp_path, monkeypatch):
        for folder in ("etc", "policies"):
            (tmp_path / folder).mkdir()
        (tmp_path / "etc" / "authz.yaml").write_text(self.SETTINGS)
        (tmp_path / "policies" / "served.yaml").write_text(POLICY + self.FAILING)
        (tmp_path / "policies" / "next.yaml").write_text(BROKEN)
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("settings", ["etc/authz.yaml", "{here}/etc/authz.yaml"])
    @pytest.mark.parametrize("command", ["lint", "test"])
    def test_they_are_the_same_with_and_without_settings(self, tmp_path, command, settings):
        more = ("--junit", "junit.xml") if command == "test" else ()
        alone = run(command, "policies/served.yaml", *more)
        lines = set(_timeless(alone.output).splitlines())
        assert alone.exit_code == 1
        assert "policies/served.yaml:" in alone.output
        reports = [(tmp_path / "junit.xml").read_text()] if more else []
        for policy in ((), ("policies/served.yaml",)):
            with_settings = run(command, "--settings", settings.format(here=tmp_path), *policy, *more)
            reports += [(tmp_path / "junit.xml").read_text()] if more else []
            assert with_settings.exit_code == 1
            assert lines <= set(_timeless(with_settings.output).splitlines())
            assert str(tmp_path) not in with_settings.output.replace(f"{tmp_path}/etc/authz.yaml", "")
        assert not any(str(tmp_path) in one for one in reports)
        assert not more or 'file="policies/served.yaml"' in reports[0]

    def test_a_policy_that_is_given_beside_the_settings_is_named_as_it_is_given(self, tmp_path):
        path = tmp_path / "policies" / "served.yaml"
        alone = run("lint", path).output
        assert f"error: {path}:" in alone
        assert set(alone.splitlines()) <= set(run("lint", path, "--settings", "etc/authz.yaml").output.splitlines())

    def test_a_link_to_the_policy_is_not_the_place_of_its_files(self, tmp_path):
        """`test_files` are beside the policy that the gate reads, not beside the link."""
        (tmp_path / "link.yaml").symlink_to("policies/served.yaml")
        assert "error: policies/served.yaml:" in run("lint", "link.yaml", "--settings", "etc/authz.yaml").output

    def test_those_of_a_candidate_too(self):
        assert "warning: policies/next.yaml:2:10: " in run("lint", "--settings", "etc/authz.yaml").output

    def test_a_link_to_a_folder_elsewhere_stays_in_the_path(self, tmp_path):
        """Without it, the path would name another file."""
        (tmp_path / "elsewhere" / "etc").mkdir(parents=True)
        (tmp_path / "elsewhere" / "policies").mkdir()
        (tmp_path / "elsewhere" / "etc" / "authz.yaml").write_text(self.SETTINGS)
        (tmp_path / "elsewhere" / "policies" / "served.yaml").write_text(BROKEN)
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "etc")
        assert "error: link/../policies/served.yaml:2:10: " in run("lint", "--settings", "link/authz.yaml").output

    def test_a_file_outside_the_current_folder_keeps_its_whole_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path / "policies")
        found = run("lint", "--settings", tmp_path / "etc" / "authz.yaml").output
        assert f"error: {tmp_path}/etc/../policies/served.yaml:" in found
