"""security.md d-37, d-38, d-40, d-41 with the real gate and the real Envoy: what the servers received is what counts.

What Envoy does by itself, whatever the gate says, is in `tests/e2e/test_egress_*.py`.
"""

import contextlib
import time

import grpc
import httpx
import pytest

from authz import settings
from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.airflow.verifier import Asserted, Expected, Refusal, parse_keys, verify
from authz.core.errors import ConfigError
from authz.settings.sections import is_loopback
from tests.e2e.certificates import Authority
from tests.e2e.egress_site import BANK, ORDERS, EgressSite
from tests.e2e.envoy_harness import newest, wait_for
from tests.e2e.gate import POLICY, SETTINGS, Gate, token
from tests.e2e.raw_http import exchange, request
from tests.support.factories.tokens import make_key
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

pytestmark = pytest.mark.e2e

KEY = make_key("ES256", kid="k1")
RULES = """
  - {{id: base, plane: egress, roles: [sales-etl], destinations: [orders], methods: [GET], paths: ["/v1/orders"]}}
  - {{id: accounts, plane: egress, roles: [sales-etl], destinations: [bank], methods: [GET], paths: ["/accounts"]}}
  - {{id: tunnel, plane: egress, roles: [sales-etl], destinations: [bank], methods: [CONNECT]}}
"""
ALLOWED = {("GET", "/v1/orders"), ("GET", "/accounts")}


class WayOut:
    """A real gate with rules for two destinations, and all ways to them."""

    def __init__(self, gate, site, idp):
        self.gate, self.site = gate, site
        claims = {"iss": idp.url, "client_id": "sales-etl", "aud": "airflow-egress", "sub": "etl"}
        person = {"preferred_username": None, "groups": [], "realm_access": None}
        self.bearer = f"Authorization: Bearer {token(KEY, **claims, **person)}"

    def fire(self, address, target, *headers, **parts):
        """The status; whatever a server received must be what a rule allows."""
        status = None
        with contextlib.suppress(ConnectionError, AssertionError):
            status = exchange(address, request(target, self.bearer, *headers, **parts)).status
        for server in (self.site.orders, self.site.bank):
            for seen in server.requests:
                assert (seen.method, seen.target.partition("?")[0]) in ALLOWED, target
                assert seen.all("authorization") == []
        assert not self.site.stranger.requests
        return status


@pytest.fixture(scope="module")
def running_way_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("way-out")
    with IdP([KEY]) as idp, Gate(folder / "gate", idp, policy=POLICY + RULES) as gate:
        site_folder = folder / "site"
        site_folder.mkdir()
        with EgressSite(site_folder, newest(), *gate.endpoints) as site:
            yield WayOut(gate, site, idp)


@pytest.fixture
def out(running_way_out):
    running_way_out.site.reset()
    return running_way_out


def ways(site, path):
    """Every way to ask orders for a path."""
    yield site.base("orders"), path, "127.0.0.1"
    yield site.envoy.egress, f"/orders{path}", "127.0.0.1"
    yield site.envoy.egress, f"http://{ORDERS}{path}", "evil.test"
    yield site.envoy.egress, path, ORDERS


# --- d-40: server-side request forgery


def test_d40_every_way_to_a_destination_is_judged_alike(out):
    for address, target, host in ways(out.site, "/v1/orders?page=2"):
        out.site.reset()
        assert out.fire(address, target, host=host) == 200
        assert (out.site.orders.only.target, len(out.site.orders.only.all("x-authz-assertion"))) == (
            "/v1/orders?page=2",
            1,
        )
    for path, method in (("/v1/payments", "GET"), ("/v1/orders", "DELETE"), ("/", "GET"), ("/v1/orders/", "GET")):
        for address, target, host in ways(out.site, path):
            out.site.reset()
            assert out.fire(address, target, host=host, method=method) == 403
            assert out.site.untouched


