import time

import pytest

from authz.core.errors import TokenError
from authz.core.reasons import Reason
from authz.core.tokens import MAX_TOKEN_BYTES, compact, parse
from tests.support.factories.tokens import access_claims, b64, dump, make_key, raw_token, sign, unb64

KEY = make_key("ES256")
GOOD = sign(access_claims(), KEY)


def refused(token, max_bytes=MAX_TOKEN_BYTES):
    with pytest.raises(TokenError) as caught:
        parse(token, max_bytes=max_bytes)
    return caught.value


def malformed(token):
    error = refused(token)
    assert error.reason is Reason.TOKEN_MALFORMED
    return error.detail


def test_a_token_comes_apart():
    parsed = parse(GOOD, max_bytes=len(GOOD))
    header, payload, signature = GOOD.split(".")
    assert (parsed.alg, parsed.kid, parsed.typ) == ("ES256", "k1", "at+jwt")
    assert parsed.payload == access_claims()
    assert parsed.signing_input == f"{header}.{payload}".encode()
    assert parsed.signature == unb64(signature)


def test_kid_and_typ_are_optional():
    parsed = parse(raw_token({"alg": "RS256"}, {}), max_bytes=100)
    assert (parsed.kid, parsed.typ, parsed.signature) == (None, None, b"")


def test_a_parsed_token_shows_nothing_of_itself():
    parsed = parse(GOOD, max_bytes=len(GOOD))
    assert repr(parsed) == "ParsedToken(alg='ES256')"


def test_size_is_judged_before_anything_else():
    error = refused(GOOD, max_bytes=len(GOOD) - 1)
    assert error.reason is Reason.TOKEN_TOO_LARGE
    assert str(len(GOOD)) in error.detail
    started = time.thread_time()
    assert refused("." * 10_000_000).reason is Reason.TOKEN_TOO_LARGE
    assert time.thread_time() - started < 0.05


@pytest.mark.parametrize(
    ("token", "detail"),
    [
        ("", "1 parts"),
        ("a", "1 parts"),
        ("a.b", "2 parts"),
        ("a.b.c.d", "4 parts"),
        ("a.b.c.d.e", "encrypted"),
        ("a.b.c.d.e.f", "6 parts"),
        ("é.b.c", "ASCII"),
        ("\ud800.b.c", "ASCII"),
        ("..", "header: not JSON"),
        (raw_token("", {}), "header: not JSON"),
        (raw_token({"alg": "RS256"}, ""), "payload: not JSON"),
        (raw_token("!!", {}), "header: not base64url"),
        (raw_token({"alg": "RS256"}, {}, "A"), "signature: the length"),
        (raw_token({"alg": "RS256"}, {}, "AB"), "signature: the spare bits"),
        (raw_token({"alg": "RS256"}, {}, "AA=="), "signature: not base64url"),
        (raw_token([], {}), "header: not a JSON object"),
        (raw_token({"alg": "RS256"}, []), "payload: not a JSON object"),
        (raw_token({"alg": "RS256"}, b'"text"'), "payload: not a JSON object"),
        (raw_token(b'{"alg":"RS256","alg":"none"}', {}), "header: a member name occurs twice"),
        (raw_token({"alg": "RS256"}, b'{"sub":"a","sub":"b"}'), "payload: a member name occurs twice"),
        (GOOD + "\n", "signature: not base64url"),
        (" " + GOOD, "header: not base64url"),
    ],
)
def test_what_is_no_compact_jws_is_malformed(token, detail):
    assert detail in malformed(token)


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ({}, "alg"),
        ({"alg": None}, "alg"),
        ({"alg": 256}, "alg"),
        ({"alg": ["RS256"]}, "alg"),
        ({"alg": "RS256", "crit": ["exp"]}, "crit"),
        ({"alg": "RS256", "crit": []}, "crit"),
        ({"alg": "RS256", "crit": None}, "crit"),
        ({"alg": "RS256", "b64": False}, "b64"),
        ({"alg": "RS256", "b64": True}, "b64"),
        ({"alg": "RS256", "b64": False, "crit": ["b64"]}, "crit"),
        ({"alg": "dir", "enc": "A256GCM"}, "enc"),
        ({"alg": "RS256", "zip": "DEF"}, "zip"),
        ({"alg": "RS256", "kid": None}, "kid"),
        ({"alg": "RS256", "kid": 1}, "kid"),
        ({"alg": "RS256", "kid": ""}, "kid"),
        ({"alg": "RS256", "kid": "x" * 257}, "kid"),
        ({"alg": "RS256", "kid": "a\x00b"}, "kid"),
        ({"alg": "RS256", "kid": "a\u2028b"}, "kid"),
        ({"alg": "RS256", "typ": None}, "typ"),
        ({"alg": "RS256", "typ": ["JWT"]}, "typ"),
        ({"alg": "RS256", "cty": "JWT"}, "nested"),
        ({"alg": "RS256", "cty": "application/jwt"}, "nested"),
        ({"alg": "RS256", "cty": 5}, "nested"),
    ],
)
def test_headers_that_ask_for_something_special_are_malformed(header, detail):
    assert detail in malformed(raw_token(header, {}, b"x"))


