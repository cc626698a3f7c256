"""The key under which a verified token may be remembered (PITFALLS d-35).

Law 1: the whole SHA-256, never a part of it, over the whole token: two tokens never share an entry, and the key tells
nothing about the token.
Law 2: the key also covers how issuers are configured: under another configuration there is no old entry to find.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

import orjson

from authz.model import Issuer

_SETTINGS: Final = tuple(field.name for field in fields(Issuer))


def cache_key(token: str, generation: bytes) -> bytes:
    """32 bytes for `token` under the issuer configuration `generation` (32 bytes of `generation_of`)."""
    return hashlib.sha256(generation + token.encode("utf-8", "surrogatepass")).digest()


def generation_of(issuers: Iterable[Issuer]) -> bytes:
    """32 bytes that change with every setting of every issuer, and with nothing else."""
    lines = sorted(orjson.dumps([_plain(getattr(issuer, name)) for name in _SETTINGS]) for issuer in issuers)
    return hashlib.sha256(b"\n".join(lines)).digest()


def _plain(value: Any) -> Any:
    """A setting as JSON has it, in one order: a mapping as its sorted items, a set as its sorted members."""
    if isinstance(value, Mapping):
        return sorted((str(name), _plain(member)) for name, member in value.items())
    return sorted(value) if isinstance(value, frozenset) else value
