"""The grants file: what is recorded is on the disk, what others wrote is read, and no damage makes access."""

import errno
import os

import pytest

from authz.core.grants import Ledger, State, encode
from authz.sessions.grants_file import GrantsFile
from authz.system import shared_file
from tests.support.factories.grants import DAY, HOUR, approved, ended, requested
from tests.support.factories.tokens import NOW


@pytest.fixture
def path(tmp_path):
    return tmp_path / "grants.jsonl"


def record(file, *events):
    file.record(lambda _ledger: events)


def states(file):
    return {grant.id: grant.state.value for grant in file.ledger}


def fresh(path):
    file = GrantsFile(path)
    file.refresh()
    return file


def test_what_is_recorded_is_in_the_file_and_in_the_ledger(path):
    file = GrantsFile(path)
    record(file, requested())
    assert path.read_bytes() == encode(requested())
    assert path.stat().st_mode & 0o777 == 0o600
    assert states(file) == states(fresh(path)) == {"g0000001": "waiting"}
    assert (file.lines, file.broken) == (1, 0)


def test_it_is_on_the_disk_before_it_is_in_the_ledger(path, monkeypatch):
    file = GrantsFile(path)
    record(file)
    synced = []
    fsync = os.fsync

    def seen(descriptor):
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_size, len(file.ledger)))

    monkeypatch.setattr(shared_file.os, "fsync", seen)
    record(file, requested())
    assert synced == [(len(encode(requested())), 0)]
    assert len(file.ledger) == 1


def test_the_decision_is_made_with_what_others_wrote_just_before(path):
    one, two = GrantsFile(path), GrantsFile(path)
    record(one, requested())
    seen = []

    def decide(ledger):
        seen.extend(grant.state for grant in ledger)
        return (approved(),)

    two.record(decide)
    assert seen == [State.WAITING]
    one.refresh()
    assert states(one) == {"g0000001": "active"}
    two.refresh()
    assert (one.lines, two.lines) == (2, 2)


def test_events_of_others_are_announced_once_and_own_ones_not(path):
    seen = []
    one, two = GrantsFile(path, saw=seen.append), GrantsFile(path)
    record(one, requested())
    record(two, approved())
    one.refresh()
    one.refresh()
    assert seen == [approved()]


