"""The two providers that people log in at: the certified one (npm `oidc-provider`) and the demo's embedded one.

Both know the same people, so that a test is written once: `provider.person("viewer")` clicks the same name at either.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.idp_store import PEOPLE
from tests.e2e.envoy_harness import wait_for
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port

FOLDER = Path(__file__).parent / "provider"
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
SECRET = "airflow-gate-secret"
CALLBACK = "/oauth2/callback"
PERSON = {"viewer": "ann", "user": "ben", "op": "olga", "admin": "adam", "nobody": "nina", "team": "sam"}


class Provider:
    """A running provider: where it is, and what its pages look like."""

    def __init__(self, name, issuer):
        self.name = name
        self.issuer = self.url = issuer
        self.metadata = httpx.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()

    def __repr__(self):
        return self.name

    def sign_in(self, page, role):
        """Click the button of somebody who has the role, on the sign-in page that the browser shows."""
        page.get_by_role("button", name=PEOPLE[PERSON[role]].name).click()

    def confirm_sign_out(self, page):
        """Answer the question that the provider may ask before it ends its own session."""

    def token_seconds(self, seconds):
        """How long access tokens live that are made from now on."""
        httpx.post(f"{self.issuer}/dev/moods", json={"access_token_s": seconds}).raise_for_status()

    def more_groups(self, number):
        """In how many groups of no meaning people are, beside their own: 14 bytes of claims for each."""
        httpx.post(f"{self.issuer}/dev/moods", json={"more_groups": number}).raise_for_status()


class Certified(Provider):
    """The one whose conformance others have certified."""

    def confirm_sign_out(self, page):
        page.get_by_role("button", name="Yes, sign me out").click()

    def token_seconds(self, seconds):
        httpx.post(f"{self.issuer}/control", json={"access_token_seconds": seconds}).raise_for_status()

    @property
    def granted(self):
        """How many tokens each grant type has given."""
        return httpx.get(f"{self.issuer}/control").raise_for_status().json()["granted"]


@contextmanager
def certified(folder: Path, gate: str, after_logout: list[str], backchannel: str = "") -> Iterator[Certified]:
    """The certified provider, which knows the gate at this URL as its client."""
    if not shutil.which("node") or not INSTALLED.exists():
        skip_or_fail("the certified provider is not installed: run `scripts/system-packages` and `make provider`")
    people = [
        {"subject": person.subject, "login": person.login, "name": person.name, "groups": person.groups}
        for person in PEOPLE.values()
    ]
    settings = {
        "port": 0,
        "gate": gate,
        "callback": CALLBACK,
        "secret": SECRET,
        "after_logout": after_logout,
        "backchannel": backchannel,
        "people": people,
    }
    log = folder / "certified.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            ["node", FOLDER / "server.js", json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"},  # the gate has a certificate of the tests' own
        ) as process,
    ):
        try:
            line = next((line for line in process.stdout if line.startswith(b"{")), None)
            assert line, f"the provider did not start: {log.read_text()}"
            yield Certified("certified", json.loads(line)["issuer"])
        finally:
            process.terminate()


@contextmanager
def embedded(folder: Path) -> Iterator[Provider]:
    """The provider of the demo."""
    issuer = f"http://127.0.0.1:{(port := free_port())}"
    log = folder / "embedded.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "demo.idp", "--port", str(port)], stdout=output, stderr=output
        ) as process,
    ):

        def pause(seconds):
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return
            raise AssertionError(f"the provider ended: {log.read_text()}")

        try:
            wait_for(lambda: _answers(issuer), "the provider does not answer", pause=pause, seconds=30)
            yield Provider("embedded", issuer)
        finally:
            process.terminate()


def _answers(issuer):
    try:
        return httpx.get(f"{issuer}/jwks.json").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
