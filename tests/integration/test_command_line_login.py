"""`authz login` against the certified provider: the real command, a browser's requests, real refresh tokens."""

import json
import stat
import subprocess
from pathlib import Path

import httpx
import pytest

from demo.idp_store import PEOPLE
from tests.browser.providers import certified
from tests.integration.command_line import AUTHZ, CLIENT, Person, form_of, sign_in

RENEWABLE = ("--scope", "openid profile offline_access")
POLICY = """
version: 1
issuers: [{{name: corp, issuer: "{issuer}", audiences: {{inbound: [airflow]}}, algorithms: [RS256], groups: [groups]}}]
roles: {{airflow.viewer: {{groups: [data-readers]}}}}
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with certified(tmp_path_factory.mktemp("provider"), "https://gate.test", []) as running:
        yield running


@pytest.fixture
def ann(tmp_path):
    return Person(tmp_path / "home")


def secrets_of(person):
    """All that is secret in the file of a login."""
    tokens = json.loads(person.file.read_bytes().partition(b"}\n")[2])["tokens"]
    return {tokens["access"], tokens["refresh"]} - {""}


def listening(process):
    """The addresses that a process's TCP sockets listen on, in the kernel's hexadecimal form."""
    links = subprocess.run(["ls", "-l", f"/proc/{process.pid}/fd"], capture_output=True, text=True, check=True).stdout
    found = []
    for family in ("tcp", "tcp6"):
        table = Path(f"/proc/{process.pid}/net/{family}").read_text().splitlines()[1:]
        rows = [line.split() for line in table]
        found += [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links]
    return found


def test_a_person_logs_in_and_the_gate_would_accept_the_token(provider, ann, tmp_path):
    provider.token_seconds(600)
    said = ann.log_in(provider.issuer, *RENEWABLE, umask=0)
    assert f"logged in at {provider.issuer} as ann, until 20" in said
    assert stat.S_IMODE(ann.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(ann.folder.stat().st_mode) == 0o700
    secrets = secrets_of(ann)
    assert len(secrets) == 2
    assert [one for one in secrets if one in ann.printed] == []
    (tmp_path / "policy.yaml").write_text(POLICY.format(issuer=provider.issuer))
    status, token, err = ann.run("token", "print")
    assert (status, token.strip() in secrets, err) == (0, True, "")
    ann.environment["AUTHZ_TOKEN"] = token.strip()
    status, report, _ = ann.run("token", "inspect", "--policy", str(tmp_path / "policy.yaml"))
    assert (status, "the gate accepts this token" in report) == (0, True), report


def test_the_provider_is_the_policys_and_a_second_login_asks_as_the_first(provider, ann, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(issuer=provider.issuer))
    for words in (("--policy", str(policy), "--client", CLIENT), ()):
        with ann.logging_in("--no-browser", *words) as waiting:
            assert waiting.page.startswith(f"{provider.issuer}/auth?")
            sign_in(waiting.page)
            assert waiting.end()[0] == 0


def test_a_token_near_its_end_is_renewed_once_however_many_ask(provider, ann):
    provider.token_seconds(30)
    ann.log_in(provider.issuer, *RENEWABLE)
    first = secrets_of(ann)
    provider.token_seconds(600)
    before = provider.granted.get("refresh_token", 0)
    asking = [
        subprocess.Popen([AUTHZ, "token", "print"], env=ann.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    printed = {one.communicate(timeout=60)[0].strip() for one in asking}
    assert (len(printed), printed & first, provider.granted["refresh_token"] - before) == (1, set(), 1)


def test_a_logout_revokes_at_the_provider(provider, ann):
    ann.log_in(provider.issuer, *RENEWABLE)
    refresh = json.loads(ann.file.read_bytes().partition(b"}\n")[2])["tokens"]["refresh"]
    assert ann.run("logout") == (0, "logged out\n", "")
    assert not ann.file.exists()
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": CLIENT}
    answer = httpx.post(provider.metadata["token_endpoint"], data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert ann.run("token", "print")[::2] == (2, "error: not logged in: run `authz login`\n")


def test_a_login_is_confirmed_on_another_machine(provider, ann):
    words = ("--issuer", provider.issuer, "--client", CLIENT, "--device", *RENEWABLE)
    with ann.logging_in(*words) as waiting, httpx.Client(timeout=30, follow_redirects=True) as browser:
        page = browser.get(waiting.page)
        for _ in range(3):  # the code, its confirmation, the sign-in
            if "/sign-in/" in str(page.url):
                page = browser.post(str(page.url), data={"login": PEOPLE["ann"].subject})
            else:
                action, hidden = form_of(page)
                page = browser.post(action, data=hidden | ({"confirm": "yes"} if "confirm" in page.text else {}))
        status, out, err = waiting.end()
    assert (status, "as ann" in out) == (0, True), (err, page.text)
    assert [one for one in secrets_of(ann) if one in ann.printed] == []


def test_a_code_of_another_login_is_of_no_use(provider, ann, tmp_path):
    eve = Person(tmp_path / "eve")
    words = ("--issuer", provider.issuer, "--client", CLIENT, "--no-browser")
    with ann.logging_in(*words) as hers, eve.logging_in(*words) as theirs:
        code = httpx.URL(sign_in(theirs.page, "nina", back=False)).params["code"]
        # As they left eve's browser: another state, so nothing happens.
        foreign = {"code": code, "state": theirs.query["state"], "iss": provider.issuer}
        assert httpx.get(hers.redirect, params=foreign).status_code == 400
        assert hers.process.poll() is None
        # With the state of ann's login, which eve would have to know: the provider refuses the code.
        assert httpx.get(hers.redirect, params=foreign | {"state": hers.query["state"]}).status_code == 200
        status, out, err = hers.end()
    assert (status, out, err) == (2, "", "error: the provider refuses: invalid_grant\n")
    assert not ann.file.exists()
    assert code not in ann.printed


def test_only_loopback_listens_while_a_login_waits_and_nothing_after(provider, ann):
    with ann.logging_in("--issuer", provider.issuer, "--client", CLIENT, "--no-browser") as waiting:
        port = int(httpx.URL(waiting.redirect).port)
        assert listening(waiting.process) == [f"0100007F:{port:04X}"]
        back = sign_in(waiting.page, back=False)
        assert httpx.get(back).status_code == 200
        assert waiting.end()[0] == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(back)
