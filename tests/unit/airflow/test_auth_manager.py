"""The auth manager as Airflow calls it, with Airflow's own types."""

import asyncio
import inspect
import json
import logging
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.common.types import MenuItem
from airflow.api_fastapi.core_api.security import USER_INJECTED_BY_TRUSTED_MIDDLEWARE
from airflow.exceptions import AirflowConfigException
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import HTTPException
from jwt.algorithms import ECAlgorithm

from authz.airflow.auth_manager import AuthzAuthManager, AuthzUser, mark_user
from authz.airflow.dag_grant import DagGrant
from authz.airflow.middleware import AssertionMiddleware
from authz.airflow.verifier import Asserted

ALL_DAGS = DagGrant(("*",))


def user(role="viewer", dags=ALL_DAGS, **more):
    who = Asserted(subject="u-1", idp="https://idp.test", username="ann", airflow_role=role, dags=dags, **more)
    return AuthzUser(who)


@pytest.fixture
def key_file(tmp_path):
    public = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{**public, "kid": "k1"}]}))
    return path


@pytest.fixture
def configured(monkeypatch, key_file):
    monkeypatch.setenv("AIRFLOW__AUTHZ__ISSUER", "https://gate.test")
    monkeypatch.setenv("AIRFLOW__AUTHZ__AUDIENCE", "airflow")
    monkeypatch.setenv("AIRFLOW__AUTHZ__JWKS_FILE", str(key_file))
    return monkeypatch


def started():
    auth_manager = AuthzAuthManager()
    auth_manager.init()
    return auth_manager


def test_it_implements_all_that_airflow_asks_for_with_airflows_parameters():
    assert AuthzAuthManager.__abstractmethods__ == frozenset()
    for name, ours in inspect.getmembers(AuthzAuthManager, inspect.isfunction):
        theirs = getattr(BaseAuthManager, name, None)
        if name.startswith("_") or not inspect.isfunction(theirs):
            continue
        accepted = inspect.signature(ours).parameters
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in accepted.values()):
            continue
        assert set(inspect.signature(theirs).parameters) <= set(accepted), name


def test_the_middleware_is_the_one_thing_it_adds(configured):
    (entry,) = started().get_fastapi_middlewares()
    assert entry[0] is AssertionMiddleware
    assert entry[1]["expected"].audience == "airflow"
    assert set(entry[1]["source"].keys()) == {"k1"}


def test_it_does_not_start_unconfigured():
    with pytest.raises(AirflowConfigException, match="AIRFLOW__AUTHZ__ISSUER"):
        started()
    with pytest.raises(AirflowConfigException, match="init"):
        AuthzAuthManager().get_fastapi_middlewares()


@pytest.mark.parametrize("content", [None, "<html>", '{"keys": []}'])
def test_it_does_not_start_with_a_bad_key_file(configured, key_file, content):
    key_file.unlink() if content is None else key_file.write_text(content)
    with pytest.raises(AirflowConfigException, match="jwks_file cannot be used"):
        started()


def test_it_says_at_start_what_an_assertion_must_be(configured, caplog):
    """A wrong audience or a foreign key set is found by comparing this line with the gate's settings."""
    with caplog.at_level(logging.INFO):
        started()
    (line,) = [record.getMessage() for record in caplog.records if "are accepted with" in record.getMessage()]
    assert all(part in line for part in ("'https://gate.test'", "'airflow'", "k1", "keys.json"))


def test_it_starts_before_the_gate_does(configured, caplog):
    configured.delenv("AIRFLOW__AUTHZ__JWKS_FILE")
    configured.setenv("AIRFLOW__AUTHZ__JWKS_URL", "http://127.0.0.1:1/jwks.json")
    started()
    assert "does not answer yet" in caplog.text


def test_it_does_not_start_when_the_url_serves_something_else(configured):
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        configured.delenv("AIRFLOW__AUTHZ__JWKS_FILE")
        configured.setenv("AIRFLOW__AUTHZ__JWKS_URL", f"http://127.0.0.1:{server.server_port}/")
        with pytest.raises(AirflowConfigException, match="not JSON"):
            started()
        thread.join()


def test_it_does_not_start_with_a_misspelt_option(configured):
    configured.setenv("AIRFLOW__AUTHZ__LOGIN_ULR", "/login")
    with pytest.raises(AirflowConfigException, match="did you mean `login_url`"):
        started()


def test_it_refuses_multi_team(configured):
    configured.setenv("AIRFLOW__CORE__MULTI_TEAM", "true")
    with pytest.raises(AirflowConfigException, match="multi_team"):
        started()


def test_the_mark_is_what_airflow_looks_for():
    who = Asserted(subject="u-1", idp="https://idp.test", username="ann")
    state = mark_user(who)
    assert state["user_authenticated_via"] is USER_INJECTED_BY_TRUSTED_MIDDLEWARE
    assert (state["user"].get_id(), state["user"].get_name()) == ("https://idp.test#u-1", "ann")


def test_no_token_of_airflows_makes_or_leaves_a_user():
    auth_manager = AuthzAuthManager()
    with pytest.raises(ValueError, match="issues no tokens"):
        auth_manager.deserialize_user({"sub": "u-1", "airflow_role": "admin"})
    with pytest.raises(HTTPException) as refused:
        auth_manager.generate_jwt(user("admin"), expiration_time_in_seconds=60)
    assert refused.value.status_code == 403
    assert auth_manager.serialize_user(user("admin")) == {"sub": "https://idp.test#u-1"}


