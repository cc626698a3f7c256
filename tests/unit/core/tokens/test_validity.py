import math
from dataclasses import replace

import pytest

from authz.core.errors import TokenError
from authz.core.model import Plane
from authz.core.reasons import Reason
from authz.core.tokens import check_claims, parse, read_claims, window
from tests.support.factories.tokens import NOW, access_claims, issuer, raw_token

CORP = issuer(clock_skew=30, max_lifetime=3600)


def why(now=NOW, plane=Plane.INBOUND, by=CORP, **changes):
    """The reason and the detail of a refusal, None when the claims hold."""
    claims = read_claims(parse(raw_token({"alg": "RS256"}, access_claims(**changes)), max_bytes=9999), by)
    try:
        check_claims(claims, by, plane, now)
    except TokenError as error:
        return error.reason, error.detail
    return None


def test_good_claims_hold():
    assert why() is None
    assert why(aud=["other", "airflow"]) is None
    assert why(aud="airflow-egress", plane=Plane.EGRESS) is None


def test_the_audience_is_that_of_the_plane():
    assert why(aud="airflow-egress") == (
        Reason.AUDIENCE,
        "aud is 'airflow-egress'; the plane inbound expects 'airflow'",
    )
    assert why(plane=Plane.EGRESS)[0] is Reason.AUDIENCE
    for aud in ("Airflow", "airflow ", "airflo", "airflow/", ["air", "flow"], "*"):
        assert why(aud=aud)[0] is Reason.AUDIENCE


@pytest.mark.parametrize("audiences", [{}, {Plane.EGRESS: frozenset({"airflow"})}, {Plane.INBOUND: frozenset()}])
def test_an_issuer_without_audience_on_a_plane_has_no_tokens_there(audiences):
    assert why(by=issuer(audiences=audiences)) == (
        Reason.AUDIENCE,
        "issuer corp has no audience on the plane inbound",
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [(NOW + 539, None), (NOW + 540, None), (NOW + 569.999, None), (NOW + 570, Reason.EXPIRED), (1e12, Reason.EXPIRED)],
)
def test_a_token_ends_at_exp_plus_the_skew(now, expected):
    found = why(now=now)
    assert (found and found[0]) == expected


def test_an_expiry_says_how_long_ago():
    assert why(now=NOW + 600) == (Reason.EXPIRED, "exp was 60 s ago; the clock skew is 30 s")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(("ahead", "accepted"), [(-100, True), (0, True), (30, True), (30.5, False), (31, False)])
def test_a_token_begins_at_nbf_and_iat_minus_the_skew(claim, ahead, accepted):
    found = why(now=NOW - ahead, **{"iat": None, claim: NOW})
    assert found is None if accepted else found[0] is Reason.NOT_YET_VALID


def test_a_start_says_how_far_away():
    assert why(nbf=NOW + 90)[1] == "nbf is 90 s in the future; the clock skew is 30 s"


@pytest.mark.parametrize(
    ("iat", "exp", "expected"),
    [
        (NOW, NOW + 3600, None),
        (NOW, NOW + 3601, Reason.LIFETIME_TOO_LONG),
        (NOW - 3600, NOW + 1, Reason.LIFETIME_TOO_LONG),
        (0, NOW + 60, Reason.LIFETIME_TOO_LONG),
        (NOW + 10, NOW + 10, Reason.CLAIM_INVALID),
        (NOW + 10, NOW + 5, Reason.CLAIM_INVALID),
        (None, NOW + 3630, None),
        (None, NOW + 3631, Reason.LIFETIME_TOO_LONG),
        (None, 253_402_300_799, Reason.LIFETIME_TOO_LONG),
    ],
)
def test_short_lives_are_enforced(iat, exp, expected):
    found = why(iat=iat, exp=exp)
    assert (found and found[0]) == expected


def test_a_life_that_is_too_long_says_how_long():
    assert why(iat=NOW + 10, exp=NOW + 10)[1] == "exp is not after iat"
    assert why(exp=NOW + 7140)[1] == "exp - iat is 7200 s; max_lifetime is 3600 s"
    assert why(iat=None, exp=NOW + 7200)[1] == "it lives 7200 s from now on (no iat); max_lifetime is 3600 s"


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf])
def test_a_clock_that_is_no_number_lets_nothing_through(now):
    assert why(now=now) is not None
    assert why(now=now, iat=None) is not None


def test_details_of_times_that_are_no_numbers_can_be_written():
    assert why(now=math.nan)[1] == "exp was nan s ago; the clock skew is 30 s"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"issued_at": NOW, "expires_at": NOW + 60}, (NOW - 30, NOW + 90)),
        ({"issued_at": NOW, "expires_at": NOW + 60, "not_before": NOW + 20}, (NOW - 10, NOW + 90)),
        ({"issued_at": None, "expires_at": NOW + 7200}, (NOW + 7200 - 3600 - 30, NOW + 7230)),
        ({"issued_at": NOW, "expires_at": NOW}, (0, 0)),
        ({"issued_at": NOW, "expires_at": NOW + 3601}, (0, 0)),
    ],
)
def test_the_window_of_a_token(changes, expected):
    base = read_claims(parse(raw_token({"alg": "RS256"}, access_claims()), max_bytes=9999), CORP)
    assert window(replace(base, **{"not_before": None, **changes}), CORP) == expected
