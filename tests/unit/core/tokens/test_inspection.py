import pytest

from authz.core.model import Plane
from authz.core.reasons import Reason
from authz.core.tokens import Outcome, inspect
from tests.support.factories.token_pipeline import keyset_of
from tests.support.factories.tokens import (
    ISS,
    NOW,
    access_claims,
    id_claims,
    issuer,
    make_key,
    raw_token,
    sign,
)

KEY = make_key("RS256")
NAMES = ["form", "issuer", "algorithm", "key", "signature", "kind", "claims", "audience", "expiry", "start", "lifetime"]


def look(token, *, keys=(KEY,), plane=Plane.INBOUND, now=NOW, **settings):
    corp = issuer(**settings)
    return inspect(token, {corp.issuer: corp}, {"corp": keyset_of(*keys)} if keys else {}, plane, now)


def outcomes(report):
    return {check.name: check.outcome.value for check in report.checks}


def texts(report, outcome=Outcome.FAILED):
    return {check.name: check.text for check in report.checks if check.outcome is outcome}


def test_a_good_token_passes_every_check():
    report = look(sign(access_claims(), KEY))
    assert report.ok
    assert [check.name for check in report.checks] == NAMES
    assert report.claims.subject == "alice"
    assert report.issuer.name == "corp"
    said = texts(report, Outcome.OK)
    assert said["issuer"] == f"{ISS} is issuer corp"
    assert said["key"] == "kid 'k1', RSA"
    assert said["expiry"] == "it expires in 540 s"
    assert said["kind"] == "the kind is access"


def test_every_failing_check_is_reported_at_once():
    token = sign(
        access_claims(aud="other", exp=NOW - 100, iat=NOW - 9000, nbf=NOW + 100, typ="Refresh", jti=5, sid=[]),
        make_key("RS256", kid="k9"),
        {"kid": "k1"},
    )
    report = look(token)
    assert not report.ok
    assert {name for name, outcome in outcomes(report).items() if outcome == "failed"} == {
        *("signature", "kind", "claims", "audience", "expiry", "start", "lifetime"),
    }
    said = texts(report)
    assert said["claims"] == "sid must be a string, not an array; jti must be a string, not a number"
    assert "'other'" in said["audience"]
    assert "'airflow'" in said["audience"]
    assert {check.reason for check in report.checks if check.name == "expiry"} == {Reason.EXPIRED}
    assert report.claims is None


def test_what_cannot_be_read_skips_the_rest():
    report = look("not a token")
    assert outcomes(report) == dict.fromkeys(NAMES, "skipped") | {"form": "failed"}
    assert not report.ok
    assert report.claims is None


@pytest.mark.parametrize(
    ("iss", "hint"),
    [
        (ISS + "/", "differs only"),
        (ISS.upper(), "differs only"),
        (ISS.replace("https", "http"), "differs only"),
        ("https://evil.example.com", ""),
        (5, ""),
    ],
)
def test_an_unknown_issuer_names_the_known_ones(iss, hint):
    report = look(sign(access_claims(iss=iss), KEY))
    found = outcomes(report)
    assert (found["form"], found["issuer"]) == ("ok", "failed")
    rest = {outcome for name, outcome in found.items() if name not in {"form", "issuer"}}
    assert rest <= {"ok", "failed"} if hint else rest == {"skipped"}  # judged as if it were the near one
    assert not report.ok
    text = texts(report)["issuer"]
    assert ISS in text
    assert ("differs only" in text) is bool(hint)


def test_no_issuers_at_all_is_said():
    report = inspect(sign(access_claims(), KEY), {}, {}, Plane.INBOUND, NOW)
    assert texts(report)["issuer"] == f"iss is '{ISS}'; configured: none"


def test_an_algorithm_that_is_not_accepted_skips_key_and_signature():
    report = look(sign(access_claims(), KEY), algorithms=frozenset({"ES256"}))
    assert outcomes(report) == dict.fromkeys(NAMES, "ok") | {
        "algorithm": "failed",
        "key": "skipped",
        "signature": "skipped",
    }
    assert texts(report, Outcome.SKIPPED)["key"] == "the algorithm is not accepted"


