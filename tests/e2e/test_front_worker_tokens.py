"""The Worker's own checks, in the real workerd: tokens, and the provider's keys.

The gate here is an upstream that remembers and answers 200 with a decision: it would allow anything. So what is refused
was refused by the Worker, and the gate was not asked.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.core.edge import ASSERTION, DECISION
from authz.settings import Keys
from tests.e2e.envoy_harness import wait_for
from tests.e2e.worker_site import DAGS, EC, ED, OTHER, PSS, RSA, EdgeSite, claims, trusted
from tests.support.factories.tokens import make_key, raw_token, sign, sign_hmac, unb64
from tests.support.simulators.idp import endless, redirect, silence

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with EdgeSite(tmp_path_factory.mktemp("edge")) as site:
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
    with EdgeSite(tmp_path, client="cf-connecting-ip") as behind_cloudflare:
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
    "not of the list": lambda idp: sign(claims(idp), PSS),
    "not of the list, with a key of it": lambda idp: sign(claims(idp), make_key("PS256", kid="r")),
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
    with EdgeSite(tmp_path, keys=Keys(min_interval="200ms", timeout="500ms", refresh="1s")) as site:
        wait_for(lambda: site.get(DAGS, site.bearer()).status == 200, "there are no keys", pause=site.pause)
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
    with EdgeSite(tmp_path) as site:
        with ThreadPoolExecutor(16) as pool:
            found = [said.status for said in pool.map(lambda _: site.get(DAGS, site.bearer()), range(48))]
        assert found == [200] * 48
        assert site.idp.count("/jwks") == 1


@pytest.mark.parametrize(
    "misbehaves", [{"path": "/.well-known/openid-configuration", "answer": redirect("/jwks")}, {"answer": endless()}]
)
def test_without_keys_nothing_is_served(tmp_path, misbehaves):
    with EdgeSite(tmp_path, keys=Keys(timeout="500ms")) as site:
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
        lambda idp: trusted(idp, jwks_uri=f"{idp.url.replace('localhost', '0.0.0.0')}/jwks", discovery=False),
    ],
)
def test_keys_that_are_not_the_issuers_do_not_count(tmp_path, trust):
    with EdgeSite(tmp_path, trust=trust, keys=Keys(timeout="500ms")) as site:
        assert site.get(DAGS, site.bearer(iss=trust(site.idp).issuer)).status == 503
        assert (site.gate.requests, site.upstream.requests, site.idp.count("/jwks")) == ([], [], 0)


def test_a_key_set_that_is_too_long_does_not_count(tmp_path):
    with EdgeSite(tmp_path, keys=Keys(max_bytes="2KiB", min_interval="100ms")) as site:
        site.idp.keys += [RSA.jwk_with(kid=f"r{number}") for number in range(4)]
        assert site.get(DAGS, site.bearer()).status == 503
        del site.idp.keys[4:]
        wait_for(lambda: site.get(DAGS, site.bearer()).status == 200, "keys are not fetched again", pause=site.pause)


def test_where_the_gate_alone_has_an_issuers_keys_the_gate_verifies(tmp_path):
    with EdgeSite(tmp_path, trust=lambda idp: trusted(idp, discovery=False, jwks_file="keys.json")) as site:
        assert site.get(DAGS, site.bearer(OTHER)).status == 200
        assert site.get(DAGS, site.bearer(OTHER, aud="other")).status == 401
        assert (len(site.gate.requests), site.idp.requests) == (1, [])
