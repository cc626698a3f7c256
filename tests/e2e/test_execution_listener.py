"""The way of tasks to Airflow's execution API: as it is, without the gate; but the exchange is the gate's to answer."""

from base64 import b64encode, urlsafe_b64encode
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import jwt
import pytest

from authz.core.record import access_in, followed_line, outcome_in
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, wait_for
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz, deny
from tests.support import envoy_settings
from tests.support.ports import loopback

pytestmark = pytest.mark.e2e

EXCHANGE = "/execution/variables/__run_identity__/v1/proxy/e30"
TOKEN = "Authorization: Bearer execution-token"


class Workers:
    """Envoy's execution listener, an echo in Airflow's place, and a scripted gate."""

    def __init__(self, envoy, authz, airflow):
        self.envoy, self.authz, self.airflow = envoy, authz, airflow
        host, _, port = envoy.section.execution.listen.rpartition(":")
        self.address = (host, int(port))

    def ask(self, target, *headers, **parts):
        return exchange(self.address, request(target, *headers, **{"host": "airflow.internal", **parts}))


def settings_for(folder, airflow, authz, **execution):
    section = {
        "execution": {"listen": loopback(), "address": airflow, **execution},
        "admin": loopback(),
        "access_log": "access.log",
    }
    return envoy_settings.load(folder, section, (authz,))


