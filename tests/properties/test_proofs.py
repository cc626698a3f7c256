"""Proofs, run identity tokens and requests for them: total, and right for one call alone, whatever is sent."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import RequestError, TokenError
from authz.core.reasons import Reason
from authz.core.request.path import canonicalise
from authz.core.runs import run_request, run_token
from authz.core.runs.proof import check_proof, parse_proof
from tests.support.examples import examples
from tests.support.factories import proofs as proof_factory
from tests.support.factories.proofs import (
    CLAIM,
    EGRESS,
    GATE,
    GATE_KEY,
    proof_claims,
    prove,
    public_jwk,
    run_claims,
    task_key,
    thumbprint,
)
from tests.support.factories.tokens import NOW, b64, dump, sign

a_token = proof_factory.run_token
KEY = task_key()
TOKEN = a_token(KEY)
LINE = prove(KEY, TOKEN)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HEADER = {"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk(KEY)}


def changed(base):
    """Some members of `base` with another value, or without one; and some more."""
    names = st.sampled_from(sorted(base)) | st.sampled_from(["exp", "nbf", "airflow", "crit", "kid", "use", "cnf", "d"])
    return st.dictionaries(names, JSON | st.just(...), max_size=3).map(
        lambda changes: {name: value for name, value in {**base, **changes}.items() if value is not ...}
    )


def proof_or_none(line):
    try:
        return parse_proof(line)
    except TokenError as error:
        return None if error.reason is Reason.PROOF_INVALID else error


@given(st.binary(max_size=400) | st.text(string.ascii_letters + string.digits + "-_.", max_size=400).map(str.encode))
def test_no_bytes_are_a_proof_by_chance(line):
    assert proof_or_none(line) is None


@given(st.integers(0, len(LINE) - 1), st.binary(max_size=3))
def test_no_change_of_a_proof_is_a_proof(place, other):
    line = LINE[:place] + other + LINE[place + 1 :]
    assert proof_or_none(line) is None or line == LINE


@given(changed(HEADER), changed(HEADER["jwk"]), changed(proof_claims(TOKEN)), st.booleans())
@examples(300)
def test_whatever_its_own_key_signs_is_a_proof_or_is_refused(header, jwk, claims, whole):
    header = header if whole or "jwk" not in header else {**header, "jwk": jwk}
    proof = proof_or_none(sign(dump(claims), KEY, dump(header)).encode())
    if proof is not None:
        assert proof.thumbprint == thumbprint(KEY)
        assert header["typ"] == "dpop+jwt"
        assert header["alg"] == "ES256"
        assert {name: header["jwk"][name] for name in ("kty", "crv", "x", "y")} == public_jwk(KEY)
        assert claims["iat"] == proof.issued_at
        assert not {"exp", "nbf"} & claims.keys()


CALLS = st.fixed_dictionaries(
    {
        "token": st.sampled_from([TOKEN, a_token(KEY, jti="r-2")]),
        "method": st.sampled_from(["GET", "POST", "CONNECT"]),
        "scheme": st.sampled_from(["http", "https"]),
        "authority": st.sampled_from(["a.test", "a.test:80", "a.test:443", "b.test", "[::1]:8090", "A.test"]),
        "path": st.sampled_from(["/", "/v1/orders", "/v1/orders/", "/v1/%6Frders", "/v1/%E2%82%AC"]),
        "at": st.integers(NOW - 100, NOW + 100),
    }
)
PORTS = {"http": 80, "https": 443}


@given(CALLS, CALLS)
@examples(300)
def test_a_proof_of_one_call_is_one_of_another_only_where_they_are_the_same(made, used):
    htu = f"{made['scheme']}://{made['authority']}{made['path']}"
    proof = parse_proof(prove(KEY, made["token"], htu=htu, htm=made["method"], iat=made["at"]))
    try:
        check_proof(
            proof,
            token=used["token"],
            thumbprint=thumbprint(KEY),
            method=used["method"],
            authority=used["authority"],
            path=canonicalise(used["path"]).path,
            now=used["at"],
        )
        accepted = True
    except TokenError:
        accepted = False

    def place(call):  # host, port and path, as the proof's scheme has them
        host, _, port = (
            call["authority"].lower().rpartition(":")
            if call["authority"][-1].isdigit()
            else (call["authority"].lower(), "", "")
        )
        return host, int(port or PORTS[made["scheme"]]), call["path"].replace("%6F", "o")

    same = made["token"] == used["token"] and made["method"] == used["method"] != "CONNECT"
    assert accepted == (same and place(made) == place(used) and abs(made["at"] - used["at"]) <= 60)


@given(changed(run_claims(KEY)), changed({"alg": "ES256", "typ": "airflow-run+jwt", "kid": "gate-key"}))
@examples(300)
def test_whatever_our_key_signs_is_a_run_identity_token_or_is_refused(claims, header):
    token = sign(dump(claims), GATE_KEY, dump(header))
    try:
        read = run_token.verify(token, {"gate-key": GATE_KEY.public}, issuer=GATE, audience=EGRESS, now=NOW)
    except TokenError:
        return
    assert (header["typ"], header["alg"], header["kid"]) == ("airflow-run+jwt", "ES256", "gate-key")
    assert read.expires_at - read.issued_at <= (300 if read.thumbprint is None else 120)
    assert ("cnf" in claims) != ("use" in claims)
    assert read.thumbprint == claims.get("cnf", {}).get("jkt")


START = "/execution/variables/__run_identity__/v1/"
SAID = {"d": CLAIM["dag_id"], "r": CLAIM["run_id"], "t": CLAIM["task_id"], "m": -1, "n": 1}


@given(st.text(max_size=200) | st.text(max_size=100).map(lambda text: f"{START}proxy/{text}"))
def test_no_text_is_a_request_by_chance(target):
    with pytest.raises(RequestError) as caught:
        run_request.parse(target)
    assert caught.value.reason is Reason.BAD_PATH


@given(changed(SAID))
@examples(300)
def test_a_request_says_what_was_written_or_is_refused(said):
    try:
        asked = run_request.parse(f"{START}{thumbprint(KEY)}/{b64(dump(said))}")
    except RequestError:
        return
    assert said == {
        name: value
        for name, value in zip(
            "drtmn", (asked.dag_id, asked.run_id, asked.task_id, asked.map_index, asked.try_number), strict=True
        )
        if value is not None
    }