@pytest.mark.parametrize(
    "trick",
    [
        *(
            "/v1/orders/../payments",
            "/v1/payments/../orders",
            "/v1/orders/%2e%2e/payments",
            "/v1/orders%2f..%2fpayments",
        ),
        *("/v1//orders", "//v1/orders", "/v1/orders;x", "/v1/orders%00", "/v1/orders\\..\\payments", "/V1/orders"),
        *("/../v1/orders", "/../../v1/orders", "/..%2forders/v1/orders", "/%2e%2e/orders/v1/orders", "/./v1/orders#x"),
        *("/orders/v1/orders", "/v1/orders?/../payments", "/v1/orders%3f", "/%2f/v1/orders", "/v1/order%73"),
    ],
)
def test_d40_no_path_gets_by_the_part_of_a_base_url(out, trick):
    for address, target, host in ways(out.site, trick):
        out.site.reset()
        out.fire(address, target, host=host)


def test_d40_a_tunnel_is_for_the_rule_that_says_so_and_shows_who_asked(out):
    def connect(authority, *headers):
        out.site.reset()
        with out.site.open(authority, *headers) as connection:
            answer = connection.response(head=True)
            if answer.status == 200:
                out.site.inside(connection, BANK)
                connection.send(request("/accounts", host=BANK))
                assert connection.response().status == 200
            return answer.status

    assert connect(out.site.tunnel) == 401
    assert out.site.untouched
    assert connect(out.site.tunnel, out.bearer) == 200
    record = out.gate.decisions[-1]
    assert (record["method"], record["host"], record["rule"]) == ("CONNECT", BANK, "tunnel")
    for authority in (f"{ORDERS}:443", "evil.test:443", f"{BANK}:22", "169.254.169.254:80", "localhost:22"):
        assert connect(authority, out.bearer) == 403
        assert out.site.untouched


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518"),
        *("[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "metadata.google.internal", "127.0.0.1"),
    ],
)
def test_d40_the_metadata_address_is_no_destination_in_any_spelling(out, host):
    for target, sent in ((f"http://{host}/latest/meta-data/", host), ("/latest/meta-data/", host)):
        assert out.fire(out.site.envoy.egress, target, host=sent) in {400, 403}
    with out.site.open(f"{host}:80", out.bearer) as connection:
        assert connection.response().status in {400, 403}
    assert out.site.untouched


# --- d-41: credentials of tasks


def test_d41_a_destination_without_an_audience_gets_the_decision_id_alone(out):
    assert out.fire(out.site.base("bank"), "/accounts") == 200
    told = [name for name, _ in out.site.bank.only.headers if name.startswith(("x-authz", "x-run", "x-forwarded-for"))]
    assert told == ["x-authz-decision"]


def test_d41_no_credential_follows_a_host_that_the_caller_makes_up(out):
    for target, host in [
        ("/v1/orders", "evil.test"),
        ("http://evil.test/v1/orders", ORDERS),
        (f"http://{ORDERS}@evil.test/v1/orders", ORDERS),
        (f"http://evil.test/{ORDERS}/v1/orders", ORDERS),
        ("/v1/orders", f"{ORDERS},evil.test"),
        ("/v1/orders", f"{ORDERS}@evil.test"),
    ]:
        assert out.fire(out.site.envoy.egress, target, host=host) in {400, 403, 404}
        assert out.site.untouched


# --- d-37: round the gate


def test_d37_an_assertion_for_a_destination_is_good_for_its_audience_alone_and_expires(out):
    out.fire(out.site.base("orders"), "/v1/orders")
    said = out.site.orders.only.all("x-authz-assertion")[0]
    keys = parse_keys(httpx.get(f"{out.gate.admin}/jwks.json").content)
    orders = Expected(issuer="https://gate.test", audience="aud-orders", clock_skew=5)
    airflow = Expected(issuer="https://gate.test", audience="airflow", clock_skew=5)
    assert isinstance(verify(said, keys, orders, time.time()), Asserted)
    assert verify(said, keys, airflow, time.time()) is Refusal.AUDIENCE
    assert verify(said, keys, orders, time.time() + 70) is Refusal.EXPIRED
    assert isinstance(verify("", keys, orders, time.time()), Refusal)


# --- d-38: the gate's own port


