import pytest

from authz.core.errors import TokenError
from authz.core.reasons import Reason
from authz.core.tokens import KINDS, kind_of, parse, read_claims
from tests.support.factories.tokens import access_claims, claims, id_claims, issuer, logout_claims, raw_token


def parsed(payload, typ=None):
    header = {"alg": "RS256"} if typ is None else {"alg": "RS256", "typ": typ}
    return parse(raw_token(header, payload), max_bytes=10_000)


@pytest.mark.parametrize(
    ("typ", "payload", "kind"),
    [
        ("at+jwt", claims(), "access"),
        ("AT+JWT", claims(), "access"),
        ("application/at+jwt", claims(), "access"),
        ("Application/At+Jwt", claims(), "access"),
        ("at+jwt", claims(nonce="n"), "access"),
        ("at+jwt", claims(typ="Bearer"), "access"),
        ("JWT", claims(typ="Bearer"), "access"),
        ("jwt", claims(typ="ID"), "id"),
        (None, claims(typ="ID"), "id"),
        (None, claims(typ="ID", scope="openid"), "id"),
        (None, claims(token_use="access"), "access"),
        (None, claims(token_use="id"), "id"),
        ("JWT", claims(token_use="access", typ="Bearer"), "access"),
        *[("JWT", claims(**{marker: "x"}), "id") for marker in ("nonce", "at_hash", "c_hash", "s_hash")],
        *[
            ("application/jwt", claims(**{marker: "x"}), "access")
            for marker in ("scope", "scp", "client_id", "cid", "appid", "gty")
        ],
        ("JWT", claims(nonce="n", scope="openid"), "id"),
        (None, claims(at_hash="h", client_id="c"), "id"),
        (None, claims(), "untyped"),
        ("JWT", claims(azp="cli"), "untyped"),
    ],
)
def test_the_kind_is_what_the_token_states(typ, payload, kind):
    assert kind_of(parsed(payload, typ)) == kind
    assert kind in KINDS


@pytest.mark.parametrize(
    ("typ", "payload", "detail"),
    [
        ("", claims(), "typ of the header is ''"),
        ("at+jwt ", access_claims(), "typ of the header"),
        ("application/application/at+jwt", access_claims(), "typ of the header"),
        ("logout+jwt", logout_claims(), "it is a security event"),
        ("logout+jwt", claims(), "typ of the header is 'logout+jwt'"),
        ("dpop+jwt", access_claims(), "typ of the header"),
        ("secevent+jwt", access_claims(), "typ of the header"),
        ("token-introspection+jwt", access_claims(), "typ of the header"),
        ("oauth-authz-req+jwt", access_claims(), "typ of the header"),
        ("authz-assertion+jwt", access_claims(), "typ of the header"),
        ("JOSE", access_claims(), "typ of the header"),
        ("JWT", logout_claims(), "security event"),
        (None, access_claims(events={}), "security event"),
        (None, access_claims(typ="Refresh"), "the claim typ is 'Refresh'"),
        ("JWT", access_claims(typ="Offline"), "the claim typ is 'Offline'"),
        ("JWT", access_claims(typ="Logout"), "the claim typ"),
        ("JWT", access_claims(typ="bearer"), "the claim typ"),
        ("JWT", access_claims(typ=5), "the claim typ is 5"),
        ("JWT", access_claims(typ=["Bearer"]), "the claim typ"),
        ("JWT", {**access_claims(), "typ": None}, "the claim typ is None"),
        ("at+jwt", access_claims(typ="Refresh"), "the claim typ"),
        (None, access_claims(token_use="refresh"), "the claim token_use"),
        (None, access_claims(token_use={}), "the claim token_use"),
        ("at+jwt", access_claims(typ="ID"), "both"),
        ("at+jwt", access_claims(token_use="id"), "both"),
        (None, access_claims(typ="Bearer", token_use="id"), "both"),
        ("at+jwt", access_claims(cnf={"jkt": "x"}), "bound to a key"),
        (None, id_claims(cnf=5), "bound to a key"),
    ],
)
def test_foreign_kinds_and_contradictions_are_refused(typ, payload, detail):
    with pytest.raises(TokenError) as caught:
        kind_of(parsed(payload, typ))
    assert caught.value.reason is Reason.TOKEN_TYPE
    assert detail in caught.value.detail


@pytest.mark.parametrize("accepted", [{"access"}, {"id"}, {"untyped"}, {"access", "id"}, set(KINDS), set()])
@pytest.mark.parametrize(("kind", "payload"), [("access", access_claims()), ("id", id_claims()), ("untyped", claims())])
def test_one_kind_is_never_taken_for_another(accepted, kind, payload):
    corp = issuer(tokens=frozenset(accepted))
    if kind in accepted:
        assert read_claims(parsed(payload), corp).subject == "alice"
    else:
        with pytest.raises(TokenError, match=f"the kind is {kind}; issuer corp accepts") as caught:
            read_claims(parsed(payload), corp)
        assert caught.value.reason is Reason.TOKEN_TYPE


def test_a_contradiction_is_named():
    with pytest.raises(TokenError) as caught:
        kind_of(parsed(access_claims(typ="ID"), "at+jwt"))
    assert caught.value.detail == "it says both that it is an access token and that it is an ID token"
