"""security.md d-42: every kind of token at every place where the gate takes one. Only the diagonal is let through.

Through the real service, with a real Airflow to ask, in one go and twice over: what was let through at one place is
known to the gate when it is shown at the next one. Once more in a world where every token is signed with one key and
names one issuer, so that nothing but its kind tells one from another.
"""

import base64
import itertools
from dataclasses import replace

import pytest

from authz.authn.run_exchange import AIRFLOW
from authz.core.jose import jwks
from authz.keys import KeyState
from tests.support.factories.proofs import CLAIM, INSTANCE, prove, thumbprint
from tests.support.factories.token_kinds import GATE_KEY, IN_LIFE, KINDS, ONE_WORLD, TASK_KEY, make
from tests.support.factories.tokens import ISS, access_claims, b64, dump, jwks_of, sign
from tests.support.rigs.run import HOST, OPEN, RunRig
from tests.support.rigs.service import message

SAID = b64(dump({"d": CLAIM["dag_id"], "r": CLAIM["run_id"], "t": CLAIM["task_id"], "m": -1, "n": 1}))
ASKED = f"/execution/variables/__run_identity__/v1/proxy/{SAID}"


def bearer(token):
    return [("authorization", f"Bearer {token}".encode())]


def with_proof(token, scheme="DPoP"):
    """The best proof that there can be for this token: of the task's key, and naming the run."""
    made = prove(TASK_KEY, token, htu=f"http://{HOST}/v1/orders", airflow=CLAIM)
    return [("x-run-identity", f"{scheme} {token}".encode()), ("x-run-proof", made)]


def proxy(token):
    return [("proxy-authorization", f"Bearer {token}".encode())]


def proxy_password(token):
    return [("proxy-authorization", b"Basic " + base64.b64encode(f"run:{token}".encode()))]


def inbound(headers):
    return message(headers=headers)


def egress(headers):
    return message("GET", "/v1/orders", headers=headers, plane="egress", host=HOST, audience="", destination="orders")


def execution(headers):
    return message("GET", ASKED, headers=headers, plane="execution", audience="")


# Where a token may be shown, and who is let through there.
PLACES = {
    "inbound, Authorization": (lambda token: inbound(bearer(token)), {"oidc inbound"}),
    "inbound, X-Run-Identity": (lambda token: inbound(with_proof(token)), set()),
    "inbound, Proxy-Authorization": (lambda token: inbound(proxy(token)), set()),
    "egress, Authorization": (lambda token: egress(bearer(token)), {"oidc egress"}),
    "egress, X-Run-Identity": (lambda token: egress(with_proof(token)), {"run token, bound", "oidc egress"}),
    "egress, X-Run-Identity as Bearer": (lambda token: egress(with_proof(token, "Bearer")), {"oidc egress"}),
    "egress, X-Run-Identity without proof": (lambda token: egress(with_proof(token)[:1]), set()),
    "egress, Proxy-Authorization": (lambda token: egress(proxy(token)), {"run token, proxy", "oidc egress"}),
    "egress, proxy password": (lambda token: egress(proxy_password(token)), {"run token, proxy", "oidc egress"}),
    "execution, Authorization": (lambda token: execution(bearer(token)), {"airflow execution token"}),
    "execution, X-Run-Identity": (lambda token: execution(with_proof(token)), set()),
    "execution, Proxy-Authorization": (lambda token: execution(proxy(token)), set()),
}


@pytest.fixture
def rig(tmp_path):
    tmp_path.chmod(0o700)
    with RunRig(tmp_path) as made:
        made.airflow.add(CLAIM["dag_id"], CLAIM["run_id"], CLAIM["task_id"], id=INSTANCE)
        made.keys[AIRFLOW] = made.airflow_keys(IN_LIFE.airflow_key)
        yield made


@pytest.fixture
def rig_of_one_world(tmp_path):
    """The gate, the issuer and Airflow are one, and have one key."""
    tmp_path.chmod(0o700)
    with RunRig(tmp_path, OPEN.replace(ISS, ONE_WORLD.issuer)) as made:
        made.airflow.add(CLAIM["dag_id"], CLAIM["run_id"], CLAIM["task_id"], id=INSTANCE)
        keyset = jwks.parse(jwks_of([GATE_KEY]))
        state = KeyState(issuer=ONE_WORLD.issuer, keyset=keyset, fetched_at=0.0, stale_at=1e12, last_error="")
        made.keys = {"corp": state, AIRFLOW: state}
        made.exchange._issuer = replace(
            made.exchange._issuer, issuer=ONE_WORLD.airflow, algorithms=frozenset({"ES256"})
        )
        yield made


def let_through(rig, world, shuffled):
    """Which kinds are let through at which places, with one token of each kind shown everywhere."""
    found = {place: set() for place in PLACES}
    tokens = {kind: make(kind, world) for kind in KINDS}
    order = list(itertools.product(PLACES, KINDS))
    for place, kind in reversed(order) if shuffled else order:
        answer = rig.settle(rig.service.check(PLACES[place][0](tokens[kind])))
        if answer.http == 200:
            found[place].add(kind)
        else:
            assert answer.http in {400, 401, 403}, f"{kind} at {place}: {answer.http} {answer.reason}"
            assert not answer.allowed
    return found


WANTED = {place: kinds for place, (_, kinds) in PLACES.items()}


def test_d42_each_place_takes_its_own_kinds_alone(rig):
    assert let_through(rig, IN_LIFE, shuffled=False) == WANTED
    assert let_through(rig, IN_LIFE, shuffled=True) == WANTED


def test_d42_each_place_takes_its_own_kinds_even_where_one_key_signs_all(rig_of_one_world):
    assert let_through(rig_of_one_world, ONE_WORLD, shuffled=False) == WANTED
    assert let_through(rig_of_one_world, ONE_WORLD, shuffled=True) == WANTED


@pytest.mark.parametrize("prefix", ["Bearer ", "DPoP ", "with a proof ", "+ proof", "", "\x00"])
def test_d35_a_bound_token_that_is_known_is_refused_without_its_proof(rig, prefix):
    """What is remembered of a bound token is not found by anything that can stand in another header."""
    claims = access_claims(aud="airflow-egress", client_id="sales-etl", cnf={"jkt": thumbprint(TASK_KEY)})
    token = sign(claims, IN_LIFE.issuer_key)
    assert rig.settle(rig.service.check(egress(with_proof(token)))).http == 200
    for after in ("", "+ proof"):
        line = f"{prefix}{token}{after}".encode()
        for name in ("authorization", "proxy-authorization"):
            assert rig.settle(rig.service.check(egress([(name, line)]))).http in {400, 401}
        assert rig.settle(rig.service.check(egress([("x-run-identity", line)]))).http in {400, 401}


@pytest.mark.parametrize("kind", KINDS)
def test_d42_a_second_credential_adds_nothing(rig, kind):
    """Beside a good token of a run, whatever else is shown neither helps nor is it taken in its place."""
    token = make(kind)
    own = with_proof(make("run token, bound"))
    answer = rig.settle(rig.service.check(egress([*own, *bearer(token)])))
    assert answer.http == 200
    assert rig.record["level"] == "verified"
    bad = [("x-run-identity", b"DPoP x.y.z"), own[1]]
    for more in (bearer(token), proxy(token), [*bearer(token), *proxy(token)]):
        answer = rig.settle(rig.service.check(egress([*bad, *more])))
        assert answer.http in {400, 401}, "the first credential counts, and the next is not tried"
