"""Proofs that a caller has the key that its token is bound to, one for each call (DPoP, RFC 9449 §4).

Law 1: born verified. `parse_proof` returns only what the key in the proof's own header has signed. It trusts nothing
else in the header, not even `kid`, and fetches nothing. The key is a public one on P-256 and the algorithm ES256.
Law 2: a proof is for one call: its method, its URL, its token, its key, its minute. `check_proof` compares all of them.
Law 3: strict where RFC 9449 lets servers choose: `htu` has no query and no fragment, only `iat` gives the time (`exp`
and `nbf` are refused), `jti` is bounded. Proofs by one key with one `jti` count once (`digest`): changing a proof's
signature, which ECDSA allows, does not make a second proof.
Law 4: failures repeat only a value that names the mistake, and nothing else of the proof.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from authz.core.errors import RequestError, TokenError
from authz.core.jose.es256 import ALG, is_signed
from authz.core.jose.jwks import key_of
from authz.core.jose.primitives import b64url_decode, b64url_encode, read_object, shown
from authz.core.model import Level, Run, made_per_request
from authz.core.reasons import Reason
from authz.core.request.path import canonical_host, canonicalise
from authz.core.runs.run_claim import CLAIM, read_run
from authz.core.tokens.compact import check_header

TYP: Final = "dpop+jwt"
MAX_PROOF_BYTES: Final = 16 * 1024  # a path of 8 KiB in base64, and the rest
WINDOW_S: Final = 60  # how far `iat` may be from now, in both directions

_PARTS: Final = 3
_MAX_JTI: Final = 256
_MAX_METHOD: Final = 32
_MAX_TIME: Final = 253_402_300_799  # the last second of the year 9999
_SHA256_LETTERS: Final = 43
_MOST_BRACKETS: Final = 32
_REMEMBERED: Final = 1024  # keys; every task has one of its own
_SHORT: Final = 512  # bytes of a header; a longer one is read every time
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}

_Signer = tuple[ec.EllipticCurvePublicKey, str]  # the key, and its thumbprint


@made_per_request
class Proof:
    """One proof, signed by the key with the RFC 7638 thumbprint `thumbprint`. It is not yet checked for a call.

    `host`, `port` (never absent) and `path` are `htu` in canonical form, `default_port` is that of its scheme. `run` is
    what the caller says about itself, at the level `asserted`; None if it says nothing. `digest` names the proof: the
    same one again before `ends` is a replay.
    """

    thumbprint: str
    digest: bytes = field(repr=False)
    method: str
    host: str
    port: int
    default_port: int
    path: str
    issued_at: int
    token_hash: str = field(repr=False)
    run: Run | None

    @property
    def ends(self) -> float:
        """The time from which `check_proof` refuses it, whatever else is right."""
        return float(self.issued_at + WINDOW_S + 1)


def parse_proof(line: bytes) -> Proof:
    """The proof in one header line; TokenError(PROOF_INVALID) for everything else."""
    if len(line) > MAX_PROOF_BYTES:
        raise _invalid(f"{len(line)} bytes; at most {MAX_PROOF_BYTES} are accepted")
    parts = line.split(b".", _PARTS)
    if len(parts) != _PARTS:
        raise _invalid("it has not exactly 3 parts")
    head, body, signature = parts
    try:
        public_key, thumbprint = _remembered_signer(head) if len(head) <= _SHORT else _signer(head)
        if not is_signed(line[: len(head) + 1 + len(body)], b64url_decode(signature), public_key):
            raise _invalid("the signature is not that of its key")
        return _read(read_object(b64url_decode(body), most=_MOST_BRACKETS), thumbprint)
    except (ValueError, RequestError) as error:
        raise _invalid(str(error)) from None


def check_proof(
    proof: Proof, *, token: str, thumbprint: str | None, method: str, authority: str, path: str, now: float
) -> None:
    """The proof is for this call: TokenError(PROOF_EXPIRED or PROOF_MISMATCH) otherwise.

    Args:
        proof: what `parse_proof` returned.
        token: the token that the call carries.
        thumbprint: of the key that the token is bound to; None for a token that is bound to none.
        method: of the call. A CONNECT has no URL for a proof.
        authority: as the caller addressed the call: its Host, not the host that rules evaluate instead.
        path: canonical and whole, with the base path that the caller sees.
        now: seconds since the epoch.

    Raises:
        RequestError: `authority` has no canonical form.
    """
    if thumbprint is not None and proof.thumbprint != thumbprint:
        raise _mismatch("its key is not the one that the token is bound to")
    if not -WINDOW_S <= now - proof.issued_at <= WINDOW_S:
        raise TokenError(Reason.PROOF_EXPIRED, f"iat and now differ by {now - proof.issued_at:.0f} s")
    if proof.method != method or method == "CONNECT":
        raise _mismatch(f"htm is {shown(proof.method, 40)}")
    host, port = canonical_host(authority)
    if (proof.host, proof.port) != (host, proof.default_port if port is None else port):
        raise _mismatch("htu names another host or port")
    if proof.path != path:
        raise _mismatch("htu names another path")
    if proof.token_hash != b64url_encode(sha256(token.encode("ascii")).digest()):
        raise _mismatch("ath is that of another token")


def _signer(part: bytes) -> _Signer:
    """The claimed signer. A pure function; a refusal is raised, and so it is never cached."""
    header = read_object(b64url_decode(part), most=_MOST_BRACKETS)
    try:
        alg, _, typ = check_header(header)
    except TokenError as error:
        raise ValueError(error.detail) from None
    if typ != TYP:
        raise ValueError(f"typ is not {TYP}")
    if alg != ALG:
        raise ValueError(f"alg is not {ALG}")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC":
        raise ValueError("jwk is not a key on P-256")
    key = key_of(jwk)
    if not (key.suits(ALG) and isinstance(key.public_key, ec.EllipticCurvePublicKey)):
        raise ValueError("jwk is not a key on P-256")
    return key.public_key, key.thumbprint


_remembered_signer: Final = lru_cache(maxsize=_REMEMBERED)(_signer)


def _read(payload: Mapping[str, Any], thumbprint: str) -> Proof:
    """The claims of RFC 9449 §4.2, and ours; ValueError or RequestError for anything else."""
    if "exp" in payload or "nbf" in payload:
        raise ValueError("a proof's time is its iat: exp and nbf are not allowed")
    jti = _text(payload, "jti", _MAX_JTI)
    issued_at = payload.get("iat")
    if type(issued_at) is not int or not 0 <= issued_at <= _MAX_TIME:
        raise ValueError("iat is not a whole number of seconds")
    token_hash = _text(payload, "ath", _SHA256_LETTERS)
    scheme, host, port, path = _url(_text(payload, "htu", MAX_PROOF_BYTES))
    default_port = _DEFAULT_PORTS[scheme]
    return Proof(  # by position, in the order of the fields: with their names it takes three times as long
        thumbprint,
        sha256(f"{thumbprint}.{jti}".encode()).digest()[:16],
        _text(payload, "htm", _MAX_METHOD),
        host,
        default_port if port is None else port,
        default_port,
        path,
        issued_at,
        token_hash,
        read_run(payload[CLAIM], Level.ASSERTED) if CLAIM in payload else None,
    )


def _text(payload: Mapping[str, Any], claim: str, most: int) -> str:
    value = payload.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ValueError(f"{claim} is not a string of 1 to {most} characters")
    return value


def _url(htu: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of `htu`, normalised (RFC 9449 §4.3); refused without a canonical form."""
    scheme, separator, rest = htu.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS or "?" in rest or "#" in rest:
        raise ValueError("htu is not an http or https URL without query and fragment")
    authority, slash, path = rest.partition("/")
    host, port = canonical_host(authority)
    canonical = canonicalise(slash + path or "/")
    if canonical.encoded_slash:
        raise ValueError("htu has an encoded slash")
    return scheme, host, port, canonical.path


def _invalid(detail: str) -> TokenError:
    return TokenError(Reason.PROOF_INVALID, detail)


def _mismatch(detail: str) -> TokenError:
    return TokenError(Reason.PROOF_MISMATCH, detail)
