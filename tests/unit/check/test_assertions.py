"""Assertions are made per session and audience, reused while fresh, and never handed to another."""

import jwt
import pytest
from cachetools import LRUCache

from authz.check.assertions import AssertionMinter
from authz.core import assertion
from authz.core.model import DagGrant, Rights
from tests.support.factories.tokens import NOW
from tests.support.rigs.service import SIGNING_KEY, Rig

RIGHTS = Rights(DagGrant(("*",)), "viewer", ("DAGS",))
OLD_KEY = assertion.load_signing_key(assertion.generate_pem())


@pytest.fixture
def minter():
    return AssertionMinter([SIGNING_KEY, OLD_KEY], issuer="https://gate.test", lifetime=60)


@pytest.fixture
def session():
    return session_of()


def session_of(**claims):
    rig = Rig()
    http = HttpRequestOf(rig.token(**claims))
    return rig.authenticator.authenticate(http, "inbound", rig.policy, rig.keys, wall=NOW, monotonic=0.0)


class HttpRequestOf:
    """All that authentication reads of a request."""

    def __init__(self, token):
        self.authorization = (f"Bearer {token}".encode(),)


def read(token, audience="airflow", key=None):
    public = jwt.PyJWK(key or AssertionMinter([SIGNING_KEY], issuer="", lifetime=1).jwks()["keys"][0])
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    return jwt.decode(token, public, algorithms=["ES256"], audience=audience, options=options)


def test_an_assertion_names_the_session_and_lives_as_long_as_configured(minter, session):
    claims = read(minter.assertion(session.identity, "airflow", RIGHTS, NOW + 0.7).token)
    assert claims["sub"] == "alice"
    assert claims["iss"] == "https://gate.test"
    assert claims["roles"] == ["viewer"]
    assert claims["exp"] - claims["iat"] == 60
    assert claims["iat"] == NOW


def test_it_is_reused_for_half_of_its_life(minter, session):
    first = minter.assertion(session.identity, "airflow", RIGHTS, NOW).token
    assert minter.assertion(session.identity, "airflow", RIGHTS, NOW + 29.9).token == first
    later = minter.assertion(session.identity, "airflow", RIGHTS, NOW + 30).token
    assert later != first
    assert read(later)["exp"] == NOW + 90


def test_one_audience_never_gets_the_assertion_of_another(minter, session):
    first, second = (
        minter.assertion(session.identity, audience, RIGHTS, NOW).token for audience in ("airflow", "other")
    )
    assert first != second
    with pytest.raises(jwt.InvalidAudienceError):
        read(second, "airflow")
    assert minter.assertion(session.identity, "airflow", RIGHTS, NOW).token == first


def test_one_session_never_gets_the_assertion_of_another(minter, session):
    bob = session_of(sub="bob", jti="t-2")
    assert read(minter.assertion(session.identity, "airflow", RIGHTS, NOW).token)["sub"] == "alice"
    assert read(minter.assertion(bob.identity, "airflow", RIGHTS, NOW).token)["sub"] == "bob"


@pytest.mark.parametrize(
    "other",
    [
        {"dags": DagGrant(("sales_*",))},
        {"dags": DagGrant(("*",), ("secret_*",))},
        {"dags": DagGrant(())},
        {"airflow_role": "op"},
        {"airflow_role": ""},
        {"menu": ()},
    ],
)
def test_one_decision_never_gets_the_assertion_of_another_that_gives_other_rights(minter, session, other):
    rights = RIGHTS._replace(**other)
    first = minter.assertion(session.identity, "airflow", RIGHTS, NOW)
    second = minter.assertion(session.identity, "airflow", rights, NOW)
    said = read(second.token)
    assert read(first.token) | said != read(first.token)
    assert tuple(said["dags"]) == rights.dags.allowed
    assert tuple(said.get("dags_denied", ())) == rights.dags.denied
    assert said.get("airflow_role", "") == rights.airflow_role
    assert tuple(said["menu"]) == rights.menu
    assert minter.assertion(session.identity, "airflow", RIGHTS, NOW) is first
    assert minter.assertion(session.identity, "airflow", rights, NOW) is second


def test_equal_rights_share_an_assertion(minter, session):
    equal = Rights(DagGrant(("*",), ()), "viewer", ("DAGS",))
    first, second = (minter.assertion(session.identity, "airflow", rights, NOW) for rights in (RIGHTS, equal))
    assert equal is not RIGHTS
    assert first is second


@pytest.mark.parametrize("back", [1, 20, 3600])
def test_a_clock_that_went_back_hands_out_nothing_that_begins_in_the_future(minter, session, back):
    minter.assertion(session.identity, "airflow", RIGHTS, NOW)
    assert read(minter.assertion(session.identity, "airflow", RIGHTS, NOW - back).token)["iat"] == NOW - back


def test_every_assertion_has_its_own_id(minter, session):
    ids = {
        read(minter.assertion(session.identity, "airflow", RIGHTS, NOW + 31 * number).token)["jti"]
        for number in range(5)
    }
    assert len(ids) == 5


def test_the_first_key_signs_and_all_are_published(minter, session):
    header = jwt.get_unverified_header(minter.assertion(session.identity, "airflow", RIGHTS, NOW).token)
    published = [key["kid"] for key in minter.jwks()["keys"]]
    assert published == [SIGNING_KEY.kid, OLD_KEY.kid]
    assert header["kid"] == SIGNING_KEY.kid
    assert "d" not in {member for key in minter.jwks()["keys"] for member in key}


def test_without_a_key_there_is_no_assertion(session):
    minter = AssertionMinter([], issuer="", lifetime=0)
    assert minter.assertion(session.identity, "airflow", RIGHTS, NOW).token == ""
    assert minter.jwks() == {"keys": []}


def test_what_is_kept_is_bounded_and_the_least_used_goes_first(minter, session, monkeypatch):
    monkeypatch.setattr(minter, "_recent", LRUCache(3))
    first = minter.assertion(session.identity, "a", RIGHTS, NOW)
    for audience in ("b", "c", "d", "e"):
        minter.assertion(session.identity, audience, RIGHTS, NOW)
        assert minter.assertion(session.identity, "a", RIGHTS, NOW) is first
    assert len(minter._recent) == 3


@pytest.mark.parametrize(("left", "lifetime"), [(0.5, 1), (1.0, 1), (12.3, 13), (59, 59), (60, 60), (3600, 60)])
def test_an_assertion_has_expired_when_something_in_its_policy_ends(minter, session, left, lifetime):
    now = NOW + 100 - left
    made = minter.assertion(session.identity, "airflow", RIGHTS, now, NOW + 100)
    claims = read(made.token)
    assert claims["exp"] - claims["iat"] == lifetime
    assert claims["exp"] <= NOW + 100
    assert made.is_fresh(now)
    assert not made.is_fresh(NOW + 100), "it is not handed out then either"


def test_a_recent_assertion_that_outlives_another_policy_is_not_reused_under_it(minter, session):
    first = minter.assertion(session.identity, "airflow", RIGHTS, NOW)
    second = minter.assertion(session.identity, "airflow", RIGHTS, NOW, NOW + 10)
    assert (read(first.token)["exp"], read(second.token)["exp"]) == (NOW + 60, NOW + 10)
    assert minter.assertion(session.identity, "airflow", RIGHTS, NOW + 1, NOW + 10) is second
