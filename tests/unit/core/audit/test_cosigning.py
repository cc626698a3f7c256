"""Which checkpoint witnesses are asked about, who is asked when, and what has a quorum. Time is a number."""

import pytest

from authz.core.audit import checkpoint
from authz.core.audit.checkpoint import Trust
from authz.core.audit.cosigning import Cosigning, Head, Pace, Result
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG, WITNESSES, StoredLog

STORED = StoredLog([b'{"id":"%d"}' % number for number in range(40)])
KEYS = [key.public for key in WITNESSES]
A, B, C = KEYS
PACE = Pace(every=10, patience=60, first=1, longest=8)
TWO = Trust(log=LOG.public, witnesses=tuple(KEYS), quorum=2)


def head(size):
    return Head.parse(STORED.checkpoint(size, LOG))


def begun(size=10, trust=TWO):
    made = Cosigning(trust, PACE)
    made.offer(head(size))
    return made


def cosign(cosigning, key, now, time=1_700_000_000):
    """The witness cosigns what it is asked about; the note, if there is a quorum."""
    asked = cosigning.due(key, now)
    (signer,) = [one for one in WITNESSES if one.public == key]
    return cosigning.cosigned(key, asked, signer.signature(asked.checkpoint.text, time), now)


def size_of(note):
    return checkpoint.verify(note, TWO).checkpoint.size


def test_nothing_is_asked_before_there_is_a_checkpoint():
    assert Cosigning(TWO, PACE).due(A, 0) is None


def test_a_note_has_the_logs_signatures_and_those_of_a_quorum():
    cosigning = begun()
    assert cosign(cosigning, C, 0) is None
    made = cosign(cosigning, A, 1)
    assert checkpoint.verify(made, TWO).cosigned.keys() == {A, C}
    assert [one.name for one in checkpoint.note.parse(made).signatures] == [LOG.public.name, A.name, C.name]
    more = cosign(cosigning, B, 2)
    assert checkpoint.verify(more, TWO).cosigned.keys() == {A, B, C}, "one that is late is added"


def test_a_witness_is_asked_once_about_a_checkpoint():
    cosigning = begun()
    cosign(cosigning, A, 0)
    assert cosigning.due(A, 100) is None
    assert cosigning.due(B, 100).checkpoint.size == 10


def test_all_are_asked_about_the_same_checkpoint_though_there_are_newer_ones():
    cosigning = begun(10)
    cosign(cosigning, A, 0)
    cosigning.offer(head(20))
    assert cosigning.due(B, 59).checkpoint.size == 10
    assert cosigning.due(A, 59) is None
    assert size_of(cosign(cosigning, B, 59)) == 10
    assert cosigning.due(A, 59.5).checkpoint.size == 20, "it has waited long enough"


def test_a_checkpoint_with_its_quorum_makes_room_for_the_next_one_after_a_while():
    cosigning = begun(10)
    cosign(cosigning, A, 0)
    cosign(cosigning, B, 1)
    cosigning.offer(head(20))
    assert cosigning.due(A, 9.9) is None
    assert cosigning.due(A, 10).checkpoint.size == 20


def test_a_checkpoint_without_a_quorum_makes_room_when_it_has_waited_long_enough():
    """One of three is there: it still learns the newest tree."""
    cosigning = begun(10)
    cosign(cosigning, A, 0)
    cosigning.offer(head(20))
    assert cosigning.due(A, 59.9) is None
    assert cosigning.due(A, 60).checkpoint.size == 20


def test_what_comes_for_a_checkpoint_that_is_not_asked_about_any_more_makes_no_quorum():
    cosigning = begun(10)
    late = cosigning.due(B, 0)
    cosign(cosigning, A, 0)
    cosigning.offer(head(20))
    cosign(cosigning, A, 60)
    assert cosigning.cosigned(B, late, WITNESSES[1].signature(late.checkpoint.text, 1), 61) is None
    assert cosigning.asked[B].known == 10
    assert size_of(cosign(cosigning, B, 61)) == 20


def test_a_witness_that_fails_is_asked_again_ever_later_and_the_others_are_not_held_up():
    cosigning = begun(10)
    times, now = [], 0.0
    for _ in range(6):
        cosigning.failed(A, Result.UNREACHABLE, "cannot connect", now)
        assert cosigning.due(A, cosigning.asked[A].due - 0.01) is None
        times.append(cosigning.asked[A].due - now)
        now = cosigning.asked[A].due
    assert times == [1, 2, 4, 8, 8, 8]
    assert cosigning.due(B, 0).checkpoint.size == 10
    asked = cosigning.asked[A]
    assert (asked.last, asked.problem, asked.counts) == (Result.UNREACHABLE, "cannot connect", {"unreachable": 6})
    cosign(cosigning, A, now)
    assert (asked.last, asked.problem, asked.known, asked.cosigned_at) == (Result.COSIGNED, "", 10, 1_700_000_000)
    cosigning.failed(A, Result.REFUSED, "no", now)
    assert asked.due - now == 1, "it begins anew"


def test_a_conflict_is_not_forgotten_before_the_witness_cosigns():
    """Someone who rolled the log back could keep the witness from answering."""
    cosigning = begun(10)
    asked = cosigning.asked[A]
    for result, expected in ((Result.REFUSED, False), (Result.CONFLICT, True), (Result.UNREACHABLE, True)):
        cosigning.failed(A, result, "no", 0)
        assert asked.in_conflict is expected
    cosign(cosigning, A, 100)
    assert not asked.in_conflict


def test_the_end_does_not_wait_for_its_turn_and_is_settled_by_a_quorum():
    cosigning = begun(10)
    cosign(cosigning, A, 0)
    cosign(cosigning, B, 0)
    assert cosigning.is_settled(0)
    cosigning.offer(head(20))
    assert not cosigning.is_settled(0)
    assert cosigning.due(A, 1) is None
    cosigning.is_over = True
    assert not cosigning.is_settled(1)
    cosign(cosigning, A, 1)
    assert not cosigning.is_settled(1)
    assert size_of(cosign(cosigning, C, 1)) == 20
    assert cosigning.is_settled(1)


def test_the_end_waits_for_no_witness_that_fails():
    cosigning = begun(10)
    cosign(cosigning, A, 0)
    for key in (B, C):
        cosigning.failed(key, Result.UNREACHABLE, "cannot connect", 0)
    assert cosigning.is_settled(0.5)
    assert not cosigning.is_settled(1.5), "it can be asked again by now"


def test_a_quorum_of_one_is_one():
    cosigning = begun(10, Trust(log=LOG.public, witnesses=(A,), quorum=1))
    assert cosign(cosigning, A, 0)


def test_only_a_checkpoint_can_be_offered():
    with pytest.raises(AuditBrokenError):
        Head.parse(b"")
