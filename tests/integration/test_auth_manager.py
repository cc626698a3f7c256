"""The real Airflow with our auth manager, as a process: who gets in, with what, and how far."""

import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from authz.core import assertion, catalogue
from authz.core.decision import rights
from authz.core.decision.decide import evaluate
from authz.core.model import Allow
from tests.support.factories import policies
from tests.support.sites.airflow import ROLES, AirflowSite

pytestmark = pytest.mark.timeout(300)

OTHER_KEY = assertion.load_signing_key(assertion.generate_pem())
DAG = "/api/v2/dags/sales_daily"
TRIGGER = {"logical_date": None}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with AirflowSite(tmp_path_factory.mktemp("airflow"), options={"AIRFLOW__API__EXPOSE_CONFIG": "true"}) as site:
        yield site


@pytest.fixture(scope="module")
def airflow(site):
    with site.client() as client:
        yield client


@pytest.fixture(scope="module")
def mint(site):
    return site.mint


def ask(client, path, token=None, method="GET", headers=None, **more):
    given = {assertion.HEADER: token} if token is not None else {}
    return client.request(method, path, headers={**given, **(headers or {})}, **more)


PROTECTED = ("/api/v2/dags", DAG, "/api/v2/connections", "/ui/auth/me", "/ui/auth/menus", "/ui/config", "/ui/dags")


@pytest.mark.parametrize("path", PROTECTED)
def test_a_protected_path_without_an_assertion_is_401(airflow, path):
    assert ask(airflow, path).status_code == 401


def wrong_assertions(site):
    mint, now = site.mint, int(time.time())
    yield "another key", mint("admin", signing_key=OTHER_KEY)
    yield "forged", mint("admin", signing_key=replace(OTHER_KEY, kid=site.key.kid))
    yield "expired", mint("admin", iat=now - 120, nbf=now - 120, exp=now - 60)
    yield "another audience", mint("admin", aud="airflow-2")
    yield "another issuer", mint("admin", iss="https://evil.test")
    yield "lives too long", mint("admin", exp=now + 3600)
    yield "another type", mint("admin", typ="at+jwt")
    yield "garbage", "garbage"
    yield "empty", ""


@pytest.mark.parametrize("path", PROTECTED)
def test_a_wrong_assertion_is_refused(airflow, site, path):
    for name, token in wrong_assertions(site):
        assert ask(airflow, path, token).status_code == 401, name


def test_viewers_read_and_users_trigger(airflow, mint):
    found = {dag["dag_id"] for dag in ask(airflow, "/api/v2/dags", mint("viewer")).json()["dags"]}
    assert {"sales_daily", "finance_close"} <= found
    runs = f"{DAG}/dagRuns"
    assert ask(airflow, runs, mint("viewer"), "POST", json=TRIGGER).status_code == 403
    assert ask(airflow, runs, mint("viewer")).json()["total_entries"] == 0
    assert ask(airflow, runs, mint("user"), "POST", json=TRIGGER).status_code == 200
    (run,) = ask(airflow, runs, mint("viewer")).json()["dag_runs"]
    assert run["triggering_user_name"] == "ann"


def test_an_identity_without_an_airflow_role_is_known_and_its_reads_are_403(airflow, mint):
    assert ask(airflow, "/ui/auth/me", mint()).json() == {"id": "https://idp.test#user-1", "username": "ann"}
    for path in ("/api/v2/dags", DAG, "/api/v2/pools", "/api/v2/variables"):
        assert ask(airflow, path, mint()).status_code == 403


