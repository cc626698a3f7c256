"""The provider is down, and the gate was started without it: an admin gets in with a break-glass token, and loudly.

Real Envoy with the browser login, the real gate, the real command. At the provider's address no one answers.
"""

import httpx
import jwt
import pytest
from click.testing import CliRunner

from authz.cli import main
from tests.e2e.login_site import LoginSite, replace
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

PASSPHRASE = "correct horse battery staple"
WHY = "provider down, incident 4711"
POLICY = """
version: 1
issuers:
  - {{name: demo, issuer: "{issuer}", audiences: {{inbound: [airflow]}}, algorithms: [RS256], groups: [groups]}}
  - name: break-glass
    issuer: urn:airflow-envoy-authz:break-glass
    audiences: {{inbound: [airflow]}}
    algorithms: [EdDSA]
    jwks_file: %s
    max_lifetime: 60m
    break_glass: true
roles:
  airflow.viewer: {{groups: [data-readers]}}
  break-glass: {{clients: [break-glass], issuers: [break-glass], includes: [airflow.admin]}}
"""


class Down:
    """Where a provider was."""

    def __init__(self):
        self.issuer = self.url = f"http://127.0.0.1:{free_port()}"


def command(*words, times=1):
    made = CliRunner().invoke(main, ["break-glass", *words], input=f"{PASSPHRASE}\n" * times, catch_exceptions=False)
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    folder = tmp_path_factory.mktemp("safe")
    command("init", "--key", str(folder / "key.pem"), "--jwks", str(folder / "keys.json"), times=2)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, envoy_binary, key):
    policy = POLICY % (key / "keys.json")
    folder = tmp_path_factory.mktemp("site")
    with LoginSite(folder, envoy_binary, real=True, policy=policy, provider=Down(), secure=False) as running:
        yield running


@pytest.fixture
def token(key):
    return command("token", "--key", str(key / "key.pem"), "--name", "ada", "--reason", WHY)


def test_without_a_token_the_login_leads_to_the_provider_that_is_down(site):
    with site.browser() as browser:
        answer = browser.navigate(f"{site.url}/dags")
    assert (answer.status_code, answer.headers["location"].startswith(site.provider.issuer)) == (302, True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(answer.headers["location"])


def test_the_ui_and_the_api_are_reached_with_the_token_and_each_request_is_on_record(site, token):
    before = site.gate.metric("authz_break_glass_total")
    site.upstream.reset()
    with site.browser() as browser:
        page = browser.navigate(f"{site.url}/dags", headers={"authorization": f"Bearer {token}"})
        change = browser.script(f"{site.url}/api/v2/pools", "POST", headers={"authorization": f"Bearer {token}"})
    assert (page.status_code, change.status_code, len(site.upstream.requests)) == (200, 200, 2)
    for answer, operation in ((page, "ui:pages"), (change, "pools:create")):
        record = site.gate.decision(answer.headers["x-authz-decision"])
        assert (record["subject"], record["break_glass"], record["operation"]) == ("ada", WHY, operation)
    assert site.gate.metric("authz_break_glass_total") == before + 2
    for seen in site.upstream.requests:
        assert token.encode() not in seen.head
        [assertion] = seen.all("x-authz-assertion")
        claims = jwt.decode(assertion, options={"verify_signature": False})
        assert (claims["sub"], claims["airflow_role"]) == ("ada", "admin")
    assert f"a token of issuer break-glass is in use for '{WHY}'" in site.gate.log.read_text()


def test_another_session_beside_it_is_refused(site, token):
    site.upstream.reset()
    answer = httpx.get(f"{site.url}/dags", headers={"authorization": f"Bearer {token}", "cookie": "BearerToken=abc"})
    assert (answer.status_code, site.upstream.requests) == (400, [])


def test_the_token_ends_with_the_entry_in_the_policy(site, token):
    headers = {"authorization": f"Bearer {token}"}

    def status():
        return httpx.get(f"{site.url}/api/v2/dags", headers=headers).status_code

    assert status() == 200
    text = site.gate.policy.read_text()
    without = text[: text.index("  - name: break-glass")] + text[text.index("roles:") : text.index("  break-glass: {")]
    replace(site.gate.policy, without)
    try:
        site.gate.until(lambda: status() == 401, "the token is accepted without the entry")
    finally:
        replace(site.gate.policy, text)
    site.gate.until(lambda: status() == 200, "the entry is not in force again")