@pytest.mark.parametrize("header", [{"cty": "json"}, {"jku": 1, "jwk": [], "x5u": {}, "x5c": None, "x5t": 1, "foo": 2}])
def test_headers_that_we_do_not_read_are_ignored(header):
    assert parse(raw_token({"alg": "RS256", **header}, {}), max_bytes=500).alg == "RS256"


def test_a_kid_of_the_full_length_is_taken():
    assert parse(raw_token({"alg": "RS256", "kid": "é" * 256}, {}), max_bytes=2000).kid == "é" * 256


def test_details_show_nothing_of_the_token():
    canary = "secret-canary"
    for token in (
        raw_token({"alg": "RS256", "kid": canary * 50}, {}),
        raw_token({"alg": "RS256", "crit": [canary]}, {}),
        raw_token({"alg": "RS256"}, b'{"a":"' + canary.encode()),
        b64(dump({"alg": canary})) + ".x",
    ):
        error = refused(token)
        assert canary not in str(error)
        assert canary not in repr(error)


@pytest.mark.parametrize("payload", [b'{"a":[' + b"{}," * 300 + b"{}]}", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"])
def test_a_token_of_brackets_is_refused_before_it_is_read(payload):
    with pytest.raises(TokenError) as caught:
        parse(raw_token({"alg": "RS256"}, payload, b"x"), max_bytes=20_000)
    assert caught.value.reason is Reason.TOKEN_MALFORMED
    assert "more than 256 arrays and objects" in caught.value.detail


def test_a_token_with_many_groups_is_read():
    groups = [f"group-{number}" for number in range(500)]
    roles = {f"client-{number}": {"roles": ["a", "b"]} for number in range(100)}
    parsed = parse(raw_token({"alg": "RS256"}, {"groups": groups, "resource_access": roles}, b"x"), max_bytes=20_000)
    assert len(parsed.payload["groups"]) == 500


@pytest.fixture
def memory():
    compact._remembered_header.cache_clear()
    return compact._remembered_header


def test_a_header_that_is_remembered_says_what_it_said(memory):
    first, second = (parse(sign(access_claims(sub=sub), KEY), max_bytes=999) for sub in ("a", "b"))
    assert memory.cache_info()[:2] == (1, 1)
    assert (first.alg, first.kid, first.typ) == (second.alg, second.kid, second.typ) == ("ES256", "k1", "at+jwt")
    assert (first.payload["sub"], second.payload["sub"]) == ("a", "b")


def test_a_remembered_header_is_that_of_the_same_bytes_only(memory):
    said = []
    for header in (
        b'{"alg":"RS256","kid":"a"}',
        b'{"alg":"RS256","kid":"A"}',
        b'{"kid":"a","alg":"RS256"}',
        b'{"alg":"x"}',
    ):
        parsed = parse(raw_token(header, {}), max_bytes=999)
        said.append((parsed.alg, parsed.kid))
    assert said == [("RS256", "a"), ("RS256", "A"), ("RS256", "a"), ("x", None)]
    assert memory.cache_info().hits == 0


def test_a_header_that_is_refused_is_refused_again_and_never_remembered(memory):
    token = raw_token({"alg": "RS256", "crit": ["x"]}, {})
    assert malformed(token) == malformed(token)
    assert memory.cache_info().currsize == 0


def test_a_flood_of_headers_and_long_ones_fill_no_memory(memory):
    for number in range(200):
        parse(raw_token({"alg": "RS256", "kid": f"k{number}"}, {}), max_bytes=999)
    assert memory.cache_info().currsize == 64
    memory.cache_clear()
    assert parse(raw_token({"alg": "RS256", "x5c": ["x" * 400]}, {}), max_bytes=999).alg == "RS256"
    assert memory.cache_info().currsize == 0
