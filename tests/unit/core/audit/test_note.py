import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import note
from authz.core.audit.keys import SignatureType, VerifierKey
from authz.core.audit.texts import encoded
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG, WITNESSES

# The example of golang.org/x/mod/sumdb/note, with its private key.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETERS_SEED = "810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173"
THINKING = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETERS_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
ENOCHS_LINE = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ="
EXAMPLE = f"{THINKING}\n{PETERS_LINE}\n".encode()

# Other published notes: of c2sp.org/signed-note, and a head of Go's checksum database.
PUBLISHED = {
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k": (
        "This is an example message.\n\n"
        "— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    ),
    "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8": (
        "go.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n"
        "— sum.golang.org "
        "Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n"
    ),
}

SIGNED = note.write("text\n", [LOG.signature("text\n")])
LINE = SIGNED.decode().split("\n")[2]
UNKNOWN = note.Signature("someone.example", b"\0\1\2\3", b"x")


def opened(data, *keys):
    read = note.parse(data)
    return read.text, note.verify(read, keys)


def refused(data, *keys, match=None):
    with pytest.raises(AuditBrokenError, match=match):
        opened(data, *(keys or (LOG.public,)))


def test_the_published_example_is_made_and_verified():
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(PETERS_SEED))
    assert note.write(THINKING, [note.sign(THINKING, PETER, private.sign)]) == EXAMPLE
    text, signed = opened(EXAMPLE, PETER)
    assert (text, list(signed)) == (THINKING, [PETER])


@pytest.mark.parametrize("key", PUBLISHED)
def test_published_notes_verify(key):
    data = PUBLISHED[key].encode()
    text, signed = opened(data, VerifierKey.parse(key))
    assert f"{text}\n".encode() == data[: len(text.encode()) + 1]
    assert list(map(str, signed)) == [key]


def test_signatures_of_unknown_keys_are_ignored():
    data = EXAMPLE + f"{ENOCHS_LINE}\n".encode()
    assert list(opened(data, PETER, LOG.public)[1]) == [PETER]
    assert note.write(THINKING, note.parse(data).signatures) == data
    refused(data, LOG.public, match="no known key")
    with pytest.raises(AuditBrokenError, match="no known key"):
        note.verify(note.parse(data), ())


def test_the_same_name_or_id_alone_is_another_key():
    signature = LOG.signature("text\n")
    for other in (signature._replace(name="other.example"), signature._replace(key_id=b"\0\0\0\0")):
        data = note.write("text\n", [other, signature])
        assert opened(data, LOG.public) == ("text\n", {LOG.public: signature.value})
        refused(note.write("text\n", [other]), match="no known key")


def test_a_wrong_signature_of_a_known_key_spoils_the_note():
    signature = LOG.signature("text\n")
    wrong = signature._replace(value=bytes(64))
    refused(note.write("text\n", [wrong]), match="signature of gate.example/audit/eu-1 is wrong")
    peter = PETER.key_id
    mixed = note.write("text\n", [signature, note.Signature("PeterNeumann", peter, signature.value)])
    assert opened(mixed, LOG.public)
    refused(mixed, LOG.public, PETER, match="PeterNeumann is wrong")


def test_a_known_key_signs_once_an_unknown_one_as_often_as_it_likes():
    signature = LOG.signature("text\n")
    refused(note.write("text\n", [signature, signature]), match="more than once")
    refused(note.write("text\n", [signature, UNKNOWN, signature._replace(value=bytes(64))]), match="more than once")
    assert opened(note.write("text\n", [UNKNOWN, UNKNOWN, signature]), LOG.public)[0] == "text\n"


def test_several_known_keys_are_each_shown_with_their_signature():
    signatures = [LOG.signature("text\n"), *(key.signature("text\n", 5) for key in WITNESSES)]
    known = [LOG.public, *(key.public for key in WITNESSES)]
    text, signed = opened(note.write("text\n", signatures), *known, LOG.public)
    assert text == "text\n"
    assert signed == {key: signature.value for key, signature in zip(known, signatures, strict=True)}


def test_two_known_keys_with_one_name_and_id_are_a_mistake_of_the_caller():
    """Found by trying: of some ten thousand keys with one name, two have the same id of 4 bytes."""
    one, other = (VerifierKey("a", SignatureType.ED25519, number.to_bytes(32, "big")) for number in (65_227, 67_083))
    assert one.key_id == other.key_id
    with pytest.raises(ValueError, match="same name and key id"):
        note.verify(note.parse(SIGNED), (one, other))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], min_codepoint=32)), st.data())
