import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from authz.core.jose import weak_ed25519

PRIME = 2**255 - 19


def _ed25519_order_divides_eight(y):
    """Curve arithmetic of RFC 8032 §5.1, to check the table of small points against."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME

    def add(p, q):
        t = d * p[0] * q[0] * p[1] * q[1] % PRIME
        return (
            (p[0] * q[1] + q[0] * p[1]) * pow(1 + t, -1, PRIME) % PRIME,
            (p[1] * q[1] + p[0] * q[0]) * pow(1 - t, -1, PRIME) % PRIME,
        )

    square = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert (x * x - square) % PRIME == 0, "not a point at all"
    point = (x, y)
    for _ in range(3):
        point = add(point, point)
    return point == (0, 1)


def test_the_small_order_points_of_ed25519_are_what_the_table_says():
    assert len(weak_ed25519._SMALL_ORDER) == 5
    assert all(_ed25519_order_divides_eight(y) for y in weak_ed25519._SMALL_ORDER)
    assert not _ed25519_order_divides_eight(4 * pow(5, -1, PRIME) % PRIME)  # the base point


@pytest.mark.parametrize("y", [*sorted(weak_ed25519._SMALL_ORDER), PRIME, PRIME + 1, 2**255 - 1])
@pytest.mark.parametrize("sign_bit", [0, 2**255])
def test_points_of_small_order_and_keys_that_are_not_canonical_are_weak(y, sign_bit):
    assert weak_ed25519.is_weak((y + sign_bit).to_bytes(32, "little"))


def test_anyone_signs_for_the_neutral_point():
    """Why: this is a signature of every text by the key 1, and of some texts by the others."""
    key, neutral = (1).to_bytes(32, "little"), (1).to_bytes(32, "little")
    for text in (b"one", b"other"):
        Ed25519PublicKey.from_public_bytes(key).verify(neutral + bytes(32), text)


def test_keys_of_people_are_not_weak():
    for _ in range(100):
        assert not weak_ed25519.is_weak(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
