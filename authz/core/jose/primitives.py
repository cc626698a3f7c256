"""The alphabet of JOSE: strict base64url, strict JSON, the algorithms we know, key thumbprints.

Law 1: one text, one meaning. Base64url has no padding, no foreign letter and no spare bits (RFC 7515 §2, RFC 4648
§3.5). JSON has no duplicate member (RFC 7515 §4, RFC 7519 §4), no NaN, no infinity, no lone surrogate, no byte order
mark and bounded depth.
Law 2: only asymmetric algorithms exist here. `none` and `HS*` are not refused, they are unknown (RFC 8725 §3.1,
§3.2).
Law 3: failures are `ValueError`s whose text never repeats the input. Callers translate them.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson
from jwt.algorithms import Algorithm as Verifier
from jwt.algorithms import get_default_algorithms

MAX_DEPTH: Final = 16  # levels of nesting in any JOSE document; real tokens have four

_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
# The letters whose spare bits are zero, for a last group of two letters (four spare bits) and of three (two).
_LAST_LETTERS: Final = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
_NESTING: Final = re.compile(rb'"(?:[^"\\]+|\\.)*"|[\[{]|[\]}]', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1): the keys that fit it, and who verifies it."""

    name: str
    kty: str
    crv: str | None
    verifier: Verifier = field(repr=False, compare=False)


_PYJWT: Final = get_default_algorithms()

ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {
        name: Algorithm(name=name, kty=kty, crv=crv, verifier=_PYJWT[name])
        for name, kty, crv in (
            ("RS256", "RSA", None),
            ("RS384", "RSA", None),
            ("RS512", "RSA", None),
            ("PS256", "RSA", None),
            ("PS384", "RSA", None),
            ("PS512", "RSA", None),
            ("ES256", "EC", "P-256"),
            ("ES384", "EC", "P-384"),
            ("ES512", "EC", "P-521"),
            ("EdDSA", "OKP", "Ed25519"),
        )
    }
)


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: bytes) -> bytes:
    """The bytes whose one canonical base64url form is `text`; ValueError for everything else."""
    spare = len(text) % 4
    if spare == 1:
        raise ValueError("the length of a base64url text cannot be 4n+1")
    try:
        data = binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=="[: -spare % 4], strict_mode=True)
    except binascii.Error:
        raise ValueError("not base64url without padding") from None
    if spare and text[-1] not in _LAST_LETTERS[spare]:
        raise ValueError("the spare bits of the last letter are not zero")
    return data


def read_json(data: bytes, *, most: int | None = None) -> Any:
    """The value of a strict JSON text in UTF-8 (RFC 8259); ValueError for everything else.

    `most` bounds the arrays and objects (brackets, wherever they stand): input that anyone may send is refused before
    it costs anything.

    orjson is fast and strict except about duplicate members, of which it silently keeps the last. A text that equals
    its own re-serialisation cannot have any: that covers what providers really send. The standard library, which
    shows every member, reads any other text again.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if most is not None and brackets > most:
        raise ValueError(f"more than {most} arrays and objects")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON in UTF-8 (RFC 8259)") from None
    if brackets > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if orjson.dumps(value) == data:
        return value
    return _EVERY_MEMBER.decode(data.decode("utf-8"))


def read_object(data: bytes, *, most: int | None = None) -> dict[str, Any]:
    """The members of a strict JSON object; ValueError for everything else. `most` is that of `read_json`."""
    value = read_json(data, most=most)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 the caller handles one kind of failure
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name occurs twice")
    return members


_EVERY_MEMBER: Final = json.JSONDecoder(object_pairs_hook=_unique)  # building one takes half as long as using it


def _depth(data: bytes) -> int:
    """The nesting depth of well-formed JSON; brackets inside strings do not count."""
    depth = deepest = 0
    for match in _NESTING.finditer(data):
        token = match.group()
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest


def thumbprint(required: Mapping[str, str]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638 §3); `required` holds exactly its required members."""
    canonical = json.dumps(dict(required), sort_keys=True, separators=(",", ":"))
    return b64url_encode(hashlib.sha256(canonical.encode("utf-8")).digest())


def shown(value: object, limit: int = 120) -> str:
    """A foreign value as one short line of printable ASCII, for an operator's detail."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
