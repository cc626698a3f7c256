"""The Cookie header: what is a session at Envoy, what contradicts a bearer token, and what is left for the upstream."""

import pytest

from authz.core.model import Claims
from authz.core.request import cookies
from tests.support.factories.tokens import ISS, access_claims, id_claims, make_key, sign

KEY = make_key("ES256")
BEARER = sign(access_claims(), KEY)
LINES = (f"Bearer {BEARER}".encode(),)


def claims(subject="alice", issuer=ISS):
    return Claims("corp", issuer, subject, "", subject, "", frozenset(), frozenset(), 2, 1, None)


def why(*lines, authorization=LINES, who="alice"):
    return cookies.contradiction(cookies.read(lines), authorization, claims(who) if who else None)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ((), None),
        ((b"a=1; b=2",), None),
        ((b"a=1; BearerToken=x; b=2",), "a=1; b=2"),
        ((b"BearerToken=x",), ""),
        ((b"__Secure-IdToken_1=x; __Host-_token=y", b"c=3"), "c=3"),
        ((b"BearerToken_0=x; __Host-RefreshToken_15=y; IdToken_chunks=2; c=3",), "c=3"),
        ((b"OauthNonce.abc=x;CodeVerifier.abc=y; ;z=1",), "z=1"),
        ((b"RefreshToken=x; OauthHMAC=y; OauthExpires=1",), ""),
        ((b"_token", b"_tokens=1"), "_tokens=1"),
        ((b"BearerTokens_0=1; my_IdToken=2; _token=4",), "BearerTokens_0=1; my_IdToken=2"),
        ((b"__Host-authz-signed-out=1; a=1; authz-signed-out=1; authz-signout=1",), "a=1"),
        ((b"BearerToken_0_1=x; a=1",), "a=1"),
        ((b"", b" "), None),
        ((b"x=BearerToken; notIdToken=1; idtoken=2",), None),
        ((b"a=\xff; b=2",), None),
        ((b"_token=x; a=\xff; b=\xc3\xa9; Id\xffToken=y",), "b=\u00e9"),
    ],
)
def test_our_cookies_are_taken_out_and_others_stay(lines, left):
    assert cookies.read(lines).left == left


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ((b"a;" * 28_000,), None),
        ((b"_token;" * 8_000,), ""),
        ((b"a=1; " * 501 + b"IdToken=x",), ""),
        ((b"a=1; " * 400 + b"IdToken=x",), "; ".join(["a=1"] * 400)),
    ],
)
def test_a_flood_of_cookies_is_not_worked_through(lines, left):
    found = cookies.read(lines)
    assert found.left == left
    assert bool(found.doubled) == (left == "")


def test_more_cookies_than_a_browser_sends_make_the_caller_unclear():
    most = b"; ".join([b"a=1"] * 500 + [b"IdToken=x"])
    assert cookies.read((most,)).doubled == ""
    found = cookies.read((most + b"; b=2",))
    assert (found.left, found.session, found.tokens) == ("", True, ())
    assert why(most + b"; b=2", who=None, authorization=()) == "one of more than 500 cookies is duplicated"


@pytest.mark.parametrize(
    ("line", "session"),
    [
        (b"a=1", False),
        (b"_token=1; authz-signout=1", False),
        (b"OauthExpires=1", True),
        (b"a=1; IdToken_chunks=2", True),
    ],
)
def test_a_session_is_there_if_one_of_its_cookies_is(line, session):
    assert cookies.read((line,)).session is session


def test_the_tokens_are_the_values_of_whole_cookies_or_of_their_pieces_in_order():
    line = b"IdToken_1=b; IdToken_0=a; IdToken_chunks=2; BearerToken=w=; BearerToken_0=old; RefreshToken=r; x=1"
    assert sorted(cookies.read((line,)).tokens) == [b"ab", b"w="]
    assert cookies.read((b"RefreshToken=r; IdToken_chunks=2",)).tokens == ()
    assert cookies.read((b"IdToken = spaced ",)).tokens == (b"spaced",)


def test_the_answer_names_the_duplicate_cookie():
    assert why(b"RefreshToken=a; __Host-RefreshToken=b") == "the cookie RefreshToken is duplicated"
    told = "a session cookie names another subject than the bearer token, or none that can be read"
    assert why(b"IdToken=x") == told


