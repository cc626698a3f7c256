"""`authz doctor --airflow`: against a real Airflow that accepts the gate, and against ones that do not."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from authz.core import assertion
from authz.core.doctor.kinds import Finding
from authz.core.urls import Url
from authz.serve import doctor
from tests.support.simulators.idp import PATIENCE_S, LoopbackServer
from tests.support.sites.airflow import AUDIENCE, ISSUER, AirflowSite

pytestmark = pytest.mark.timeout(300)
AUTHZ = Path(sys.executable).with_name("authz")
SETTINGS = """
version: 1
assertion: {{issuer: {issuer}, keys: [key.pem]}}
envoy:
  inbound:
    listen: 127.0.0.1:8443
    upstreams: [{{name: airflow, address: "127.0.0.1:8080", audience: {audience}}}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with AirflowSite(tmp_path_factory.mktemp("airflow")) as site:
        yield site


@pytest.fixture
def ask(site, tmp_path):
    """Run the command with settings of the given issuer and audience, and a key that Airflow knows or not."""

    def run(*arguments, issuer=ISSUER, audience=AUDIENCE, known=True, url=None):
        pem = assertion.generate_pem()
        (tmp_path / "key.pem").write_bytes(pem)
        if known:
            site.publish(assertion.load_signing_key(pem))
            until_known(site, assertion.load_signing_key(pem))
        settings = tmp_path / "authz.yaml"
        settings.write_text(SETTINGS.format(issuer=issuer, audience=audience))
        command = [AUTHZ, "doctor", "--airflow", url or site.url, "--settings", settings, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    return run


def until_known(site, key):
    """Wait until Airflow has read the key file again."""
    deadline = time.monotonic() + PATIENCE_S
    with site.client() as client:
        while time.monotonic() < deadline:
            headers = {assertion.HEADER: site.mint("viewer", signing_key=key)}
            if client.get("/ui/auth/me", headers=headers).status_code == 200:
                return
    pytest.fail("Airflow does not read the new key")


def test_an_airflow_that_accepts_the_gate_is_found_in_order(ask):
    ended = ask()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"accepted; sent issuer '{ISSUER}', audience '{AUDIENCE}'" in ended.stdout
    assert "error" not in ended.stdout


def test_a_wrong_audience_is_named_on_both_sides(ask):
    ended = ask("--json", audience="airflow-b")
    assert ended.returncode == 1
    findings = {finding["id"]: finding for finding in json.loads(ended.stdout)}
    assert "audience 'airflow-b'" in findings["assertion"]["text"]
    assert f"audience '{AUDIENCE}'" in findings["assertion"]["text"]
    assert [name for name, finding in findings.items() if finding["severity"] == "error"] == ["assertion"]


def test_a_wrong_issuer_is_named_on_both_sides(ask):
    ended = ask(issuer="https://other.test")
    assert ended.returncode == 1
    assert "issuer 'https://other.test'" in ended.stdout
    assert f"Airflow expects issuer '{ISSUER}'" in ended.stdout


def test_a_key_that_airflow_does_not_have_points_to_its_key_set(ask):
    ended = ask(known=False)
    assert ended.returncode == 1
    assert "refused before its claims were read" in ended.stdout
    assert "[authz] jwks_url" in ended.stdout


def test_a_clock_that_is_an_hour_ahead_is_found(site):
    site.publish()
    until_known(site, site.key)
    target = doctor.Target(audience=AUDIENCE, tls_ca=None)
    began = time.time()
    url, ahead = Url.parse(site.url), lambda: time.time() + 3600
    findings = doctor.ask_airflow(url, target, issuer=ISSUER, key=site.key, wall=ahead)
    took = time.time() - began
    wrong = {finding.id: finding for finding in findings if isinstance(finding, Finding)}
    assert wrong.keys() == {"clock", "assertion"}
    apart = int(wrong["clock"].text.removesuffix(" s apart").rpartition(" ")[2])
    # Airflow's Date and what is printed are whole seconds, the one cut and the other rounded.
    assert abs(apart - 3600) <= took + 1.5
    assert "not_yet_valid" in wrong["assertion"].text


def test_no_airflow_there_is_said(ask):
    ended = ask(known=False, url="http://127.0.0.1:1")
    assert ended.returncode == 1
    assert "127.0.0.1:1" in ended.stdout


def test_an_airflow_that_takes_anybody_is_found(ask):
    with LoopbackServer(handler_of_a_credulous_airflow()) as server:
        ended = ask(known=False, url=server.url)
    assert ended.returncode == 1
    assert "lets in a request without an assertion" in ended.stdout


def handler_of_a_credulous_airflow():
    from http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    return Handler


def test_nothing_is_made_or_changed(ask, tmp_path):
    (tmp_path / "empty").mkdir()
    settings = tmp_path / "empty" / "authz.yaml"
    settings.write_text(SETTINGS.format(issuer=ISSUER, audience=AUDIENCE))
    command = [AUTHZ, "doctor", "--airflow", "http://127.0.0.1:1", "--settings", settings]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "the assertion key cannot be read" in ended.stderr
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["authz.yaml"]
