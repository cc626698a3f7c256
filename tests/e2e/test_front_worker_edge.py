"""The Worker itself, in the real workerd: bad tokens, a provider, a gate and a configuration that fail.

The gate here is an upstream that remembers and answers 200 with a decision: it would allow anything. So what is refused
was refused by the Worker, and the gate was not asked.
"""

import json
import random
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.core.edge import ASSERTION, DECISION
from authz.settings import Keys
from tests.attacks import corpus
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST
from tests.e2e.raw_http import request
from tests.e2e.worker_site import WorkerSite
from tests.support.factories.tokens import access_claims, issuer, make_key, raw_token, sign, sign_hmac, unb64
from tests.support.simulators.idp import IdP, endless, redirect, silence

pytestmark = pytest.mark.e2e
DAGS = "/api/v2/dags"
RSA, EC, ED, OTHER = (
    make_key(alg, kid=kid) for alg, kid in (("RS256", "r"), ("ES256", "e"), ("EdDSA", "d"), ("ES256", "o"))
)
ALLOWED = (f"{DECISION}: decided-1", "X-Authz-Roles: viewer", f"{ASSERTION}: a.b.c", "X-Authz-User: ann")


def claims(idp, **changes):
    now = int(time.time())
    return access_claims(**{"iss": idp.url, "iat": now - 5, "exp": now + 300, **changes})


def trusted(idp, **changes):
    algorithms = frozenset({"RS256", "ES256", "EdDSA"})
    return issuer(**{"issuer": idp.url, "algorithms": algorithms, "discovery": True, "jwks_uri": None, **changes})


class Site(WorkerSite):
    """With a gate that allows everything, and a provider of three keys."""

    def __init__(self, folder, *, keys=None, trust=None, **changes):
        self.idp, self.gate, self.upstream = IdP([RSA, EC, ED]), EchoUpstream(), EchoUpstream()
        trust = trusted(self.idp) if trust is None else trust(self.idp)
        options = {"gates": [self.gate.address], "upstream": self.upstream.address, **changes}
        super().__init__(folder, issuers=[trust], keys=keys or Keys(min_interval="60s", timeout="1s"), **options)
        self.reset()

    def __enter__(self):
        self.idp.__enter__()
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self.idp.__exit__()
        self.gate.close()
        self.upstream.close()

    def reset(self):
        self.gate.reset()
        self.upstream.reset()
        self.gate.extra_headers = ALLOWED

    def bearer(self, key=EC, **changes):
        return f"Authorization: Bearer {sign(claims(self.idp, **changes), key)}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("edge")) as site:
        yield site


@pytest.fixture
def site(whole):
    whole.reset()
    return whole


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.alg)
def test_a_good_token_is_asked_about_and_served(site, key):
    said = site.get(f"{DAGS}?a=b", site.bearer(key), "X-Real-IP: 9.9.9.9", "X-Forwarded-For: 9.9.9.9")
    assert (said.status, said.header(DECISION)) == (200, "decided-1")
    asked, served = site.gate.only, site.upstream.only
    assert (asked.method, asked.target, served.target) == ("GET", f"/check/airflow{DAGS}?a=b", f"{DAGS}?a=b")
    assert asked.all("authorization")[0].startswith("Bearer ")
    assert (asked.all("x-real-ip"), asked.all("x-forwarded-for"), served.all("x-forwarded-for")) == (
        ["127.0.0.1"],
        [],
        ["127.0.0.1"],
    )
    assert (served.all("authorization"), served.all(ASSERTION), served.all("x-authz-user")) == ([], ["a.b.c"], ["ann"])
    line = site.lines[-1]
    assert (line["decision"], line["roles"], line["status"], line["check"]) == ("decided-1", "viewer", 200, 200)