def test_every_text_is_read_back_as_it_was_signed(line, data):
    text = "\n".join([line, *data.draw(st.lists(st.sampled_from(["", "a", LINE, "— "])))]) + "\n"
    signature = LOG.signature(text)
    made = note.write(text, [signature])
    assert opened(made, LOG.public) == (text, {LOG.public: signature.value})
    assert note.parse(made) == note.Note(text, (signature,))


def test_no_flipped_bit_passes():
    for bit in range(len(SIGNED) * 8):
        changed = bytearray(SIGNED)
        changed[bit // 8] ^= 1 << bit % 8
        refused(bytes(changed))


def test_no_cut_or_doubled_byte_passes():
    for at in range(len(SIGNED)):
        refused(SIGNED[:at])
        refused(SIGNED[:at] + SIGNED[at + 1 :])
        if at:
            refused(SIGNED[at:])
            refused(SIGNED[:at] + SIGNED[at - 1 :])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        f"text{LINE}\n".encode(),
        f"text\n{LINE}\n".encode(),
        f"text\n\n{LINE}".encode(),
        f"text\n\n{LINE}\n\n".encode(),
        f"text\n\n{LINE}\nmore\n".encode(),
        f"text\n\nmore\n{LINE}\n".encode(),
        f"text\n\n {LINE}\n".encode(),
        f"text\n\n{LINE} \n".encode(),
        f"text\n\n{LINE.replace('— ', '- ')}\n".encode(),
        f"text\n\n{LINE.replace('— ', '—')}\n".encode(),
        f"text\n\n{LINE.replace('— ', '—  ')}\n".encode(),
        f"text\n\n—\u00a0{LINE[2:]}\n".encode(),
        f"text\r\n\r\n{LINE}\r\n".encode(),
        f"te\tt\n\n{LINE}\n".encode(),
        f"te\0t\n\n{LINE}\n".encode(),
        f"text\n\n{LINE}\n— a\x01b AAAAAAA=\n".encode(),
        f"text\n\n{LINE}\n— a+b AAAAAAA=\n".encode(),
        f"text\n\n{LINE}\n— a\u2003b AAAAAAA=\n".encode(),
        f"text\n\n{LINE}\n— AAAAAAA=\n".encode(),
        f"text\n\n{LINE}\n—  AAAAAAA=\n".encode(),
        f"text\n\n{LINE}\n— name AAAAAA==\n".encode(),  # a key id and no signature
        f"text\n\n{LINE}\n— name \n".encode(),
        f"text\n\n{LINE}\n— name\n".encode(),
        f"text\n\n{LINE}\n— name AAAAAAB=\n".encode(),  # a spare bit
        f"text\n\n{LINE}\n— name AAAAAA\n".encode(),
        f"text\n\n{LINE}\n— name AAAA-_AA\n".encode(),
        b"\xff" + SIGNED,
        SIGNED.replace(b"text", b"te\xc0\x80t"),
        SIGNED.replace(b"text", b"te\xed\xa0\x80t"),
    ],
)
def test_what_is_not_exactly_a_note_is_refused(data):
    with pytest.raises(AuditBrokenError):
        note.parse(data)


def test_a_note_has_a_largest_size_and_most_signatures():
    """Sixteen signatures of the longest kind must be accepted (c2sp.org/signed-note)."""
    long = UNKNOWN._replace(value=bytes(4_900))
    read = note.parse(note.write("text\n", [long] * 64))
    assert len(read.signatures) == note.MOST_SIGNATURES == 64
    refused(SIGNED + f"{UNKNOWN}\n".encode() * 64, match="more than 64 signatures")
    fits = b"x" * (note.MOST_BYTES - len(SIGNED)) + SIGNED
    assert len(note.parse(fits).text) == note.MOST_BYTES - len(SIGNED) + 5
    refused(b"x" + fits, match="more than 524288 bytes")


@pytest.mark.parametrize("text", ["", "text", "a\0b\n", "a\r\n", "text\n\n— n x", "text\n\n— n AAAAAAA="])
def test_only_what_can_be_read_back_is_written(text):
    with pytest.raises(AuditBrokenError):
        note.write(text, [UNKNOWN])


def test_only_signatures_that_can_be_read_back_are_written():
    for wrong in (
        [],
        [UNKNOWN._replace(name="a b")],
        [UNKNOWN._replace(value=b"")],
        [UNKNOWN._replace(key_id=b"\0\1\2")],
    ):
        with pytest.raises(AuditBrokenError):
            note.write("text\n", wrong)
    assert encoded(b"\0\1\2\3x") in str(UNKNOWN)


def test_an_error_repeats_nothing_that_was_read():
    with pytest.raises(AuditBrokenError) as error:
        note.parse(f"text\n\n{LINE}\n— s3cret\u2003name AAAAAAA=\n".encode())
    assert "s3cret" not in str(error.value)
