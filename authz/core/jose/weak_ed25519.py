"""Ed25519 public keys that anyone can sign for: points of small order.

Law: pure, and about the 32 bytes of the key (RFC 8032 §5.1.2) only. A key that is not canonical is weak here too.
"""

from typing import Final

_PRIME: Final = 2**255 - 19
_SIGN_BIT: Final = 2**255
_ORDER_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the eight points whose order divides eight.
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _ORDER_EIGHT, _PRIME - _ORDER_EIGHT})


def is_weak(public_key: bytes) -> bool:
    """Whether a key of 32 bytes is a point of small order, or not canonical."""
    y_coordinate = int.from_bytes(public_key, "little") % _SIGN_BIT
    return y_coordinate >= _PRIME or y_coordinate in _SMALL_ORDER
