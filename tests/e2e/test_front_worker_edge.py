"""The Worker alone, in the real workerd: a gate and a configuration that fail, and what it makes of a URL.

The gate here is an upstream that remembers, and answers as a test says.
"""

import json
import random
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.core.edge import ASSERTION, DECISION
from tests.attacks import corpus
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST
from tests.e2e.raw_http import request
from tests.e2e.worker_site import ALLOWED, DAGS, EdgeSite

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with EdgeSite(tmp_path_factory.mktemp("edge")) as site:
        yield site


@pytest.fixture
def site(whole):
    whole.reset()
    return whole


@pytest.mark.parametrize(
    ("status", "lines", "given"),
    [
        (200, (), 503),  # some web server
        (200, (f"{DECISION}: ",), 503),
        (200, (f"{DECISION}: a", f"{DECISION}: b"), 503),
        (201, ALLOWED, 503),
        (204, ALLOWED, 503),
        (206, ALLOWED, 503),
        (301, (*ALLOWED, f"Location: https://{HOST}/check/airflow/other"), 503),
        (302, (*ALLOWED, "Location: /check/airflow/api/v2/monitor/health"), 503),
        (307, (*ALLOWED, "Location: /"), 503),
        (304, ALLOWED, 503),
        (404, (), 503),
        (413, (), 503),
        (500, ALLOWED, 503),
        (599, ALLOWED, 503),
        (400, ALLOWED, 400),
        (401, (*ALLOWED, "WWW-Authenticate: Bearer"), 401),
        (403, ALLOWED, 403),
        (431, (), 431),
        (503, (*ALLOWED, "Retry-After: 3"), 503),
    ],
)
def test_anything_but_200_with_a_decision_is_a_refusal(site, status, lines, given):
    site.gate.status, site.gate.extra_headers = status, lines
    said = site.get(DAGS, site.bearer(), "X-Authz-User: root")
    assert (said.status, site.upstream.requests) == (given, [])
    assert len(site.gate.requests) == 1
    assert [name for name, _ in said.headers if name in {ASSERTION, "x-authz-user", "location"}] == []
    if given == status:
        assert json.loads(said.body)["target"] == f"/check/airflow{DAGS}"  # the gate's own words
        kept = [line.lower().partition(": ")[0] for line in lines if not line.startswith(("X-Authz-", ASSERTION))]
        assert {*kept} <= {name for name, _ in said.headers}


