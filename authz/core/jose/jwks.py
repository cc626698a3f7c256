"""Key sets: from the bytes of a JWKS document to public keys ready to verify (RFC 7517, RFC 7518 §6, RFC 8037).

Law 1: bytes in, frozen keys out. No fetch, no file, no clock; `x5u`, `x5c` and `jku` are never looked at.
Law 2: an entry that is not certainly a public signature key, or is known to be weak, is left out; `ignored` says why
without showing key material.
Law 3: an unchanged key is the same object in the next set, so that caches compare keys with `is`.
Law 4: one `kid` names one key. Usable keys that share a `kid` are all left out (RFC 7517 §4.5).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from authz.core.errors import KeysUnavailableError
from authz.core.jose.primitives import ALGORITHMS, b64url_decode, b64url_encode, read_object, shown, thumbprint
from authz.core.jose.weak_ed25519 import is_weak
from authz.core.jose.weak_rsa import weakness

MAX_KEYS: Final = 100  # keys of one set that are looked at
MAX_KID: Final = 256  # characters
MIN_RSA_BITS: Final = 2048  # RFC 7518 §3.3
MAX_RSA_BITS: Final = 8192  # a larger modulus only costs time
MIN_RSA_EXPONENT: Final = 3  # with 1 every message is its own signature
MAX_RSA_EXPONENT: Final = 2**32  # a larger exponent only costs time

_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = MappingProxyType(
    {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48), "P-521": (ec.SECP521R1(), 66)}
)
_ED25519_BYTES: Final = 32

PublicKey = RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One public signature key. `alg` None means that the set does not say which algorithm the key is for."""

    kid: str | None
    kty: str
    crv: str | None
    alg: str | None
    thumbprint: str
    public_key: PublicKey = field(repr=False, compare=False)

    def suits(self, alg: str) -> bool:
        """Whether this key may verify a signature of `alg`: type, curve and, where given, the key's own `alg`."""
        algorithm = ALGORITHMS.get(alg)
        return (
            algorithm is not None
            and self.kty == algorithm.kty
            and (algorithm.crv is None or self.crv == algorithm.crv)
            and (self.alg is None or self.alg == alg)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The usable keys of one issuer: by `kid`, and those without one. `digest` identifies exactly this set of keys."""

    keys: Mapping[str, Key]
    unnamed: tuple[Key, ...] = ()
    ignored: tuple[str, ...] = ()
    digest: str

    def __iter__(self) -> Iterator[Key]:
        yield from self.keys.values()
        yield from self.unnamed

    def __len__(self) -> int:
        return len(self.keys) + len(self.unnamed)


class _UnusableError(Exception):
    """A JWK that is left out; the text says why. Never leaves this module."""


def parse(data: bytes, previous: KeySet | None = None) -> KeySet:
    """The usable keys of a JWKS document (RFC 7517 §5); KeysUnavailableError when it has none.

    `previous` is the set that this one replaces: unchanged keys stay the same objects.
    """
    entries = _entries(data)
    known = {(key.kid, key.alg, key.thumbprint): key for key in previous or ()}
    found: list[Key] = []
    ignored: list[str] = []
    for index, entry in enumerate(entries[:MAX_KEYS]):
        try:
            key = _key(entry)
        except _UnusableError as error:
            ignored.append(f"{_name(index, entry)}: {error}")
        else:
            found.append(known.get((key.kid, key.alg, key.thumbprint), key))
    if len(entries) > MAX_KEYS:
        ignored.append(f"{len(entries) - MAX_KEYS} keys after the first {MAX_KEYS}: too many")
    count = Counter(key.kid for key in found if key.kid is not None)
    ignored.extend(f"kid {shown(kid)}: {times} keys have it" for kid, times in count.items() if times > 1)
    named = {key.kid: key for key in found if key.kid is not None and count[key.kid] == 1}
    unnamed = tuple(key for key in found if key.kid is None)
    if not named and not unnamed:
        reasons = "; ".join(ignored[:5]) or "it is empty"
        raise KeysUnavailableError(f"the key set has no usable key: {reasons}")
    keys = (*named.values(), *unnamed)
    return KeySet(keys=MappingProxyType(named), unnamed=unnamed, ignored=tuple(ignored), digest=_digest(keys))


def _entries(data: bytes) -> list[Any]:
    try:
        document = read_object(data)
    except ValueError as error:
        raise KeysUnavailableError(f"the document is not a key set: {error}") from None
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise KeysUnavailableError("the document is not a key set: it has no array `keys` (RFC 7517 §5)")
    return entries


def _digest(keys: tuple[Key, ...]) -> str:
    lines = sorted(f"{key.kid!r} {key.alg} {key.thumbprint}" for key in keys)
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _name(index: int, entry: object) -> str:
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return f"key {index + 1}" if kid is None else f"key {index + 1} (kid {shown(kid)})"


def key_of(entry: object) -> Key:
    """A single JWK, as in a proof's header (RFC 9449 §4.2); ValueError says why it cannot be used."""
    try:
        return _key(entry)
    except _UnusableError as error:
        raise ValueError(str(error)) from None


def _key(entry: object) -> Key:
    """One JWK as a Key. The checks are in the order in which a person would want their results."""
    if not isinstance(entry, dict):
        raise _UnusableError("not a JSON object")
    kty, kid, alg = entry.get("kty"), entry.get("kid"), entry.get("alg")
    if kty == "oct":
        raise _UnusableError("a symmetric key (RFC 8725 §3.2)")
    if any(member in entry for member in _PRIVATE):
        raise _UnusableError("it holds private key material; the provider must not publish that")
    build = _BUILDERS.get(kty) if isinstance(kty, str) else None
    if build is None:
        raise _UnusableError(f"unknown kty {shown(kty)}")
    _check_purpose(entry)
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID and kid.isprintable()):
        raise _UnusableError(f"kid is not a printable string of 1 to {MAX_KID} characters")
    public_key, required = build(entry)
    key = Key(
        kid=kid,
        kty=required["kty"],
        crv=required.get("crv"),
        alg=alg,
        thumbprint=thumbprint(required),
        public_key=public_key,
    )
    if alg is not None and not (isinstance(alg, str) and key.suits(alg)):
        raise _UnusableError(f"alg {shown(alg)} is not a signature algorithm for this type of key")
    return key


