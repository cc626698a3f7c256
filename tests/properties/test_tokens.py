"""What must hold for every token, key set and clock, not only for those that somebody thought of."""

import json
import re
import string
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from authz.core import tokens
from authz.core.caching.interning import shared_claims
from authz.core.errors import DeniedError, KeysUnavailableError, RequestError, TokenError
from authz.core.jose import jwks, primitives
from authz.core.model import Claims, Plane
from authz.core.reasons import ANSWERS, Reason
from authz.core.tokens import compact
from authz.core.tokens.claims import READERS, typed_claims
from tests.support.examples import examples
from tests.support.factories.token_pipeline import accept, keyset_of, refusal
from tests.support.factories.tokens import (
    ISS,
    NOW,
    access_claims,
    b64,
    dump,
    id_claims,
    issuer,
    jwks_of,
    make_key,
    raw_token,
    sign,
)

ALPHABET = string.ascii_letters + string.digits + "-_"
KEYS = {alg: make_key(alg, kid=alg) for alg in ("RS256", "ES256", "EdDSA")}
KEYSET = keyset_of(*KEYS.values())
CORP = issuer(algorithms=frozenset(KEYS))
TOKENS = {alg: sign(access_claims(), key) for alg, key in KEYS.items()}

quick = examples(300, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(NOW - 10_000, NOW + 10_000),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([ISS, "airflow", "Bearer", "ID", "RS256", "none", "at+jwt", "verify", "sig", "RSA", "EC", "AQAB"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
CLAIMS = "iss sub aud exp nbf iat jti sid azp client_id typ token_use cnf events nonce scope groups realm_access name"
claim_changes = st.dictionaries(st.sampled_from([*CLAIMS.split(), "preferred_username"]), values, max_size=4)
headers = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "crit", "b64", "enc", "jwk", "jku"]), values)


def is_refused(token):
    return refusal(token, KEYSET, by=CORP) is not None


def attempt(call, *args, **settings):
    """What a call returned and the error that it raised; one of the two is None. Any other exception is a bug."""
    try:
        return call(*args, **settings), None
    except DeniedError as error:
        return None, error


@pytest.mark.parametrize("alg", KEYS)
def test_the_tokens_of_this_file_are_good(alg):
    assert not is_refused(TOKENS[alg])


@quick
@given(
    st.text()
    | st.text(alphabet=ALPHABET + ".=", max_size=60)
    | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
)
def test_parse_is_total_on_any_text(text):
    with pytest.raises(TokenError):
        tokens.parse(text, max_bytes=100)


@quick
@given(headers, st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=70))
def test_parse_is_total_on_what_looks_like_a_token(header, payload, signature):
    token = raw_token(json.dumps(header).encode(), payload, signature)
    parsed, error = attempt(tokens.parse, token, max_bytes=1000)
    if error is not None:
        assert isinstance(error, TokenError)
        assert ANSWERS[error.reason].http == 401
    else:
        assert isinstance(parsed.alg, str)
        assert isinstance(parsed.payload, dict)
        assert f"{parsed.signing_input.decode()}.{b64(parsed.signature)}" == token


@quick
@given(st.just({"alg": "RS256"}) | headers | st.fixed_dictionaries({"alg": st.just("RS256")}, optional={"kid": values}))
def test_a_header_says_the_same_when_it_is_remembered(header):
    part = b64(json.dumps(header).encode()).encode()
    fresh = attempt(compact._header, part)
    for _ in range(2):
        again = attempt(compact._remembered_header, part)
        assert again[0] == fresh[0]
        assert repr(again[1]) == repr(fresh[1])


@pytest.mark.parametrize("alg", KEYS)
def test_any_single_character_change_is_refused(alg):
    token = TOKENS[alg]
    accepted = []
    for index, old in enumerate(token):
        for new in {ALPHABET[ALPHABET.find(old) ^ 1], ALPHABET[ALPHABET.find(old) - 17], ".", "="} - {old}:
            changed = token[:index] + new + token[index + 1 :]
            if not is_refused(changed):
                accepted.append((index, old, new))
    assert accepted == []


@quick
@given(st.sampled_from(sorted(KEYS)), st.data())
def test_any_single_byte_change_is_refused(alg, data):
    token = TOKENS[alg]
    index = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).map(chr).filter(lambda char: char != token[index]))
    assert is_refused(token[:index] + byte + token[index + 1 :])


@quick
@given(
    st.sampled_from(sorted(KEYS)), st.integers(0, 2000), st.text(alphabet=ALPHABET + ".=\n ", min_size=1, max_size=8)
)
def test_a_shortened_or_lengthened_token_is_refused(alg, cut, more):
    token = TOKENS[alg]
    assert is_refused(token[: cut % len(token)])
    assert is_refused(token[cut % len(token) + 1 :])
    assert is_refused(token + more)
    assert is_refused(more + token)