def test_without_keys_the_signature_is_skipped_and_the_token_not_ok():
    report = look(sign(access_claims(), KEY), keys=())
    assert outcomes(report) == dict.fromkeys(NAMES, "ok") | {"key": "skipped", "signature": "skipped"}
    assert texts(report, Outcome.SKIPPED)["key"] == "no keys at hand"
    assert not report.ok


def test_an_unknown_key_skips_the_signature():
    report = look(sign(access_claims(), KEY, {"kid": "gone"}))
    assert outcomes(report) == dict.fromkeys(NAMES, "ok") | {"key": "failed", "signature": "skipped"}


def test_a_curve_is_named():
    es = make_key("ES256")
    assert texts(look(sign(access_claims(), es), keys=[es]), Outcome.OK)["key"] == "kid 'k1', EC P-256"


@pytest.mark.parametrize(
    ("claim", "skipped"),
    [("aud", {"audience"}), ("exp", {"expiry", "lifetime"}), ("iat", {"start", "lifetime"}), ("nbf", {"start"})],
)
def test_checks_of_unreadable_claims_are_skipped(claim, skipped):
    report = look(sign(access_claims(**{claim: True}), KEY))
    assert outcomes(report) == dict.fromkeys(NAMES, "ok") | dict.fromkeys(skipped, "skipped") | {"claims": "failed"}


def test_an_id_token_has_one_check_more():
    accepts = {"tokens": frozenset({"id"})}
    assert look(sign(id_claims(), KEY, {"typ": "JWT"}), **accepts).ok
    report = look(sign(id_claims(azp="other"), KEY, {"typ": "JWT"}), **accepts)
    assert texts(report) == {"id_audiences": "an ID token for the foreign client 'other'"}
    unreadable = look(sign(id_claims(aud=5), KEY, {"typ": "JWT"}), **accepts)
    assert "id_audiences" not in outcomes(unreadable)


def test_the_token_and_its_parts_are_never_shown():
    good = sign(access_claims(), KEY)
    header, payload, signature = good.split(".")
    for token in (good, f"{header}.{payload}.AAAA", f"{header}.{payload}.!", f"{header}.{payload}", raw_token([], 1)):
        shown = repr(look(token))
        assert not any(part in shown for part in (header, payload, signature))


def test_the_key_set_is_that_of_the_issuer():
    corp = issuer()
    other = {"another": keyset_of(KEY)}
    report = inspect(sign(access_claims(), KEY), {ISS: corp}, other, Plane.INBOUND, NOW)
    assert outcomes(report)["key"] == "skipped"


def test_every_check_that_passes_says_what_it_found():
    assert texts(look(sign(access_claims(), KEY)), Outcome.OK) == {
        "form": "a signed JWT",
        "issuer": f"{ISS} is issuer corp",
        "algorithm": "alg is RS256",
        "key": "kid 'k1', RSA",
        "signature": "the signature verifies",
        "kind": "the kind is access",
        "claims": "every claim has its type",
        "audience": "one audience is ours on the plane inbound",
        "expiry": "it expires in 540 s",
        "start": "nbf and iat are not in the future",
        "lifetime": f"it lives no longer than max_lifetime, {issuer().max_lifetime} s",
    }


def test_a_check_that_is_skipped_says_why():
    def skipped(token, **settings):
        return set(texts(look(token, **settings), Outcome.SKIPPED).values())

    assert skipped("x") == {"the token cannot be read"}
    assert skipped(sign(access_claims(iss="https://other.test"), KEY)) == {"the issuer is not known"}
    assert skipped(sign(access_claims(), KEY), keys=()) == {"no keys at hand"}
    assert skipped(sign(access_claims(aud=5, exp="x", iat="x"), KEY)) == {"it cannot be read"}


def test_a_token_without_iat_may_live_for_max_lifetime_from_now():
    limit = issuer().max_lifetime
    assert outcomes(look(sign(access_claims(iat=None, exp=NOW + limit), KEY)))["lifetime"] == "ok"
    late = look(sign(access_claims(iat=None, exp=NOW + 2 * limit + 999), KEY))
    assert outcomes(late)["lifetime"] == "failed"


def test_the_names_of_the_payloads_members_are_reported():
    payload = access_claims()
    assert look(sign(payload, KEY)).members == tuple(sorted(payload))
