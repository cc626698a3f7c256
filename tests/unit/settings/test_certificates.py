"""Certificates that end: as a metric, in readiness, in lint and in `authz envoy`; and secrets that all can read."""

import datetime as dt
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from authz import settings
from authz.cli import main
from authz.settings import named_files
from authz.settings.certificates import Certificates, expiries
from authz.settings.named_files import Named, Use
from tests.support.factories.certificates import Authority
from tests.support.rigs.service import POLICY
from tests.unit.serve.test_app import Place, Running

DAY = dt.timedelta(days=1)
MARGIN = dt.timedelta(minutes=5)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def certificate(path, key="tls.certificate", use=Use.CERTIFICATE):
    return Named(tuple(key.split(".")), use, str(path))


def told(*files):
    return Certificates(files).warnings(0.0, time.time())


@pytest.mark.parametrize(
    ("life", "words"),
    [
        (3 * DAY + MARGIN, "expires in 3 days: renew it"),
        (DAY + MARGIN, "expires in 1 day: renew it"),
        (MARGIN, "expires in less than a day: renew it"),
        (-2 * DAY - MARGIN, "expired 2 days ago: replace it"),
    ],
)
def test_an_expiring_certificate_is_reported_with_the_days_left(authority, life, words):
    issued = authority.issue("gate.test", life)
    assert told(certificate(issued.certificate)) == [
        f"`tls.certificate`: the certificate in {issued.certificate} {words}"
    ]


def test_a_certificate_with_two_weeks_left_or_on_another_machine_is_not_reported(authority, tmp_path):
    issued = authority.issue("gate.test", 14 * DAY + MARGIN)
    assert told(certificate(issued.certificate), certificate(tmp_path / "on-another-machine.pem")) == []
    assert told(certificate(authority.issue("gate.test", 14 * DAY - MARGIN).certificate)) != []


def test_a_file_without_a_certificate_is_a_problem_that_shows_nothing_of_it(authority, tmp_path):
    key = authority.issue("gate.test").key
    assert told(certificate(key)) == [f"`tls.certificate`: {key}: there is no certificate in it (PEM)"]
    assert told(certificate(tmp_path)) == [
        f"`tls.certificate`: {tmp_path}: cannot be read: it is a folder, not a regular file"
    ]


def test_a_chain_ends_with_its_first_and_a_bundle_of_authorities_with_its_last(authority, tmp_path):
    both = tmp_path / "both.pem"
    short, long = authority.issue("a.test", 3 * DAY), authority.issue("b.test", 300 * DAY)
    both.write_bytes(short.certificate.read_bytes() + long.certificate.read_bytes())
    (chain,) = expiries([certificate(both)])
    (bundle,) = expiries([certificate(both, "tls.client_ca", Use.AUTHORITY)])
    assert bundle.at - chain.at == pytest.approx(297 * 86400, abs=5)


def test_a_certificate_that_was_replaced_is_read_again_and_one_that_was_not_is_not(authority, tmp_path, monkeypatch):
    place = tmp_path / "gate.pem"
    authority.issue("old.test", 3 * DAY).certificate.rename(place)
    seen = Certificates([certificate(place)])
    (old,) = seen.look(0.0)
    (same,) = seen.look(100.0)
    assert same is old
    authority.issue("new.test", 300 * DAY).certificate.replace(place)
    assert seen.look(101.0) == (old,), "files are looked at every few seconds only"
    (new,) = seen.look(200.0)
    assert new.at > old.at
    place.unlink()
    assert seen.look(300.0) == ()


