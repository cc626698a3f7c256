"""Airflow's options: who lets people in, where it listens, what it believes of proxies."""

import pytest

from authz.core.doctor import airflow
from authz.core.doctor.reading import UnreadableError
from authz.core.doctor.site import Site
from tests.support.doctor_findings import ids, texts

OURS = "authz.airflow.auth_manager.AuthzAuthManager"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
OUR_FAB = "authz.airflow.fab_auth_manager.AuthzFabAuthManager"
GOOD = f"[core]\nauth_manager = {OURS}\n[api]\nhost = 127.0.0.1\n"
CANARY = "canary-5ecret"


def found(cfg=GOOD, site=None, **environment):
    options = airflow.options("airflow.cfg", cfg, environment)
    return [*airflow.findings(options, site or Site())]


def test_an_airflow_behind_the_gate_has_no_finding():
    assert found() == []
    assert found("", AIRFLOW__CORE__AUTH_MANAGER=OURS, AIRFLOW__API__HOST="localhost", OTHER="x", AIRFLOW__X="y") == []


def test_airflows_defaults_are_an_own_login_on_every_address():
    assert ids(found("")) == {"auth-manager", "airflow-open"}
    assert ids(found("[core]\nauth_manager =\n[api]\nhost =\n")) == {"auth-manager", "airflow-open"}


@pytest.mark.parametrize("value", ["True", "true", "t", "1", "True # for now", "true#"])
def test_everyone_as_administrator_is_found_in_file_and_environment(value):
    assert "all-admin" in ids(found(f"[core]\nsimple_auth_manager_all_admins = {value}\n"))
    assert "all-admin" in ids(found("", AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=value))
    assert "all-admin" not in ids(found("", AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="False"))


def test_the_environment_wins_over_the_file():
    cfg = "[core]\nsimple_auth_manager_all_admins = True\n"
    assert "all-admin" not in ids(found(cfg, AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="False"))


def test_with_our_auth_manager_that_option_has_no_effect():
    assert found(GOOD.replace("[api]", "simple_auth_manager_all_admins = True\n[api]")) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "airflow.internal"])
def test_an_address_that_is_not_loopback_is_open(host):
    assert ids(found(GOOD.replace("127.0.0.1", host))) == {"airflow-open"}


# --- the base URL


def _url(url, site=None):
    return found(f"{GOOD}base_url = {url}\n", site)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://airflow.example.com", False),
        ("http://airflow.example.com", True),
        ("http://localhost:8080", False),
        ("http://[::1]:8080", False),
        ("airflow.example.com", True),
        (f"https://user:{CANARY}@airflow.example.com", True),
        ("ftp://airflow.example.com", True),
    ],
)
def test_a_base_url_over_plain_http_or_without_scheme_is_found(url, wrong):
    assert ids(_url(url)) == ({"base-url"} if wrong else set())
    assert CANARY not in str(_url(url))


PUBLIC = Site(airflow=("127.0.0.1:8080",), base_paths=("",), public_url="https://airflow.example.com/")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://airflow.example.com", False),
        ("https://AIRFLOW.example.com:443/", False),
        ("http://airflow.example.com", True),
        ("https://other.example.com", True),
        ("", True),
    ],
)
def test_a_base_url_that_is_not_the_public_one_is_found(url, wrong):
    assert ids(_url(url, PUBLIC)) == ({"base-url"} if wrong else set())


@pytest.mark.parametrize(
    ("url", "paths", "unknown"),
    [
        ("https://a.test/airflow", ("",), True),
        ("https://a.test/airflow/", ("", "/airflow"), False),
        ("https://a.test", ("/airflow",), True),
        ("", ("/airflow",), True),
        ("https://a.test", ("",), False),
    ],
)
def test_a_base_path_that_the_gate_does_not_know_is_found(url, paths, unknown):
    site = Site(airflow=("127.0.0.1:8080",), base_paths=paths)
    assert ids(_url(url, site)) == ({"base-path"} if unknown else set())
    assert _url(url) == []


def test_the_older_section_is_read():
    assert ids(found(f"{GOOD}[webserver]\nbase_url = http://a.test\n")) == {"base-url"}


# --- proxy headers