# One route per kind of thing that Airflow guards, and the weakest role that may, as FAB's default roles have it.
LEVELS = {
    ("GET", "/api/v2/dags"): "viewer",
    ("GET", f"{DAG}/dagRuns"): "viewer",
    ("GET", f"{DAG}/tasks"): "viewer",
    ("GET", "/api/v2/assets"): "viewer",
    ("GET", "/api/v2/pools"): "viewer",
    ("GET", "/api/v2/importErrors"): "viewer",
    ("GET", "/api/v2/jobs"): "viewer",
    ("GET", "/api/v2/dagSources/sales_daily"): "viewer",
    ("GET", "/api/v2/dagWarnings"): "viewer",
    ("GET", "/ui/dags"): "viewer",
    ("GET", "/ui/grid/runs/sales_daily"): "viewer",
    ("PATCH", DAG): "user",
    ("DELETE", f"{DAG}/dagRuns/none"): "user",
    ("POST", "/api/v2/assets/events"): "user",
    ("GET", "/api/v2/connections"): "op",
    ("GET", "/api/v2/variables"): "op",
    ("GET", "/api/v2/config"): "op",
    ("GET", "/api/v2/plugins"): "op",
    ("GET", "/api/v2/providers"): "op",
    ("DELETE", "/api/v2/pools/none"): "op",
    ("GET", "/api/v2/eventLogs"): "admin",
}


@pytest.mark.parametrize(("method", "path"), LEVELS)
def test_airflows_own_checks_ask_for_fabs_level(airflow, mint, method, path):
    body = {"json": {}} if method in {"PATCH", "POST"} else {}
    refused = [ask(airflow, path, mint(role), method, **body).status_code == 403 for role in ROLES]
    weakest = ROLES.index(LEVELS[method, path])
    assert refused == [number < weakest for number in range(len(ROLES))]


WEAK = """
  weak: {groups: [g], airflow: viewer}
  other: {groups: [h], airflow: viewer}
"""
EVERYTHING = policies.load(
    '{id: all, plane: inbound, roles: [weak], operations: ["*"]}\n'
    "{id: other, plane: inbound, roles: [other], paths: [/x]}",
    roles=WEAK,
)


def told(policy, asked, *groups):
    """What the gate's own code says in the assertion of this request; None where it denies."""
    who = policy.identify(policies.claims(groups=groups))
    decision = evaluate(asked, who, policy)
    if not isinstance(decision, Allow):
        return None
    menu = list(rights.menu(asked, who, policy))
    return {"role": rights.airflow_role(who, decision), "dags": list(decision.dags.allowed), "menu": menu}


@pytest.mark.parametrize("groups", [("g",), ("g", "h")])
def test_what_a_rule_allows_airflow_does_not_refuse_whatever_the_role_says_of_itself(airflow, mint, groups):
    """A role with `airflow: viewer` and a rule for everything: every route, those for admins alone included."""
    refused, asked, strongest = [], 0, set()
    for operation in EVERYTHING.catalogue.operations.values():
        for route in operation.routes:
            if operation.never or not route.template.startswith(("/api/v2/", "/ui/")):
                continue
            path = re.sub(r"\{[^}]+\}", "1", route.template.replace("{dag_id}", "no_such_dag"))
            claims = told(EVERYTHING, policies.request(route.method, path), *groups)
            body = {"json": {}} if route.method in {"PATCH", "POST", "PUT"} else {}
            status = ask(airflow, path, mint(claims.pop("role"), **claims), route.method, **body).status_code
            refused += [(operation.name, route.method, path)] if status == 403 else []
            strongest.add(operation.airflow_role)
            asked += 1
    # Airflow's own 403 for everyone where `[core] multi_team` is off (tests/parity/differences.yaml).
    assert refused == [("ui:read", "GET", "/ui/teams")]
    assert strongest == set(ROLES)
    assert asked > 150


def test_every_item_of_the_menu_is_shown_to_a_weak_role_with_a_rule_for_everything(airflow, mint):
    claims = told(EVERYTHING, policies.request("GET", "/ui/auth/menus"), "g")
    shown = ask(airflow, "/ui/auth/menus", mint(claims.pop("role"), **claims)).json()["authorized_menu_items"]
    assert {"Audit Log", "Connections", "Variables", "Dags", "Pools"} <= set(shown)