@pytest.fixture(scope="module")
def running_workers(envoy_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("execution")
    with EchoUpstream() as airflow, ScriptedAuthz() as authz:
        settings = settings_for(folder, airflow.address, authz.endpoint)
        with Envoy(settings, folder, envoy_binary) as envoy:
            yield Workers(envoy, authz, airflow)


@pytest.fixture
def workers(running_workers):
    running_workers.authz.reset()
    running_workers.airflow.reset()
    return running_workers


@pytest.mark.parametrize(
    "target",
    [
        "/execution/task-instances/0199/heartbeat",
        "/execution/variables/team/key",
        "/execution/variables/a//b%2Fc",
        "/execution/variables/__run_identit",
        "/execution/variables/x__run_identity__/v1",
        "/execution/variables/x/__run_identity__/v1",
        "/execution/variables/%255f_run_identity__/v1",
        "/execution/connections/__run_identity__/v1",
        "/execution/xcoms/d/manual__2026-01-01T00:00:00+00:00/t/return_value?map_index=-1",
    ],
)
def test_the_execution_api_gets_what_tasks_send_without_a_check(workers, target):
    lines = (TOKEN, "Airflow-API-Version: 2026-06-30", "Traceparent: 00-1")
    method = "PATCH" if "heartbeat" in target else "PUT"
    answer = workers.ask(target, *lines, method=method, body=b"{}")
    assert answer.status == 200
    seen = workers.airflow.only
    assert (seen.method, seen.target, seen.body, seen.all("host")) == (method, target, b"{}", ["airflow.internal"])
    assert seen.all("authorization") == ["Bearer execution-token"]
    assert (seen.all("airflow-api-version"), seen.all("traceparent")) == (["2026-06-30"], ["00-1"])
    assert workers.authz.checks == []


def test_forged_identity_headers_do_not_reach_the_execution_api(workers):
    spoofed = [f"{name}: forged" for name in ("X-Authz-Assertion", "X-Authz-User", "X-Remote-User", "X-Run-Identity")]
    assert workers.ask("/execution/health", *spoofed, TOKEN).status == 200
    assert "forged" not in workers.airflow.only.head.decode()


def test_a_stream_is_passed_on_as_it_comes(workers):
    """Each piece is sent once the one before has arrived at the other end: nothing is kept until the end."""
    with Connection(workers.address) as connection:
        head = request("/execution/xcoms/d/r/t/k", TOKEN, "Transfer-Encoding: chunked", method="POST")
        connection.send(head + b"3\r\nabc\r\n")
        connection.send(b"2\r\nde\r\n0\r\n\r\n")
        assert connection.response().status == 200
    assert workers.airflow.only.body == b"abcde"


def test_heartbeats_survive_a_gate_that_is_down_and_the_exchange_fails_closed(envoy_binary, tmp_path):
    with EchoUpstream() as airflow:
        settings = settings_for(tmp_path, airflow.address, f"unix:{tmp_path}/nobody.sock")
        with Envoy(settings, tmp_path, envoy_binary, alone=True) as envoy:
            workers = Workers(envoy, None, airflow)
            assert workers.ask("/execution/task-instances/1/heartbeat", TOKEN, method="PUT", body=b"{}").status == 200
            assert airflow.only.all("authorization") == ["Bearer execution-token"]
            airflow.reset()
            assert workers.ask(EXCHANGE, TOKEN).status == 503
            assert airflow.requests == []


# --- the exchange


def test_the_exchange_is_the_gates_to_answer(workers):
    workers.authz.answer = lambda _: deny(status=200, headers={"content-type": "application/json"})
    answer = workers.ask(EXCHANGE, TOKEN, "Cookie: a=b")
    assert (answer.status, answer.body) == (200, b"denied by script")
    check = workers.authz.only.attributes
    assert dict(check.context_extensions) == {"plane": "execution"}
    assert (check.request.http.method, check.request.http.path) == ("GET", EXCHANGE)
    shown = check.SerializeToString()
    assert b"Bearer execution-token" in shown
    assert b"a=b" not in shown
    assert workers.airflow.requests == []


@pytest.mark.parametrize(
    "target",
    [
        EXCHANGE,
        "/execution/variables/__run_identity__",
        "/execution/variables/__run_identity__?x=y",
        "/execution/variables/__run_identity__%2Fv1/x/y",
        "/execution/variables%2F__run_identity__/v1",
        "/execution%2fvariables/__run_identity__/v1",
        "/execution//variables/__run_identity__/v1",
        "/execution/variables//__run_identity__/v1",
        "/execution/variables/%5F%5frun_identity__/v1",
        "/execution/%76ariables/__run_identity__/v1",
        "/%65xecution/variables/__run%5fidentity__/v1",
        "/execution/x/../variables/__run_identity__/v1",
        "/execution/./variables/%2e/__run_identity__/v1",
        "/execution\\variables/__run_identity__/v1",
        "/EXECUTION/variables/__RUN_IDENTITY__/v1",
        "//execution/variables/__run_identity__/v1",
        "http://airflow.internal/execution/variables/__run_identity__/v1",
    ],
)
def test_the_exchange_never_gets_to_airflow_even_when_the_answer_allows_it(workers, target):
    methods = ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS")
    assert [workers.ask(target, TOKEN, method=method).status for method in methods] == [403] * len(methods)
    assert [check.attributes.context_extensions["plane"] for check in workers.authz.checks] == ["execution"] * 6
    assert workers.airflow.requests == []


# --- nothing else


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/execution",
        "/executions/x",
        "/Execution/x",
        "/api/v2/dags",
        "/execution/../api/v2/dags",
        "/execution/%2e%2e/api/v2/dags",
        "/execution/x/../../ui/config",
        "/execution\\..\\api/v2/dags",
        "/execution%2F..%2Fapi/v2/dags",
        "/execution/..%2fapi/v2/dags",
        "/execution/variables/x%2F..%2f..%2F..%2fapi",
        "/execution/variables/x%2f.",
        "/execution/..%5capi/v2/dags",
        "/execution/..;%2fapi/v2/dags",
        "//execution/x",
        "/api/v2/execution/x",
        "http://airflow.internal/api/v2/dags",
        "/api/v2/dags?/execution/x",
    ],
)
def test_what_is_not_the_execution_api_is_not_found(workers, target):
    assert workers.ask(target, TOKEN).status == 404
    assert workers.authz.checks == []
    assert workers.airflow.requests == []