@quick
@given(st.permutations(sorted(KEYS)), st.data())
def test_parts_of_different_tokens_do_not_go_together(algs, data):
    other = sign(access_claims(sub="mallory"), KEYS[algs[0]])
    mixed = [
        data.draw(st.sampled_from([ours, theirs]))
        for ours, theirs in zip(TOKENS[algs[0]].split("."), other.split("."), strict=True)
    ]
    token = ".".join(mixed)
    assert is_refused(token) is (token not in {other, TOKENS[algs[0]]})


@quick
@given(st.binary(max_size=30), st.text(alphabet=ALPHABET + "+/= ", max_size=12))
def test_base64url_has_one_form_for_every_value(data, text):
    assert primitives.b64url_decode(primitives.b64url_encode(data).encode()) == data
    try:
        decoded = primitives.b64url_decode(text.encode())
    except ValueError:
        return
    assert primitives.b64url_encode(decoded) == text


@quick
@given(values, st.booleans())
def test_json_that_is_read_is_read_as_the_standard_library_does(value, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        read = primitives.read_json(data)
    except ValueError:
        return
    assert read == json.loads(data)


@quick
@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=1, max_size=4), st.data())
def test_a_duplicate_member_is_found_however_it_is_written(members, data):
    name = data.draw(st.sampled_from(sorted(members)))
    spelt = data.draw(
        st.sampled_from([json.dumps(name), '"' + "".join(f"\\u{unit:04x}" for unit in _utf16(name)) + '"'])
    )
    inner = json.dumps(members, ensure_ascii=False)[:-1] + f",{spelt}:0}}"
    wrapped = data.draw(st.sampled_from(["%s", "[%s]", '{"a":%s}', '{"a":[1,{"b":%s}]}'])).replace("%s", inner)
    with pytest.raises(ValueError, match="twice"):
        primitives.read_json(wrapped.encode())


def _utf16(text):
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[index : index + 2], "big") for index in range(0, len(raw), 2)]


@quick
@given(claim_changes)
def test_reading_claims_is_total_and_typed(changes):
    payload = {**access_claims(), **changes}
    try:
        parsed = tokens.parse(raw_token({"alg": "RS256"}, json.dumps(payload).encode()), max_bytes=100_000)
        claims = tokens.read_claims(parsed, CORP)
    except TokenError:
        return
    assert isinstance(claims, Claims)
    assert claims.issuer == payload["iss"]
    assert claims.subject == payload["sub"]
    assert type(claims.expires_at) is int
    assert payload["exp"] - 1 < claims.expires_at <= payload["exp"]
    assert claims.not_before is None or claims.not_before >= payload["nbf"]
    assert all(isinstance(group, str) for group in claims.groups)
    texts = (claims.client_id, claims.username, claims.full_name)
    assert all(isinstance(text, str) for text in texts)


@quick
@example({"jti": None, "sid": None})
@given(claim_changes)
def test_claims_are_what_the_readers_read_one_after_the_other(changes):
    payload = {**access_claims(), **changes}
    typed, error = attempt(typed_claims, payload, CORP, shared_claims())
    values, first = attempt(lambda: {name: reader(payload, CORP) for name, reader in READERS.items()})
    assert repr(error) == repr(first)
    if typed is not None:
        assert {name: getattr(typed, name, values[name]) for name in values} == values


times = st.integers(NOW - 100, NOW + 100)
clocks = st.fixed_dictionaries({"clock_skew": st.integers(0, 40), "max_lifetime": st.integers(1, 150)})


@quick
@given(times, st.none() | times, st.none() | times, times, clocks)
def test_time_is_judged_as_the_rfc_says(exp, nbf, iat, now, clock):
    corp = issuer(**clock)
    skew, max_lifetime = clock["clock_skew"], clock["max_lifetime"]
    payload = access_claims(exp=exp, nbf=nbf, iat=iat)
    claims = tokens.read_claims(tokens.parse(raw_token({"alg": "RS256"}, payload), max_bytes=9999), corp)
    lives = (exp - now <= max_lifetime + skew) if iat is None else 0 < exp - iat <= max_lifetime
    starts = all(start is None or start <= now + skew for start in (nbf, iat))
    _, error = attempt(tokens.check_claims, claims, corp, Plane.INBOUND, now)
    assert (error is None) is (now < exp + skew and starts and lives)
    assert (error is not None and error.reason is Reason.EXPIRED) is (now >= exp + skew)


uses = st.tuples(st.sampled_from(sorted(KEYS)), st.sampled_from(Plane), st.sampled_from([0, 0, 500, 600, -90, -4000]))


@quick
@given(claim_changes, st.just({}) | headers, uses, st.sampled_from([access_claims(), id_claims()]))
def test_inspection_and_the_service_agree(changes, header, use, base):
    alg, plane, shift = use
    corp = issuer(algorithms=frozenset(KEYS), tokens=frozenset({"access", "id"}))
    signed_header = json.dumps({"alg": alg, "kid": alg, **header}).encode()
    token = sign(json.dumps({**base, **changes}).encode(), KEYS[alg], signed_header)
    report = tokens.inspect(token, {ISS: corp}, {"corp": KEYSET}, plane, NOW + shift)
    assert report.ok is (refusal(token, KEYSET, by=corp, plane=plane, now=NOW + shift) is None)
    if report.ok:
        assert report.claims == accept(token, KEYSET, by=corp, plane=plane, now=NOW + shift)
    assert not any(part in repr(report) for part in token.split(".") if len(part) > 20)


