"""From a parsed token to a verified one: the issuer it names, the one key that may have signed it, the signature.

Law 1: the token chooses nothing but which of *our* issuers and keys to try. The algorithm must be in the issuer's list
and fit the key's type, curve and `alg` (RFC 8725 §3.1, §3.2, §3.3).
Law 2: PyJWT's algorithm objects do the cryptography; here only `True` from them counts.
"""

from collections.abc import Mapping

from authz.core.errors import TokenError
from authz.core.jose.jwks import Key, KeySet
from authz.core.jose.primitives import ALGORITHMS, shown
from authz.core.model import Issuer
from authz.core.reasons import Reason
from authz.core.tokens.compact import ParsedToken


def find_issuer(parsed: ParsedToken, issuers: Mapping[str, Issuer]) -> Issuer:
    """The issuer whose `issuer` equals the token's `iss`, character by character (RFC 8725 §3.8)."""
    iss = parsed.payload.get("iss")
    issuer = issuers.get(iss) if isinstance(iss, str) else None
    if issuer is None or issuer.issuer != iss:
        raise TokenError(Reason.UNKNOWN_ISSUER, f"iss is {shown(iss)}")
    return issuer


def check_algorithm(parsed: ParsedToken, issuer: Issuer) -> str:
    """The token's `alg`, which the issuer may use and we support."""
    if parsed.alg not in issuer.algorithms or parsed.alg not in ALGORITHMS:
        accepted = ", ".join(sorted(issuer.algorithms))
        raise TokenError(Reason.ALGORITHM, f"alg is {shown(parsed.alg)}; issuer {issuer.name} accepts {accepted}")
    return parsed.alg


def find_key(parsed: ParsedToken, issuer: Issuer, keyset: KeySet) -> Key:
    """The one key of `keyset` that the token names and that fits its algorithm (RFC 7515 §6).

    A token without `kid` is accepted only if exactly one key of the set fits: guessing among keys is not verifying.
    """
    check_algorithm(parsed, issuer)
    if parsed.kid is None:
        fitting = [key for key in keyset if key.suits(parsed.alg)]
        if len(fitting) != 1:
            raise TokenError(Reason.UNKNOWN_KEY, f"no kid, and {len(fitting)} keys fit {parsed.alg}")
        return fitting[0]
    key = keyset.keys.get(parsed.kid)
    if key is None:
        raise TokenError(Reason.UNKNOWN_KEY, f"kid {shown(parsed.kid)} is not in the key set")
    if not key.suits(parsed.alg):
        raise TokenError(Reason.KEY_UNSUITABLE, f"{_describe(key)} cannot verify {parsed.alg}")
    return key


def _describe(key: Key) -> str:
    parts = (f"kid {shown(key.kid)}", key.kty, key.crv, key.alg and f"alg {key.alg}")
    return " ".join(part for part in parts if part)


def verify(parsed: ParsedToken, key: Key) -> None:
    """The signature is that of `key` over the token as it was received (RFC 7515 §5.2); TokenError otherwise."""
    if not key.suits(parsed.alg):
        raise TokenError(Reason.KEY_UNSUITABLE, f"{_describe(key)} cannot verify {shown(parsed.alg)}")
    verifier = ALGORITHMS[parsed.alg].verifier
    if verifier.verify(parsed.signing_input, key.public_key, parsed.signature) is not True:
        raise TokenError(Reason.BAD_SIGNATURE, _describe(key))