# --- where it is shown


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize(("life", "words"), [(3 * DAY + MARGIN, "expires in 3 days"), (-2 * DAY, "expired")])
def test_a_running_gate_reports_expiry_in_metrics_and_readiness_and_stays_ready(place, authority, life, words):
    server = authority.issue("gate.test", life)
    # Envoy's own authority; so nothing that this gate's own clients need is broken by what is shown
    envoy = f"envoy: {{execution: {{address: 'a.test:443', tls: true, tls_ca: {server.certificate}}}}}"
    with Running(place.app(**{"version: 1": f"version: 1\n{envoy}"}), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        status, body = running.page("/readyz")
        assert status == 200
        (reason,) = json.loads(body)["reasons"]
        assert reason.startswith("`envoy.execution.tls_ca`: ")
        assert words in reason
        lines = running.page("/metrics")[1].splitlines()
        name = 'authz_certificate_expires_timestamp_seconds{setting="envoy.execution.tls_ca"} '
        (value,) = [float(line.removeprefix(name)) for line in lines if line.startswith(name)]
        assert value == pytest.approx(time.time() + life.total_seconds(), abs=60)


SECRETS = """
version: 1
tls: {certificate: gate.pem, key: gate.key}
assertion: {issuer: "https://gate.test", keys: [one.pem, two.pem]}
run_identity: {airflow: "https://a.test", airflow_token_file: a.token, issuer: "https://a.test", jwks_file: keys.json}
envoy:
  authz_tls_ca: ca.pem
  authz_tls_certificate: envoy.pem
  authz_tls_key: envoy.key
  inbound:
    tls: {certificate: edge.pem, key: edge.key}
    login: {public_url: "https://a.test", authorization_endpoint: "https://i.test/a", token_endpoint: "https://i.test/t",
            end_session_endpoint: "", client_auth: post, client_id: me, client_secret_file: client.secret}
    upstreams: [{name: a, address: "127.0.0.1:1"}]
  egress:
    destinations:
      - {name: a, address: "127.0.0.1:2", hosts: [a.test], credential: {secret_file: a.secret}}
      - name: b
        address: "127.0.0.1:3"
        hosts: [b.test]
        credential: {oauth2: {token_endpoint: "https://i.test/t", client_id: me, client_secret_file: b.secret}}
"""


def tool(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


def test_lint_and_envoy_name_every_secret_that_all_can_read_and_no_other_file(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    file = tmp_path / "authz.yaml"
    file.write_text(SECRETS)
    files = [one for one in named_files.named(settings.load(file)) if one.use not in {Use.FOLDER, Use.WRITTEN}]
    for one in files:
        if one.key != "policy":
            Path(one.path).write_text("content")
        Path(one.path).chmod(0o644)
    secrets = {one.key for one in files if one.use is Use.SECRET}
    assert len(secrets) == 10
    lint = json.loads(tool("lint", "--settings", file, "--json").output)
    assert {word(found["message"]) for found in lint if "every account" in found["message"]} == secrets
    shown = tool("envoy", "--settings", file).stderr
    assert {word(line) for line in shown.splitlines() if "every account" in line} == secrets
    for one in files:
        Path(one.path).chmod(0o640)
    assert "everybody" not in tool("lint", "--settings", file).output + tool("envoy", "--settings", file).stderr


def word(text):
    """The key that a message names."""
    return text.split("`")[1]


@pytest.mark.parametrize(
    ("life", "severity", "status"), [(3 * DAY, "warning", 0), (-DAY, "error", 1), (100 * DAY, None, 0)]
)
def test_lint_and_envoy_report_certificates_that_expire_soon_or_have_expired(
    tmp_path, authority, life, severity, status
):
    (tmp_path / "policy.yaml").write_text(POLICY)
    issued = authority.issue("api.test", life)
    file = tmp_path / "authz.yaml"
    file.write_text(
        f"version: 1\nenvoy: {{execution: {{address: 'api.test:443', tls: true, tls_ca: {issued.certificate}}}}}\n"
    )
    ended = tool("lint", "--settings", file, "--json")
    found = [one for one in json.loads(ended.output) if "tls_ca" in one["message"]]
    assert [one["severity"] for one in found] == ([severity] if severity else [])
    assert ended.exit_code == status
    shown = tool("envoy", "--settings", file)
    assert shown.exit_code == 0
    assert [line.partition(":")[0] for line in shown.stderr.splitlines()] == ([severity] if severity else [])
