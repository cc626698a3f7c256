"""The texts that the formats share: base64, numbers, names, lines.

Law: one value has one text. What is not exactly the text that we would write is refused with `AuditBrokenError`.
"""

import binascii
import re
from typing import Final

from authz.core.audit.hashing import HASH_BYTES
from authz.core.errors import AuditBrokenError

_name: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_number: Final = re.compile(r"0|[1-9][0-9]*")
_MOST: Final = (1 << 63) - 1
_DIGITS: Final = len(str(_MOST))


def encoded(data: bytes) -> str:
    """Base64 with padding (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decoded(text: str) -> bytes:
    """The bytes whose base64 (RFC 4648 §4) is exactly this text."""
    try:
        data = binascii.a2b_base64(text)
    except ValueError:
        raise AuditBrokenError("not base64") from None
    if encoded(data) != text:
        raise AuditBrokenError("not canonical base64")
    return data


def read_hash(text: str) -> bytes:
    """The 32 bytes whose base64 is this text."""
    data = decoded(text)
    if len(data) != HASH_BYTES:
        raise AuditBrokenError(f"a hash does not have {HASH_BYTES} bytes")
    return data


def read_number(text: str) -> int:
    """The number below 2^63 whose decimal digits are exactly this text: no sign, no leading zero."""
    if len(text) > _DIGITS or not _number.fullmatch(text) or (value := int(text)) > _MOST:
        raise AuditBrokenError("not a decimal number below 2^63 without leading zeros")
    return value


def is_name(text: str) -> bool:
    """Whether it can name a key (c2sp.org/signed-note): it is not empty and has no Unicode space and no `+`."""
    return _name.fullmatch(text) is not None
