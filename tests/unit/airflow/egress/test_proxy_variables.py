"""The proxy form: the variables of a task, the listener that sets them, and connections that carry the token."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow")

import httpx
import requests
from airflow.sdk import Connection

from authz.airflow.egress import plugin, settings
from authz.airflow.egress.connections import RunConnections
from authz.airflow.egress.errors import UnavailableError
from authz.airflow.egress.identity import RunIdentity
from authz.airflow.egress.proxy_variables import EXCEPTIONS, PROXIES, ProxyVariables
from authz.airflow.egress.settings import Account, EgressSettings
from tests.support.simulators.egress import EgressSimulator
from tests.support.sites.egress_task import instance, running

NOBODY = Account("", "", "", "", ())


@pytest.fixture
def site(monkeypatch):
    for name in (*PROXIES, *EXCEPTIONS):
        monkeypatch.delenv(name, raising=False)
    with EgressSimulator() as site, running(site):
        yield site


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def variables(site, environ, **more):
    found = EgressSettings(
        **{"proxy": site.url, "required": False, "no_proxy": ("localhost",), "account": NOBODY, **more}
    )
    return ProxyVariables(RunIdentity.current(), found, environ)


# --- the variables


def test_both_cases_are_set_and_taken_back(site):
    environ = {"http_proxy": "http://corporate:3128", "NO_PROXY": "intranet"}
    before = dict(environ)
    made = variables(site, environ)
    made.start()
    token = site.tokens[0]
    assert {environ[name] for name in PROXIES} == {f"http://run:{token}@{site.authority}"}
    assert {environ[name] for name in EXCEPTIONS} == {"intranet,localhost"}
    made.end()
    assert environ == before


def test_the_token_is_renewed_before_its_end(site):
    site.lives_s = 1.2  # asked for again after a second
    environ = {}
    made = variables(site, environ)
    made.start()
    first = environ["HTTP_PROXY"]
    until(lambda: environ["HTTP_PROXY"] != first)
    made.end()
    assert environ == {}


def test_without_a_token_calls_still_go_to_the_gate_and_it_is_tried_again(site, monkeypatch):
    monkeypatch.setattr("authz.airflow.egress.proxy_variables.TRY_AGAIN_S", 0.02)
    monkeypatch.setattr("authz.airflow.egress.credential.PAUSE_S", 0.0)
    site.exchange = (503, {"error": "unavailable", "message": "Later.", "decision_id": "d"})
    environ = {}
    made = variables(site, environ)
    with pytest.raises(UnavailableError):
        made.start()
    assert {environ[name] for name in PROXIES} == {site.url}
    with httpx.Client(proxy=environ["HTTP_PROXY"]) as client:
        assert client.get("http://orders.internal/v1/orders").status_code == 401
    assert site.passed == []
    site.exchange = None
    until(lambda: "run:" in environ["HTTP_PROXY"])
    made.end()


def test_after_the_end_nothing_is_set_any_more(site):
    environ = {}
    made = variables(site, environ)
    made.start()
    made.end()
    made._renew()
    assert environ == {}


@pytest.mark.parametrize("library", ["requests", "httpx", "urllib", "curl"])
def test_what_obeys_the_variables_is_identified(site, library, monkeypatch):
    made = variables(site, os.environ)
    made.start()
    url = "http://orders.internal/v1/orders"
    try:
        if library == "requests":
            assert requests.get(url, timeout=10).status_code == 200
        elif library == "httpx":
            assert httpx.get(url).status_code == 200
        elif library == "urllib":
            code = f"import urllib.request; print(urllib.request.urlopen({url!r}).status)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout.strip() == "200"
        else:
            command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout == "200"
    finally:
        made.end()
    (passed,) = site.passed
    assert (passed.level, passed.task, passed.path) == ("verified-bearer", "sales_daily.extract", "/v1/orders")


def test_aiohttp_uses_the_proxy_variables_only_with_trust_env(site):
    import aiohttp

    made = variables(site, os.environ)
    made.start()

    async def call(**options):
        async with aiohttp.ClientSession(**options) as session, session.get("http://127.0.0.2:9/v1/orders") as got:
            return got.status

    try:
        assert asyncio.run(call(trust_env=True)) == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            asyncio.run(call())
    finally:
        made.end()
    assert [passed.level for passed in site.passed] == ["verified-bearer"]


def test_a_tunnel_is_asked_for_with_the_token(site):
    made = variables(site, os.environ)
    made.start()
    try:
        with EgressSimulator() as behind, pytest.raises(requests.exceptions.SSLError):
            requests.get(f"https://127.0.0.1:{behind.url.rpartition(':')[2]}/", timeout=10)  # it speaks no TLS
    except requests.exceptions.ProxyError:  # pragma: no cover
        pytest.fail("the gate was not asked as a proxy is")
    finally:
        made.end()
    assert [(level, task) for _where, level, task in site.tunnels] == [("verified-bearer", "sales_daily.extract")]


# --- the settings


def configuration(**given):
    return settings.read(lambda section, name: given.get(f"{section}_{name}", ""))


def test_airflows_own_addresses_stay_out_of_the_proxy():
    found = configuration(
        authz_egress_proxy=" http://127.0.0.1:8090/ ",
        authz_egress_no_proxy="a.test, .b.test,,localhost",
        authz_egress_required="True",
        core_execution_api_server_url="http://envoy.test:8091/execution/",
        api_base_url="https://airflow.test/base",
    )
    assert found == EgressSettings(
        proxy="http://127.0.0.1:8090",
        required=True,
        no_proxy=("localhost", "127.0.0.1", "::1", "envoy.test", "airflow.test", "a.test", ".b.test"),
        account=NOBODY,
    )
    assert configuration().proxy == ""
    assert configuration(api_base_url="http://[broken").no_proxy == ("localhost", "127.0.0.1", "::1")


# --- the listener


@pytest.fixture
def listener(site, monkeypatch):
    made = EgressSettings(proxy=site.url, required=False, no_proxy=("localhost",), account=NOBODY)
    monkeypatch.setattr(plugin, "_in_task_process", lambda _instance: True)
    monkeypatch.setattr(settings, "from_airflow", lambda: made)
    found = plugin.RunIdentityListener()
    found.settings = made
    yield found
    found.on_task_instance_success()


def test_the_variables_are_there_while_the_task_runs(site, listener):
    listener.on_task_instance_running(task_instance=instance())
    assert os.environ["HTTPS_PROXY"] == f"http://run:{site.tokens[0]}@{site.authority}"
    listener.on_task_instance_failed()
    assert not set(PROXIES) & set(os.environ)


def test_the_next_task_of_the_same_process_has_its_own(site, listener):
    listener.on_task_instance_running(task_instance=instance())
    listener.on_task_instance_running(task_instance=instance(task_id="load"))
    assert [asked.task_id for asked in site.asked] == ["extract", "load"]
    listener.on_task_instance_success()
    assert not set(PROXIES) & set(os.environ)


def test_a_gate_that_is_down_breaks_no_task(site, listener, caplog):
    site.exchange = (503, {"error": "unavailable", "message": "Later.", "decision_id": "d"})
    listener.on_task_instance_running(task_instance=instance())
    assert os.environ["HTTP_PROXY"] == site.url
    assert "The gate will deny calls by proxy variables until there is a token" in caplog.text


def test_where_it_is_required_the_task_does_not_start(site, listener, monkeypatch):
    monkeypatch.setattr(settings, "from_airflow", lambda: listener.settings._replace(required=True))
    site.exchange = (403, {})
    with pytest.raises(SystemExit, match=r"egress_required: the task does not start.*refused a run identity"):
        listener.on_task_instance_running(task_instance=instance())


def test_without_a_proxy_nothing_happens(site, listener, monkeypatch):
    monkeypatch.setattr(settings, "from_airflow", lambda: listener.settings._replace(proxy=""))
    listener.on_task_instance_running(task_instance=instance())
    assert not set(PROXIES) & set(os.environ)
    assert site.asked == []


def test_the_settings_of_airflow_are_read(monkeypatch):
    monkeypatch.setenv("AIRFLOW__AUTHZ__EGRESS_PROXY", "http://127.0.0.1:8090")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://envoy.test:8091/execution/")
    found = settings.from_airflow()
    assert found.proxy == "http://127.0.0.1:8090"
    assert "envoy.test" in found.no_proxy


def test_only_the_process_of_a_task_counts():
    listener = plugin.RunIdentityListener()
    listener.on_task_instance_running(task_instance=SimpleNamespace(id="what the scheduler calls one"))
    assert listener._variables is None


# --- connections that carry the token


class Backend:
    def __init__(self, **found):
        self.found = found
        self.asked = []

    def get_connection(self, conn_id):
        self.asked.append((conn_id, threading.get_ident()))
        return self.found.get(conn_id)


class AsyncBackend(Backend):
    async def aget_connection(self, conn_id):
        return self.found.get(conn_id)


def connection(**extra):
    return Connection(conn_id="orders", conn_type="http", host="http://127.0.0.1:9101", extra=json.dumps(extra))


@pytest.fixture
def backend(monkeypatch):
    """Our backend, and what stands behind it."""
    made = RunConnections()
    monkeypatch.setattr(made, "_others", lambda: made.behind)
    return made


def test_a_flagged_connection_carries_the_token(site, backend):
    held = connection(authz_run_identity=True, **{"x-team": "sales"})
    backend.behind = [Backend(), Backend(orders=held), AsyncBackend()]
    found = backend.get_connection("orders")
    assert found.extra_dejson == {"x-team": "sales", "Proxy-Authorization": f"Bearer {site.tokens[0]}"}
    assert found.host == held.host
    assert held.extra_dejson == {"authz_run_identity": True, "x-team": "sales"}
    assert asyncio.run(backend.aget_connection("orders")).extra_dejson == found.extra_dejson
    assert asyncio.run(backend.aget_connection("others")) is None
    assert backend.get_connection("others") is None


@pytest.mark.parametrize("extra", [{}, {"authz_run_identity": False}, {"authz_run_identity": "no"}])
def test_a_connection_without_the_flag_gets_no_token(site, backend, extra):
    backend.behind = [AsyncBackend(orders=connection(**extra))]
    for found in (backend.get_connection("orders"), asyncio.run(backend.aget_connection("orders"))):
        assert found.extra_dejson == {}
    assert site.asked == []


def test_a_blocking_backend_is_not_asked_on_the_loop(site, backend):
    behind = Backend(orders=connection(authz_run_identity="true"))
    backend.behind = [behind]
    assert "Proxy-Authorization" in asyncio.run(backend.aget_connection("orders")).extra_dejson
    assert behind.asked[0][1] != threading.get_ident()


def test_without_a_token_the_connection_comes_without_and_the_log_says_why(site, backend, caplog):
    site.exchange = (403, {})
    backend.behind = [AsyncBackend(orders=connection(authz_run_identity=True))]
    assert backend.get_connection("orders").extra_dejson == {}
    assert asyncio.run(backend.aget_connection("orders")).extra_dejson == {}
    assert caplog.text.count("The gate will deny calls by the connection orders: The gate refused a run identity") == 2


def test_outside_of_tasks_it_comes_without_and_nothing_is_said(backend, caplog):
    backend.behind = [Backend(orders=connection(authz_run_identity=True))]
    assert backend.get_connection("orders").extra_dejson == {}
    assert caplog.text == ""


def test_the_backend_that_stood_there_before_is_asked_first(site, monkeypatch):
    from airflow.sdk.execution_time import supervisor

    made = RunConnections(backend=f"{__name__}.Vault", backend_kwargs={"path": "p"})
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [made, Backend()])
    assert made.get_connection("orders").extra_dejson["Proxy-Authorization"] == f"Bearer {site.tokens[0]}"
    assert made.get_variable("v") == "p/v"
    assert made.get_config("c") == "p/c"
    plain = RunConnections()
    assert (plain.get_variable("v"), plain.get_config("c")) == (None, None)


class Vault:
    def __init__(self, path):
        self.path = path

    def get_connection(self, conn_id):
        return connection(authz_run_identity=True)

    def get_variable(self, key):
        return f"{self.path}/{key}"

    def get_config(self, key):
        return f"{self.path}/{key}"


@pytest.mark.filterwarnings("ignore:The `airflow.utils")
def test_hooks_built_in_code_and_sensors_are_identified(site, backend, monkeypatch):
    from airflow.providers.http.hooks.http import HttpAsyncHook, HttpHook
    from airflow.providers.http.sensors.http import HttpSensor
    from airflow.sdk.execution_time import supervisor

    held = Connection(conn_id="orders", conn_type="http", host=site.url, extra='{"authz_run_identity": true}')
    backend.behind = [Backend(orders=held)]
    monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [backend])
    assert HttpHook("GET", "orders").run("/v1/orders").status_code == 200
    assert HttpSensor(task_id="sensor", http_conn_id="orders", endpoint="/v1/ready").poke({})

    async def by_hook():
        import aiohttp

        async with aiohttp.ClientSession() as session:
            got = await HttpAsyncHook("GET", "orders").run(session, "/v1/async")
            await got.read()
            return got.status

    assert asyncio.run(by_hook()) == 200
    assert [(passed.path, passed.level) for passed in site.passed] == [
        ("/v1/orders", "verified-bearer"),
        ("/v1/ready", "verified-bearer"),
        ("/v1/async", "verified-bearer"),
    ]


def test_the_token_of_a_connection_follows_no_redirect_to_another_host(site, backend, monkeypatch):
    from airflow.providers.http.hooks.http import HttpHook
    from airflow.sdk.execution_time import supervisor

    with EgressSimulator() as elsewhere:
        seen = []
        monkeypatch.setattr(elsewhere, "judge", lambda *call: seen.append(call) or ("", ""))
        held = Connection(conn_id="orders", conn_type="http", host=site.url, extra='{"authz_run_identity": true}')
        backend.behind = [Backend(orders=held)]
        monkeypatch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [backend])
        site.answers["/old"] = [(302, [("location", f"{elsewhere.url}/collect")], b"")]
        HttpHook("GET", "orders").run("/old")
    (call,) = seen
    assert "proxy-authorization" not in call[3]


def test_basic_credentials_are_what_curl_makes_of_the_variable(site):
    held = RunIdentity.current().proxy().token
    line = "Basic " + base64.b64encode(f"run:{held}".encode()).decode()
    assert httpx.get(f"{site.url}/x", headers={"proxy-authorization": line}, trust_env=False).status_code == 200
