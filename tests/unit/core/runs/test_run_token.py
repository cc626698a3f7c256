"""Run identity tokens: what is minted is accepted, and nothing else is (RFC 8725)."""

import json

import pytest

from authz.core import assertion, tokens
from authz.core.errors import TokenError
from authz.core.model import Level
from authz.core.reasons import Reason
from authz.core.runs import run_token
from tests.support.factories import proofs as made
from tests.support.factories.proofs import CLAIM, EGRESS, GATE, GATE_KEY, INSTANCE, RUN
from tests.support.factories.tokens import NOW, dump, make_key, raw_token, sign, sign_hmac, unb64

TASK = made.task_key()
JKT = made.thumbprint(TASK)
KEYS = {"gate-key": GATE_KEY.public}
SIGNING_KEY = assertion.load_signing_key(assertion.generate_pem())


def verify(token, *, keys=KEYS, issuer=GATE, audience=EGRESS, now=NOW):
    return run_token.verify(token, keys, issuer=issuer, audience=audience, now=now)


def refusal(token, **settings):
    with pytest.raises(TokenError) as caught:
        verify(token, **settings)
    return caught.value.reason


def bound(**changes):
    return made.run_token(TASK, **changes)


def proxy(**changes):
    return made.run_token(**changes)


def mint(thumbprint=JKT, run=RUN, **changes):
    settings = {"instance": INSTANCE, "issuer": GATE, "audience": run_token.audience(GATE), "now": NOW, "jti": "r-1"}
    return run_token.mint(run, thumbprint=thumbprint, key=SIGNING_KEY, **{**settings, **changes})


def test_a_bound_token_names_a_run_and_a_key():
    token = verify(bound())
    assert (token.instance, token.run, token.thumbprint) == (INSTANCE, RUN, JKT)
    assert (token.token_id, token.issued_at, token.expires_at) == ("r-1", NOW, NOW + 120)


def test_a_token_for_a_proxy_is_weaker():
    token = verify(proxy())
    assert (token.thumbprint, token.run.level) == (None, Level.VERIFIED_BEARER)
    assert token.expires_at == NOW + 300


@pytest.mark.parametrize("thumbprint", [JKT, None])
def test_what_is_minted_is_accepted_and_is_what_the_contract_says(thumbprint):
    minted = mint(thumbprint)
    header, payload = (json.loads(unb64(part)) for part in minted.split(".")[:2])
    assert header == {"alg": "ES256", "kid": SIGNING_KEY.kid, "typ": "airflow-run+jwt"}
    assert payload == made.run_claims(TASK if thumbprint else None)
    token = verify(minted, keys=run_token.public_keys([SIGNING_KEY]), audience=f"{GATE}/egress")
    assert token == verify(bound() if thumbprint else proxy())


@pytest.mark.parametrize(("thumbprint", "longest"), [(JKT, 120), (None, 300)])
def test_a_token_can_be_minted_for_less_than_its_longest_life_and_not_for_more(thumbprint, longest):
    keys = run_token.public_keys([SIGNING_KEY])
    for lifetime in (1, longest):
        token = verify(mint(thumbprint, lifetime=lifetime), keys=keys, audience=f"{GATE}/egress")
        assert (token.issued_at, token.expires_at) == (NOW, NOW + lifetime)
    for lifetime in (longest + 1, 0, -1):
        with pytest.raises(ValueError, match="no run identity token can say this"):
            mint(thumbprint, lifetime=lifetime)


@pytest.mark.parametrize(
    "changes",
    [
        {"thumbprint": "short"},
        {"thumbprint": ""},
        {"instance": "7"},
        {"instance": INSTANCE.upper()},
        {"jti": ""},
        {"jti": "j" * 129},
        {"issuer": ""},
        {"audience": ""},
        {"now": -1},
        {"now": float(NOW)},
        {"run": RUN._replace(dag_id=" ")},
        {"run": RUN._replace(map_index=-2)},
        {"run": RUN._replace(try_number=0)},
    ],
)
def test_what_would_not_be_accepted_is_not_minted(changes):
    with pytest.raises(ValueError, match="no run identity token can say this"):
        mint(**changes)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"typ": None}, Reason.TOKEN_TYPE),
        ({"typ": "JWT"}, Reason.TOKEN_TYPE),
        ({"typ": "at+jwt"}, Reason.TOKEN_TYPE),
        ({"typ": "authz-assertion+jwt"}, Reason.TOKEN_TYPE),
        ({"typ": "dpop+jwt"}, Reason.TOKEN_TYPE),
        ({"typ": "AIRFLOW-RUN+JWT"}, Reason.TOKEN_TYPE),
        ({"alg": "ES384"}, Reason.ALGORITHM),
        ({"alg": "none"}, Reason.ALGORITHM),
        ({"kid": None}, Reason.UNKNOWN_KEY),
        ({"kid": "other"}, Reason.UNKNOWN_KEY),
        ({"crit": ["cnf"]}, Reason.TOKEN_MALFORMED),
        ({"b64": False}, Reason.TOKEN_MALFORMED),
    ],
)
def test_the_header(headers, reason):
    assert refusal(bound(headers=headers)) is reason


