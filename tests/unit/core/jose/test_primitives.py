import json

import pytest

from authz.core.jose import primitives


@pytest.mark.parametrize(
    ("text", "data"),
    [(b"", b""), (b"AA", b"\x00"), (b"AAA", b"\x00\x00"), (b"AAAA", b"\x00\x00\x00"), (b"-_8", b"\xfb\xff")],
)
def test_base64url_decodes_what_is_canonical(text, data):
    assert primitives.b64url_decode(text) == data
    assert primitives.b64url_encode(data).encode() == text


@pytest.mark.parametrize(
    "text",
    [
        b"A",  # 4n+1
        b"AB",  # spare bits
        b"AAB",
        b"AA==",
        b"AA=",
        b"AAA=",
        b"+/8",
        b" AAA",
        b"AAAA\n",
        b"AA\nAA",
        b"AAA\x00",
        b"A\xc3\xa9AA",
        b"====",
        b"AA=A",
        b"AAAA====",
    ],
)
def test_base64url_refuses_every_other_form(text):
    with pytest.raises(ValueError, match=r"base64url|spare bits|4n\+1"):
        primitives.b64url_decode(text)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}',
        b' {"a" : 1.5e3, "b":[true,null]}\n',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":18446744073709551616}',
        '{"é":"ü"}'.encode(),
        b'{"a":"[[[[[[[[[[[[[[[[[[[[{{{{\\"[[["}',
        b"[]",
        b'"text"',
        b"[" * 16 + b"]" * 16,
    ],
)
def test_json_is_read_as_the_standard_library_reads_it(data):
    assert primitives.read_json(data) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":01}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1/**/}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        b'{"a":1}\x00',
    ],
)
def test_json_refuses_what_rfc_8259_does(data):
    with pytest.raises(ValueError, match="not JSON"):
        primitives.read_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":{"c":1,"c":2}}',
        b'{"a":[{"c":1,"c":2}]}',
        b'{"iss":1,"\\u0069ss":2}',
        b'{"a":{"x":1,"x":2},"a":1}',
        b'{"":1,"":2}',
    ],
)
def test_json_refuses_duplicate_members_wherever_they_hide(data):
    with pytest.raises(ValueError, match="occurs twice"):
        primitives.read_json(data)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("levels", [17, 300, 5000])
def test_json_refuses_deep_nesting(opening, levels):
    closing = opening.replace(b'{"a":', b"}").replace(b"[", b"]")[::-1]
    with pytest.raises(ValueError, match=r"nested deeper|not JSON"):
        primitives.read_json(opening * levels + b"1" + closing * levels)


def test_wide_json_is_not_deep():
    assert len(primitives.read_json(b"[" + b"[],{}," * 500 + b"[]]")) == 1001


def test_an_object_is_asked_for():
    assert primitives.read_object(b"{}") == {}
    for data in (b"[]", b'"a"', b"1", b"null", b"true"):
        with pytest.raises(ValueError, match="not a JSON object"):
            primitives.read_object(data)


def test_errors_never_repeat_the_input():
    for data in (b'{"secret-canary":', b'{"a":1,"a":"secret-canary"}'):
        with pytest.raises(ValueError, match=r"JSON|twice") as caught:
            primitives.read_object(data)
        assert "canary" not in str(caught.value)


def test_only_asymmetric_algorithms_exist():
    assert set(primitives.ALGORITHMS) == {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA"),
    }
    assert {algorithm.kty for algorithm in primitives.ALGORITHMS.values()} == {"RSA", "EC", "OKP"}


def test_thumbprint_is_that_of_the_example_in_rfc_7638():
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM"
        "stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5"
        "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    assert (
        primitives.thumbprint({"kty": "RSA", "n": modulus, "e": "AQAB"})
        == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )


def test_shown_values_are_short_printable_ascii():
    assert primitives.shown("a\nb") == r"'a\nb'"
    assert primitives.shown("é\u2028") == r"'\xe9\u2028'"
    assert len(primitives.shown("x" * 10_000)) == 121
