"""Client certificates, from a settings file to a real Envoy and a real gate: who has none does not get in."""

import shutil
import ssl

import pytest
import yaml

from authz import settings as settings_file
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, wait_for
from tests.e2e.gate import SETTINGS, Gate, token
from tests.e2e.raw_http import exchange, request
from tests.support.factories.tokens import make_key
from tests.support.ports import free_port, loopback
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")

GUARDED = """
tls: {{{{certificate: {server.certificate}, key: {server.key}, client_ca: {authority.ca}}}}}
envoy:
  admin: "{admin}"
  access_log: access.log
  authz_tls_ca: {authority.ca}
  authz_tls_certificate: {client.certificate}
  authz_tls_key: {client.key}
  inbound:
    listen: "{edge}"
    tls: {{{{certificate: {server.certificate}, key: {server.key}, client_ca: {authority.ca}}}}}
    upstreams: [{{{{name: airflow, address: "{upstream}", audience: airflow-test}}}}]
"""


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """One that everybody here trusts, and another one with a certificate for the same name."""
    folder = tmp_path_factory.mktemp("authorities")
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    ours, theirs = Authority(folder / "ours"), Authority(folder / "theirs")
    return ours, theirs


@pytest.fixture(scope="module")
def guarded(authorities, envoy_binary, tmp_path_factory):
    """Gate and Envoy of one settings file: certificates are wanted at the edge, and by the gate."""
    ours, _theirs = authorities
    folder = tmp_path_factory.mktemp("guarded")
    server = ours.issue("localhost", "gate.test", stem="server")
    client = ours.issue("envoy.test", stem="client")
    with EchoUpstream() as upstream, IdP([KEY]) as idp:
        text = GUARDED.format(
            server=server,
            client=client,
            authority=ours,
            admin=loopback(),
            edge=loopback(),
            upstream=upstream.address,
        )
        listen = f"127.0.0.1:{free_port()}"
        with Gate(folder, idp, settings=SETTINGS + text, listen=listen) as gate:
            settings = settings_file.load(gate.settings)
            with Envoy(settings, folder, envoy_binary) as envoy:
                yield envoy, upstream, gate


def ask(gate, envoy, authority, pair=None):
    """One request with a good token, over a connection that shows the certificate `pair`, if any."""
    context = ssl.create_default_context(cafile=authority.ca)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    headers = f"Authorization: Bearer {token(KEY, iss=issuer_of(gate))}"
    return exchange(envoy.inbound, request("/api/v2/dags", headers, host="gate.test"), tls=context)


def issuer_of(gate):
    """The issuer of the gate's policy."""
    return yaml.safe_load(gate.policy.read_text())["issuers"][0]["issuer"]


def test_a_client_with_a_certificate_of_the_authority_gets_in_over_mutual_tls_to_the_gate(guarded, authorities):
    envoy, upstream, gate = guarded
    upstream.reset()
    ours, _theirs = authorities
    answer = ask(gate, envoy, ours, ours.issue("caller.test"))
    assert answer.status == 200
    assert upstream.only.all("x-forwarded-client-cert") == []
    assert gate.decision(upstream.only.all("x-authz-decision")[0])["decision"] == "allow"


@pytest.mark.parametrize("shown", ["none", "wrong"])
def test_a_client_without_one_does_not_get_past_the_handshake(guarded, authorities, shown):
    envoy, upstream, gate = guarded
    upstream.reset()
    ours, theirs = authorities
    pair = theirs.issue("caller.test") if shown == "wrong" else None
    listener = f"listener.{envoy.section.inbound.listen.replace(':', '_')}.ssl"
    counter = f"{listener}.{'fail_verify_error' if pair else 'fail_verify_no_cert'}"
    before = envoy.stat(counter)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(gate, envoy, ours, pair)
    assert envoy.stat(counter) == before + 1
    assert upstream.requests == []


def test_without_its_certificate_envoy_gets_no_answer_from_the_gate(guarded, authorities, envoy_binary, tmp_path):
    _envoy, upstream, gate = guarded
    upstream.reset()
    ours, _theirs = authorities
    none = {"authz_tls_certificate": None, "authz_tls_key": None}
    made = another(settings_file.load(gate.settings), tmp_path, **none)
    with Envoy(made, tmp_path, envoy_binary, alone=True) as envoy:
        assert ask(gate, envoy, ours, ours.issue("caller.test")).status == 503
    assert upstream.requests == []


def test_a_certificate_that_is_moved_into_place_is_used_with_no_restart(guarded, authorities, envoy_binary, tmp_path):
    _envoy, upstream, gate = guarded
    upstream.reset()
    ours, theirs = authorities
    caller, good, wrong = ours.issue("caller.test"), ours.issue("envoy-2.test"), theirs.issue("envoy-2.test")
    shown = tmp_path / "shown"
    shown.mkdir()
    shutil.copy(wrong.certificate, shown / "client.pem")
    shutil.copy(wrong.key, shown / "client-key.pem")
    named = {"authz_tls_certificate": str(shown / "client.pem"), "authz_tls_key": str(shown / "client-key.pem")}
    made = another(settings_file.load(gate.settings), tmp_path, **named)
    with Envoy(made, tmp_path, envoy_binary, alone=True) as envoy:
        assert ask(gate, envoy, ours, caller).status == 503
        assert upstream.requests == []
        good.key.replace(shown / "client-key.pem")
        good.certificate.replace(shown / "client.pem")
        wait_for(lambda: envoy.healthy("authz"), "the new certificate is not used", pause=envoy.pause)
        assert ask(gate, envoy, ours, caller).status == 200
    assert len(upstream.requests) == 1


def another(settings, folder, **changes):
    """The same settings for one more Envoy on the same machine."""
    inbound = settings.envoy.inbound.model_copy(update={"listen": loopback()})
    own = {"admin": loopback(), "inbound": inbound, "sds": str(folder / "sds"), "access_log": str(folder / "log")}
    return settings.model_copy(update={"envoy": settings.envoy.model_copy(update={**own, **changes})})