def test_cloudflares_header_is_the_callers_address_where_cloudflare_sets_it(site, tmp_path):
    lines = (
        "CF-Connecting-IP: 203.0.113.9",
        "X-Real-IP: 9.9.9.9",
        "X-Forwarded-For: 9.9.9.9",
        "True-Client-IP: 9.9.9.9",
    )
    with Site(tmp_path, client="cf-connecting-ip") as behind_cloudflare:
        for one, address in ((site, "127.0.0.1"), (behind_cloudflare, "203.0.113.9")):
            assert one.get(DAGS, one.bearer(), *lines).status == 200
            assert one.gate.only.all("x-real-ip") == one.upstream.only.all("x-forwarded-for") == [address]
            assert one.lines[-1]["client"] == address
            assert b"9.9.9.9" not in one.gate.only.head + one.upstream.only.head


def test_connections_to_the_gate_are_kept(site):
    before = len(site.gate.connections)
    for _ in range(10):
        assert site.get(DAGS, site.bearer()).status == 200
    assert len(site.gate.connections) - before <= 2


def flipped(token):
    return token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]


def forged(header, payload):
    return raw_token({"alg": "ES256", "kid": "e", **header}, payload, b"x" * 64)


BAD = {
    "expired": lambda idp: sign(claims(idp, exp=int(time.time()) - 60), EC),
    "no exp": lambda idp: sign(claims(idp, exp=None), EC),
    "exp is text": lambda idp: sign(claims(idp, exp="99999999999"), EC),
    "exp is null": lambda idp: sign({**claims(idp), "exp": None}, EC),
    "not yet valid": lambda idp: sign(claims(idp, nbf=int(time.time()) + 120), EC),
    "of tomorrow": lambda idp: sign(claims(idp, iat=int(time.time()) + 120), EC),
    "nbf is a list": lambda idp: sign(claims(idp, nbf=[0]), EC),
    "another audience": lambda idp: sign(claims(idp, aud="other"), EC),
    "for tasks": lambda idp: sign(claims(idp, aud="airflow-egress"), EC),
    "no audience": lambda idp: sign(claims(idp, aud=None), EC),
    "audience in an object": lambda idp: sign(claims(idp, aud={"airflow": 1}), EC),
    "audience in a list of a list": lambda idp: sign(claims(idp, aud=[["airflow"]]), EC),
    "another issuer": lambda idp: sign(claims(idp, iss="https://other.test"), EC),
    "issuer with a slash": lambda idp: sign(claims(idp, iss=f"{idp.url}/"), EC),
    "issuer in a list": lambda idp: sign(claims(idp, iss=[idp.url]), EC),
    "alg none": lambda idp: raw_token({"alg": "none", "kid": "e"}, claims(idp), ""),
    "alg none, signed": lambda idp: sign(claims(idp), EC, {"alg": "none"}),
    "alg nOnE": lambda idp: sign(claims(idp), EC, {"alg": "nOnE"}),
    "HS256 with the public key": lambda idp: sign_hmac(claims(idp), RSA.public_pem, kid="r"),
    "HS256 with the point": lambda idp: sign_hmac(claims(idp), unb64(EC.jwk["x"]), kid="e"),
    "not of the list": lambda idp: sign(claims(idp), make_key("PS256", kid="r"), {"kid": "r"}),
    "alg in a list": lambda idp: forged({"alg": ["ES256"]}, claims(idp)),
    "alg is __proto__": lambda idp: forged({"alg": "__proto__"}, claims(idp)),
    "RS256 with an EC key": lambda idp: sign(claims(idp), RSA, {"kid": "e"}),
    "ES256 with an RSA key": lambda idp: sign(claims(idp), EC, {"kid": "r"}),
    "kid of another key": lambda idp: sign(claims(idp), OTHER, {"kid": "e"}),
    "unknown kid": lambda idp: sign(claims(idp), OTHER),
    "kid is __proto__": lambda idp: sign(claims(idp), EC, {"kid": "__proto__"}),
    "kid of 9,000": lambda idp: sign(claims(idp), EC, {"kid": "e" * 9_000}),
    "kid is a number": lambda idp: sign(claims(idp), EC, {"kid": 1}),
    "no kid": lambda idp: sign(claims(idp), EC, {"kid": None}),
    "crit": lambda idp: sign(claims(idp), EC, {"crit": ["b64"], "b64": False}),
    "a key of its own": lambda idp: sign(claims(idp), OTHER, {"jwk": OTHER.jwk, "kid": "e"}),
    "jku": lambda idp: sign(claims(idp), OTHER, {"jku": f"{idp.url}/other"}),
    "flipped": lambda idp: flipped(sign(claims(idp), EC)),
    "no signature": lambda idp: sign(claims(idp), EC).rpartition(".")[0] + ".",
    "two parts": lambda idp: sign(claims(idp), EC).rpartition(".")[0],
    "four parts": lambda idp: sign(claims(idp), EC) + ".a",
    "padded": lambda idp: sign(claims(idp), EC) + "=",
    "claims are a list": lambda _: forged({}, [1]),
    "claims are null": lambda _: forged({}, None),
    "header is no JSON": lambda idp: raw_token(b"{", claims(idp), b"x"),
    "no UTF-8": lambda _: raw_token({"alg": "ES256"}, b'{"iss":"\xff"}', b"x"),
    "90,000 characters": lambda _: "a" * 90_000,
    "deep": lambda _: raw_token(b"[" * 20_000, b"[" * 20_000, b"x"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_and_the_gate_is_not_asked(site, name):
    bad = BAD[name](site.idp)
    for target in (DAGS, "/api/v2/monitor/health"):
        said = site.get(target, f"Authorization: Bearer {bad}")
        assert (said.status, said.header("www-authenticate")) == (401, 'Bearer error="invalid_token"'), said
        assert json.loads(said.body) == {"error": "invalid_token"}
    assert (site.gate.requests, site.upstream.requests) == ([], [])
    assert bad[:200] not in site.logged


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: Basic YTpi"], 401),
        (["Authorization: @"], 401),
        (["Authorization: Bearer"], 401),
        (["Authorization: Bearer  "], 401),
        (["Authorization: DPoP @"], 401),
        (["Authorization: Bearer\t@"], 401),
        (["Authorization: Bearer @ @"], 401),
        (["Authorization: Bearer @", "Authorization: Bearer @"], 400),
        (["Authorization: Bearer @, Bearer @"], 400),
        (["Authorization: Bearer @", "authorization: Basic YTpi"], 400),
        (["Authorization: Bearer @", "X-Run-Identity: DPoP a", "X-Run-Identity: DPoP b"], 400),
    ],
)
def test_what_is_no_single_bearer_token_is_refused(site, lines, status):
    good = site.bearer().rpartition(" ")[2]
    assert site.get(DAGS, *(line.replace("@", good) for line in lines)).status == status
    assert (site.gate.requests, site.upstream.requests) == ([], [])


