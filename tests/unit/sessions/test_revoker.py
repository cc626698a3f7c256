"""The revoker: what is promised is on record and in force, and what failed is promised to nobody."""

import errno
import threading

import pytest

from authz.core.errors import ConfigError
from authz.core.revocation import Kind, PendingRevocation, Revocation, Revoked, encode
from authz.sessions import revocation_file, revoker
from authz.sessions.revocation_file import RevocationFile
from authz.sessions.revoker import Revoker
from tests.support.factories.tokens import ISS, NOW
from tests.support.simulators.idp import PATIENCE_S, SimClock

FULL = OSError(errno.ENOSPC, "No space left on device")


def one(value="s1", until=NOW + 60):
    return Revocation(issuer=ISS, kind=Kind.SID, value=value, until=until)


class Rig:
    """A revoker with its table on a clock that stands still."""

    def __init__(self, path):
        self.clock = SimClock()
        self.revoked = Revoked(b"k" * 32)
        self.revoker = Revoker(self.revoked, path, self.clock)

    def revoke(self, value="s1", until=NOW + 60, subject=""):
        """Whether it was made; waits for its end."""
        attempt, done = PendingRevocation(one(value, until), subject=subject), threading.Event()
        if self.revoker.revoke(attempt, done.set):
            assert done.wait(PATIENCE_S)
        return attempt.made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "revocations.jsonl"


@pytest.fixture
def rig(path):
    rig = Rig(path)
    rig.revoker.start()
    yield rig
    rig.revoker.stop()
    assert not rig.revoker._thread.is_alive()


def on_record(path):
    return [revocation.value for revocation in RevocationFile(path).news().revocations]


def test_a_revocation_is_on_record_and_in_force(rig, path):
    assert rig.revoke("s1")
    assert (on_record(path), rig.revoker.status()) == (["s1"], (1, 0, False))
    assert rig.revoker.problems() == []


def test_the_next_process_begins_with_what_is_on_record(rig, path):
    assert rig.revoke("s1")
    assert Rig(path).revoked.any


def test_what_others_write_is_taken_in(rig, path):
    RevocationFile(path).append([one("theirs")])
    assert len(rig.revoked) == 0
    rig.revoker.refresh()
    assert len(rig.revoked) == 1


def test_many_sign_outs_with_one_token_are_all_made_and_written_once(rig, path):
    other = Rig(path)  # another worker
    other.revoker.start()
    for _ in range(3):
        assert rig.revoke("s1")
        assert other.revoke("s1")
    other.revoker.stop()
    assert (on_record(path), len(rig.revoked), len(other.revoked)) == (["s1"], 1, 1)
    path.write_bytes(b"")
    assert rig.revoke("s1")
    assert on_record(path) == ["s1"], "what is promised is on record, not only in force"


def test_without_a_file_there_is_memory():
    rig = Rig(None)
    assert rig.revoke("s1")
    rig.revoker.refresh()
    assert (len(rig.revoked), rig.revoker.problems()) == (1, [])
    rig.clock.advance(60 + 3600)
    rig.revoker.tidy()
    assert len(rig.revoked) == 0


def test_a_revocation_that_cannot_be_written_is_not_in_force_and_is_reported(rig, path, monkeypatch):
    def full(_descriptor, _data):
        raise FULL

    with monkeypatch.context() as disk:
        disk.setattr(revocation_file.os, "write", full)
        assert not rig.revoke("s1")
    assert (len(rig.revoked), on_record(path)) == (0, [])
    [problem] = rig.revoker.problems()
    assert "sign-out is answered 503: No space left" in problem
    assert rig.revoker.status() == (0, 0, True)
    assert rig.revoke("s1")
    assert rig.revoker.problems() == []


def test_a_bug_in_one_batch_does_not_end_the_writing(rig, path, caplog):
    ended, attempt = threading.Event(), PendingRevocation(one("\udcff"))  # which no file can hold
    assert rig.revoker.revoke(attempt, ended.set)
    assert ended.wait(PATIENCE_S)
    assert not attempt.made
    assert rig.revoke("s1")
    assert on_record(path) == ["s1"]
    assert "writing revocations" in caplog.text


def test_a_vanished_file_is_reported_and_known_revocations_stay(rig, path):
    assert rig.revoke("s1")
    path.unlink()
    rig.revoker.refresh()
    [problem] = rig.revoker.problems()
    assert "what was read before stays" in problem
    assert len(rig.revoked) == 1
    assert rig.revoke("s2")
    rig.revoker.refresh()
    assert (rig.revoker.problems(), len(rig.revoked), on_record(path)) == ([], 2, ["s2"])


def test_broken_lines_are_counted_unquoted_and_the_rest_is_in_force(rig, path):
    with path.open("ab") as broken:
        broken.write(b"what is this?\n" + encode(one("good")))
    rig.revoker.refresh()
    [problem] = rig.revoker.problems()
    assert "1 line(s) are not revocations" in problem
    assert "what is this" not in problem
    assert rig.revoker.status() == (1, 1, False)


