"""Those who keep FAB: the gate says who asks, FAB decides what they may. And what FAB's own remote user would mean."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from authz.core import assertion
from tests.support.missing import skip_or_fail
from tests.support.sites.airflow import FAB, AirflowSite, empty_dags

pytestmark = pytest.mark.timeout(300)

OURS = {
    "AIRFLOW__CORE__AUTH_MANAGER": "authz.airflow.fab_auth_manager.AuthzFabAuthManager",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "3",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "0",
}
RUNS = "/api/v2/dags/one/dagRuns"
TRIGGER = {"logical_date": None}
MAKE_USERS = """
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

with get_application_builder() as appbuilder:
    manager = appbuilder.sm
    for name, role, active in (("ann", "Viewer", True), ("bo", "User", True), ("gone", "Admin", False)):
        mail, role = f"{name}@example.com", manager.find_role(role)
        user = manager.add_user(name, name, "Example", mail, role, password="x" * 12)
        user.active = active
        manager.update_user(user)
"""
REMOTE_USER = """
from flask_appbuilder.const import AUTH_REMOTE_USER

AUTH_TYPE = AUTH_REMOTE_USER
AUTH_REMOTE_USER_ENV_VAR = "HTTP_X_AUTHZ_USER"
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Viewer"
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start an Airflow with FAB and its three users."""
    if not FAB.exists():
        skip_or_fail("FAB is not installed: run `make .fab/.installed`")

    def made(options):
        folder = tmp_path_factory.mktemp("fab")
        (folder / "users.py").write_text(MAKE_USERS)
        (folder / "remote_user.py").write_text(REMOTE_USER)
        return AirflowSite(
            folder,
            dags={"one": empty_dags("one")},
            auth_manager="fab",
            options={name: value.format(folder=folder) for name, value in options.items()},
        )

    return made


@pytest.fixture(scope="module")
def site(start):
    with start(OURS) as site:
        site.python(site.folder / "users.py")
        yield site


@pytest.fixture
def ask(site):
    with site.client() as http:

        def ask(method, path, name=None, body=None, **headers):
            if name is not None:
                headers[assertion.HEADER] = site.mint("admin", preferred_username=name)
            return http.request(method, path, headers=headers, json=body)

        yield ask


def test_the_gate_says_who_asks_and_fab_what_they_may(ask):
    assert ask("GET", "/ui/auth/me", "ann").json()["username"] == "ann"
    assert [dag["dag_id"] for dag in ask("GET", "/ui/dags", "ann").json()["dags"]] == ["one"]
    assert ask("POST", RUNS, "ann", TRIGGER).status_code == 403  # a viewer of FAB's, whatever the assertion says
    assert ask("POST", RUNS, "bo", TRIGGER).json()["triggering_user_name"] == "bo"
    assert ask("GET", "/api/v2/connections", "bo").status_code == 403


@pytest.mark.parametrize("name", ["gone", "stranger", "ANN", "", None])
def test_a_name_that_fab_does_not_know_is_401(ask, name):
    for path in ("/ui/auth/me", "/api/v2/dags"):
        assert ask("GET", path, name).status_code == 401


def test_many_requests_at_once_share_few_connections_and_each_gets_its_own_user(ask):
    """A pool that is used up makes a request wait 30 seconds, and then fail."""
    with ThreadPoolExecutor(30) as pool:
        asked = [(name, pool.submit(ask, "GET", "/ui/auth/me", name)) for name in ("ann", "bo") * 100]
        dags = [pool.submit(ask, "GET", "/ui/dags", name) for name in ("ann", "bo") * 50]
        assert all(call.result().json()["username"] == name for name, call in asked)
        assert {call.result().status_code for call in dags} == {200}


def test_a_user_name_in_a_header_is_401(ask):
    assert ask("GET", "/ui/auth/me", **{"x-authz-user": "bo", "x-remote-user": "bo"}).status_code == 401
    assert ask("GET", "/ui/auth/me", **{assertion.HEADER: "garbage"}).status_code == 401


def test_fabs_own_token_is_401_alone_and_ignored_beside_an_assertion(site, ask):
    token = ask("POST", "/auth/token", body={"username": "bo", "password": "x" * 12}).json()["access_token"]
    assert ask("GET", "/ui/auth/me", authorization=f"Bearer {token}").status_code == 401
    assert ask("GET", "/ui/auth/me", cookie=f"_token={token}").status_code == 401
    assert ask("GET", "/ui/auth/me", "ann", authorization=f"Bearer {token}").json()["username"] == "ann"


def test_the_login_leads_to_the_gate(ask):
    answer = ask("GET", "/api/v2/auth/login")
    assert (answer.status_code, answer.headers["location"]) == (307, "/auth/gate")
    assert "behind a gate" in ask("GET", "/auth/gate").text


@pytest.fixture(scope="module")
def remote_user(start):
    """FAB's own way: a header that names the user."""
    with start({"AIRFLOW__FAB__CONFIG_FILE": "{folder}/remote_user.py"}) as site:
        yield site


@contextmanager
def log_in(site, **headers):
    """A browser that went where the UI sends it to log in."""
    with site.client() as browser:
        browser.get("/auth/login/", headers=headers)
        yield browser


def test_what_fabs_remote_user_does(remote_user):
    ann = {"x-authz-user": "ann"}
    with log_in(remote_user, **ann) as browser:
        assert browser.get("/ui/auth/me", headers=ann).json()["username"] == "ann"
        # It is Airflow's own session from here on: it is not compared with the gate's again, and needs no header.
        assert browser.get("/ui/auth/me", headers={"x-authz-user": "bo"}).json()["username"] == "ann"
        token = browser.cookies.pop("_token")  # which the gate removes from every request
        assert browser.get("/ui/auth/me", headers=ann).status_code == 401
        assert browser.get("/api/v2/dags", headers=ann).status_code == 401
        assert browser.get("/api/v2/dags", headers={"authorization": f"Bearer {token}"}).status_code == 200
    for name in ("x-authz-user", "X_Authz_User"):  # whoever reaches the port is who they say
        with log_in(remote_user, **{name: "mallory"}) as browser:
            assert browser.get("/ui/auth/me").json()["username"] == "mallory"
    with log_in(remote_user) as browser:
        assert browser.get("/ui/auth/me").status_code == 401