def test_without_a_token_the_gate_is_asked_and_credentials_of_other_kinds_are_not_passed_on(site):
    said = site.get(
        "/api/v2/monitor/health", "Cookie: _token=x", "Proxy-Authorization: Basic YTpi", "X-Run-Identity: DPoP a"
    )
    assert said.status == 200
    for received in (site.gate.only, site.upstream.only):
        assert [
            name for name, _ in received.headers if name in {"cookie", "proxy-authorization", "x-run-identity"}
        ] == []


def test_a_key_that_is_no_longer_the_same_is_asked_for_once_and_the_last_good_ones_stay(tmp_path):
    with Site(tmp_path, keys=Keys(min_interval="200ms", timeout="300ms", refresh="1s")) as site:
        assert site.get(DAGS, site.bearer()).status == 200
        for misbehaves in (silence(), redirect(f"{site.idp.url}/other"), endless()):
            site.idp.misbehave(misbehaves)
            asked = site.idp.count("/jwks")
            while site.idp.count("/jwks") == asked:  # once `min_interval` is over, it asks again, in vain
                assert site.get(DAGS, site.bearer(OTHER)).status == 401
            assert site.get(DAGS, site.bearer()).status == 200
        assert "/other" not in site.idp.requests
        site.idp.behave()
        site.idp.keys = [OTHER]
        wait_for(
            lambda: site.get(DAGS, site.bearer(OTHER)).status == 200, "the new key does not count", pause=site.pause
        )
        assert site.get(DAGS, site.bearer()).status == 401  # the old one is gone with the set