def _check_purpose(entry: Mapping[str, Any]) -> None:
    """`use` and `key_ops` must not say that the key is not for signatures (RFC 7517 §4.2, §4.3)."""
    if entry.get("use", "sig") != "sig":
        raise _UnusableError(f"use {shown(entry['use'])} is not sig")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnusableError("key_ops does not name verify")


def _octets(entry: Mapping[str, Any], member: str) -> bytes:
    value = entry.get(member)
    if not isinstance(value, str) or not value.isascii():
        raise _UnusableError(f"{member} is missing or not a base64url string")
    try:
        return b64url_decode(value.encode("ascii"))
    except ValueError as error:
        raise _UnusableError(f"{member}: {error}") from None


def _rsa(entry: Mapping[str, Any]) -> tuple[PublicKey, dict[str, str]]:
    """RFC 7518 §6.3.1. A leading zero octet is tolerated, as its note on implementations suggests."""
    modulus = int.from_bytes(_octets(entry, "n"), "big")
    exponent = int.from_bytes(_octets(entry, "e"), "big")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise _UnusableError(f"RSA with {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    if modulus % 2 == 0:
        raise _UnusableError("an even RSA modulus")
    if why := weakness(modulus):
        raise _UnusableError(why)
    if exponent % 2 == 0 or not MIN_RSA_EXPONENT <= exponent <= MAX_RSA_EXPONENT:
        raise _UnusableError(f"RSA exponent is even or not in {MIN_RSA_EXPONENT} to 2^32")
    return RSAPublicNumbers(exponent, modulus).public_key(), {
        "kty": "RSA",
        "n": b64url_encode(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")),
        "e": b64url_encode(exponent.to_bytes((exponent.bit_length() + 7) // 8, "big")),
    }


def _ec(entry: Mapping[str, Any]) -> tuple[PublicKey, dict[str, str]]:
    """RFC 7518 §6.2.1. The coordinates have their full length, and the point is on the curve (RFC 8725 §3.4)."""
    crv = entry.get("crv")
    curve, size = _CURVES.get(crv, (None, 0)) if isinstance(crv, str) else (None, 0)
    if curve is None:
        raise _UnusableError(f"unknown crv {shown(crv)}")
    x, y = _octets(entry, "x"), _octets(entry, "y")
    if len(x) != size or len(y) != size:
        raise _UnusableError(f"the coordinates are not {size} octets long")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    try:
        public_key = numbers.public_key()
    except ValueError:
        raise _UnusableError("the point is not on the curve") from None
    return public_key, {"kty": "EC", "crv": str(crv), "x": b64url_encode(x), "y": b64url_encode(y)}


def _okp(entry: Mapping[str, Any]) -> tuple[PublicKey, dict[str, str]]:
    """RFC 8037 §2. Points of small order are refused: anyone can sign for them."""
    if entry.get("crv") != "Ed25519":
        raise _UnusableError(f"unknown crv {shown(entry.get('crv'))}")
    x = _octets(entry, "x")
    if len(x) != _ED25519_BYTES:
        raise _UnusableError(f"x is not {_ED25519_BYTES} octets long")
    if is_weak(x):
        raise _UnusableError("x is not a point that only its owner can sign for (small order, or not canonical)")
    return Ed25519PublicKey.from_public_bytes(x), {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(x)}


_Builder = Callable[[Mapping[str, Any]], tuple[PublicKey, dict[str, str]]]
_BUILDERS: Final[Mapping[str, _Builder]] = MappingProxyType({"RSA": _rsa, "EC": _ec, "OKP": _okp})