@pytest.mark.parametrize(
    "said", [b"", b"\x00" * 50, b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Authz-Dec", b"SSH-2.0-x\r\n"]
)
def test_a_gate_that_talks_nonsense_serves_nothing(tmp_path_factory, site, said):
    with socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(10)
        address = "{}:{}".format(*gate.getsockname())
        with EdgeSite(tmp_path_factory.mktemp("nonsense"), gates=[address]) as other, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(other.get, DAGS)
            connection, _ = gate.accept()
            connection.recv(65536)
            connection.sendall(said)
            connection.close()
            assert (answer.result(10).status, other.upstream.requests) == (503, [])


def test_a_gate_that_is_away_or_silent_serves_nothing_and_the_next_one_is_asked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = "{}:{}".format(*silent.getsockname())
        with EdgeSite(tmp_path / "silent", gates=[place], check_s=0.3) as site:
            said = site.get(DAGS, site.bearer())
            assert (said.status, json.loads(said.body), site.upstream.requests) == (503, {"error": "unavailable"}, [])
            assert site.lines[-1]["why"] == "the gate is too slow"
    with EchoUpstream() as alive:
        alive.extra_headers = ALLOWED
        with EdgeSite(tmp_path / "away", gates=[place, alive.address]) as site:
            assert [site.get(DAGS, site.bearer(), method="DELETE").status for _ in range(6)] == [200] * 6
            alive.close()
            site.upstream.reset()
            assert site.get(DAGS, site.bearer()).status == 503
            assert (site.upstream.requests, site.lines[-1]["why"]) == ([], "the gate is away")
            alive.open()


BROKEN = [
    "", "{", "null", "[]", "1", '"x"',
    {"version": 2}, {"name": "other"}, {"plane": "both"}, {"base": "airflow"}, {"base": "/a/../b"}, {"wait_ms": 0},
    {"wait_ms": "3000"}, {"gate_scheme": "ftp"}, {"client_address": "a b"}, {"request_bytes": -1}, {"more": 1},
    {"plane": None}, {"keep_authorization": None}, {"header_bytes": 1e300}, {"upstream_host": "a/b"}, {"__proto__": {}},
]  # fmt: skip


def test_a_configuration_that_is_wrong_or_away_leaves_the_last_good_one_in_force(site):
    place = site.folder / "config" / "airflow.json"
    good = place.read_text()
    try:
        for number, one in enumerate(BROKEN, 1):
            if isinstance(one, dict) and "__proto__" not in one:
                site.change(**one)
            else:
                site.write("airflow.json", one if isinstance(one, str) else good.replace("{", '{"__proto__": {},', 1))
            assert site.get(DAGS, site.bearer()).status == 200, one
            wait_for(lambda: site.logged.count("is wrong") >= number, f"{one} counts", pause=site.pause)  # noqa: B023
            site.write("airflow.json", good)
        assert {received.target for received in site.gate.requests} == {f"/check/airflow{DAGS}"}
        place.unlink()
        assert site.get(DAGS, site.bearer()).status == 200
        site.write("airflow.json", good)
        site.change(base="/airflow", request_bytes=5)
        assert site.get("/airflow/execution/x", site.bearer()).status == 404
        assert site.get("/airflow/x", site.bearer(), method="POST", body=b"a" * 6).status == 413
        assert [one.target for one in site.upstream.requests] == [DAGS] * (len(BROKEN) + 1)
    finally:
        site.write("airflow.json", good)


def test_a_worker_that_never_had_a_good_configuration_serves_nothing(tmp_path):
    with EdgeSite(tmp_path) as site:
        good = {name: (tmp_path / "config" / name).read_text() for name in ("airflow.json", "issuers.json")}
        for name, text in good.items():
            for wrong in ("{", text.replace('"version": 1', '"version": 2'), text.replace("{", '{"more": 1,', 1)):
                site.write(name, wrong)
                assert site.get("/api/v2/monitor/health").status == 503
            (tmp_path / "config" / name).unlink()
            assert site.get("/api/v2/monitor/health").status == 503
        assert (site.gate.requests, site.upstream.requests) == ([], [])
        for name, text in good.items():
            site.write(name, text)
        assert site.get(DAGS, site.bearer()).status == 200
        site.write(
            "issuers.json", good["issuers.json"].replace('"EdDSA",', "").replace(site.idp.url, "https://new.test")
        )
        assert site.get(DAGS, site.bearer()).status == 401  # no redeploy


def test_the_very_bytes_that_the_gate_is_asked_about_are_forwarded(site):
    """The URL's own parser and two more on the way: none of them writes the two differently."""
    chosen = random.Random("worker urls")  # noqa: S311 a test's corpus
    signs = [
        *"/.;:@!$&'()*+,=~-_?%ab\\",
        "..",
        "//",
        "%2e",
        "%2F",
        "%5c",
        "%00",
        "%zz",
        "%",
        "é",
        "?",
        "/./",
        "/../",
        "%25",
        "#",
    ]
    targets = chosen.sample([one for one in corpus.targets() if one.startswith("/") and "\r" not in one], 500)
    targets += ["/" + "".join(chosen.choices(signs, k=chosen.randint(1, 9))) for _ in range(500)]
    served = 0
    for target in targets:
        site.reset()
        try:
            said = site.get(target.encode())
        except (AssertionError, OSError, ssl.SSLError, ValueError):
            assert site.upstream.requests == [], target
            continue
        if not site.upstream.requests:
            assert said.status >= 400, target
            continue
        asked, received = site.gate.only, site.upstream.only
        assert asked.target == f"/check/airflow{received.target}", target
        assert (asked.method, asked.all("host")) == (received.method, received.all("host"))
        served += 1
        raw = target.partition("#")[0].partition("?")
        assert received.target.partition("?")[0] == raw[0], target  # a path is the caller's own, or refused
    assert served >= 200, (served, len(targets))


@pytest.mark.parametrize(
    "host",
    [
        "a/b",
        "gate.test?x",
        "gate.test#x",
        "user@gate.test",
        "gate.test\\x",
        "%67ate.test",
        "é.test",
        "a b",
        "",
        "gate.test:x",
        "[::1",
        ".",
        "a,b",
    ],
)
def test_a_host_that_would_move_the_path_is_refused(site, host):
    assert site.send(f"GET {DAGS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status >= 400
    two = f"GET {DAGS} HTTP/1.1\r\nHost: {HOST}\r\nHost: other.test\r\n\r\n"
    assert site.send(two.encode()).status >= 400
    assert (site.gate.requests, site.upstream.requests) == ([], [])


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "QUERY", "PURGE", "get", "FOO"])
def test_other_methods_are_refused(site, method):
    assert site.send(request(DAGS, site.bearer(), method=method)).status >= 400
    assert (site.gate.requests, site.upstream.requests) == ([], [])