def test_only_our_keys_sign():
    stranger = make_key("ES256", kid="stranger")
    assert refusal(bound(by=stranger)) is Reason.UNKNOWN_KEY
    assert refusal(bound(by=stranger, headers={"kid": "gate-key"})) is Reason.BAD_SIGNATURE
    assert refusal(bound(), keys={}) is Reason.UNKNOWN_KEY
    assert refusal(bound(headers={"jwk": stranger.jwk}, by=stranger)) is Reason.UNKNOWN_KEY
    secret = sign_hmac(made.run_claims(TASK), GATE_KEY.public_pem, kid="gate-key")
    assert refusal(secret) is Reason.TOKEN_TYPE
    head, body, _ = bound().split(".")
    for signature in (b"", bytes(64), b"\xff" * 64):
        assert refusal(raw_token(head, body, signature)) is Reason.BAD_SIGNATURE
    swapped = f"{head}.{bound(jti='r-2').split('.')[1]}.{bound().split('.')[2]}"
    assert refusal(swapped) is Reason.BAD_SIGNATURE


def test_issuer_and_audience_are_compared_exactly():
    assert refusal(bound(), issuer="https://other.test") is Reason.UNKNOWN_ISSUER
    assert refusal(bound(iss=GATE + "/")) is Reason.UNKNOWN_ISSUER
    assert refusal(bound(iss=None)) is Reason.UNKNOWN_ISSUER
    assert refusal(bound(), audience=GATE) is Reason.AUDIENCE
    assert refusal(bound(aud=GATE)) is Reason.AUDIENCE
    assert refusal(bound(aud=[EGRESS])) is Reason.AUDIENCE
    assert refusal(bound(aud=None)) is Reason.AUDIENCE


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": INSTANCE},
        {"sub": f"airflow:ti:{INSTANCE.upper()}"},
        {"sub": f"airflow:ti:{{{INSTANCE}}}"},
        {"sub": f"airflow:ti:{INSTANCE} "},
        {"sub": "airflow:ti:" + "9" * 200},
        {"sub": f"airflow:dag:{INSTANCE}"},
        {"sub": 5},
        {"jti": None},
        {"jti": ""},
        {"jti": 5},
        {"iat": None},
        {"iat": float(NOW)},
        {"iat": str(NOW)},
        {"iat": True},
        {"iat": -1},
        {"nbf": None},
        {"nbf": NOW + 1},
        {"nbf": NOW - 1},
        {"exp": None},
        {"exp": "9"},
        {"exp": 10**15},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"cnf": None},
        {"cnf": JKT},
        {"cnf": {}},
        {"cnf": {"jkt": None}},
        {"cnf": {"jkt": ""}},
        {"cnf": {"jkt": JKT[:-1]}},
        {"cnf": {"jkt": JKT + "A"}},
        {"cnf": {"jkt": [JKT]}},
        {"cnf": {"jkt": "é" * 43}},
        {"cnf": {"jkt": JKT, "x5t#S256": "x"}},
        {"use": "proxy"},
        {"cnf": None, "use": "Proxy"},
        {"cnf": None, "use": ["proxy"]},
        {"cnf": None, "use": True},
        {"cnf": None, "use": ""},
        {"airflow": None},
        {"airflow": {}},
        {"airflow": {**CLAIM, "level": "verified"}},
        {"airflow": {**CLAIM, "try_number": 0}},
        {"groups": ["admins"]},
        {"scope": "all"},
    ],
)
def test_every_claim_has_its_form(changes):
    assert refusal(bound(**changes)) is Reason.CLAIM_INVALID


def test_the_two_forms_are_never_confused():
    assert refusal(proxy(cnf={"jkt": JKT})) is Reason.CLAIM_INVALID
    assert refusal(bound(exp=NOW + 121)) is Reason.LIFETIME_TOO_LONG
    assert refusal(proxy(exp=NOW + 301)) is Reason.LIFETIME_TOO_LONG
    assert refusal(bound(exp=NOW + 300)) is Reason.LIFETIME_TOO_LONG


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW + 120, Reason.EXPIRED),
        (NOW + 10**9, Reason.EXPIRED),
        (float("inf"), Reason.EXPIRED),
        (float("nan"), Reason.EXPIRED),
        (NOW - 30.5, Reason.NOT_YET_VALID),
        (float("-inf"), Reason.NOT_YET_VALID),
    ],
)
def test_a_token_has_its_time(now, reason):
    assert refusal(bound(), now=now) is reason
    for good in (NOW - 30, NOW, NOW + 119.9):
        assert verify(bound(), now=good).run == RUN


def test_what_is_no_token_at_all():
    for text in ("", "a.b", "é.é.é", "a.b.c.d.e"):
        assert refusal(text) is Reason.TOKEN_MALFORMED
    assert refusal("a" * (run_token.MAX_TOKEN_BYTES + 1)) is Reason.TOKEN_TOO_LARGE
    doubled = dump(made.run_claims(TASK))[:-1] + b',"sub":"airflow:ti:x"}'
    assert refusal(sign(doubled, GATE_KEY, {"typ": "airflow-run+jwt"})) is Reason.TOKEN_MALFORMED


def test_its_header_is_no_kind_that_an_issuer_has():
    parsed = tokens.parse(bound(), max_bytes=9999)
    with pytest.raises(TokenError) as caught:
        tokens.kind_of(parsed)
    assert caught.value.reason is Reason.TOKEN_TYPE
