import pytest

from authz.core.errors import RequestError
from authz.core.reasons import Reason
from authz.core.tokens import parse_bearer


def test_no_header_is_no_token():
    assert parse_bearer(()) is None


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_case_insensitive(scheme):
    assert parse_bearer((scheme + b" a.b.c",)) == "a.b.c"


def test_the_token_is_a_b64token():
    assert parse_bearer((b"Bearer AZaz09-._~+/==",)) == "AZaz09-._~+/=="


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ((b"",), "scheme is not Bearer"),
        ((b"Basic dXNlcjpwYXNz",), "scheme is not Bearer"),
        ((b"Bearerx a",), "scheme is not Bearer"),
        ((b"Token a",), "scheme is not Bearer"),
        ((b" Bearer a",), "scheme is not Bearer"),
        ((b"Bearer\ta",), "scheme is not Bearer"),
        ((b"Bearer",), "no token"),
        ((b"Bearer ",), "no token"),
        ((b"Bearer  a",), "not followed by"),
        ((b"Bearer \ta",), "not followed by"),
        ((b"Bearer a ",), "not followed by"),
        ((b"Bearer a b",), "not followed by"),
        ((b"Bearer a\n",), "not followed by"),
        ((b"Bearer a\x00",), "not followed by"),
        ((b"Bearer =",), "not followed by"),
        ((b"Bearer a=b",), "not followed by"),
        ((b'Bearer "a"',), "not followed by"),
        ((b"Bearer \xc3\xa9",), "not followed by"),
        ((b"Bearer a,Bearer b",), "comma"),
        ((b"Bearer a, Bearer b",), "comma"),
        ((b"Bearer a,",), "comma"),
        ((b"Bearer a", b"Bearer a"), "2 Authorization headers"),
        ((b"Bearer a", b""), "2 Authorization headers"),
    ],
)
def test_everything_else_is_refused_without_being_shown(values, detail):
    with pytest.raises(RequestError) as caught:
        parse_bearer(values)
    assert caught.value.reason is Reason.BAD_AUTHORIZATION
    assert detail in caught.value.detail
    assert "dXNlcjpwYXNz" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"Basic x", "the scheme is not Bearer"),
        (b"Bearer", "there is no token after Bearer"),
        (b"Bearer a,b", "there is a comma: two headers joined into one, or a list"),
        (b"Bearer  a", "Bearer is not followed by exactly one space and one token"),
    ],
)
def test_a_refusal_says_what_is_wrong(line, detail):
    with pytest.raises(RequestError) as caught:
        parse_bearer((line,))
    assert caught.value.detail == detail
