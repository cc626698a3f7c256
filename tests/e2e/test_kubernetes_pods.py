"""The pods of deploy/kubernetes: gate and Envoy with the manifests' own arguments, settings and policy, as processes.

No cluster runs here: what Kubernetes itself does with the manifests (probes, NetworkPolicies, tokens) is not tried.
"""

import json
import re
import ssl
import time

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.gate import token
from tests.e2e.raw_http import exchange, request
from tests.support.factories.proofs import prove, task_key, thumbprint
from tests.support.factories.tokens import jwks_of, make_key, sign
from tests.support.manifests import of_kind
from tests.support.ports import loopback
from tests.support.rigs.pod import Pod
from tests.support.rigs.run import AIRFLOW_KEY, described, task_claims
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import IdP

KEY = make_key("RS256", kid="corp")
CLUSTER = make_key("RS256", kid="cluster")
TASK = task_key()
SITE = "https://airflow.example.com"
WORKER = "system:serviceaccount:airflow:airflow-worker"
INSTANCE = "/api/v2/dags/sales_daily/dagRuns/run1/taskInstances/extract"
CREDENTIAL = "a-credential-that-tasks-do-not-have"


def service_account(subject, **changes):
    """A projected token of Kubernetes: it does not say of what kind it is."""
    now = int(time.time())
    claims = {"iss": "https://kubernetes.default.svc.cluster.local", "aud": ["airflow"], "sub": subject}
    return sign({**claims, "iat": now, "nbf": now, "exp": now + 3600, **changes}, CLUSTER, {"typ": None})


def config_maps(overlay):
    made = {name: one["data"] for name, one in of_kind(overlay, "ConfigMap").items()}
    made["authz-policy"] = {**made["authz-policy"], "cluster-keys.json": jwks_of([CLUSTER]).decode()}
    for name in ("authz-api-server", "authz-worker"):
        if name in made:
            made[name] = {**made[name], "airflow-tasks.json": jwks_of([AIRFLOW_KEY]).decode()}
    return made


def spec(overlay, name):
    return of_kind(overlay, "Deployment")[name]["spec"]["template"]["spec"]


class Site:
    """What every pod here needs: a provider, an authority, Secrets."""

    def __init__(self, folder):
        self.authority = Authority(folder)
        pair = self.authority.issue("gate.test", "127.0.0.1", "orders.internal")
        self.tls = ssl.create_default_context(cafile=self.authority.ca)
        self.pair = pair
        private = make_key("ES256", kid="assertion").private
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.secrets = {
            "airflow-tls": {
                "tls.crt": pair.certificate.read_text(),
                "tls.key": pair.key.read_text(),
                "ca.crt": self.authority.ca.read_text(),
            },
            "authz-assertion": {"assertion.pem": pem},
            "egress-credentials": {"orders.token": CREDENTIAL},
            "token for airflow": service_account(WORKER),
        }
        self.idp = IdP([KEY])

    def moved(self, **words):
        admin = loopback()
        return {
            "https://idp.example.com/realms/data": self.idp.url,
            "  sds: ": f"  admin: {loopback()}\n  sds: ",
            "0.0.0.0:9180": admin,
            **words,
        }

    def get(self, address, target, bearer=None, **parts):
        lines = (f"Authorization: Bearer {bearer}",) if bearer else ()
        return exchange(address, request(target, *lines, **parts), tls=self.tls)

    def reader(self):
        return token(KEY, iss=self.idp.url, groups=["data-readers"])


