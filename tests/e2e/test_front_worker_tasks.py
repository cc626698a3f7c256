"""Calls of tasks through a Worker's URL: only the connection's host is another one.

Real are the operator and the client that run in a task, the Worker, the gate and its run identities; the supervisor's
one message to the gate and Airflow's state of the task are simulated.
"""

import contextlib
import json
import time

import jwt
import pytest

pytest.importorskip("airflow.providers.http")

from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Connection
from airflow.sdk.definitions._internal.contextmanager import _CURRENT_CONTEXT
from airflow.sdk.execution_time import context
from airflow.sdk.execution_time.comms import GetVariable, VariableResult

from authz.airflow.egress.hook import GateHttpHook
from authz.core.edge import ASSERTION, DECISION
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST
from tests.e2e.gate import POLICY, SETTINGS, Gate
from tests.e2e.gate import token as a_token
from tests.e2e.worker_site import WorkerSite
from tests.integration.test_run_identity_serves import RUNS, TASK, RunGate
from tests.support.factories.proofs import prove
from tests.support.factories.tokens import issuer, jwks_of, make_key, sign
from tests.support.rigs.run import AIRFLOW_ISS, AIRFLOW_KEY, task_claims
from tests.support.rigs.service import message
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import IdP
from tests.support.sites.egress_task import running

pytestmark = pytest.mark.e2e
KEY = make_key("ES256", kid="k1")
THROUGH = (
    "  - {{id: runs, plane: egress, destinations: [orders], methods: [GET], paths: ['/v1/orders'],"
    " dags: ['sales_*'], identity: verified}}\n"
    "  - {{id: accounts, plane: egress, destinations: [orders], methods: [GET], paths: ['/v1/staff'],"
    " roles: [sales-etl]}}\n"
)
CHECKED = """
http_check:
  listen: ["unix:@/http.sock"]
  audiences: [{name: orders, plane: egress, destination: orders, audience: orders}]
"""


class OrdersGate(RunGate):
    """A gate that a Worker asks about calls of `orders`."""

    def __init__(self, folder, idp, airflow):
        folder.mkdir()
        self.keys = folder / "airflow-jwks.json"
        self.keys.write_bytes(jwks_of([AIRFLOW_KEY]))
        more = RUNS.format(airflow=airflow.url, issuer=AIRFLOW_ISS) + CHECKED.replace("@", str(folder))
        more = more.replace("{", "{{").replace("}", "}}")
        Gate.__init__(self, folder, idp, policy=POLICY + THROUGH, settings=SETTINGS + more)


class Way:
    """A destination behind a Worker, and a gate that it asks."""

    def __init__(self, folder):
        self.airflow, self.idp, self.orders = AirflowSimulator(), IdP([KEY]), EchoUpstream()
        self.folder = folder

    def __enter__(self):
        with contextlib.ExitStack() as starting:
            for part in (self.airflow, self.idp, self.orders):
                starting.enter_context(part)
            self.gate = starting.enter_context(OrdersGate(self.folder / "gate", self.idp, self.airflow))
            trusted = issuer(issuer=self.idp.url, algorithms=frozenset({"ES256"}), discovery=True)
            place = f"unix:{self.folder}/gate/http.sock"
            site = WorkerSite(
                self.folder / "worker", name="orders", gates=[place], upstream=self.orders.address, issuers=[trusted],
                names=(HOST, "localhost"), client_address="",
            )  # fmt: skip
            site.change(plane="egress", upstream_host="orders.internal")
            self.worker = starting.enter_context(site)
            self.host = f"localhost:{site.port}"
            self.running = starting.pop_all()
        return self

    def __exit__(self, *_):
        self.running.close()

    def get(self, target, *lines, **parts):
        return self.worker.get(target, *lines, host=self.host, **parts)

    def record(self, said):
        return self.gate.decision(said.header(DECISION))

    @contextlib.contextmanager
    def task(self, **changes):
        """Inside, a task runs, and its supervisor asks the gate for its run identity."""
        known = self.airflow.add(**changes)

        def send(asked):
            if not isinstance(asked, GetVariable):
                return None
            now = int(time.time())
            line = f"Bearer {a_task_token(known, now)}".encode()
            target = f"/execution/variables/{asked.key}"
            given = self.gate.check(
                0, message("GET", target, headers=[("authorization", line)], plane="execution", audience="")
            )
            return VariableResult.model_validate_json(given.body)

        with running(None) as comms:
            comms.send = send
            ti = _CURRENT_CONTEXT[-1]["ti"]
            ti.id, ti.dag_id, ti.run_id, ti.task_id = known.id, known.dag_id, known.run_id, known.task_id
            ti.map_index, ti.try_number = known.map_index, known.try_number
            yield


