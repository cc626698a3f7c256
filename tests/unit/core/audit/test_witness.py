"""What is sent to a witness, and what is taken from its answer."""

import hashlib

import pytest

from authz.core.audit import note, witness
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.keys import cosigned_at
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG, ORIGIN, WITNESSES, StoredLog

STORED = StoredLog([b'{"id":"%d"}' % number for number in range(20)])
HEAD = Checkpoint(ORIGIN, 20, STORED.root(20))
ONE = WITNESSES[0]


def cosignature(key=ONE, text=HEAD.text, time=1_700_000_000):
    return f"{key.signature(text, time)}\n".encode()


def test_a_request_is_the_old_size_the_proof_an_empty_line_and_the_checkpoint():
    """The example of c2sp.org/tlog-witness, in its form."""
    signed = STORED.checkpoint(20, LOG)
    lines = witness.add_checkpoint(13, STORED.consistency(13, 20), signed).decode().split("\n")
    proof = STORED.consistency(13, 20)
    assert lines[0] == "old 13"
    assert len(lines[1 : 1 + len(proof)]) == len(proof) > 2
    assert lines[1 + len(proof)] == ""
    assert "\n".join(lines[2 + len(proof) :]).encode() == signed
    assert witness.add_checkpoint(0, (), signed) == b"old 0\n\n" + signed


def test_a_proof_that_no_witness_reads_is_not_sent():
    assert witness.add_checkpoint(1, (bytes(32),) * 63, b"").count(b"\n") == 65
    with pytest.raises(ValueError, match="more than 63"):
        witness.add_checkpoint(1, (bytes(32),) * 64, b"")


@pytest.mark.parametrize("size", [0, 1, 20852163, (1 << 63) - 1])
def test_a_size_is_a_decimal_number_and_a_newline(size):
    assert witness.read_size(b"%d\n" % size) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1",
        b"\n",
        b"01\n",
        b"-1\n",
        b"+1\n",
        b" 1\n",
        b"1\r\n",
        b"1\n\n",
        b"1e3\n",
        b"\xb2\n",
        b"9" * 19 + b"\n",
        b"1" * 21,
    ],
)
def test_what_is_no_size(data):
    with pytest.raises(AuditBrokenError):
        witness.read_size(data)


def test_the_cosignature_is_found_among_those_of_unknown_keys():
    data = cosignature(WITNESSES[1]) + cosignature() + cosignature(WITNESSES[2])
    found = witness.read_cosignature(data, HEAD, ONE.public)
    assert cosigned_at(found.value) == 1_700_000_000
    assert note.verify(note.Note(HEAD.text, (found,)), [ONE.public])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"no line\n",
        cosignature().removesuffix(b"\n"),
        cosignature() + b"\n",
        cosignature() * 2,
        cosignature(WITNESSES[1]),
        cosignature(text=Checkpoint(ORIGIN, 20, bytes(32)).text),
        cosignature(text=Checkpoint(ORIGIN, 19, STORED.root(19)).text),
        cosignature(text=Checkpoint(f"{ORIGIN}2", 20, STORED.root(20)).text),
        cosignature(time=0),
        f"{LOG.signature(HEAD.text)}\n".encode(),
        cosignature().replace(b"\xe2\x80\x94", b"-"),
        b"\n" + cosignature(text=HEAD.text + "\n"),
        b"more\n\n" + cosignature(text=HEAD.text + "\nmore\n"),
        b"\xff\n",
    ],
)
def test_what_is_no_cosignature_of_this_checkpoint(data):
    with pytest.raises(AuditBrokenError):
        witness.read_cosignature(data, HEAD, ONE.public)


def test_every_bit_of_a_cosignature_counts():
    data = cosignature()
    begin = data.index(b" ", 4) + 1
    for at in range(begin, len(data) - 3):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(AuditBrokenError):
                witness.read_cosignature(bytes(changed), HEAD, ONE.public)


def test_where_a_witness_shows_the_checkpoint_of_a_log():
    assert witness.checkpoint_path(ORIGIN) == f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