def pair_of(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def ready(pod, moved):
    def is_ready():
        try:
            return httpx.get(f"http://{moved['0.0.0.0:9180']}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    pod.until(is_ready, "the gate is not ready")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gw")
    site = Site(folder)
    with site.idp, EchoUpstream() as airflow:
        listener = loopback()
        words = {"0.0.0.0:8443": listener, "airflow-api-server.airflow.svc:8080": airflow.address}
        moved = site.moved(**words)
        volumes = folder / "v"
        volumes.mkdir()
        with Pod(volumes, spec("gateway", "authz-gateway"), config_maps("gateway"), site.secrets, moved) as pod:
            ready(pod, moved)

            def ask(target, bearer=None, **parts):
                airflow.reset()
                return site.get(pair_of(listener), target, bearer, **parts)

            pod.until(lambda: ask("/api/v2/monitor/health").status == 200, "Envoy does not answer")
            pod.site, pod.airflow, pod.ask = site, airflow, ask
            yield pod


def test_the_gateway_forwards_what_the_policy_allows_and_nothing_else(gateway):
    assert gateway.ask("/api/v2/dags", gateway.site.reader()).status == 200
    received = gateway.airflow.only
    assert received.target == "/api/v2/dags"
    assert received.all("authorization") == []
    assert len(received.all("x-authz-assertion")) == 1
    assert gateway.ask("/api/v2/dags").status == 401
    assert gateway.airflow.requests == []
    assert gateway.ask("/api/v2/dags/x", gateway.site.reader(), method="DELETE").status == 403
    assert gateway.airflow.requests == []


def test_a_pod_calls_with_its_projected_token(gateway):
    assert gateway.ask(INSTANCE, service_account(WORKER)).status == 200
    assert gateway.ask(INSTANCE, service_account("system:serviceaccount:default:default")).status == 403
    assert gateway.airflow.requests == []
    assert gateway.ask(INSTANCE, service_account(WORKER, aud=["https://kubernetes.default.svc"])).status == 401
    assert gateway.airflow.requests == []


def test_a_new_policy_in_the_config_map_is_in_force_without_a_restart(gateway):
    policy = of_kind("gateway", "ConfigMap")["authz-policy"]["data"]["policy.yaml"]
    reader = gateway.site.reader()
    narrower = re.sub(r"  airflow\.viewer: .*\n", "", policy)
    assert narrower != policy
    gateway.update("authz", {"policy.yaml": gateway.here(narrower)})
    gateway.until(lambda: gateway.ask("/api/v2/dags", reader).status == 403, "the new policy is not in force")
    gateway.update("authz", {"policy.yaml": gateway.here(policy)})
    gateway.until(lambda: gateway.ask("/api/v2/dags", reader).status == 200, "the policy is not back")


@pytest.fixture(scope="module")
def sidecars(tmp_path_factory):
    """Both pods of the overlay `sidecar`: the worker's gate asks Airflow through the API server's."""
    folder = tmp_path_factory.mktemp("sc")
    site = Site(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(site.pair.certificate, site.pair.key)
    with site.idp, AirflowSimulator() as airflow, EchoUpstream(context) as orders:
        https, execution, egress = loopback(), loopback(), loopback()
        at_airflow = site.moved(
            **{"0.0.0.0:8443": https, "0.0.0.0:8091": execution, "127.0.0.1:8080": airflow.url.removeprefix("http://")}
        )
        at_worker = site.moved(
            **{
                "airflow-api-server.airflow.svc:8443": https,
                "127.0.0.1:8090": egress,
                "orders.internal:443": orders.address,
                "        tls: true\n": f"        tls: true\n        tls_ca: {site.authority.ca}\n",
            }
        )
        made = config_maps("sidecar")
        pods = []
        for name, moved in (("api-server", at_airflow), ("worker", at_worker)):
            volumes = folder / name[0]
            volumes.mkdir()
            pods.append(Pod(volumes, spec("sidecar", f"airflow-{name}"), made, site.secrets, moved))
        with pods[0] as front, pods[1] as worker:
            for pod, moved in ((front, at_airflow), (worker, at_worker)):
                ready(pod, moved)
            front.site, front.airflow, front.orders, front.worker = site, airflow, orders, worker
            front.https, front.execution, front.egress = map(pair_of, (https, execution, egress))

            def connects():
                try:
                    return site.get(front.https, INSTANCE).status == 401
                except OSError:
                    return False

            front.until(connects, "Envoy does not answer")
            yield front


def test_the_sidecar_of_the_api_server_forwards_what_the_policy_allows_and_nothing_else(sidecars):
    sidecars.airflow.add()
    before = len(sidecars.airflow.requests)
    assert sidecars.site.get(sidecars.https, INSTANCE).status == 401
    assert sidecars.site.get(sidecars.https, "/execution/health", sidecars.site.reader()).status in {401, 403, 404}
    assert len(sidecars.airflow.requests) == before
    assert sidecars.site.get(sidecars.https, INSTANCE, sidecars.site.reader()).status == 200


def run_token(sidecars, task):
    now = int(time.time())
    claims = task_claims(task, iss=SITE, iat=now, nbf=now, exp=now + 600)
    target = f"/execution/variables/__run_identity__/v1/{thumbprint(TASK)}/{described(task)}"
    line = f"Authorization: Bearer {sign(claims, AIRFLOW_KEY)}"
    answer = exchange(sidecars.execution, request(target, line))
    assert answer.status == 200, answer.body
    return json.loads(json.loads(answer.body)["value"])["token"]


def test_a_task_calls_through_the_sidecar_of_its_worker_which_adds_the_credential(sidecars):
    task = sidecars.airflow.add()
    bearer = run_token(sidecars, task)
    host = f"{sidecars.egress[0]}:{sidecars.egress[1]}"

    def call(method="GET"):
        sidecars.orders.reset()
        proof = prove(TASK, bearer, iat=int(time.time()) + 2, htm=method, htu=f"http://{host}/orders/v1/orders")
        lines = (f"X-Run-Identity: DPoP {bearer}", b"X-Run-Proof: " + proof)
        return exchange(sidecars.egress, request("/orders/v1/orders", *lines, method=method, host=host))

    sidecars.worker.until(lambda: call().status == 200, "the call is not allowed")
    received = sidecars.orders.only
    assert received.target == "/v1/orders"
    assert received.all("authorization") == [f"Bearer {CREDENTIAL}"]
    assert received.all("x-run-identity") == []
    assert call("DELETE").status == 403
    assert sidecars.orders.requests == []
    decisions = sidecars.folder / "authz.log"
    sidecars.until(lambda: WORKER in decisions.read_text(), "the worker's gate did not ask through the other one")


def test_a_call_without_a_run_is_refused_by_the_sidecar_of_the_worker(sidecars):
    sidecars.orders.reset()
    assert exchange(sidecars.egress, request("/orders/v1/orders")).status == 401
    assert sidecars.orders.requests == []