@quick
@given(st.binary(max_size=100) | values.map(lambda value: json.dumps(value).encode()))
def test_reading_a_key_set_is_total(data):
    with pytest.raises(KeysUnavailableError):
        jwks.parse(data)


JWK_MEMBERS = ["kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e", "d", "k", "oth"]


@quick
@given(st.sampled_from(sorted(KEYS)), st.dictionaries(st.sampled_from(JWK_MEMBERS), values, min_size=1, max_size=3))
def test_a_changed_key_is_still_sound_or_left_out(alg, changes):
    jwk = {**KEYS[alg].jwk, **changes}
    good = make_key("ES384", kid="anchor")
    keyset = jwks.parse(json.dumps({"keys": [good.jwk, jwk]}).encode()) if _is_json(jwk) else keyset_of(good)
    for key in keyset:
        if key.kid != "anchor":
            assert not set(jwk) & {"d", "k", "oth"}
            assert jwk.get("use", "sig") == "sig"
            assert key.alg is None or key.suits(key.alg)
            assert key.kty in {"RSA", "EC", "OKP"}
    assert "anchor" in keyset.keys or len(keyset.ignored) > 0


def _is_json(value):
    try:
        primitives.read_json(json.dumps(value).encode())
    except ValueError:
        return False
    return True


@quick
@given(st.lists(st.binary(max_size=40), max_size=3))
def test_the_bearer_grammar_is_total(lines):
    token, error = attempt(tokens.parse_bearer, tuple(lines))
    if error is None:
        assert (token is None) is (not lines)
    else:
        assert isinstance(error, RequestError)
        assert error.reason is Reason.BAD_AUTHORIZATION


CREDENTIALS = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9\-._~+/]+=*)")  # the ABNF of RFC 6750 §2.1
bearer_pieces = st.lists(
    st.sampled_from([b"a.b.c", b"-_~+/", b"=", b"==", b" ", b"\t", b"\n", b",", b"\xe9", b"\0", b"Bearer "])
    | st.binary(max_size=2),
    max_size=4,
).map(b"".join)


@quick
@given(st.sampled_from([b"Bearer ", b"bEARER ", b"Bearer", b"Bearer\t", b"Basic ", b"", b"\xc2earer "]), bearer_pieces)
def test_a_line_is_taken_exactly_when_the_grammar_says_so(scheme, rest):
    token, _ = attempt(tokens.parse_bearer, (scheme + rest,))
    match = CREDENTIALS.fullmatch(scheme + rest)
    assert token == (match and match.group(1).decode())


@quick
@given(st.text(alphabet=string.ascii_letters + string.digits + "-._~+/", min_size=1), st.integers(0, 2))
def test_every_b64token_is_taken_as_it_is(token, padding):
    token += "=" * padding
    assert tokens.parse_bearer((f"Bearer {token}".encode(),)) == token


def test_the_documents_of_this_file_are_json():
    assert primitives.read_json(jwks_of(KEYS.values()))["keys"]
    assert primitives.read_json(dump(access_claims())) == access_claims()


TIMES = st.integers(min_value=NOW - 10_000, max_value=NOW + 10_000)


@examples(2000)
@given(
    expires_at=TIMES,
    issued_at=st.none() | TIMES,
    not_before=st.none() | TIMES,
    max_lifetime=st.integers(min_value=1, max_value=20_000),
    clock_skew=st.integers(min_value=0, max_value=300),
    now=st.one_of(TIMES.map(float), st.floats(min_value=NOW - 20_000, max_value=NOW + 20_000)),
    edge=st.sampled_from([None, -1, -0.001, 0, 0.001, 1]),
    at_start=st.booleans(),
)
def test_the_window_is_exactly_when_check_claims_has_nothing_to_say(
    *, expires_at, issued_at, not_before, max_lifetime, clock_skew, now, edge, at_start
):
    """The cache asks the window; the law is check_claims. A window that is too wide would let a dead token in."""
    who = issuer(max_lifetime=max_lifetime, clock_skew=clock_skew)
    base = tokens.read_claims(tokens.parse(TOKENS["RS256"], max_bytes=9999), CORP)
    claims = replace(base, expires_at=expires_at, issued_at=issued_at, not_before=not_before)
    starts, ends = tokens.window(claims, who)
    if edge is not None:
        now = (starts if at_start else ends) + edge
    try:
        tokens.check_claims(claims, who, Plane.INBOUND, now)
        good = True
    except TokenError:
        good = False
    assert (starts <= now < ends) == good
