import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.core.audit.keys import SignatureType, VerifierKey, cosigned_at
from authz.core.audit.texts import encoded
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG, WITNESSES

# Published: the examples of golang.org/x/mod/sumdb/note and of c2sp.org/signed-note, Go's checksum database, a witness.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED = {
    PETER: SignatureType.ED25519,
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k": SignatureType.ED25519,
    "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8": SignatureType.ED25519,
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2": SignatureType.COSIGNATURE,
}
_, PETERS_ID, PETERS_KEY = PETER.split("+", 2)
SOME_KEY = b"\2" * 32


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_verifier_keys_are_read_and_written(text):
    key = VerifierKey.parse(text)
    assert (key.name, key.type) == (text.partition("+")[0], PUBLISHED[text])
    assert str(key) == text
    assert VerifierKey(key.name, key.type, key.public_key) == key


@pytest.mark.parametrize("text", PUBLISHED)
def test_no_part_of_a_verifier_key_is_one_and_no_other_character_either(text):
    for begin in range(len(text)):
        for end in range(begin, len(text) + (begin != 0)):
            with pytest.raises(AuditBrokenError):
                VerifierKey.parse(text[begin:end])
    for at in range(len(text)):
        for other in (chr(ord(text[at]) + 1), "+", " ", "é", "\n"):
            if other != text[at]:
                with pytest.raises(AuditBrokenError):
                    VerifierKey.parse(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # a longer key, and its id
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # another type, and its id
        PETER + "\n",
        PETER.replace("c74f20a3", "C74F20A3"),
        f"{PETER}+",
        "",
        "+",
        "++",
        "name+00000000+",
    ],
)
def test_what_is_not_exactly_a_verifier_key_is_refused(text):
    with pytest.raises(AuditBrokenError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u00a0b", "a\u2028", "a\n", "a\0", "\ud800"])
def test_a_key_has_a_name_that_a_note_can_have(name):
    with pytest.raises(ValueError, match="name of a key"):
        VerifierKey(name, SignatureType.ED25519, SOME_KEY)


@pytest.mark.parametrize("public_key", [b"", SOME_KEY[:-1], SOME_KEY + b"\2", bytes(32), b"\1" + bytes(31)])
def test_a_key_has_32_bytes_and_one_owner(public_key):
    with pytest.raises(ValueError, match="public key"):
        VerifierKey("name", SignatureType.ED25519, public_key)


def test_the_same_public_key_has_another_id_for_another_purpose():
    one = VerifierKey("name", SignatureType.ED25519, SOME_KEY)
    other = VerifierKey("name", SignatureType.COSIGNATURE, SOME_KEY)
    assert one.key_id != other.key_id


def test_a_name_has_at_most_255_bytes():
    assert VerifierKey("é" * 127 + "e", SignatureType.ED25519, SOME_KEY).key_id
    with pytest.raises(ValueError, match="name of a key"):
        VerifierKey("é" * 128, SignatureType.ED25519, SOME_KEY)


def test_a_signature_is_over_exactly_the_text():
    key, text = LOG.public, "a\nb\n"
    made = key.sign(text, LOG.sign)
    assert len(made) == 64
    assert key.is_signed(text, made)
    assert not key.is_signed("a\nc\n", made)
    assert not WITNESSES[0].public.is_signed(text, made)
    for wrong in (b"", made[:-1], made + b"\0", bytes(64), bytes([made[0] ^ 1]) + made[1:]):
        assert not key.is_signed(text, wrong)


def test_a_cosignature_is_over_time_and_text():
    """c2sp.org/tlog-cosignature: eight bytes of time, and a signature over two lines more than the text."""
    key, text = WITNESSES[0].public, "example.com/behind-the-sofa\n20852163\nCsUYap…\n"
    made = key.sign(text, WITNESSES[0].sign, 1_679_315_147)
    assert made[:8] == (1_679_315_147).to_bytes(8, "big")
    assert made[8:] == WITNESSES[0].sign(f"cosignature/v1\ntime 1679315147\n{text}".encode())
    assert cosigned_at(made) == 1_679_315_147
    assert key.is_signed(text, made)
    for at in range(72):
        assert not key.is_signed(text, made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :])
    assert not key.is_signed(text, made[:-1])
    assert not key.is_signed(text, made + b"\0")
    assert not key.is_signed(text + "x", made)
    assert not key.is_signed(text, made[8:])


@pytest.mark.parametrize("time", [1 << 63, (1 << 64) - 1])
def test_a_time_from_2_to_the_63_on_is_none(time):
    key, text = WITNESSES[0].public, "text\n"
    made = time.to_bytes(8, "big") + WITNESSES[0].sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    assert not key.is_signed(text, made)
    with pytest.raises(ValueError, match="does not verify"):
        key.sign(text, WITNESSES[0].sign, time)
    assert key.is_signed(text, key.sign(text, WITNESSES[0].sign, (1 << 63) - 1))


def test_a_function_that_signs_with_another_key_is_noticed():
    other = Ed25519PrivateKey.generate().sign
    for key in (LOG, WITNESSES[0]):
        with pytest.raises(ValueError, match="does not verify"):
            key.public.sign("text\n", other)
        with pytest.raises(ValueError, match="does not verify"):
            key.public.sign("text\n", lambda message, sign=key.sign: sign(message)[:63])


def test_texts_that_are_not_base64_are_refused_in_a_verifier_key():
    for material in ("é", "A", "AQ", "AQ==\n", "=", encoded(bytes(33)).lower()):
        with pytest.raises(AuditBrokenError):
            VerifierKey.parse(f"PeterNeumann+{PETERS_ID}+{material}")
    assert encoded(b"\1" + VerifierKey.parse(PETER).public_key) == PETERS_KEY