def test_random_key_ids_cause_one_fetch(site):
    site.get(DAGS, site.bearer())  # there are keys
    site.get(DAGS, site.bearer(OTHER))  # and the fetch that a first unknown one may cause has been
    before = site.idp.count("/jwks")
    lines = [f"Authorization: Bearer {sign(claims(site.idp), EC, {'kid': f'k{n}'})}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert {said.status for said in pool.map(lambda line: site.get(DAGS, line), lines)} == {401}
    assert site.idp.count("/jwks") == before


def test_many_first_requests_wait_for_one_fetch_of_keys(tmp_path):
    with Site(tmp_path) as site:
        with ThreadPoolExecutor(16) as pool:
            found = [said.status for said in pool.map(lambda _: site.get(DAGS, site.bearer()), range(48))]
        assert found == [200] * 48
        assert site.idp.count("/jwks") == 1


@pytest.mark.parametrize(
    "misbehaves", [{"path": "/.well-known/openid-configuration", "answer": redirect("/jwks")}, {"answer": endless()}]
)
def test_without_keys_nothing_is_served(tmp_path, misbehaves):
    with Site(tmp_path, keys=Keys(timeout="500ms")) as site:
        site.idp.misbehave(**misbehaves)
        for _ in range(2):
            assert site.get(DAGS, site.bearer()).status == 503
        assert (site.gate.requests, site.upstream.requests) == ([], [])
        site.idp.behave()
        wait_for(lambda: site.get(DAGS, site.bearer()).status == 200, "keys are not fetched again", pause=site.pause)


@pytest.mark.parametrize(
    "trust",
    [
        lambda idp: trusted(idp, issuer=idp.url.replace("localhost", "127.0.0.1")),  # another issuer's document
        lambda idp: trusted(idp, jwks_uri="http://idp.test/jwks", discovery=False),  # not over https
    ],
)
def test_keys_that_are_not_the_issuers_do_not_count(tmp_path, trust):
    with Site(tmp_path, trust=trust, keys=Keys(timeout="500ms")) as site:
        assert site.get(DAGS, site.bearer(iss=trust(site.idp).issuer)).status == 503
        assert (site.gate.requests, site.upstream.requests) == ([], [])


def test_where_the_gate_alone_has_an_issuers_keys_the_gate_verifies(tmp_path):
    with Site(tmp_path, trust=lambda idp: trusted(idp, discovery=False, jwks_file="keys.json")) as site:
        assert site.get(DAGS, site.bearer(OTHER)).status == 200
        assert site.get(DAGS, site.bearer(OTHER, aud="other")).status == 401
        assert (len(site.gate.requests), site.idp.requests) == (1, [])


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
        with Site(tmp_path_factory.mktemp("nonsense"), gates=[address]) as other, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(other.get, DAGS)
            connection, _ = gate.accept()
            connection.recv(65536)
            connection.sendall(said)
            connection.close()
            assert (answer.result(10).status, other.upstream.requests) == (503, [])


def test_a_gate_that_is_away_or_silent_serves_nothing_and_the_next_one_is_asked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = "{}:{}".format(*silent.getsockname())
        with Site(tmp_path / "silent", gates=[place], check_s=0.3) as site:
            said = site.get(DAGS, site.bearer())
            assert (said.status, json.loads(said.body), site.upstream.requests) == (503, {"error": "unavailable"}, [])
            assert site.lines[-1]["why"] == "the gate is too slow"
    with EchoUpstream() as alive:
        alive.extra_headers = ALLOWED
        with Site(tmp_path / "away", gates=[place, alive.address]) as site:
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
        for one in BROKEN:
            if isinstance(one, dict) and "__proto__" not in one:
                site.change(**one)
            else:
                site.write("airflow.json", one if isinstance(one, str) else good.replace("{", '{"__proto__": {},', 1))
            assert site.get(DAGS, site.bearer()).status == 200, one
            assert "is wrong" in site.logged
            site.write("airflow.json", good)
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
    with Site(tmp_path) as site:
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
    targets = [one for one in corpus.targets() if one.startswith("/") and "\r" not in one]
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
            with Site(tmp_path / f"site-{number}", gates=[gate.address], over_tls=over_tls) as site:
                assert site.get(DAGS, site.bearer()).status == status
                assert (len(gate.requests), len(site.upstream.requests)) == (1, status == 200)