def a_task_token(task, now):
    return sign(task_claims(task, iat=now, nbf=now, exp=now + 600), AIRFLOW_KEY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with Way(tmp_path_factory.mktemp("tasks")) as way:
        yield way


@pytest.fixture
def way(whole):
    whole.orders.reset()
    return whole


@pytest.fixture
def connection(way, monkeypatch):
    """The connection `orders`: its host is the Worker's URL."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(way.worker.authority.ca))
    monkeypatch.setattr(
        Connection, "get_hook", lambda _, hook_params: GateHttpHook(http_conn_id="orders", **hook_params)
    )
    made = Connection(conn_id="orders", conn_type="authz-http", host=f"https://{way.host}")
    preset = context._preset_connections.set({"orders": made})
    yield
    context._preset_connections.reset(preset)


def call(endpoint="v1/orders", **more):
    return HttpOperator(task_id="operator", http_conn_id="orders", endpoint=endpoint, method="GET", **more).execute({})


@pytest.mark.filterwarnings("ignore:The `airflow.utils.operator_helpers")  # the provider's own
def test_an_unchanged_operator_is_verified_through_a_workers_url(way, connection):
    def works():
        try:
            return json.loads(call())
        except AirflowException as error:  # a proof older than the gate's table of proofs, which was just made
            if not {"401", "503"} & {*str(error).split(":")}:
                raise
            return None

    with way.task(task_id="extract"):
        wait_for(works, "the call is not allowed", pause=way.worker.pause)
        way.orders.reset()
        assert json.loads(call())["target"] == "/v1/orders"
        received = way.orders.only
        assert received.all("host") == ["orders.internal"]
        claims = jwt.decode(received.all(ASSERTION)[0], options={"verify_signature": False})
        assert claims["aud"] == "orders"
        gone = {"x-run-identity", "x-run-proof", "authorization", "proxy-authorization", "x-forwarded-for"}
        assert gone & {name for name, _ in received.headers} == set()
        record = way.gate.decision(received.all(DECISION)[0])
        assert (record["rule"], record["level"], record["destination"]) == ("runs", "verified", "orders")
        assert (record["host"], way.worker.lines[-1]["decision"]) == ("localhost", record["id"])
        with pytest.raises(AirflowFailException, match="403: the gate says"):
            call("v1/secret")
    with (
        way.task(dag_id="marketing_daily", task_id="steals"),
        pytest.raises(AirflowFailException, match="403: the gate says"),
    ):
        call()
    assert len(way.orders.requests) == 1


def test_a_proof_is_good_once_for_this_url_and_credentials_do_not_reach_the_destination(way):
    task = way.airflow.add(task_id="raw")
    token = way.gate.token_of(task, TASK)

    def lines(path="/v1/orders", host=way.host):
        proof = prove(TASK, token, iat=int(time.time()) + 2, htu=f"https://{host}{path}")
        return [f"X-Run-Identity: DPoP {token}", f"X-Run-Proof: {proof.decode()}"]

    good = lines()
    forged = ["X-Authz-Subject: root", "X_Authz_Subject: root", "X-Authz-Assertion: a.b.c", "X_Run_Proof: a",
              "X.Authz-User: root", "CF-Ray: a", "Cookie: theirs=1", "X-Api-Key: theirs", "CF-Access-Client-Id: theirs",
              "Authorization: Basic YTpi"]  # fmt: skip
    said = way.get("/v1/orders?a=b", *good, *forged)
    assert said.status == 200, said
    received = way.orders.only
    assert received.target == "/v1/orders?a=b"
    assert [received.all(name) for name in ("x-api-key", "cf-access-client-id", "cookie")] == [["theirs"]] * 2 + [
        ["theirs=1"]
    ]
    assert [name for name, value in received.headers if value in {"root", "a.b.c", "a"} or "_" in name] == []
    assert received.all("authorization") == []
    assert way.record(said)["level"] == "verified"
    refused = {
        "replayed": good,
        "of another host": lines(host="orders.internal"),
        "of another path": lines("/v1/other"),
        "twice": [*lines(), lines()[1]],
        "no proof": lines()[:1],
        "in another spelling": [line.replace("X-Run-", "X_Run_") for line in lines()],
    }
    assert {name: way.get("/v1/orders", *given).status for name, given in refused.items()} == {
        name: 400 if name == "twice" else 401 for name in refused
    }
    assert way.get("/v1/orders", *lines(), method="DELETE").status in {401, 403}
    assert len(way.orders.requests) == 1


def test_a_service_account_is_checked_at_the_edge_and_by_the_gate(way):
    claims = {"iss": way.idp.url, "client_id": "sales-etl", "sub": "sales-etl", "realm_access": None, "groups": None}
    good = f"Authorization: Bearer {a_token(KEY, aud='airflow-egress', **claims)}"
    assert way.get("/v1/staff", good).status == 200
    assert (way.orders.only.target, way.orders.only.all("authorization")) == ("/v1/staff", [])
    inbound = f"Authorization: Bearer {a_token(KEY, aud='airflow', **claims)}"
    for lines, status in (([inbound], 401), ([], 401), ([f"{good}x"], 401)):
        assert way.get("/v1/staff", *lines).status == status
    assert way.get("/execution/x", good).status == 403  # a path of the destination like any other
    assert len(way.orders.requests) == 1
    way.gate.kill()
    assert (way.get("/v1/staff", good).status, len(way.orders.requests)) == (503, 1)