def test_the_largest_assertion_that_the_gate_makes_reaches_airflow(airflow, mint):
    """With the largest roles header beside it. The gate's own limit: tests/unit/core/test_assertion.py."""
    dags = ["sales_daily", *(f"{number:03}{'x' * 76}" for number in range(100))]
    token = mint("viewer", dags=dags, roles=[f"r{number:04}" for number in range(460)])
    assert 16_000 < len(token) <= 16_384
    answer = ask(airflow, "/api/v2/dags", token, headers={"x-authz-roles": "r" * 4096})
    assert answer.status_code == 200
    assert [dag["dag_id"] for dag in answer.json()["dags"]] == ["sales_daily"]


def test_the_menu_is_what_the_gate_says(airflow, mint):
    def menu(**claims):
        return ask(airflow, "/ui/auth/menus", mint("admin", **claims)).json()["authorized_menu_items"]

    assert menu(menu=["DAGS", "POOLS", "AUDIT_LOG", "SOMETHING_NEW"]) == ["Audit Log", "Dags", "Pools"]
    assert menu(menu=[]) == menu() == []


def test_airflow_issues_no_token(airflow, mint):
    asked = ask(airflow, "/ui/auth/token", mint("admin"), "POST", json={"token_type": "api"})
    assert asked.status_code == 403
    assert "access_token" not in asked.text


MINT_AN_AIRFLOW_TOKEN = """
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
token = BaseAuthManager._get_token_signer(expiration_time_in_seconds=3600).generate({"sub": "admin", "role": "ADMIN"})
assert BaseAuthManager._get_token_validator().validated_claims(token)["sub"] == "admin"
print("TOKEN", token)
"""


@pytest.fixture(scope="module")
def airflows_token(site):
    """A token that Airflow's own code signed with this Airflow's secret, and accepts."""
    command = [sys.executable, "-c", MINT_AN_AIRFLOW_TOKEN]
    printed = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=True, timeout=60)
    return re.search("^TOKEN (.+)$", printed.stdout, re.MULTILINE)[1]


@pytest.mark.parametrize("path", PROTECTED)
def test_airflows_own_tokens_open_nothing_without_an_assertion(airflow, airflows_token, path):
    bearer, cookie = {"authorization": f"Bearer {airflows_token}"}, {"cookie": f"_token={airflows_token}"}
    for headers in (bearer, cookie, {**bearer, **cookie}):
        assert ask(airflow, path, headers=headers).status_code == 401


