"""Both providers give a browser what the gate reads: a code flow in Chromium ends with a token that the policy accepts.

No gate is needed for it: Playwright answers at the gate's address and keeps the code that arrives there.
"""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from demo.idp_store import PEOPLE
from tests.browser.providers import CALLBACK, PERSON, SECRET
from tests.e2e.gate import POLICY

pytestmark = pytest.mark.e2e


def tokens_of(page, provider, gate_url, role):
    """The code flow with PKCE (RFC 7636), from the sign-in page to the tokens."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    page.route(f"{gate_url}/**", lambda route: route.fulfill(body="arrived"))
    asked = {
        "response_type": "code",
        "client_id": "airflow-gate",
        "redirect_uri": gate_url + CALLBACK,
        "scope": "openid profile",
        "state": "here",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    page.goto(f"{provider.metadata['authorization_endpoint']}?{urlencode(asked)}")
    provider.sign_in(page, role)
    page.wait_for_url(f"{gate_url}{CALLBACK}?*")
    answer = parse_qs(urlsplit(page.url).query)
    assert answer["state"] == ["here"]
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"][0],
        "redirect_uri": asked["redirect_uri"],
        "code_verifier": verifier,
    }
    token_endpoint = provider.metadata["token_endpoint"]
    return httpx.post(token_endpoint, data=form, auth=("airflow-gate", SECRET)).raise_for_status().json()


def segment(token, number):
    part = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("role", ["viewer", "admin", "nobody"])
def test_a_code_flow_in_the_browser_ends_with_tokens_that_the_policy_accepts(page, provider, gate_url, role, tmp_path):
    tokens = tokens_of(page, provider, gate_url, role)
    person = PEOPLE[PERSON[role]]
    access, identity = segment(tokens["access_token"], 1), segment(tokens["id_token"], 1)
    assert segment(tokens["access_token"], 0)["typ"] == "at+jwt"
    assert tokens["refresh_token"]
    assert access["sub"] == identity["sub"] == person.subject
    assert access["preferred_username"] == person.login
    assert access["groups"] == list(person.groups)
    assert access["aud"] == "airflow"
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(issuer=provider.issuer))
    inspect = [sys.executable, "-m", "authz", "token", "inspect", "--policy", policy]
    judged = subprocess.run(inspect, input=tokens["access_token"], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("provider", ["certified"], indirect=True)
def test_a_refresh_token_gives_a_token_with_the_life_that_was_set(page, provider, gate_url):
    before = provider.granted.get("refresh_token", 0)
    tokens = tokens_of(page, provider, gate_url, "viewer")
    provider.token_seconds(2)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer = httpx.post(provider.metadata["token_endpoint"], data=form, auth=("airflow-gate", SECRET))
    provider.token_seconds(600)
    access = segment(answer.raise_for_status().json()["access_token"], 1)
    assert access["exp"] - access["iat"] == 2
    assert access["sid"] == segment(tokens["access_token"], 1)["sid"]
    assert provider.granted["refresh_token"] == before + 1
