"""The ways out of the gate, asked of a real Envoy with raw bytes: what is judged is where it goes (d-40, d-41)."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.egress_site import BANK, ORDERS
from tests.e2e.raw_h2 import exchange_h2
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import deny

pytestmark = pytest.mark.e2e

# --- base URLs


def test_a_base_url_leads_to_its_destination_and_asks_for_its_host(ways):
    for host in ("127.0.0.1:9101", "localhost", "evil.test", ORDERS):
        ways.reset()
        assert exchange(ways.base("orders"), request("/v1/orders?x=1", host=host)).status == 200
        assert ways.judged == ("GET", host, "/v1/orders?x=1")
        assert ways.told == {"plane": "egress", "destination": "orders", "host": ORDERS, "audience": "aud-orders"}
        assert (ways.orders.only.target, ways.orders.only.all("host")) == ("/v1/orders?x=1", [ORDERS])


def test_a_base_url_over_tls_is_asked_for_the_host_that_was_judged(ways):
    assert exchange(ways.base("bank"), request("/accounts", host="127.0.0.1")).status == 200
    assert ways.told["host"] == BANK
    assert (ways.bank.only.all("host"), ways.asked_bank_for) == ([BANK], {BANK})


def test_a_path_of_the_listener_leads_to_its_destination_and_the_rest_is_what_was_judged(ways):
    address = "{}:{}".format(*ways.envoy.egress)
    for host, target, rest in [
        (address, "/orders/v1?x=1", "/v1?x=1"),
        ("localhost", "/orders", "/"),
        ("LOCALHOST:1", "/orders?x", "/?x"),
        (address, "/orders/", "/"),
        (address, "/./orders//v1/../v2", "/v2"),
        (address, "/orders/a%2Fb/%3f", "/a%2Fb/%3f"),
    ]:
        ways.reset()
        assert ways.get(target, host=host).status == 200, target
        assert ways.told["base"] == "/orders"
        assert ways.told["host"] == ORDERS
        assert ways.judged[2].removeprefix("/orders") in {rest, rest.removeprefix("/")}
        assert (ways.orders.only.target, ways.orders.only.all("host")) == (rest, [ORDERS])


def test_a_longer_path_leads_over_tls_too(ways):
    assert ways.get("/team/bank/accounts", host="127.0.0.1").status == 200
    assert (ways.bank.only.target, ways.bank.only.all("host"), ways.asked_bank_for) == ("/accounts", [BANK], {BANK})


@pytest.mark.parametrize(
    "target", ["/", "/orders2", "/orders%2Fv1", "/Orders", "/team", "/orders;x/v1", "/orders/../v1", "/v1/orders"]
)
def test_a_target_below_no_path_of_the_listener_is_checked_and_404(ways, target):
    assert ways.get(target, host="127.0.0.1").status == 404
    assert ways.told == {"plane": "egress"}
    assert ways.untouched


# --- the forward proxy: plain requests


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (f"http://{ORDERS}/v1", ORDERS),
        (f"http://{ORDERS}/v1", "evil.test"),
        (f"http://{ORDERS}/v1", "127.0.0.1"),
        (f"HTTP://{ORDERS.upper()}:80/v1", BANK),
        (f"http://a.{ORDERS}:9999/v1", "a.test"),
    ],
)
def test_an_absolute_target_goes_where_it_says_whatever_the_host_header_does(ways, target, host):
    assert ways.get(target, "Proxy-Connection: keep-alive", host=host).status == 200
    asked = target.partition("//")[2].removesuffix("/v1")
    assert ways.judged == ("GET", asked, "/v1")
    assert ways.told == {"plane": "egress", "destination": "orders", "audience": "aud-orders"}
    assert (ways.orders.only.target, ways.orders.only.all("host")) == ("/v1", [asked])
    assert ways.orders.only.all("proxy-connection") == []
    assert not ways.bank.requests


def test_envoy_speaks_tls_for_a_plain_request_of_a_proxy_client(ways):
    assert ways.get(f"http://{BANK}/accounts", host=BANK).status == 200
    assert ways.judged == ("GET", BANK, "/accounts")
    assert (ways.bank.only.all("host"), ways.asked_bank_for) == ([BANK], {BANK})


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/v1",
        "http://127.0.0.1/v1",
        "http://169.254.169.254/latest/meta-data",
        f"http://{ORDERS}@evil.test/v1",
        f"http://evil.test#@{ORDERS}/v1",
        f"http://{ORDERS}.evil.test/v1",
        f"http://evil.test\\@{ORDERS}/v1",
        f"http://{ORDERS},evil.test/v1",
        f"ftp://{ORDERS}/v1",
        f"https://{ORDERS}/v1",
        "https://evil.test/v1",
        "//evil.test/v1",
        "http:///v1",
        f"http:/{ORDERS}/v1",
    ],
)
@pytest.mark.parametrize("host", [ORDERS, "evil.test"])
def test_other_targets_reach_at_most_the_destination_that_was_checked(ways, target, host):
    answer = ways.get(target, "Authorization: Bearer secret", host=host)
    if ways.orders.requests:
        assert answer.status == 200
        assert ways.told["destination"] == "orders"
        assert ways.judged[1] == host == ORDERS, "the target had no host of its own"
    else:
        assert answer.status in {400, 403, 404}
    assert not ways.stranger.requests
    assert not ways.bank.requests


def test_two_hosts_lead_nowhere(ways):
    assert ways.get("/v1", "Host: evil.test", host=ORDERS).status == 404
    assert ways.get("/v1", f"Host: {ORDERS}", host="evil.test").status == 404
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/v1"), (":authority", "evil.test"), ("host", ORDERS)]
    assert exchange_h2(ways.envoy.egress, fields) == 404
    assert ways.untouched


def test_a_request_of_http_1_0_is_judged_like_any_other(ways):
    for head in (f"GET http://{ORDERS}/v1 HTTP/1.0\r\n\r\n", f"GET /v1 HTTP/1.0\r\nHost: {ORDERS}\r\n\r\n"):
        ways.reset()
        assert exchange(ways.envoy.egress, head.encode()).status == 200
        assert ways.judged == ("GET", ORDERS, "/v1")
    ways.reset()
    assert exchange(ways.envoy.egress, b"GET /v1 HTTP/1.0\r\n\r\n").status in {400, 404, 426}
    assert ways.untouched


# --- nobody is called when the answer is no


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_denied_call_reaches_no_destination_on_any_egress_route(ways, status):
    ways.authz.answer = lambda _: deny(status=status)
    for address, target, host in [
        (ways.base("orders"), "/v1", "x"),
        (ways.base("bank"), "/v1", "x"),
        (ways.envoy.egress, "/orders/v1", "127.0.0.1"),
        (ways.envoy.egress, f"http://{ORDERS}/v1", ORDERS),
        (ways.envoy.egress, f"http://{BANK}/v1", BANK),
        (ways.envoy.egress, "/v1", "evil.test"),
    ]:
        assert exchange(address, request(target, host=host)).status == status
    with ways.open(ways.tunnel) as connection:
        assert connection.response().status == status
    assert len(ways.authz.checks) == 7
    assert ways.untouched


# --- credentials stay here


RUN = ("X-Run-Identity: DPoP secret-1", "X-Run-Proof: secret-2", "Proxy-Authorization: Basic secret-3")


def test_no_destination_sees_a_credential_of_the_task(ways):
    lines = (*RUN, "Authorization: Bearer secret-4")
    for address, target, host in [
        (ways.base("orders"), "/v1", "x"),
        (ways.envoy.egress, "/orders/v1", "127.0.0.1"),
        (ways.envoy.egress, f"http://{ORDERS}/v1", "x"),
        (ways.envoy.egress, "/v1", ORDERS),
    ]:
        ways.reset()
        assert exchange(address, request(target, *lines, host=host)).status == 200
        assert b"secret" not in ways.orders.only.head
        shown = ways.authz.only.SerializeToString()
        assert [secret for secret in range(1, 5) if f"secret-{secret}".encode() not in shown] == []


def test_the_tasks_own_authorization_goes_on_where_it_is_wanted_and_nothing_else_does(ways):
    assert ways.get("/v1", *RUN, "Authorization: Bearer kept", host="kept.internal").status == 200
    assert ways.told == {"plane": "egress", "destination": "kept", "authorization": "keep"}
    assert ways.orders.only.all("authorization") == ["Bearer kept"]
    assert b"secret" not in ways.orders.only.head


def test_a_redirect_goes_back_to_the_caller_and_envoy_follows_none(ways):
    elsewhere = f"http://{ways.stranger.address}/stolen"
    for location, passed in (("/v2", True), (elsewhere, False)):
        ways.orders.extra_headers = (f"Location: {location}",)
        for status in (301, 302, 303, 307, 308):
            ways.orders.requests.clear()
            ways.orders.status = status
            answer = ways.get("/v1", *RUN, host=ORDERS)
            assert (answer.status, answer.header("location")) == ((status, location) if passed else (502, None))
            assert ways.orders.only.target == "/v1"
    assert not ways.stranger.requests


# --- tunnels


def test_a_tunnel_leads_to_the_pinned_host_and_port_with_tls_for_it_inside(ways):
    with ways.open(ways.tunnel, f"Host: {ways.tunnel}", *RUN) as connection:
        assert connection.response(head=True).status == 200
        ways.inside(connection, BANK)
        connection.send(request("/accounts", host=BANK))
        assert connection.response().status == 200
    assert ways.judged == ("CONNECT", ways.tunnel, "")
    assert ways.told == {"plane": "egress", "destination": "bank"}
    assert ways.server_names == [BANK]
    assert b"secret" not in ways.bank.only.head


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_tunnel_without_a_host_header_as_python_opens_it(ways, version):
    with ways.open(ways.tunnel.upper() if version == "1.1" else ways.tunnel, version=version) as connection:
        assert connection.response(head=True).status == 200
        ways.inside(connection, BANK.title())
        connection.send(request("/accounts", host=BANK))
        assert connection.response().status == 200
    assert ways.told["destination"] == "bank"


def test_pythons_own_client_gets_through_the_proxy(ways):
    program = """