@pytest.mark.parametrize(
    "lines",
    [
        (b"BearerToken=a; BearerToken=a",),
        (b"BearerToken=a", b"x=1; BearerToken=b"),
        (b"BearerToken=a; __Host-BearerToken=b",),
        (b"__Secure-IdToken=a; __Host-IdToken=b",),
        (b"__Host-__Secure-IdToken=a; IdToken=b",),
        (b"BearerToken_0=a; BearerToken_0=b",),
        (b"BearerToken_chunks=2; __Host-BearerToken_chunks=3",),
        (b"RefreshToken=a; x=1;RefreshToken = b",),
        (b"OauthHMAC=a; OauthHMAC",),
        (b"OauthExpires=1; OauthExpires=2",),
        (b"OauthNonce.f=1; OauthNonce.f=2",),
    ],
)
@pytest.mark.parametrize("who", ["alice", None])
def test_d22_a_duplicate_session_cookie_is_ambiguous(lines, who):
    told = why(*lines, who=who, authorization=LINES if who else ())
    assert told.startswith("the cookie ")
    assert told.endswith(" is duplicated")


@pytest.mark.parametrize(
    "lines",
    [
        (b"x=1; x=2",),
        (b"_token=1; _token=2",),  # Airflow's, which may stand at two paths; it never goes on
        (b"OauthNonce.f=1; OauthNonce.g=2; CodeVerifier.f=1",),
        (b"OauthHMAC=a; OauthExpires=1; RefreshToken=encrypted",),
        (b"xBearerToken=a; BearerTokens=b",),
    ],
)
def test_other_cookies_are_not_ambiguous(lines):
    assert why(*lines) == ""


def test_d16_the_token_of_the_session_itself_is_no_contradiction():
    assert why(f"BearerToken={BEARER}; OauthHMAC=x".encode()) == ""
    assert why(f"__Host-BearerToken={BEARER}".encode()) == ""
    pieces = [f"BearerToken_{at}={BEARER[at * 20 : (at + 1) * 20]}" for at in range(11)]
    pieces += [f"BearerToken_11={BEARER[220:]}", "BearerToken_chunks=12"]
    assert why("; ".join(pieces).encode()) == ""
    assert why("; ".join(reversed(pieces)).encode()) == ""
    assert why("; ".join(sorted(pieces)).encode()) == "", "10 comes after 9"
    assert why("; ".join(pieces[:5] + pieces[6:]).encode()), "a piece is missing"
    opaque = b"opaque-but-equal"
    assert cookies.contradiction(cookies.read((b"BearerToken=" + opaque,)), (b"bearer " + opaque,), claims()) == ""


def test_pieces_that_an_earlier_session_left_are_not_ambiguous():
    """Envoy used the whole one, and left in the header what it did not take for its own."""
    left = "; BearerToken_0=encrypted; BearerToken_9=more; IdToken_chunks=3"
    assert why(f"BearerToken={BEARER}{left}".encode()) == ""
    assert why(f"a=1{left}; BearerToken={BEARER}".encode()) == ""
    assert why(f"BearerToken={sign(access_claims(sub='bob'), KEY)}{left}".encode())


@pytest.mark.parametrize("name", ["BearerToken", "IdToken", "__Secure-IdToken"])
def test_d16_a_token_of_the_same_subject_is_no_contradiction(name):
    older = sign(access_claims(jti="older"), make_key("ES256", kid="old"))
    assert why(f"{name}={older}".encode()) == ""
    assert why(f"{name}={sign(id_claims(), KEY)}; BearerToken={BEARER}".encode().replace(b"BearerToken=", b"x=")) == ""


@pytest.mark.parametrize(
    "token",
    [
        sign(access_claims(sub="bob"), KEY),
        sign(access_claims(iss="https://other.test"), KEY),
        sign(access_claims(sub=None), KEY),
        sign(access_claims(sub=["alice"]), KEY),
        "v1.encrypted-by-envoy",
        "",
        "\xff",
        BEARER[:-1],
        BEARER + "x" * 20_000,
    ],
    ids=["subject", "issuer", "nobody", "type", "encrypted", "empty", "bytes", "cut", "huge"],
)
@pytest.mark.parametrize("name", ["BearerToken", "IdToken", "__Host-IdToken"])
def test_d16_a_session_cookie_of_another_subject_or_of_an_unreadable_one_is_ambiguous(name, token):
    line = f"theme=dark; {name}={token}".encode("latin-1")
    told = why(line)
    if name == "BearerToken" and token == BEARER[:-1]:
        assert told
    assert "another subject" in told
    assert why(line, who=None, authorization=()) == ""  # without a bearer token it is no credential at all


def test_a_cookie_of_the_right_subject_does_not_make_up_for_one_of_another():
    other = sign(access_claims(sub="bob"), KEY)
    assert why(f"BearerToken={BEARER}; IdToken={other}".encode())
    assert why(f"IdToken={other}; BearerToken={BEARER}".encode())


def test_nothing_of_it_is_shown():
    found = cookies.read((b"theme=canary; BearerToken=canary",))
    assert "canary" not in repr(found)
    assert "canary" not in why(b"BearerToken=canary")
