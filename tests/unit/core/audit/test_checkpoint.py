import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import checkpoint, note
from authz.core.audit.checkpoint import Checkpoint, Trust
from authz.core.audit.hashing import EMPTY_ROOT
from authz.core.audit.keys import SignatureType, VerifierKey
from authz.core.audit.texts import encoded
from authz.core.audit.tiles import LARGEST_SIZE
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import ALONE, BOTH, LOG, ORIGIN, WITNESSES, Key, StoredLog

STORED = StoredLog([b"entry %d" % number for number in range(300)])
ROOT = encoded(bytes(32))
NAMES = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1)


def signed(text, *keys):
    return note.write(text, [key.signature(text, 7) for key in keys])


def refused(data, trust=ALONE, match=None):
    with pytest.raises(AuditBrokenError, match=match):
        checkpoint.verify(data, trust)


def test_the_text_is_that_of_the_specification():
    """The example of c2sp.org/tlog-checkpoint."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    read = Checkpoint.parse(text)
    assert (read.origin, read.size, read.root.hex()[:8]) == ("example.com/behind-the-sofa", 20_852_163, "0ac5186a")
    assert read.text == text


@given(NAMES, st.integers(1, LARGEST_SIZE), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_as_it_was_written(origin, size, root):
    made = Checkpoint(origin, size, root)
    assert Checkpoint.parse(made.text) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"origin\n5\n{ROOT}",
        f"origin\n5\n{ROOT}\nextension\n",
        f"origin\n5\n{ROOT}\n\n",
        "origin\n5\n",
        f"\n5\n{ROOT}\n",
        f"two words\n5\n{ROOT}\n",
        f"a+b\n5\n{ROOT}\n",
        f"origin\r\n5\r\n{ROOT}\r\n",
        f"origin\n05\n{ROOT}\n",
        f"origin\n-5\n{ROOT}\n",
        f"origin\n+5\n{ROOT}\n",
        f"origin\n 5\n{ROOT}\n",
        f"origin\n\n{ROOT}\n",
        f"origin\n\u0665\n{ROOT}\n",
        f"origin\n{1 << 63}\n{ROOT}\n",
        f"origin\n5\n{ROOT[:-1]}\n",
        f"origin\n5\n{ROOT} \n",
        f"origin\n5\n{ROOT[:-2]}B=\n",
        f"origin\n5\n{encoded(bytes(31))}\n",
        f"origin\n5\n{encoded(bytes(33))}\n",
        f"origin\n5\n{bytes(32).hex()}\n",
        f"origin\n0\n{ROOT}\n",  # the root of the empty log is another one
        f"{ROOT}\n5\norigin\n",
    ],
)
def test_every_other_text_is_refused(text):
    with pytest.raises(AuditBrokenError):
        Checkpoint.parse(text)


def test_a_checkpoint_that_no_log_has_cannot_be_made():
    for origin, size, root in (
        ("", 1, bytes(32)),
        ("a\nb", 1, bytes(32)),
        ("a", -1, bytes(32)),
        ("a", 1 << 63, bytes(32)),
        ("a", 1, bytes(31)),
        ("a", 0, bytes(32)),
    ):
        with pytest.raises(ValueError, match="log"):
            Checkpoint(origin, size, root)
    assert Checkpoint("a", LARGEST_SIZE, bytes(32)).size == LARGEST_SIZE
    assert Checkpoint("a", 0, EMPTY_ROOT).text == f"a\n0\n{encoded(EMPTY_ROOT)}\n"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 300])
def test_a_checkpoint_of_the_log_verifies(size):
    read = checkpoint.verify(STORED.checkpoint(size, LOG), ALONE)
    assert read == checkpoint.Verified(Checkpoint(ORIGIN, size, STORED.root(size)), {})


def test_a_checkpoint_counts_with_its_log_and_enough_witnesses():
    for cosigners in (WITNESSES[:2], WITNESSES[1:], WITNESSES):
        read = checkpoint.verify(STORED.checkpoint(300, LOG, *cosigners, time=99), BOTH)
        assert read.cosigned == dict.fromkeys((key.public for key in cosigners), 99)
    refused(STORED.checkpoint(300, LOG), BOTH, match="0 witnesses cosigned the checkpoint, 2 must have")
    refused(STORED.checkpoint(300, LOG, WITNESSES[2]), BOTH, match="1 witnesses")
    refused(STORED.checkpoint(300, *WITNESSES), BOTH, match="not signed by its log")
    refused(STORED.checkpoint(300, LOG, WITNESSES[0], WITNESSES[0]), BOTH, match="more than once")


def test_all_witnesses_may_be_needed():
    every = Trust(log=LOG.public, witnesses=BOTH.witnesses, quorum=3)
    assert len(checkpoint.verify(STORED.checkpoint(300, LOG, *WITNESSES), every).cosigned) == 3
    refused(STORED.checkpoint(300, LOG, *WITNESSES[:2]), every, match="2 witnesses")


def test_a_witness_that_is_not_known_or_has_another_name_or_purpose_does_not_count():
    stranger = Key("witness.example/w9", 99, SignatureType.COSIGNATURE)
    renamed = Key("witness.example/w8", 11, SignatureType.COSIGNATURE)  # the second witness's private key
    plain = Key("witness.example/w1", 11)  # signs the text itself, without a time
    for other in (stranger, renamed, plain):
        refused(STORED.checkpoint(300, LOG, WITNESSES[0], other), BOTH, match="1 witnesses")


def test_a_wrong_cosignature_of_a_known_witness_spoils_the_checkpoint_even_without_a_quorum():
    text = Checkpoint(ORIGIN, 300, STORED.root(300)).text
    wrong = WITNESSES[0].signature("another\n", 7)
    refused(note.write(text, [LOG.signature(text), wrong]), Trust(log=LOG.public, witnesses=(WITNESSES[0].public,)))
    assert checkpoint.verify(note.write(text, [LOG.signature(text), wrong]), ALONE)


def test_a_checkpoint_of_another_log_is_refused():
    """With its own key, and with the same private key: the key's name is the log's."""
    other = Key("other.example/audit/eu-1", 2)
    refused(STORED.checkpoint(300, other, origin=other.public.name), match="no known key")
    refused(STORED.checkpoint(300, LOG, origin=other.public.name), match="of another log")
    renamed = Key("other.example/audit/eu-1", 1)
    refused(STORED.checkpoint(300, renamed, origin=renamed.public.name), match="no known key")


def test_a_log_continues_itself_and_no_other():
    older, newer = (Checkpoint(ORIGIN, size, STORED.root(size)) for size in (200, 300))
    proof = STORED.consistency(200, 300)
    checkpoint.verify_continues(older, newer, proof)
    checkpoint.verify_continues(older, older, ())
    other = Checkpoint("other.example", newer.size, newer.root)
    forked = Checkpoint(ORIGIN, 300, bytes(32))
    for second, match in ((other, "different logs"), (forked, "both roots"), (older, "must be empty")):
        with pytest.raises(AuditBrokenError, match=match):
            checkpoint.verify_continues(older, second, proof)
    with pytest.raises(AuditBrokenError, match="longer"):
        checkpoint.verify_continues(newer, older, proof)


def test_a_signed_text_that_is_no_checkpoint_is_refused():
    refused(signed(f"{ORIGIN}\n300\n{ROOT}\nextension\n", LOG), match="three lines")
    refused(signed(f"{ORIGIN}\n0300\n{ROOT}\n", LOG), match="leading zeros")
    refused(b"", match="not a text")


def test_a_cosignature_is_no_signature_of_a_log():
    """A log's key never signs what a witness's key signs: no checkpoint begins like a cosigned message."""
    text = f"{ORIGIN}\n1\n{ROOT}\n"
    with pytest.raises(AuditBrokenError):
        Checkpoint.parse(f"cosignature/v1\ntime 7\n{text}")
    same = Key("witness.example/w0", 1, SignatureType.COSIGNATURE)
    assert same.public.public_key == LOG.public.public_key
    assert not LOG.public.is_signed(text, same.signature(text, 7).value[8:])


WITNESS = WITNESSES[0].public
SAME_KEY = VerifierKey("else.example", SignatureType.COSIGNATURE, WITNESS.public_key)
LOGS_KEY = VerifierKey("witness.example", SignatureType.COSIGNATURE, LOG.public.public_key)


@pytest.mark.parametrize(
    ("trust", "match"),
    [
        ({"log": WITNESS}, "log's key"),
        ({"log": LOG.public, "witnesses": (LOG.public,)}, "witness's key"),
        ({"log": LOG.public, "witnesses": (WITNESS, WITNESS)}, "same public key"),
        ({"log": LOG.public, "witnesses": (WITNESS, SAME_KEY)}, "same public key"),
        ({"log": LOG.public, "witnesses": (LOGS_KEY,)}, "same public key"),
        ({"log": LOG.public, "witnesses": (WITNESS,), "quorum": 2}, "quorum"),
        ({"log": LOG.public, "quorum": 1}, "quorum"),
        ({"log": LOG.public, "quorum": -1}, "quorum"),
    ],
)
def test_trust_counts_no_one_for_two(trust, match):
    with pytest.raises(ValueError, match=match):
        Trust(**trust)
