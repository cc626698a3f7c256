"""Proofs verify, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit.hashing import EMPTY_ROOT, leaf_hash
from authz.core.audit.verifying import verify_consistency, verify_inclusion
from authz.core.errors import AuditBrokenError
from tests.support.examples import examples
from tests.support.factories.audit_logs import StoredLog

MOST = 700
ENTRIES = [b"entry %d" % number for number in range(MOST)]
LOG = StoredLog(ENTRIES)
ROOTS = [LOG.root(size) for size in range(MOST + 1)]
sizes = st.integers(1, 40) | st.integers(1, MOST)


def inclusion(index, size):
    return {
        "leaf": leaf_hash(ENTRIES[index]),
        "index": index,
        "size": size,
        "root": ROOTS[size],
        "proof": LOG.inclusion(index, size),
    }


def consistency(first, second):
    return {
        "first": first,
        "first_root": ROOTS[first],
        "second": second,
        "second_root": ROOTS[second],
        "proof": LOG.consistency(first, second),
    }


@st.composite
def inclusions(draw):
    size = draw(sizes)
    return inclusion(draw(st.integers(0, size - 1)), size)


@st.composite
def consistencies(draw):
    second = draw(sizes)
    return consistency(draw(st.integers(0, second)), second)


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refused(verify, claim, **changes):
    with pytest.raises(AuditBrokenError):
        verify(**(claim | changes))


def changed_paths(proof, draw):
    """The path with one hash changed, removed, added, given twice or at another place."""
    at = draw(st.integers(0, len(proof)))
    yield (*proof[:at], draw(st.binary(min_size=32, max_size=32)), *proof[at:])
    if proof:
        at = draw(st.integers(0, len(proof) - 1))
        yield (*proof[:at], flipped(proof[at], draw(st.integers(0, 255))), *proof[at + 1 :])
        yield (*proof[:at], *proof[at + 1 :])
        yield (*proof[:at], proof[at], *proof[at:])
        yield (*proof[:at], proof[at][:-1], *proof[at + 1 :])
        yield (*proof[:at], proof[at] + b"\0", *proof[at + 1 :])
    if len(proof) > 1:
        yield tuple(reversed(proof))


def test_every_proof_of_small_logs_verifies():
    for size in range(1, 34):
        for index in range(size):
            verify_inclusion(**inclusion(index, size))
        for first in range(size + 1):
            verify_consistency(**consistency(first, size))
    verify_consistency(**consistency(0, 0))


@examples(200)
@given(inclusions(), st.data())
def test_an_inclusion_proof_proves_one_entry_at_one_place(claim, data):
    verify_inclusion(**claim)
    bit = data.draw(st.integers(0, 255))
    refused(verify_inclusion, claim, leaf=flipped(claim["leaf"], bit))
    refused(verify_inclusion, claim, root=flipped(claim["root"], bit))
    refused(verify_inclusion, claim, leaf=claim["leaf"][:-1])
    refused(verify_inclusion, claim, root=claim["root"] + b"\0")
    for index in {-1, claim["index"] - 1, claim["index"] + 1, claim["size"], data.draw(st.integers(0, MOST))}:
        if index != claim["index"]:
            refused(verify_inclusion, claim, index=index)
    refused(verify_inclusion, claim, size=claim["index"])
    refused(verify_inclusion, claim, size=0)
    for proof in changed_paths(claim["proof"], data.draw):
        refused(verify_inclusion, claim, proof=proof)


@examples(200)
@given(consistencies(), st.data())
def test_a_consistency_proof_proves_one_beginning(claim, data):
    verify_consistency(**claim)
    bit = data.draw(st.integers(0, 255))
    refused(verify_consistency, claim, first_root=flipped(claim["first_root"], bit))
    if claim["first"]:  # every log begins with the empty one
        refused(verify_consistency, claim, second_root=flipped(claim["second_root"], bit))
    refused(verify_consistency, claim, first_root=claim["first_root"][:-1])
    refused(verify_consistency, claim, second_root=claim["second_root"] + b"\0")
    refused(verify_consistency, claim, first=claim["second"] + 1)
    refused(verify_consistency, claim, second=claim["first"] - 1)
    refused(verify_consistency, claim, first=-1)
    for proof in changed_paths(claim["proof"], data.draw):
        refused(verify_consistency, claim, proof=proof)


@examples(200)
@given(consistencies(), sizes, sizes)
def test_a_proof_is_of_no_other_two_checkpoints(claim, one, other):
    """Of the same log: with the sizes and roots of two other checkpoints, the proof does not verify."""
    first, second = sorted((one, other))
    if claim["proof"] != LOG.consistency(first, second):
        refused(verify_consistency, consistency(first, second), proof=claim["proof"])


def test_a_size_belongs_to_a_root_by_the_checkpoint_not_by_the_proof():
    """Not a promise, a limit (module docstring): this is why size and root are taken from one signed checkpoint."""
    claim = inclusion(0, 5)
    verify_inclusion(**(claim | {"size": 8}))
    verify_consistency(**(consistency(2, 3) | {"second": 4}))


def test_another_history_is_not_consistent():
    """Changed, removed, swapped or inserted entries: no proof of the other log leads to the root that was seen."""
    seen = ROOTS[600]
    for entries in (
        [*ENTRIES[:300], b"changed", *ENTRIES[301:]],
        [*ENTRIES[:300], *ENTRIES[301:]],
        [*ENTRIES[:300], ENTRIES[301], ENTRIES[300], *ENTRIES[302:]],
        [*ENTRIES[:300], b"inserted", *ENTRIES[300:]],
    ):
        other = StoredLog(entries)
        claim = {"first": 600, "first_root": seen, "second": len(entries), "second_root": other.root(len(entries))}
        refused(verify_consistency, claim, proof=other.consistency(600, len(entries)))
        refused(verify_consistency, claim, proof=LOG.consistency(600, MOST))


def test_a_cut_log_is_not_consistent_with_what_was_seen():
    refused(verify_consistency, consistency(600, 700), second=500, second_root=ROOTS[500])


def test_no_byte_moves_from_one_hash_to_its_neighbour():
    """The two would be hashed as the same 64 bytes."""
    claim = inclusion(0, 7)
    leaf, sibling, *above = claim["leaf"], *claim["proof"]
    refused(verify_inclusion, claim, leaf=leaf + sibling[:1], proof=(sibling[1:], *above))
    claim = inclusion(1, 7)
    leaf, sibling, *above = claim["leaf"], *claim["proof"]
    refused(verify_inclusion, claim, leaf=leaf[1:], proof=(sibling + leaf[:1], *above))
    claim = consistency(3, 7)
    first, second, *above = claim["proof"]
    refused(verify_consistency, claim, proof=(first + second[:1], second[1:], *above))
    refused(verify_consistency, claim, proof=(first[:-1], first[-1:] + second, *above))


def test_the_empty_log_begins_every_log_and_has_one_root():
    verify_consistency(first=0, first_root=EMPTY_ROOT, second=0, second_root=EMPTY_ROOT, proof=())
    refused(verify_consistency, consistency(0, 0), second_root=ROOTS[1], first_root=ROOTS[1])
    refused(verify_consistency, consistency(0, 5), first_root=ROOTS[1])
    refused(verify_consistency, consistency(0, 5), proof=(ROOTS[1],))


@pytest.mark.parametrize("index", range(7))
def test_an_entry_cannot_pass_for_a_node_or_a_node_for_an_entry(index):
    """The bytes of a node, logged as an entry, have another hash than the node."""
    sibling, *above = LOG.inclusion(index, 7)
    leaf = leaf_hash(ENTRIES[index])
    node = leaf + sibling if index % 2 == 0 else sibling + leaf
    refused(verify_inclusion, inclusion(index, 7), leaf=leaf_hash(node), index=index // 2, size=4, proof=tuple(above))