def test_a_file_that_cannot_be_used_ends_the_start(path):
    path.mkdir()
    with pytest.raises(ConfigError, match="the revocation file cannot be used: it is a folder"):
        Rig(path)


def test_expired_revocations_are_forgotten_and_the_file_is_compacted(rig, path):
    RevocationFile(path).append([one(f"old-{number}") for number in range(100)])
    assert rig.revoke("s1", until=NOW + 9999)
    rig.revoker.tidy()
    assert len(rig.revoked) == 101
    assert len(on_record(path)) == 101
    rig.clock.advance(60 + 3600)
    rig.revoker.tidy()
    assert (len(rig.revoked), on_record(path)) == (1, ["s1"])
    assert rig.revoke("s2")
    assert on_record(path) == ["s1", "s2"]


def test_what_is_over_already_is_not_taken_in(path):
    RevocationFile(path).append([one(until=NOW - 3600)])
    assert not Rig(path).revoked.any


def test_there_is_room_for_so_many_and_no_more(rig, monkeypatch):
    monkeypatch.setattr(revoker, "MOST", 2)
    assert rig.revoke("s1")
    assert rig.revoke("s2")
    assert not rig.revoke("s3")
    assert "no room for more" in rig.revoker.problems()[0]
    assert len(rig.revoked) == 2


def test_so_many_may_wait_and_no_more(path, monkeypatch):
    monkeypatch.setattr(revoker, "_MOST_WAITING", 2)
    rig = Rig(path)  # whose thread does not run yet
    waiting = [PendingRevocation(one(f"s{number}")) for number in range(3)]
    ended = []
    assert [rig.revoker.revoke(attempt, lambda: ended.append(1)) for attempt in waiting] == [True, True, False]
    rig.revoker.start()
    rig.revoker.stop()
    assert ([attempt.made for attempt in waiting], ended) == ([True, True, False], [1, 1])
    assert on_record(path) == ["s0", "s1"]


def test_what_could_not_be_written_takes_nothing_of_a_share(rig, path, monkeypatch):
    monkeypatch.setattr("authz.core.revocation.SHARE", 2)

    def full(_descriptor, _data):
        raise FULL

    with monkeypatch.context() as disk:
        disk.setattr(revocation_file.os, "write", full)
        assert [rig.revoke(f"f{number}", subject="a") for number in range(4)] == [False] * 4
    assert [rig.revoke(f"s{number}", subject="a") for number in range(3)] == [True, True, False]
    assert rig.revoke("s9", subject="b")
    assert on_record(path) == ["s0", "s1", "s9"]


def test_what_found_no_place_to_wait_takes_nothing_of_a_share(path, monkeypatch):
    monkeypatch.setattr("authz.core.revocation.SHARE", 1)
    monkeypatch.setattr(revoker, "_MOST_WAITING", 1)
    rig = Rig(path)  # whose thread does not run yet
    first, second = PendingRevocation(one("s1"), subject="a"), PendingRevocation(one("s2"), subject="b")
    assert [rig.revoker.revoke(attempt, lambda: None) for attempt in (first, second)] == [True, False]
    assert second.refused == "1 revocations wait to be written"
    rig.revoker.start()
    rig.revoker.stop()
    assert first.made
    with_room = Rig(path)
    with_room.revoker._shares = rig.revoker._shares
    with_room.revoker.start()
    assert with_room.revoke("s2", subject="b")
    with_room.revoker.stop()


def test_a_subject_has_its_share_back_once_its_revocation_has_expired(rig, monkeypatch):
    monkeypatch.setattr("authz.core.revocation.SHARE", 1)
    assert [rig.revoke("s1", subject="a"), rig.revoke("s2", subject="a")] == [True, False]
    rig.clock.advance(60 + 3600)
    rig.revoker.tidy()
    assert len(rig.revoker._shares) == 0
    assert rig.revoke("s2", until=NOW + 9999, subject="a")


def test_stopping_does_not_wait_for_a_disk_that_hangs(path, monkeypatch):
    monkeypatch.setattr(revoker, "_MOST_WAITING", 1)
    rig, hangs, goes_on = Rig(path), threading.Event(), threading.Event()

    def hang(_revocations):
        hangs.set()
        goes_on.wait(PATIENCE_S)

    monkeypatch.setattr(rig.revoker._file, "append", hang)
    rig.revoker.start()
    attempts = [PendingRevocation(one("s1")), PendingRevocation(one("s2"))]
    assert rig.revoker.revoke(attempts[0], lambda: None)
    assert hangs.wait(PATIENCE_S)
    assert rig.revoker.revoke(attempts[1], lambda: None), "the queue is full now"
    stopping = threading.Thread(target=rig.revoker.stop, args=(0.05,))
    stopping.start()
    stopping.join(PATIENCE_S / 2)
    ended, made = not stopping.is_alive(), [attempt.made for attempt in attempts]
    goes_on.set()
    assert ended
    assert made == [False, False]
    rig.revoker.stop()