def test_dots_that_are_no_segment_of_their_own_reach_airflow_as_they_are(workers):
    target = "/execution/variables/..x%2f.y%2fz..%2f...%2Fa..b?q=..%2f"
    assert workers.ask(target, TOKEN).status == 200
    assert workers.airflow.only.target == target


def test_it_is_no_proxy_and_opens_no_tunnel(workers):
    with Connection(workers.address) as connection:
        connection.send(b"CONNECT airflow.internal:80 HTTP/1.1\r\nHost: airflow.internal:80\r\n\r\n")
        assert connection.response().status in {403, 404}
    assert workers.ask("/execution/x", "Connection: Upgrade", "Upgrade: websocket").status == 403
    assert exchange(workers.address, b"GET /execution/x HTTP/1.0\r\nHost: a\r\n\r\n").status == 426
    assert workers.airflow.requests == []


def test_a_listener_that_leads_back_to_itself_is_508_after_one_round(envoy_binary, tmp_path):
    """As a name may do that is looked up, which no settings can know."""
    with ScriptedAuthz() as authz:
        listen = loopback()
        other = listen.replace("127.0.0.1", "127.0.0.2")
        settings = settings_for(tmp_path, other, authz.endpoint, listen=listen)

        def lead_back(config):
            (cluster,) = [one for one in config["static_resources"]["clusters"] if one["name"] == "execution.airflow"]
            (locality,) = cluster["load_assignment"]["endpoints"]
            (endpoint,) = locality["lb_endpoints"]
            endpoint["endpoint"]["address"]["socket_address"]["address"] = "127.0.0.1"

        with Envoy(settings, tmp_path, envoy_binary, alter=lead_back) as envoy:
            assert Workers(envoy, authz, None).ask("/execution/x", TOKEN).status == 508


# --- which task instance reads what, for the signed log

NUMBERS = count()
INSTANCE = "0199d1c3-1111-7aaa-8bbb-0123456789ab"


def task_token(sub=INSTANCE, **claims):
    """As Airflow makes one, signed with a key that no one knows."""
    return jwt.encode({"iss": "https://a.test/x", "sub": sub, "scope": "execution", **claims}, "k" * 64, "HS512")


def accesses(workers, *asked):
    """The entries of the signed log about these requests, and what Envoy's access log has of them."""
    mine = f"asked-{next(NUMBERS)}"
    for target, lines, parts in asked:
        workers.ask(target, f"User-Agent: {mine}", *lines, **parts)
    written = []

    def complete():
        path = Path(workers.envoy.section.access_log)
        written[:] = [line for line in path.read_bytes().splitlines(keepends=True) if mine.encode() in line]
        return len(written) == len(asked) and written[-1].endswith(b"\n")

    wait_for(complete, "not all requests are in the access log", pause=workers.envoy.pause)
    found = [access_in(made[1]) if (made := followed_line(line)) else None for line in written]
    return found, b"".join(written).decode()


def bearer(token):
    return (f"Authorization: Bearer {token}",)


def test_the_access_log_says_which_task_instance_reads_what(workers):
    token = task_token(jti="canary-jti", odd="日本")
    assert workers.ask("/execution/health").status == 200
    (read, write, lost), written = accesses(
        workers,
        ("/execution/connections/orders_db?canary=1", bearer(token), {}),
        ("/execution/xcoms/sales/manual__2026-11-30T08%3A00/load/key%2F1", bearer(token), {"method": "POST"}),
        ("/execution/task-instances/1/heartbeat", bearer(token), {"method": "PUT"}),
    )
    names = ("instance", "action", "kind", "name", "status", "ended_by")
    assert [read[name] for name in names] == [INSTANCE, "read", "connection", "orders_db", 200, "upstream"]
    assert [write[name] for name in names] == [INSTANCE, "write", "xcom", "key/1", 200, "upstream"]
    assert (write["dag"], write["run"], write["task"]) == ("sales", "manual__2026-11-30T08:00", "load")
    assert "claimed" not in {*read, *write}
    assert lost is None
    assert "canary" not in written
    assert not [part for part in token.split(".") if part in written]


