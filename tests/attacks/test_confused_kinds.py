"""security.md d-15 and d-42: every kind of token, shown to everybody who reads tokens. Only the diagonal is accepted.

Twice: with the keys and names that everybody has in life, and in a world where all tokens are signed with one key and
name one issuer. What is accepted there is accepted because of what kind it says to be, and for nothing else.
"""

import json

import pytest

from authz.airflow import verifier
from authz.core import tokens
from authz.core.assertion import public_jwks
from authz.core.errors import TokenError
from authz.core.model import Plane
from authz.core.runs import run_token
from authz.core.runs.proof import parse_proof
from authz.core.runs.task_token import read_task_token
from authz.core.tokens.logout import read_logout
from tests.support.factories.proofs import EGRESS, GATE
from tests.support.factories.token_kinds import IN_LIFE, KINDS, ONE_WORLD, make
from tests.support.factories.token_pipeline import accept, keyset_of
from tests.support.factories.tokens import NOW, issuer
from tests.support.rigs.service import SIGNING_KEY

WORLDS = {"in life": IN_LIFE, "one key, one issuer": ONE_WORLD}


def _keys_of(world):
    return keyset_of(*{key.kid: key for key in (world.issuer_key, world.airflow_key)}.values())


def _oidc(plane, **settings):
    def read(token, world):
        by = issuer(issuer=world.issuer, algorithms=frozenset({"ES256", "EdDSA"}), **settings)
        return accept(token, _keys_of(world), by=by, plane=plane)

    return read


def _logout(token, world):
    parsed = tokens.parse(token, max_bytes=9999)
    by = issuer(issuer=world.issuer)
    tokens.verify(parsed, tokens.find_key(parsed, tokens.find_issuer(parsed, {by.issuer: by}), _keys_of(world)))
    return read_logout(parsed, by, frozenset({"gate"}), NOW)


def _task(token, world):
    parsed = tokens.parse(token, max_bytes=9999)
    by = issuer(name="airflow", issuer=world.airflow, algorithms=frozenset({"EdDSA", "ES256"}))
    tokens.verify(parsed, tokens.find_key(parsed, tokens.find_issuer(parsed, {by.issuer: by}), _keys_of(world)))
    return read_task_token(parsed, by, NOW)


def _run(token, world):
    return run_token.verify(token, run_token.public_keys([SIGNING_KEY]), issuer=GATE, audience=EGRESS, now=NOW)


def _auth_manager(token, world):
    keys = verifier.parse_keys(json.dumps(public_jwks([SIGNING_KEY])).encode())
    expected = verifier.Expected(issuer=GATE, audience="airflow", clock_skew=0)
    read = verifier.verify(token, keys, expected, NOW)
    return None if isinstance(read, verifier.Refusal) else read


READERS = {
    "an issuer's token, inbound": (_oidc(Plane.INBOUND), {"oidc inbound"}),
    "an issuer's token, egress": (_oidc(Plane.EGRESS), {"oidc egress"}),
    "an ID token, inbound": (_oidc(Plane.INBOUND, tokens=frozenset({"id"})), {"id token"}),
    "a logout token": (_logout, {"logout token"}),
    "a task's token": (_task, {"airflow execution token"}),
    "a run identity token": (_run, {"run token, bound", "run token, proxy"}),
    "the auth manager": (_auth_manager, {"assertion"}),
    "a proof": (lambda token, world: parse_proof(token.encode()), {"proof"}),
}


def is_accepted(read, token, world):
    try:
        return read(token, world) is not None
    except TokenError:
        return False


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("reader", READERS)
def test_d15_each_reader_takes_its_own_kind_alone(reader, world):
    read, own = READERS[reader]
    assert {kind for kind in KINDS if is_accepted(read, make(kind, world), world)} == own


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_d42_no_token_of_a_task_or_of_the_gate_is_an_issuers_on_any_audience(world):
    """An operator who lists every audience there is for an issuer still takes tokens of that kind alone."""
    audiences = frozenset({"airflow", "airflow-egress", EGRESS, GATE})
    for plane in Plane:
        read = _oidc(plane, audiences=dict.fromkeys(Plane, audiences), tokens=frozenset({"access", "id", "untyped"}))
        taken = {kind for kind in KINDS if is_accepted(read, make(kind, world), world)}
        assert taken == {"oidc inbound", "oidc egress", "id token"}


def test_every_kind_has_a_reader():
    """But those that are for nobody here: they would be accepted by mistake only."""
    assert set(KINDS) - set().union(*(own for _, own in READERS.values())) == {"airflow workload token", "key set"}