@pytest.mark.parametrize(("allowed", "wrong"), [("*", True), ("10.0.0.1, *", True), ("10.0.0.1", False), ("", False)])
def test_an_api_server_that_believes_every_peer_is_found(allowed, wrong):
    assert ids(found(FORWARDED_ALLOW_IPS=allowed)) == ({"proxy-headers"} if wrong else set())


def _fab(lines, section="fab"):
    cfg = f"[core]\nauth_manager = {OUR_FAB}\n[api]\nhost = 127.0.0.1\nbase_url = https://a.test\n[{section}]\n"
    return found(cfg + lines)


@pytest.mark.parametrize("section", ["fab", "webserver"])
def test_fab_behind_tls_needs_the_proxy_fix_for_one_proxy(section):
    assert ids(_fab("", section)) == {"proxy-headers"}
    assert _fab("enable_proxy_fix = True\n", section) == []
    assert _fab("enable_proxy_fix = True\nproxy_fix_x_port = 0\n", section) == []
    assert ids(_fab("enable_proxy_fix = True\nproxy_fix_x_for = 2\n", section)) == {"proxy-headers"}


def test_without_tls_fab_needs_no_proxy_fix():
    assert found(f"[core]\nauth_manager = {OUR_FAB}\n[api]\nhost = 127.0.0.1\n") == []


# --- lifetimes


@pytest.mark.parametrize(
    ("lines", "longer"),
    [
        ("", 2),
        ("[api_auth]\njwt_expiration_time = 3600\n[fab]\nsession_lifetime_minutes = 60\n", 0),
        ("[api_auth]\njwt_expiration_time = 3601\n[fab]\nsession_lifetime_minutes = 61\n", 2),
        (f"[api_auth]\njwt_expiration_time = {CANARY}\n[fab]\nsession_lifetime_minutes = 60\n", 1),
    ],
)
def test_sessions_of_airflows_own_that_outlive_tokens_are_found(lines, longer):
    cfg = f"[core]\nauth_manager = {FAB}\n[api]\nhost = 127.0.0.1\n"
    some = found(cfg + lines, Site(longest=3600))
    assert len(texts(some, "login-outlives-token")) == longer
    assert CANARY not in str(some)
    assert "login-outlives-token" not in ids(found(cfg + lines))


def test_the_gates_auth_manager_has_no_sessions_of_its_own():
    assert found(site=Site(longest=3600)) == []


def test_the_default_login_has_a_token_and_no_fab_session():
    assert len(texts(found("", Site(longest=3600)), "login-outlives-token")) == 1


# --- reading


@pytest.mark.parametrize("text", [f"no section {CANARY}", f"[core\n{CANARY}", f"[core]\n{CANARY}"])
def test_a_file_that_is_no_configuration_is_refused_without_its_text(text):
    with pytest.raises(UnreadableError) as caught:
        airflow.options("airflow.cfg", text, {})
    assert CANARY not in str(caught.value)


def test_percent_signs_are_plain_text():
    assert airflow.options("a", "[core]\nx = %(y)s %\n", {}).get("core", "x") == "%(y)s %"


@pytest.mark.parametrize(
    "text",
    ["A=1\nB=two words\n", 'export A=1\nB="two words"\n', "A=1\0B=two words\0", "# C=3\nA = 1\nB='two words'\n\nno\n"],
)
def test_variables_are_read_from_lines_and_from_proc(text):
    assert airflow.variables(text) == {"A": "1", "B": "two words"}


def test_whether_secrets_are_there_is_known_without_showing_them():
    assert airflow.has_secrets(f"[core]\nfernet_key = {CANARY}\n")
    assert not airflow.has_secrets("[core]\nfernet_key =\n")
    assert airflow.holds_secrets({"AIRFLOW__API_AUTH__JWT_SECRET": CANARY})
    assert not airflow.holds_secrets({"AIRFLOW__CORE__AUTH_MANAGER": OURS})


def test_files_that_the_options_name_are_known():
    options = airflow.options("a", "[api]\nssl_key = /k\nssl_cert = /c\n[core]\nx = 1\n", {})
    assert [(one.field, one.path) for one in airflow.files(options)] == [
        ("[api] ssl_key", "/k"),
        ("[api] ssl_cert", "/c"),
    ]
    assert [*airflow.files(airflow.options("a", "", {}))] == []
