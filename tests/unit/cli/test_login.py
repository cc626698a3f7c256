"""`authz login`, `logout` and `token print`: what is asked, and what is refused. The flows: tests/unit/login."""

import keyring
import pytest
from click.testing import CliRunner
from keyring.backends import null

from authz.cli import main
from authz.login.store import Login, Store
from authz.login.tokens import Client, Tokens
from tests.support.simulators.provider import ScriptedProvider

POLICY = """\
version: 1
issuers:
  - {{name: corp, issuer: "{url}", audiences: {{inbound: [airflow]}}, algorithms: [ES256]}}
  - {{name: partner, issuer: "https://idp.example.net", audiences: {{inbound: [airflow]}}, algorithms: [ES256]}}
  - {{name: emergency, issuer: "urn:e", audiences: {{inbound: [airflow]}}, algorithms: [EdDSA], jwks_file: k.json}}
roles: {{airflow.viewer: {{clients: [x], issuers: [corp]}}}}
"""
DEVICE = {"device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://idp.example.com/d", "interval": 1}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = keyring.get_keyring()
    keyring.set_keyring(null.Keyring())
    yield lambda *words: CliRunner().invoke(main, words, catch_exceptions=False)
    keyring.set_keyring(before)


@pytest.fixture
def provider():
    with ScriptedProvider() as running:
        running.say("/device", DEVICE)
        running.say("/token", {"access_token": "at-of-ann", "token_type": "Bearer", "expires_in": 600})
        yield running


def test_an_issuer_of_the_policy_is_named_and_the_login_printed_on_request_only(run, provider, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY.format(url=provider.url))
    done = run("login", "--issuer", "corp", "--client", "cli", "--scope", "profile", "--device", "--as", "dev")
    assert done.exit_code == 0, done.output
    assert f"logged in at {provider.url}, until 20" in done.stdout
    assert "then log in again" in done.stdout
    assert "compare the code WDJB-MJHT" in done.stderr
    assert "at-of-ann" not in done.output
    assert run("token", "print", "--as", "dev").stdout == "at-of-ann\n"
    again = run("login", "--device", "--as", "dev", "--audience", "airflow")
    assert again.exit_code == 0, again.output
    assert provider.forms("/device")[-1] == {"client_id": "cli", "scope": "profile", "audience": "airflow"}
    assert run("token", "print").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--issuer", "https://idp.example.com"), "give the client id of a public client"),
        ((), "give the client id of a public client"),
        (("--client", "cli"), "--issuer: give one of corp, partner"),
        (("--client", "cli", "--issuer", "emergency"), "--issuer: give one of corp, partner"),
        (("--client", "cli", "--issuer", "http://idp.example.com"), "http is refused"),
        (("--client", "cli", "--issuer", "https://idp.example.com", "--as", "../x"), "a login's name has letters"),
        (("--client", "cli", "--issuer", "https://idp.example.com", "--port", "65536"), "--port"),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_a_browser_opens(run, tmp_path, words, said):
    (tmp_path / "policy.yaml").write_text(POLICY.format(url="https://idp.example.com"))
    done = run("login", *words, "--no-browser")
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_logout_that_the_provider_does_not_confirm_says_so(run, provider):
    provider.metadata["revocation_endpoint"] = None
    store = Store()
    with store.alone():
        store.write(Login(client=Client(issuer=provider.url, client_id="cli"), tokens=Tokens(access="at-of-ann")))
    done = run("logout")
    assert (done.exit_code, "has no revocation endpoint" in done.stderr) == (1, True)
    assert (store.read(), run("logout").exit_code) == (None, 2)