import http.client, ssl, sys
proxy_host, proxy_port, host, port, ca = sys.argv[1:]
connection = http.client.HTTPSConnection(proxy_host, int(proxy_port), context=ssl.create_default_context(cafile=ca))
connection.set_tunnel(host, int(port), {"Proxy-Authorization": "Basic eA=="})
connection.request("GET", "/accounts")
print(connection.getresponse().read().decode())
"""
    host, _, port = ways.tunnel.rpartition(":")
    arguments = [*map(str, ways.envoy.egress), host, port, str(ways.authority.ca)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["target"] == "/accounts", done.stderr
    assert ways.judged[:2] == ("CONNECT", ways.tunnel)


@pytest.mark.parametrize(
    "authority",
    [
        "bank.internal:443",
        "bank.internal:22",
        "bank.internal:0{port}",
        "bank.internal.:{port}",
        "bank.internal",
        "a.bank.internal:{port}",
        "bank.internal.evil.test:{port}",
        "bank.internal@evil.test:{port}",
        "evil.test@bank.internal:{port}",
        "bank.internal:{port}@evil.test",
        "bank.internal:{port}:{port}",
        "bank.internal:{port}/x",
        "orders.internal:{orders}",
        "127.0.0.1:{port}",
        "localhost:{stranger}",
        "evil.test:443",
        "[::1]:{port}",
        "*:{port}",
        "{port}",
        "http://bank.internal:{port}/",
        "/",
    ],
)
def test_no_tunnel_leads_elsewhere(ways, authority):
    """But for the name's last dot, which is taken off before anything is judged."""
    ports = {name: getattr(ways, name).address.rpartition(":")[2] for name in ("orders", "bank", "stranger")}
    ports["port"] = ports.pop("bank")
    with ways.open(authority.format(**ports), f"Host: {ways.tunnel}") as connection:
        if authority == "bank.internal.:{port}":
            assert connection.response(head=True).status == 200
            assert ways.judged[:2] == ("CONNECT", ways.tunnel)
        else:
            assert connection.response().status in {400, 403, 404}
    assert ways.untouched


