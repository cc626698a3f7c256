"""Tokens of destinations (OAuth2 client credentials): fetched in advance from a real provider over TLS, and renewed."""

import contextlib
import json
import time
import urllib.parse
from itertools import pairwise

import httpx
import pytest

from tests.browser.providers import embedded
from tests.e2e.calls import Calls
from tests.e2e.certificates import Authority
from tests.e2e.envoy_harness import newest
from tests.e2e.login_site import replace
from tests.e2e.scripted_authz import deny
from tests.e2e.tls_relay import TlsRelay
from tests.e2e.way_out import WayOut, failure
from tests.support.factories.tokens import unb64

LIFE = 4  # seconds; Envoy renews after half of it
SECRET = "sales-etl-secret"


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """The demo's provider, with TLS in front."""
    folder = tmp_path_factory.mktemp("provider")
    authority = Authority(folder)
    with embedded(folder) as provider:
        url = urllib.parse.urlsplit(provider.issuer)
        provider.token_seconds(LIFE)
        with TlsRelay(authority.issue("127.0.0.1"), (url.hostname, url.port)) as relay:
            provider.ca, provider.relay = authority.ca, relay
            yield provider


@pytest.fixture(scope="module")
def running_out(envoy_binary, provider, tmp_path_factory):
    folder = tmp_path_factory.mktemp("oauth2")
    (folder / "stranger").mkdir()

    def credential(name, **changes):
        (folder / f"{name}.secret").write_text(SECRET)
        usual = {
            "token_endpoint": f"https://127.0.0.1:{provider.relay.port}/token",
            "client_id": "sales-etl",
            "client_secret_file": str(folder / f"{name}.secret"),
            "ca": str(provider.ca),
            "parameters": ["resource=airflow-egress"],
        }
        return {"oauth2": {**usual, **changes}}

    out = WayOut(folder, envoy_binary)
    out.add("orders", credential=credential("orders"))
    out.add("posted", credential=credential("posted", client_auth="post", scopes=["profile"]))
    out.add("stranger", credential=credential("stranger", ca=str(Authority(folder / "stranger").ca)))
    out.add("wrong", credential=credential("wrong"))
    out.add("plain")
    (folder / "wrong.secret").write_text("not-the-secret")
    with out:
        for name in ("orders", "posted"):
            out.until(lambda name=name: out.get(name).status == 200, f"no token for {name}")
        yield out


@pytest.fixture
def out(running_out):
    running_out.reset()
    return running_out


def claims_of(token):
    return json.loads(unb64(token.split(".")[1]))


def bearer(received):
    (line,) = received.all("authorization")
    scheme, _, token = line.partition(" ")
    assert scheme == "Bearer"
    return token


@pytest.mark.parametrize("name", ["orders", "posted"])
def test_a_token_replaces_what_the_task_sent(out, name):
    assert out.get(name, "/", "Authorization: Bearer mine", "authorization: Basic bWluZQ==").status == 200
    claims = claims_of(bearer(out.sites[name].only))
    assert (claims["azp"], claims["aud"]) == ("sales-etl", "airflow-egress")
    assert out.get("plain", "/", "Authorization: Bearer mine").status == 200
    assert out.sites["plain"].only.all("authorization") == []
    out.authz.answer = lambda *_: deny()
    assert out.get(name).status == 403
    assert len(out.sites[name].requests) == 1


def test_it_is_renewed_before_it_ends_and_no_call_fails(out):
    site = out.sites["orders"]
    with Calls(out, "orders", tasks=2, pause=0.02) as calls:
        calls.more(out, 5)
        first = bearer(site.requests[-1])
        out.until(lambda: bearer(site.requests[-1]) != first, "the token is not renewed")
        calls.more(out, 5)
    assert set(calls.statuses) == {200}
    tokens = [claims_of(token) for token in dict.fromkeys(map(bearer, site.requests))]
    assert all(new["iat"] < old["exp"] for old, new in pairwise(tokens)), "one had ended when the next was made"


@contextlib.contextmanager
def away(provider):
    """The token endpoint does not answer, or with 503."""
    provider.relay.open = False
    httpx.post(f"{provider.issuer}/dev/moods", json={"token_status": 503}).raise_for_status()
    try:
        yield
    finally:
        httpx.post(f"{provider.issuer}/dev/moods", json={"token_status": 0}).raise_for_status()
        provider.relay.open = True


@pytest.fixture
def silence(provider):
    with away(provider):
        yield


def ended(token):
    return claims_of(token)["exp"] < time.time()


def test_without_its_token_endpoint_a_destination_gets_no_call_but_with_a_token(out, silence, provider, envoy_binary):
    """Once the token has ended: 503. Older Envoys go on sending it, for the destination to refuse: never the task's."""
    site = out.sites["orders"]
    if envoy_binary == newest():
        out.until(lambda: out.get("orders").status != 200, "an old token is still used")
        answer = out.get("orders", "/", "Authorization: Bearer mine")
        assert failure(answer) == (503, "credential_unavailable", "orders")
        assert int(answer.header("retry-after")) >= 1
    else:
        out.until(lambda: out.get("orders").status == 200 and ended(bearer(site.requests[-1])), "it is renewed")
        assert out.get("orders", "/", "Authorization: Bearer mine").status == 200
    assert all(bearer(received) != "mine" for received in site.requests)
    assert out.get("plain").status == 200, "no other destination suffers"


def test_calls_succeed_again_once_the_token_endpoint_is_back(out, provider):
    site = out.sites["orders"]

    def well():
        return out.get("orders").status == 200 and not ended(bearer(site.requests[-1]))

    with away(provider):
        out.until(lambda: not well(), "the token does not end")
        back = int(time.time())
    out.until(well, "no new token")
    assert claims_of(bearer(site.requests[-1]))["iat"] >= back


def test_a_token_endpoint_without_a_trusted_certificate_gets_no_request(out):
    assert failure(out.get("stranger")) == (503, "credential_unavailable", "stranger")
    assert out.sites["stranger"].requests == []
    assert out.envoy.stat("cluster.egress.stranger.token.ssl.fail_verify_error") > 0
    assert out.envoy.stat("cluster.egress.stranger.token.upstream_rq_200") == 0


def test_a_client_secret_is_replaced(out):
    assert failure(out.get("wrong")) == (503, "credential_unavailable", "wrong")
    replace(out.folder / "wrong.secret", SECRET)
    out.until(lambda: out.get("wrong").status == 200, "the new secret is not used")
    assert claims_of(bearer(out.sites["wrong"].only))["azp"] == "sales-etl"


def test_no_log_and_no_page_of_envoy_shows_secret_or_token(out):
    assert out.get("orders").status == 200
    token = bearer(out.sites["orders"].only)
    out.envoy.access_log(1)
    text = out.logged()
    for canary in (SECRET, "not-the-secret", token, token.split(".")[2]):
        assert canary not in text
    assert json.loads(out.get("orders").body)["method"] == "GET"
