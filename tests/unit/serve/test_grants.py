"""What `grants` in the settings leads to, in one process."""

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.core.revocation import Revoked
from authz.keys import KeyStore
from authz.ops.http_server import Asked
from authz.ops.metrics import Metrics
from authz.serve.grants import GrantParts
from authz.serve.issuer_keys import options_of
from tests.support.rigs.grants import TEXT
from tests.support.rigs.service import load
from tests.support.simulators.idp import SimClock, SimFetcher

GET = Asked(method="GET", target="/grants", accept="", content_type="", body=None)


def parts(folder, text="", policy=None):
    file = folder / "authz.yaml"
    file.write_text(f"version: 1\n{text}")
    made, clock = settings.load(file), SimClock()
    keys = KeyStore(SimFetcher(), clock, options_of(made), lambda _name, _result: None)
    revoked = Revoked(b"k" * 32)
    return GrantParts(made, keys, clock, Metrics(), revoked=revoked, policy=lambda: policy, announces=True)


def test_without_a_file_no_check_pays_and_requests_learn_what_to_set(tmp_path):
    found = parts(tmp_path)
    assert found.granted is None
    assert found.problems() == []
    page = found.answer(GET)
    assert (page.status, b"grants.file" in page.body) == (404, True)
    found.start()
    found.stop()


def test_a_policy_that_nothing_can_be_granted_of_is_a_note(tmp_path):
    [note] = parts(tmp_path, policy=load(TEXT)).problems()
    assert "set `grants.file`" in note
    assert parts(tmp_path, "grants: {file: g}\n", policy=load(TEXT)).problems() == []


def test_with_a_file_requests_need_a_token(tmp_path):
    found = parts(tmp_path, "grants: {file: g}\n", policy=load(TEXT))
    assert found.granted is not None
    assert found.answer(GET).status == 401
    found.start()
    found.stop()


def test_every_event_and_result_is_counted_from_the_start(tmp_path):
    file = tmp_path / "authz.yaml"
    file.write_text("version: 1\ngrants: {file: g}\n")
    found, clock, shown = settings.load(file), SimClock(), Metrics()
    keys = KeyStore(SimFetcher(), clock, options_of(found), lambda _name, _result: None)
    policy = load(TEXT)
    GrantParts(found, keys, clock, shown, revoked=Revoked(b"k" * 32), policy=lambda: policy, announces=True)
    text = shown.exposition()[0].decode()
    assert 'authz_grant_events_total{event="approve",result="own_request"} 0.0' in text
    assert 'authz_grants{state="active"} 0.0' in text


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path):
    with pytest.raises(ConfigError, match="grants file cannot be used"):
        parts(tmp_path, "grants: {file: none/g}\n")