def test_a_decision_that_is_refused_writes_nothing(path):
    file = GrantsFile(path)

    def refuse(_ledger):
        raise LookupError

    with pytest.raises(LookupError):
        file.record(refuse)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_what_cannot_be_written_is_not_in_force(path, monkeypatch, fails):
    file = GrantsFile(path)
    record(file, requested())
    write = os.write

    def full(descriptor, *data):
        if data and data[0]:
            write(descriptor, data[0][:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(shared_file.os, fails, full)
        with pytest.raises(OSError, match="No space"):
            record(file, approved())
    assert states(file) == states(fresh(path)) == {"g0000001": "waiting"}
    assert path.read_bytes() == encode(requested())
    record(file, approved())
    assert states(file) == states(fresh(path)) == {"g0000001": "active"}


def test_a_file_that_is_full_takes_nothing_more(path):
    file = GrantsFile(path, most_bytes=len(encode(requested())) + 10)
    record(file, requested())
    with pytest.raises(OSError, match="full"):
        record(file, approved())
    assert states(file) == {"g0000001": "waiting"}


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_half_a_line_makes_no_access_and_is_closed_by_the_next_one(path, cut):
    path.write_bytes(encode(requested()) + encode(approved())[:-cut])
    file = fresh(path)
    assert states(file) == {"g0000001": "waiting"}, "not even without its newline alone: it may be taken back"
    assert file.broken == (cut > 1)
    record(file, requested("g0000002"))
    assert states(fresh(path)) == {"g0000001": "active" if cut == 1 else "waiting", "g0000002": "waiting"}


def test_an_end_without_its_newline_counts(path):
    path.write_bytes(encode(requested(open=True)) + encode(ended())[:-1])
    seen = []
    file = GrantsFile(path, saw=seen.append)
    file.refresh()
    file.refresh()
    assert states(file) == {"g0000001": "ended"}
    assert seen == [requested(open=True), ended()]


def test_broken_lines_stay_and_harm_no_others(path):
    path.write_bytes(b"nonsense\n\n" + encode(requested()) + b'{"event":"approve"}\n\xff\n' + encode(approved()))
    file = fresh(path)
    assert (states(file), file.lines, file.broken) == ({"g0000001": "active"}, 5, 3)
    record(file, ended())
    file.compact(NOW + 2 * DAY)
    file.refresh()
    assert path.read_bytes() == b'nonsense\n{"event":"approve"}\n\xff\n'


def test_grants_whose_lines_have_gone_are_held_no_more_and_ends_stay(path):
    file = GrantsFile(path)
    record(file, requested(), approved(), requested("g0000002"), approved("g0000002"), ended("g0000002"))
    path.write_bytes(encode(requested("g0000002")) + encode(approved("g0000002")))
    file.refresh()
    assert states(file) == {"g0000002": "ended"}
    path.write_bytes(encode(requested()) + encode(approved()))
    file.refresh()
    assert states(file) == {"g0000001": "active"}


@pytest.mark.parametrize("change", ["gone", "folder", "large", "link"])
def test_a_file_that_cannot_be_read_is_reported(path, change, tmp_path):
    file = GrantsFile(path, most_bytes=1000)
    record(file, requested())
    data = path.read_bytes()
    path.unlink()
    if change == "folder":
        path.mkdir()
    elif change == "large":
        path.write_bytes(data * 100)
    elif change == "link":
        (tmp_path / "other").write_bytes(data)
        path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match=r"."):
        file.refresh()


def test_compaction_keeps_what_matters_in_one_step(path):
    file = GrantsFile(path)
    record(file, *(requested(f"g00000{number:02}", seconds=60, open=True, at=NOW) for number in range(10)))
    record(file, *(ended(f"g00000{number:02}", at=NOW + 60) for number in range(10)))
    record(file, requested("g0000098"), approved("g0000098"), requested("g0000099", at=NOW + HOUR))
    late = NOW + 60 + DAY
    other = fresh(path)
    inode = path.stat().st_ino
    file.compact(late)
    assert path.stat().st_ino != inode
    kept = (requested("g0000098"), approved("g0000098"), requested("g0000099", at=NOW + HOUR))
    assert path.read_bytes() == b"".join(map(encode, kept))
    for one in (file, other, fresh(path)):
        one.refresh()
        assert states(one)["g0000099"] == "waiting"
    record(other, requested("g0000097", at=late))
    file.refresh()
    assert states(file)["g0000097"] == "waiting"


def test_compaction_keeps_a_line_that_has_no_newline_yet(path):
    path.write_bytes(encode(requested()) + encode(approved())[:-1])
    file = fresh(path)
    file.compact(NOW + 60)
    assert states(fresh(path)) == {"g0000001": "active"}


def test_a_compaction_that_fails_leaves_the_file(path, monkeypatch):
    from authz.sessions import grants_file

    file = GrantsFile(path)
    record(file, requested())

    def full(*_arguments, **_named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(grants_file, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        file.compact(NOW)
    assert path.read_bytes() == encode(requested())


def test_an_empty_ledger_for_an_empty_file(path):
    path.write_bytes(b"")
    assert len(fresh(path).ledger) == len(Ledger()) == 0


def test_what_no_process_could_read_back_is_not_recorded(path):
    file = GrantsFile(path)
    record(file, requested(), approved())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no line"):
        record(file, ended(by="b" * 1025))
    assert path.read_bytes() == before
    assert states(file) == states(fresh(path)) == {"g0000001": "active"}