def test_a_body_without_an_announced_length_is_counted(site):
    site.change(request_bytes=1000)
    chunk = b"1f4\r\n" + b"a" * 500 + b"\r\n"
    head = request("/open", "Transfer-Encoding: chunked", method="POST")
    assert site.send(head + chunk * 2 + b"0\r\n\r\n").status == 200
    assert site.upstream.only.body == b"a" * 1000
    assert site.send(head + chunk * 3 + b"0\r\n\r\n").status == 413
    site.change(request_bytes=1 << 20)
    assert site.get(DAGS, body=b"a").status == 400  # a GET has none


def test_the_gate_is_asked_over_mutual_tls(tmp_path):
    authority = Authority(tmp_path)
    server, client = authority.issue("gate.internal"), authority.issue("the-worker")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.key)
    tls.load_verify_locations(authority.ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    trust = f'trustedCertificates = [embed "../{authority.ca.name}"]'
    files = f'privateKey = embed "../{client.key.name}", certificateChain = embed "../{client.certificate.name}"'
    pair = f"keypair = ({files})"
    with EchoUpstream(tls) as gate:
        gate.extra_headers = ALLOWED
        for number, (name, options, status) in enumerate(
            [
                ("gate.internal", f"{pair}, {trust}", 200),
                ("other.internal", f"{pair}, {trust}", 503),
                ("gate.internal", trust, 503),
            ]
        ):
            over_tls = f'https = (certificateHost = "{name}", tlsOptions = ({options}))'
            with EdgeSite(tmp_path / f"site-{number}", gates=[gate.address], over_tls=over_tls) as site:
                assert site.get(DAGS, site.bearer()).status == status
                assert (len(gate.requests), len(site.upstream.requests)) == (1, status == 200)


def test_kv_that_does_not_answer_is_kv_that_is_away(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = "{}:{}".format(*silent.getsockname())
        with EdgeSite(tmp_path, kv=place) as site:
            assert site.get(DAGS, site.bearer()).status == 503
            assert (site.lines[-1]["why"], site.gate.requests) == ("airflow.json cannot be read", [])


def test_an_authorization_of_the_destinations_passes_where_another_header_says_who_calls(site):
    own, run = "Authorization: Basic b3Vy", "X-Run-Identity: DPoP a.b.c"
    try:
        for keeps in (True, False):
            site.change(plane="egress", keep_authorization=keeps, upstream_host="orders.internal")
            site.reset()
            assert site.get("/v1/orders", own, run).status == 200
            assert site.gate.only.all("authorization") == ["Basic b3Vy"]
            assert site.upstream.only.all("authorization") == ["Basic b3Vy"] * keeps
            assert site.get("/v1/orders", own).status == 401
            assert site.get("/v1/orders", site.bearer()).status == 401  # its audience is Airflow
            assert site.get("/v1/orders", site.bearer(aud="airflow-egress")).status == 200
            assert [one.all("authorization") for one in site.upstream.requests[1:]] == [[]]  # it was for the gate
    finally:
        site.change(plane="inbound", keep_authorization=False, upstream_host="")