def test_the_login_page_says_to_use_the_gate(configured):
    auth_manager = started()
    assert auth_manager.get_url_login(next_url="/x") == "/auth/gate"
    assert auth_manager.get_url_logout() is None

    async def visit():
        transport = httpx.ASGITransport(auth_manager.get_fastapi_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return await client.get("/gate")

    answer = asyncio.run(visit())
    assert answer.status_code == 401
    assert "behind a gate" in answer.text
    (said,) = re.findall("<dt>Time</dt><dd><code>(.*) UTC</code></dd>", answer.text)
    assert abs((datetime.fromisoformat(said + "Z") - datetime.now(UTC)).total_seconds()) < 60


def test_login_and_logout_can_lead_to_the_gate(configured):
    configured.setenv("AIRFLOW__AUTHZ__LOGIN_URL", "https://gate.test/")
    configured.setenv("AIRFLOW__AUTHZ__LOGOUT_URL", "/signout")
    auth_manager = started()
    assert auth_manager.get_url_login() == "https://gate.test/"
    assert auth_manager.get_url_logout() == "/signout"


@pytest.mark.parametrize(
    ("check", "weakest"),
    [
        (lambda am, who: am.is_authorized_dag(method="GET", user=who), "viewer"),
        (
            lambda am, who: am.is_authorized_dag(
                method="POST", user=who, access_entity=DagAccessEntity.RUN, details=DagDetails(id="x")
            ),
            "user",
        ),
        (
            lambda am, who: am.is_authorized_dag(method="GET", user=who, access_entity=DagAccessEntity.AUDIT_LOG),
            "admin",
        ),
        (lambda am, who: am.is_authorized_configuration(method="GET", user=who), "op"),
        (lambda am, who: am.is_authorized_connection(method="GET", user=who), "op"),
        (lambda am, who: am.is_authorized_asset(method="POST", user=who), "user"),
        (lambda am, who: am.is_authorized_asset_alias(method="GET", user=who), "viewer"),
        (lambda am, who: am.is_authorized_pool(method="PUT", user=who), "op"),
        (lambda am, who: am.is_authorized_variable(method="GET", user=who), "op"),
        (lambda am, who: am.is_authorized_view(access_view=AccessView.TRIGGERS, user=who), "admin"),
        (lambda am, who: am.is_authorized_custom_view(method="GET", resource_name="x", user=who), "admin"),
        (lambda am, who: am.filter_authorized_connections(conn_ids={"a"}, user=who) == {"a"}, "op"),
        (lambda am, who: am.filter_authorized_dag_ids(dag_ids={"a"}, user=who) == {"a"}, "viewer"),
        (lambda am, who: am.filter_authorized_dag_ids(dag_ids={"a"}, user=who, method="PUT") == {"a"}, "user"),
        (lambda am, who: am.filter_authorized_pools(pool_names={"a"}, user=who, team_name=None) == {"a"}, "viewer"),
        (lambda am, who: am.filter_authorized_variables(variable_keys={"a"}, user=who) == {"a"}, "op"),
    ],
)
def test_each_check_asks_for_its_level(check, weakest):
    roles = ("", "viewer", "user", "op", "admin")
    auth_manager = AuthzAuthManager()
    assert [bool(check(auth_manager, user(role))) for role in roles] == [
        roles.index(role) >= roles.index(weakest) for role in roles
    ]


SALES = DagGrant(("sales_*",), ("sales_secret",))


def may(who, dag_id, method="GET", entity=None):
    return AuthzAuthManager().is_authorized_dag(
        method=method, user=who, access_entity=entity, details=DagDetails(id=dag_id)
    )


def test_a_dag_must_be_one_of_those_that_the_assertion_is_for():
    who = user("admin", SALES)
    assert [may(who, dag) for dag in ("sales_a", "sales_secret", "finance", "~", "")] == [True] + [False] * 4
    for entity in DagAccessEntity:
        assert not may(who, "finance", entity=entity)
    assert not any(may(user("admin", DagGrant()), dag) for dag in ("sales_a", "finance", ""))
    assert not may(user("viewer", SALES), "sales_a", "PUT")


def test_without_an_id_the_level_decides_and_the_lists_are_narrowed():
    auth_manager, who = AuthzAuthManager(), user("viewer", SALES)
    for details in (None, DagDetails(id=None), DagDetails()):
        assert auth_manager.is_authorized_dag(method="GET", user=who, details=details)
        assert not auth_manager.is_authorized_dag(method="PUT", user=who, details=details)
        assert not auth_manager.is_authorized_dag(method="GET", user=user("admin", DagGrant()), details=details)
    assert auth_manager.filter_authorized_dag_ids(dag_ids={"sales_a", "sales_secret", "b"}, user=who) == {"sales_a"}
    assert auth_manager.filter_authorized_dag_ids(dag_ids={"sales_a"}, user=user("admin", DagGrant())) == set()


def test_one_forbidden_dag_forbids_the_whole_batch():
    auth_manager, who = AuthzAuthManager(), user("user", SALES)

    def asks(*dags):
        return [{"method": "PUT", "access_entity": DagAccessEntity.RUN, "details": DagDetails(id=dag)} for dag in dags]

    assert auth_manager.batch_is_authorized_dag(asks("sales_a", "sales_b"), user=who)
    assert not auth_manager.batch_is_authorized_dag(asks("sales_a", "finance"), user=who)


def test_the_menu_is_what_the_gate_says_and_nothing_without_a_word():
    every, manager = list(MenuItem), AuthzAuthManager()
    assert manager.filter_authorized_menu_items(every, user=user("admin")) == []
    menu = frozenset({"DAGS", "POOLS", "SOMETHING_NEW"})
    assert manager.get_authorized_menu_items(user=user("", menu=menu)) == [MenuItem.DAGS, MenuItem.POOLS]


def test_the_users_repr_tells_who_it_is():
    assert repr(user()) == "AuthzUser('https://idp.test#u-1', airflow_role='viewer')"