def test_d38_the_gate_is_asked_in_the_clear_on_this_machine_alone(tmp_path):
    file = tmp_path / "authz.yaml"
    for text in ("", 'listen: ["127.0.0.1:1"]', 'listen: ["[::1]:1"]', 'listen: ["unix:/run/a.sock"]'):
        file.write_text(f"version: 1\n{text}\n")
        assert all(is_loopback(address) for address in settings.load(file).listen)
    for address in ("0.0.0.0:9190", "[::]:9190", "10.0.0.1:9190", "authz.internal:9190"):
        file.write_text(f'version: 1\nlisten: ["{address}"]\n')
        with pytest.raises(ConfigError, match="without TLS"):
            settings.load(file)


@pytest.fixture(scope="module")
def guarded_gate(tmp_path_factory):
    """A gate that answers only who has a certificate of its authority."""
    folder = tmp_path_factory.mktemp("guarded")
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    authority, other = Authority(ours), Authority(theirs)
    server = authority.issue("localhost")
    tls = f"tls: {{{{certificate: {server.certificate}, key: {server.key}, client_ca: {authority.ca}}}}}\n"
    with (
        IdP([KEY]) as idp,
        Gate(folder, idp, settings=SETTINGS + tls, listen=f"127.0.0.1:{free_port()}") as gate,
    ):
        yield gate, authority, other


def ask(gate, method, message, credentials=None):
    target = gate.listen.replace("127.0.0.1", "localhost")
    channel = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        return channel.unary_unary(method)(message, timeout=3)


CHECK = "/envoy.service.auth.v3.Authorization/Check"


def test_d38_only_who_has_a_certificate_of_the_gates_authority_may_ask(guarded_gate):
    gate, authority, other = guarded_gate
    good, foreign = authority.issue("envoy.test"), other.issue("envoy.test")
    root = authority.ca.read_bytes()

    def credentials(pair):
        return grpc.ssl_channel_credentials(
            root, pair and pair.key.read_bytes(), pair and pair.certificate.read_bytes()
        )

    assert pb.CheckResponse.FromString(ask(gate, CHECK, b"", credentials(good))).denied_response.status.code == 400
    for bad in (credentials(None), credentials(foreign), None):
        with pytest.raises(grpc.RpcError) as refused:
            ask(gate, CHECK, b"", bad)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "method", ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetServers"]
)
def test_d38_grpc_reflection_and_channelz_are_not_served(guarded_gate, method):
    gate, authority, _other = guarded_gate
    pair = authority.issue("envoy.test")
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(), pair.key.read_bytes(), pair.certificate.read_bytes()
    )
    with pytest.raises(grpc.RpcError) as refused:
        ask(gate, method, b"", credentials)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- d-08, d-30: what a Host may say


def test_d08_the_base_url_of_one_destination_refuses_the_host_of_another(out):
    for host in (BANK, "BANK.internal", f"{BANK}:443", "kept.internal"):
        assert out.fire(out.site.base("orders"), "/v1/orders", host=host) in {403, 404}
    for host in (ORDERS, "eu.orders.internal"):
        assert out.fire(out.site.base("bank"), "/accounts", host=host) in {403, 404}
    assert out.site.untouched
    assert out.fire(out.site.base("bank"), "/accounts", host=BANK) == 200


def test_d30_userinfo_in_a_host_is_in_no_log(out):
    canary = f"canary-{time.monotonic_ns()}"
    assert out.fire(out.site.envoy.egress, "/v1/orders", host=f"run:{canary}@{ORDERS}") == 400
    found = []

    def is_logged():
        records = {record["id"]: record for record in out.gate.decisions if record["reason"] == "bad_host"}
        lines = [line for line in out.site.envoy.access_log(0) if line["host"] == "with userinfo"]
        found[:] = [records[line["id"]] for line in lines if line["id"] in records]
        return any(record["host"] == ORDERS for record in found)

    wait_for(is_logged, "no line about it in both logs", pause=out.site.envoy.pause)
    assert canary not in str((found, out.site.envoy.access_log(0), out.gate.decisions))
    assert canary not in out.site.envoy.log.read_text() + out.gate.log.read_text()
    assert out.site.untouched
