"""The real Airflow under a base path, behind the real Envoy and the real gate, over TLS: where it is, and what it says.

The oracle of the base path is Airflow itself: what was forwarded was judged as the very thing that Airflow then served.
"""

import json
import ssl
from urllib.parse import quote

import httpx
import pytest

from authz.core.record import followed_line
from tests.e2e.airflow_behind_gate import BASE, HOST, AirflowBehindGate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CANARY = "canary-7c1d"
# How Airflow's answers begin, and the operation that only they are of.
SERVED = {
    b'{"dags":': "dags:read",
    b'{"variables":': "variables:read",
    b'{"connections":': "connections:read",
    b'{"pools":': "pools:read",
    b'{"metadatabase":': "health:read",
    b'{"version":': "version:read",
}
# Spellings of the base path: Envoy reads them so before anybody judges them.
SAME = (
    *("/airflow", "/%61irflow", "/airflo%77", "/./airflow", "/x/../airflow", "//airflow", "/airflow/.", "/airflow/"),
    *("/airflow/../airflow", "/airflow/execution/..", "/static/../airflow", "/airflow/%2e", "/%2e%2e/airflow"),
)
# What an application or a proxy might take for the base path.
OTHER = (
    *("", "/", "/airflowx", "/airflow-", "/airflow.", "/airflow;x", "/airflow;", "/airflow%20", "/airflow%00"),
    *("/AIRFLOW", "/Airflow", "/a%C4%B1rflow", "/x/airflow", "/airflow/airflow", "/airflow/..", "/airflow/%2e%2e"),
    *("/airflow/..;", "/airflow%2f..", "/airflow%2F%2e%2e", "/airflow\\..", "/airflow%5c..", "/airflow%2f"),
    *("/airflow%2Fairflow", "%2fairflow", "/%2fairflow", "/airflow%252f", "/airflow%09", "/airflow?", "/airflow#"),
    *("/airflow%3f", "/airflow%23", "/auth/.."),
)
EXECUTION = (
    *("/execution/health", "/execution%2fhealth", "%2fexecution/health", "/%65xecution/health", "/EXECUTION/health"),
    *("/execution", "/execution/", "/x/../execution/health", "//execution/health", "/execution;x/health"),
    *("/./execution/health", "%2fexecution%2fhealth", "/%2fexecution/health", "/execution/dag-runs/a/b/state"),
)


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    with AirflowBehindGate(tmp_path_factory.mktemp("behind"), components=("api-server",)) as running:
        admin = running.token("root", "admins")
        secret = json.dumps({"key": CANARY, "value": CANARY}).encode()
        made = running.post(f"{BASE}/api/v2/variables", secret, token=admin)
        assert made.status == 201
        yield running


def sent(behind, target, token):
    """The answer to raw bytes, the gate's record (None where it was not asked), and whether Airflow was called."""
    answer = behind.get(target.encode(), token=token)
    record = behind.record(answer) if answer.header("x-authz-decision") else None
    return answer, record, behind.forwarded(answer)


def kinds(answer):
    return {kind for start, kind in SERVED.items() if answer.body.startswith(start)}


# --- base path


def test_airflow_is_below_its_base_path_and_nowhere_else(behind):
    admin = behind.token("root", "admins")
    for target in ("/airflow/", "/airflow/dags/talks/runs"):
        page = behind.get(target, token=admin)
        assert (page.status, b'<base href="/airflow/"' in page.body) == (200, True)
    listed = behind.get("/airflow/api/v2/dags?limit=1", token=admin)
    assert (listed.status, behind.record(listed)["operation"]) == (200, "dags:read")
    assert behind.record(listed)["path"] == "/airflow/api/v2/dags"
    assert json.loads(behind.get("/airflow/openapi.json", token=admin).body)["servers"] == [{"url": "/airflow"}]
    for target in (
        "/",
        "/api/v2/dags",
        "/api/v2/version",
        "/execution/health",
        "/static/x.js",
        "/airflowx/api/v2/dags",
    ):
        known, unknown = behind.get(target, token=admin), behind.get(target)
        assert (known.status, behind.record(known)["reason"]) == (403, "unknown_route")
        assert (unknown.status, behind.record(unknown)["reason"]) == (401, "no_token")
        assert (behind.forwarded(known), behind.forwarded(unknown)) == (False, False)


@pytest.mark.parametrize("prefix", SAME)
def test_a_spelling_of_the_base_path_is_judged_as_what_airflow_serves(behind, prefix):
    listed, record, _ = sent(behind, prefix + "/api/v2/variables", behind.token("root", "admins"))
    assert (kinds(listed), record["operation"]) == ({"variables:read"}, "variables:read")
    assert CANARY.encode() in listed.body
    refused, _, forwarded = sent(behind, prefix + "/api/v2/variables", behind.token("vera", "viewers"))
    assert (refused.status, forwarded) == (403, False)
    open_to_all, record, _ = sent(behind, prefix + "/api/v2/version", None)
    assert (kinds(open_to_all), record["rule"]) == ({"version:read"}, "open")


@pytest.mark.parametrize("prefix", OTHER)
def test_what_is_not_the_base_path_opens_nothing(behind, prefix):
    for place, token in (
        ("/api/v2/variables", behind.token("root", "admins")),
        ("/api/v2/variables", behind.token("vera", "viewers")),
        ("/api/v2/version", None),
    ):
        answer, record, forwarded = sent(behind, prefix + place, token)
        assert not kinds(answer)
        assert CANARY.encode() not in answer.body
        # Below the real base path an admin may see any page, and what is no route of Airflow is its page.
        assert not forwarded or record["operation"] in {"", "ui:pages"}, f"{prefix + place}: {answer.status} {record}"
        assert forwarded or answer.status >= 300