def test_a_token_that_is_none_names_no_task_instance_and_is_not_in_the_log(workers):
    secret = b64encode(b"canary canary").decode()
    claims = urlsafe_b64encode(b'{"sub":"' + bytes(range(1, 32)) + b"\xff" * 9 + b'"}').decode().rstrip("=")
    odd = [
        ("Authorization: Bearer canary",),
        (f"Authorization: {secret}",),
        (f"Authorization: Basic {secret}",),
        (f"Authorization: Bearer a.{secret.rstrip('=')}.b",),
        (f"Authorization: Bearer a.{claims}.b",),
        ("Authorization: Bearer " + "canary" * 3000 + ".e30.b",),
        bearer(task_token(sub="canary")),
        bearer(task_token(sub="1" * 36)),
        bearer(task_token(odd=">>>???~~~")),  # of Base64 for URLs
        (),
    ]
    found, written = accesses(workers, *(("/execution/variables/x", lines, {}) for lines in odd))
    assert [(one["instance"], one["status"]) for one in found] == [("", 200)] * len(odd)
    assert not [word for word in ("canary", secret, "Bearer") if word in written]


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("/execution/connections/x%0d%0a%22%7d%0a%7b%22v%22:1", 'x\r\n"}\n{"v":1'),
        ("/execution/connections%2Forders", "orders"),
        ("/execution/%63onnections/ord%65rs", "orders"),
        ("/execution/connections/%2Forders", "/orders"),
        ("/execution/connections/" + "%E6%97%A5" * 300, "日" * 225),
        ("/execution/connections/" + "y" * 5000, "y" * (2048 - len("/execution/connections/"))),
        ("/execution/variables/" + "%E6%97%A5" * 300, "日" * 225 + "%E"),
        ("/execution/connections/orders;x=1", "orders;x=1"),
        ("/execution/connections/orders%3Fx=1", "orders?x=1"),
        ("/execution/x/../connections/orders", "orders"),
        ("http://airflow.internal/execution/connections/orders", "orders"),
    ],
)
def test_each_name_that_airflow_gets_is_in_an_entry_as_airflow_reads_it(workers, target, wanted):
    ((found,), _) = accesses(workers, (target, bearer(task_token()), {}))
    assert found["name"] == wanted
    raw = workers.airflow.only.target
    assert unquote(raw).split("/", 3)[3].startswith(wanted.rstrip("%E"))


def test_what_airflow_did_not_accept_is_only_claimed(workers):
    workers.airflow.status = 403
    ((found,), _) = accesses(workers, ("/execution/connections/orders", bearer(task_token()), {}))
    assert (found["status"], found["claimed"], found["ended_by"]) == (403, True, "upstream")


@pytest.mark.parametrize("target", [EXCHANGE, "/execution/connections/..%2fx", "/api/v2/connections/x", "/execution/"])
def test_what_does_not_go_to_the_execution_api_is_no_access(workers, target):
    (found, _) = accesses(workers, (target, bearer(task_token()), {}))
    assert found == [None]


def test_the_outcome_of_an_exchange_names_the_task_instance(workers):
    path = Path(workers.envoy.section.access_log)
    workers.authz.answer = lambda _: deny(status=200, metadata={"decision_id": "0a1b"})
    workers.ask(EXCHANGE, *bearer(task_token()))

    def outcome():
        found = [outcome_in(made[1]) for line in path.read_bytes().splitlines() if (made := followed_line(line))]
        return [one for one in found if one is not None]

    wait_for(outcome, "no outcome", pause=workers.envoy.pause)
    assert (outcome()[-1]["instance"], outcome()[-1]["decision"]) == (INSTANCE, "0a1b")