def test_airflows_own_token_beside_an_assertion_adds_nothing(airflow, mint, airflows_token):
    headers = {"authorization": f"Bearer {airflows_token}", "cookie": f"_token={airflows_token}"}
    assert ask(airflow, "/ui/auth/me", mint("viewer"), headers=headers).json()["username"] == "ann"
    assert ask(airflow, "/api/v2/connections", mint("viewer"), headers=headers).status_code == 403
    assert ask(airflow, "/api/v2/dags", "garbage", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/cli", "/auth/login"])
def test_there_is_nothing_to_log_in_to(airflow, path):
    answer = ask(airflow, path, method="POST", json={"username": "admin", "password": "admin"})
    assert answer.status_code in {404, 405}


def test_clocks_may_differ_by_the_skew_at_both_ends(airflow, mint):
    now = int(time.time())

    def status(issued, expires):
        return ask(airflow, "/api/v2/dags", mint("viewer", iat=issued, nbf=issued, exp=expires)).status_code

    assert status(now - 60, now - 1) == 200
    assert status(now + 4, now + 60) == 200
    assert status(now - 60, now - 6) == 401
    assert status(now + 30, now + 60) == 401


def test_airflows_event_log_and_runs_say_who_it_was(airflow, site, mint):
    run = {**TRIGGER, "dag_run_id": "who", "note": "mine"}
    token = mint("user", preferred_username="bo", name="Bo Example", sub="user-2")
    assert ask(airflow, f"{DAG}/dagRuns", token, "POST", json=run).status_code == 200
    assert ask(airflow, f"{DAG}/dagRuns/who", mint("viewer")).json()["triggering_user_name"] == "bo"
    (entry,) = ask(airflow, "/api/v2/eventLogs?event=trigger_dag_run&owner=bo", mint("admin")).json()["event_logs"]
    assert (entry["dag_id"], entry["run_id"], entry["owner"]) == ("sales_daily", "who", "bo")
    with closing(sqlite3.connect(site.home.home / "airflow.db")) as database:
        (names,) = database.execute("select owner, owner_display_name from log where run_id = 'who'").fetchall()
        (author,) = database.execute("select user_id from dag_run_note where content = 'mine'").fetchall()
    assert (names, author) == (("bo", "bo"), ("https://idp.test#user-2",))


def test_people_whose_assertion_is_refused_get_a_page(airflow):
    page = ask(airflow, "/dags", "garbage", headers={"sec-fetch-mode": "navigate"})
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "could not verify who you are" in page.text
    assert ask(airflow, "/dags", "garbage").headers["content-type"] == "application/json"


def test_an_identity_provider_token_or_a_session_cookie_beside_the_assertion_changes_nothing(airflow, mint):
    headers = {"authorization": "Bearer x.y.z", "cookie": "_token=x.y.z"}
    assert ask(airflow, "/ui/auth/me", mint("viewer"), headers=headers).json()["username"] == "ann"
    assert ask(airflow, "/ui/auth/me", headers=headers).status_code == 401


def test_identity_headers_without_an_assertion_are_401(airflow):
    headers = {"x-authz-user": "admin", "x-authz-roles": "admin", "x-authz-subject": "admin", "x-remote-user": "admin"}
    assert ask(airflow, "/api/v2/dags", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/api/v2/monitor/health", "/api/v2/version", "/"])
def test_what_airflow_shows_to_anyone_works_without_an_assertion(airflow, path):
    assert ask(airflow, path).status_code == 200


def test_the_task_api_is_left_to_task_tokens(airflow, mint):
    path = "/execution/variables/x"
    assert ask(airflow, path).status_code in {401, 403}
    assert ask(airflow, path, mint("admin")).status_code in {401, 403}


def test_login_and_logout_say_to_use_the_gate(airflow):
    for path in ("/api/v2/auth/login", "/api/v2/auth/logout"):
        answer = ask(airflow, path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/auth/gate")
    page = ask(airflow, "/auth/gate")
    assert page.status_code == 401
    assert "behind a gate" in page.text


# Airflow looks at these requests' bodies or ids before it looks at the role: everyone gets the same 404 or 422.
SAME_FOR_ALL = {
    "backfills:update",
    "connections:bulk",
    "connections:test",
    "dag_runs:bulk",
    "dag_runs:clear",
    "dags:reparse",
    "pools:bulk",
    "variables:bulk",
}


def test_every_route_of_the_api_asks_for_the_role_that_the_catalogue_names(airflow, mint):
    wrong, unseen, seen = [], set(), 0
    for name, operation in catalogue.load("3.3").operations.items():
        for route in operation.routes:
            if not route.template.startswith("/api/v2/"):
                continue
            path = re.sub(r"\{[^}]+\}", "1", route.template.replace("{dag_id}", "no_such_dag"))
            body = {"json": {}} if route.method in {"PATCH", "POST", "PUT"} else {}
            found = [ask(airflow, path, mint(role), route.method, **body).status_code for role in ROLES]
            weakest = next((role for role, status in zip(ROLES, found, strict=True) if status != 403), None)
            if weakest == operation.airflow_role:
                seen += 1
            elif set(found) in ({404}, {422}):
                unseen.add(name)
            else:
                wrong.append((name, route.method, path, operation.airflow_role, found))
    assert wrong == []
    assert unseen == SAME_FOR_ALL
    assert seen >= 110