@pytest.mark.parametrize("target", EXECUTION)
@pytest.mark.parametrize("prefix", ["/airflow", "", "/airflow/x/.."])
def test_the_task_api_is_closed_below_the_base_path_and_beside_it(behind, prefix, target):
    answer, record, forwarded = sent(behind, prefix + target, behind.token("root", "admins"))
    assert not forwarded or record["operation"] in {"", "ui:pages"}, f"{prefix + target}: {answer.status} {record}"


# --- what Airflow says of itself


FORWARDING = (
    *("X-Forwarded-Proto: http", "X-Forwarded-Host: evil.test", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil"),
    *("Forwarded: proto=http;host=evil.test", "X-Forwarded-Scheme: http", "X-Forwarded-Server: evil.test"),
    *("X-Original-URL: /evil", "X-Forwarded-For: 192.0.2.66"),
)


@pytest.mark.parametrize("header", [None, *FORWARDING])
def test_redirects_are_https_and_a_client_cannot_say_otherwise(behind, header):
    admin, host = behind.token("root", "admins"), f"{HOST}:{behind.port}"
    lines = [header] if header else []
    bare = behind.get("/airflow", *lines, token=admin, host=host)
    assert (bare.status, bare.header("location")) == (307, f"https://{host}/airflow/")
    back = quote(f"https://{host}/airflow/dags", safe="")
    login = behind.get(f"/airflow/api/v2/auth/login?next={back}", *lines, token=admin, host=host)
    assert (login.status, login.header("location")) == (307, f"/airflow/auth/gate?next={back}")
    evil = behind.get("/airflow/api/v2/auth/login?next=https%3A%2F%2Fevil.test%2Fairflow", *lines, token=admin)
    assert evil.status == 400


def test_cookies_of_airflow_are_for_https_and_its_base_path(behind):
    answer = behind.get("/airflow/api/v2/auth/logout", token=behind.token("somebody"))
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert len(cookies) == 2
    assert all("Secure" in cookie and "HttpOnly" in cookie for cookie in cookies)


def test_airflow_logs_the_clients_own_address(behind):
    told = behind.get("/airflow/api/v2/version", "X-Forwarded-For: 192.0.2.66", "X-Request-Id: seen-in-the-log")
    assert told.status == 200
    log = (behind.folder / "airflow/logs/api-server.log").read_text()
    assert "192.0.2.66" not in log
    assert "client_addr=127.0.0.1" in log


# --- large headers


def crowd(size):
    """So many bytes of groups, in JSON."""
    return [f"group-{number:07}" for number in range(size // 16)]


def test_64_kib_of_groups_are_a_token_like_any_other(behind):
    token = behind.token("lars", "viewers", *crowd(64 * 1024))
    assert len(token) > 86_000
    first, again = (behind.get("/airflow/api/v2/dags", token=token) for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert behind.record(first)["subject"] == "id-lars"
    assert behind.get("/airflow/api/v2/variables", token=token).status == 403


def test_a_token_beyond_the_limit_is_a_401_and_headers_beyond_envoys_a_431_that_says_so(behind):
    large = behind.get("/airflow/api/v2/dags", token=behind.token("lars", *crowd(80_000)))
    assert (large.status, behind.record(large)["reason"]) == (401, "token_too_large")
    too_large = behind.get("/airflow/api/v2/dags", token=behind.token("lars", *crowd(200_000)))
    assert too_large.status == 431
    assert json.loads(too_large.body)["error"] == "headers_too_large"


def test_over_http_2_large_tokens_are_the_same(behind):
    trust = ssl.create_default_context(cafile=behind.authority.ca)
    with httpx.Client(http2=True, verify=trust, trust_env=False) as client:
        for groups, status in ((crowd(64 * 1024), 200), (crowd(80_000), 401)):
            token = behind.token("lars", "viewers", *groups)
            headers = {"authorization": f"Bearer {token}", "host": HOST}
            answer = client.get(
                f"https://127.0.0.1:{behind.port}/airflow/api/v2/dags",
                headers=headers,
                extensions={"sni_hostname": HOST},
            )
            assert (answer.http_version, answer.status_code) == ("HTTP/2", status)


def test_a_websocket_is_refused(behind):
    lines = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4",
    )
    for target in ("/airflow/", "/airflow/api/v2/dags", "/airflow/ui/ws"):
        assert behind.get(target, *lines, token=behind.token("root", "admins")).status == 403


# --- which run a request made


@pytest.mark.parametrize("header", ["", "Accept-Encoding: gzip"])
def test_the_access_log_and_the_outcome_name_the_run_that_airflow_made(behind, header):
    body = json.dumps({"logical_date": None, "note": "n" * 900}).encode()  # an answer that Airflow compresses
    target = f"{BASE}/api/v2/dags/waits/dagRuns"
    lines = [header] if header else []
    answer = behind.post(target, body, *lines, token=behind.token("ursula", "users"))
    assert answer.status == 200, answer.body
    assert answer.header("x-authz-made-run") is None, "it does not reach the caller"
    assert answer.header("content-encoding") == ("gzip" if header else None)
    said = behind.access(answer)
    _, outcome = followed_line(json.dumps(said).encode())
    admin = behind.token("root", "admins")
    run = json.loads(outcome)["run"]
    found = behind.get(f"{target}/{quote(run)}", token=admin)
    assert (found.status, json.loads(found.body)["dag_run_id"]) == (200, run)
    assert json.loads(found.body)["triggering_user_name"] == "ursula"
    refused = behind.post(target, body, token=behind.token("vera", "viewers"))
    assert (refused.status, behind.access(refused)["run"]) == (403, None)
