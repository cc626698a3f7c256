import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from authz.core.jose.es256 import is_signed, sign
from tests.support.factories.tokens import make_key, signature_of

KEY = make_key("ES256")
TEXT = b"header.payload"


def test_what_one_side_signs_the_other_accepts():
    assert is_signed(TEXT, sign(TEXT, KEY.private), KEY.public)
    assert is_signed(TEXT, signature_of(TEXT, KEY), KEY.public)
    assert not is_signed(TEXT + b"x", sign(TEXT, KEY.private), KEY.public)
    assert not is_signed(TEXT, sign(TEXT, KEY.private), make_key("ES256", kid="other").public)


def test_small_numbers_keep_their_full_length():
    assert {len(sign(bytes([number]), KEY.private)) for number in range(256)} == {64}


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 64, bytes(63), bytes(65), bytes(32) + b"\x01" * 32])
def test_bytes_that_are_no_signature_do_not_verify(signature):
    assert not is_signed(TEXT, signature, KEY.public)


def test_a_signature_in_der_form_does_not_verify():
    assert not is_signed(TEXT, KEY.private.sign(TEXT, ec.ECDSA(hashes.SHA256())), KEY.public)
