"""security.md d-09 against the token core: texts that two readers could read in two ways, and texts made to be slow.

The tokens are correctly signed: only their form is wrong.
"""

import json
import time

import pytest

from authz.core.reasons import Reason
from tests.support.factories.token_pipeline import keyset_of, refusal
from tests.support.factories.tokens import (
    ASYMMETRIC,
    access_claims,
    b64,
    dump,
    issuer,
    make_key,
    raw_token,
    sign,
    sign_text,
)

RS = make_key("RS256")
ES = make_key("ES256", kid="es")
ED = make_key("EdDSA", kid="ed")
ANY = issuer(algorithms=frozenset(ASYMMETRIC))
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "k1"}


def text_variants(payload):
    """Texts that lenient decoders read as `payload`."""
    text = b64(payload)
    yield text + "=" * (-len(text) % 4 or 4)
    yield text + "\n"
    yield " " + text
    yield text[:10] + "\r\n" + text[10:]
    yield text[:10] + " " + text[10:]
    yield text[:10] + "\x00" + text[10:]
    yield text[:10] + "=" + text[10:]
    yield text[:10] + "!" + text[10:]
    yield text + "A" * ((1 - len(text)) % 4 or 4)


def test_d09_base64url_has_one_form_even_under_a_right_signature():
    claims_of = access_claims(name="?>?>" * 3)  # so that - and _ occur
    header, payload = b64(dump(HEADER)), b64(dump(claims_of))
    assert "_" in payload
    assert refusal(sign_text(header, payload, RS), keyset_of(RS)) is None
    for variant in (
        *text_variants(dump(claims_of)),
        payload.replace("_", "/"),
        payload.translate(str.maketrans("-_", "+/")),
    ):
        assert refusal(sign_text(header, variant, RS), keyset_of(RS)) is Reason.TOKEN_MALFORMED
    for variant in text_variants(dump(HEADER)):
        assert refusal(sign_text(variant, payload, RS), keyset_of(RS)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("spaces", [0, 1, 2])
def test_d09_spare_bits_are_zero(spaces):
    payload = b64(dump(access_claims()) + b" " * spaces)
    header = b64(dump(HEADER))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    following = payload[:-1] + alphabet[(alphabet.index(payload[-1]) + 1) % 64]
    same_bytes = len(payload) % 4 != 0
    assert refusal(sign_text(header, payload, RS), keyset_of(RS)) is None
    if same_bytes:
        assert refusal(sign_text(header, following, RS), keyset_of(RS)) is Reason.TOKEN_MALFORMED
    good = sign(access_claims(), RS)  # 256 bytes of signature leave four spare bits
    other = good[:-1] + alphabet[alphabet.index(good[-1]) + 1]
    assert refusal(other, keyset_of(RS)) is Reason.TOKEN_MALFORMED


GOOD_JSON = dump(access_claims()).decode()
BAD_JSON = {
    "duplicate member": GOOD_JSON[:-1] + ',"sub":"mallory"}',
    "duplicate member, escaped": GOOD_JSON[:-1] + ',"\\u0073ub":"mallory"}',
    "duplicate member, deep": GOOD_JSON[:-1] + ',"x":{"a":1,"a":2}}',
    "NaN": GOOD_JSON[:-1] + ',"x":NaN}',
    "Infinity": GOOD_JSON[:-1] + ',"x":Infinity}',
    "huge float": GOOD_JSON[:-1] + ',"x":1e999}',
    "huge integer": GOOD_JSON[:-1] + ',"x":' + "9" * 5000 + "}",
    "deep nesting": GOOD_JSON[:-1] + ',"x":' + "[" * 4000 + "]" * 4000 + "}",
    "deeper than parsers go": "[" * 7000,
    "surrogate": GOOD_JSON[:-1] + ',"x":"\\ud800"}',
    "surrogates in reverse": GOOD_JSON[:-1] + ',"x":"\\udc00\\ud800"}',
    "raw surrogate": GOOD_JSON[:-1] + ',"x":"\ud800"}',
    "lone escape": GOOD_JSON[:-1] + ',"x":"\\"}',
    "unknown escape": GOOD_JSON[:-1] + ',"x":"\\q"}',
    "short escape": GOOD_JSON[:-1] + ',"x":"\\u00"}',
    "byte order mark": "\ufeff" + GOOD_JSON,
    "trailing text": GOOD_JSON + "x",
    "trailing NUL": GOOD_JSON + "\x00",
    "two documents": GOOD_JSON + GOOD_JSON,
    "trailing comma": GOOD_JSON[:-1] + ",}",
    "comment": GOOD_JSON[:-1] + "/**/}",
    "single quotes": GOOD_JSON.replace('"', "'"),
    "array": f"[{GOOD_JSON}]",
    "string": json.dumps(GOOD_JSON),
    "null": "null",
    "empty": "",
}


@pytest.mark.parametrize("what", BAD_JSON)
def test_d09_json_has_one_meaning_even_under_a_right_signature(what):
    token = sign(BAD_JSON[what].encode("utf-8", "surrogatepass"), RS)
    assert refusal(token, keyset_of(RS)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7"])
def test_d09_json_is_utf_8(encoding):
    text = GOOD_JSON.replace("alice.a", "älice")
    assert refusal(sign(text.encode(encoding), RS), keyset_of(RS)) in {
        Reason.TOKEN_MALFORMED,
        Reason.CLAIM_INVALID,
    } or (
        encoding == "utf-7"  # is ASCII, and means just what it says
    )
    assert refusal(sign(text.encode("latin-1"), RS), keyset_of(RS)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "header", [b'{"alg":"RS256","kid":"k1","alg":"none"}', b'{"alg":"none","kid":"k1","alg":"RS256"}']
)
def test_d09_the_header_has_one_meaning_too(header):
    assert refusal(sign(access_claims(), RS, header), keyset_of(RS)) is Reason.TOKEN_MALFORMED


def test_d09_cut_tokens_are_refused():
    token = sign(access_claims(), ES)
    assert refusal(token, keyset_of(ES)) is None
    assert all(refusal(token[:length], keyset_of(ES)) for length in range(len(token)))
    header, payload, signature = token.split(".")
    for pieces in ((payload, header, signature), (header, signature, payload), (header, payload, signature, signature)):
        assert refusal(".".join(pieces), keyset_of(ES)) is Reason.TOKEN_MALFORMED


def test_d09_a_large_token_is_refused_fast():
    large = [
        "a" * 1_000_000,
        "." * 1_000_000,
        sign(access_claims(name="x" * 1_000_000), ES),
        sign(b"[" * 750_000, ES),
        raw_token({**HEADER, "kid": "x" * 1_000_000}, {}),
    ]
    for token in large:
        started = time.thread_time()
        assert refusal(token, keyset_of(ES)) is Reason.TOKEN_TOO_LARGE
        assert time.thread_time() - started < 0.05


@pytest.mark.parametrize("filler", ['"', '\\"', "[", "{", '{"":', "\\", "9", "[]," * 4, "\\u0041", " ", '"a":1,'])
def test_d09_no_token_within_the_limit_is_slow(filler):
    body = '{"a":"' + filler * (12_000 // len(filler))
    for payload in (body, body + '"}', "[" + filler * (12_000 // len(filler)), '{"a":' + filler * 2000 + "}"):
        token = sign(payload.encode(), ES)
        started = time.thread_time()
        refusal(token, keyset_of(ES))
        assert time.thread_time() - started < 0.2