def test_a_tunnel_to_any_other_authority_is_checked_and_403(ways):
    for authority in ("evil.test:443", f"{ORDERS}:443", f"{BANK}:22", "127.0.0.1:80"):
        ways.authz.reset()
        with ways.open(authority) as connection:
            assert connection.response().status == 403
        assert ways.judged[:2] == ("CONNECT", authority)
        assert ways.told["plane"] == "egress"
    assert ways.untouched


def test_tls_for_another_host_inside_a_tunnel_reaches_no_destination(ways):
    def meet(name):
        with ways.open(ways.tunnel) as connection:
            assert connection.response(head=True).status == 200
            with pytest.raises(OSError, match=r"."):
                ways.inside(connection, name)

    names = ("evil.test", "a.bank.internal", "bank.internal.evil.test", ORDERS, None)
    with ThreadPoolExecutor(len(names)) as pool:  # Envoy takes a second to close each
        list(pool.map(meet, names))
    assert len(ways.authz.checks) == len(names)
    assert ways.untouched


@pytest.mark.parametrize(
    "data",
    [
        request("/accounts", host=BANK),
        b"\x16\x03\x01",
        b"SSH-2.0-x\r\n",
        b"\x00" * 600,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_bytes_that_are_no_tls_inside_a_tunnel_reach_no_destination(ways, data):
    with ways.open(ways.tunnel) as connection:
        assert connection.response(head=True).status == 200
        connection.send(data)
        connection.finish()
        assert connection.closed()
    assert ways.untouched


def test_a_tunnel_over_http_2_is_judged_and_pinned_too(ways):
    def connect(authority, *more):
        ways.authz.reset()
        return exchange_h2(ways.envoy.egress, [(":method", "CONNECT"), (":authority", authority), *more], end=False)

    assert connect(ways.tunnel) == 200
    assert ways.judged == ("CONNECT", ways.tunnel, "")
    assert connect("evil.test:443") == 403
    assert connect(f"{BANK}:443") == 403
    extended = [(":protocol", "websocket"), (":scheme", "http"), (":path", "/")]
    assert connect(ways.tunnel, *extended) is None
    assert ways.untouched


@pytest.mark.parametrize("name", ["orders", "bank"])
def test_a_base_url_is_no_proxy(ways, name):
    with Connection(ways.base(name)) as connection:
        connection.send(f"CONNECT {ways.tunnel} HTTP/1.1\r\nHost: {ways.tunnel}\r\n\r\n".encode())
        assert connection.response().status in {403, 404}
    assert exchange(ways.base(name), b"GET http://evil.test/ HTTP/1.0\r\n\r\n").status == 426
    assert ways.untouched
    assert exchange(ways.base("orders"), request("http://evil.test/v1", host="evil.test")).status == 200
    assert ways.told["host"] == ORDERS
    assert ways.orders.only.all("host") == [ORDERS]


def test_an_upgrade_is_no_tunnel(ways):
    for protocol in ("websocket", "connect-udp", "TLS/1.3", "CONNECT", "connect"):
        answer = ways.get("/v1", "Connection: Upgrade", f"Upgrade: {protocol}", host=ORDERS)
        assert answer.status in {400, 403, 404}, protocol
    assert ways.untouched
