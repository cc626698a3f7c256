"""The revocation file: what is promised stays, what is broken spoils nothing else, and several may write."""

import errno
import fcntl
import json
import multiprocessing
import os
import threading

import pytest

from authz.core.revocation import Kind, Revocation, encode
from authz.sessions import revocation_file
from authz.sessions.revocation_file import RevocationFile
from authz.system import shared_file
from tests.support.factories.tokens import ISS, NOW

HOUR = 3600


def one(value="s1", *, until=NOW + 60, kind=Kind.SID, **fields):
    return Revocation(issuer=ISS, kind=kind, value=value, until=until, **fields)


def values(news):
    return [revocation.value for revocation in news.revocations]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "revocations.jsonl"


@pytest.fixture
def file(path):
    made = RevocationFile(path)
    made.append([])
    return made


def test_a_new_file_is_for_its_owner_alone(file, path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b""


def test_what_is_appended_is_read_once(file, path):
    file.append([one("a"), one("b")])
    assert values(file.news()) == ["a", "b"]
    file.append([one("c")])
    news = file.news()
    assert (values(news), news.lines, news.broken) == (["c"], 3, 0)
    assert values(RevocationFile(path).news()) == ["a", "b", "c"]


def test_it_is_on_the_disk_before_append_returns(file, monkeypatch):
    synced = []
    monkeypatch.setattr(revocation_file.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    file.append([one("a")])
    assert synced == [len(encode(one("a")))]


def test_the_folder_of_a_new_file_is_synced_too(path, monkeypatch):
    synced = []
    monkeypatch.setattr(revocation_file.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    RevocationFile(path).append([one("a")])
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


@pytest.mark.parametrize("when", ["in the middle of a line", "at the sync"])
def test_what_could_not_be_written_leaves_no_trace(file, path, monkeypatch, when):
    file.append([one("a")])
    full = OSError(errno.ENOSPC, "No space left on device")
    write = os.write

    def half(descriptor, data):
        if len(data) < 30:
            raise full
        return write(descriptor, data[:30])

    def unsynced(_descriptor):
        raise full

    with monkeypatch.context() as disk:
        disk.setattr(revocation_file.os, *(("write", half) if "line" in when else ("fsync", unsynced)))
        with pytest.raises(OSError, match="No space left"):
            file.append([one("b")])
    assert path.read_bytes() == encode(one("a"))
    file.append([one("c")])
    assert values(file.news()) == ["a", "c"]


def test_half_a_line_of_a_crash_spoils_no_other(file, path):
    file.append([one("a")])
    with path.open("ab") as crashed:
        crashed.write(encode(one("torn"))[:25])
    news = file.news()
    assert (values(news), news.broken) == (["a"], 1)
    file.append([one("b")])
    news = file.news()
    assert (values(news), news.lines, news.broken) == (["b"], 3, 1)


def test_a_line_without_its_newline_counts_already(file, path):
    path.write_bytes(encode(one("by hand")).rstrip())
    assert values(file.news()) == ["by hand"]
    file.append([one("b")])
    news = file.news()
    assert (values(news), news.broken) == (["by hand", "b"], 0)


def test_broken_and_forged_lines_take_nothing_else_out_of_force(file, path):
    forged = json.dumps({"issuer": ISS, "sid": "x", "until": "never"}).encode()
    lines = [encode(one("a")), b"\xff\xfe\n", forged + b"\n", b"\n", b"\0" * 100 + b"\n", encode(one("b"))]
    path.write_bytes(b"".join(lines))
    news = file.news()
    assert (values(news), news.broken) == (["a", "b"], 3)


@pytest.mark.parametrize("changed", ["another file", "shorter", "in place"])
def test_a_file_that_was_changed_otherwise_is_read_as_a_whole(file, path, changed):
    file.append([one("a"), one("b")])
    assert values(file.news()) == ["a", "b"]
    new = encode(one("c")) + (encode(one("d")) if changed != "shorter" else b"")
    if changed == "another file":
        other = path.with_name("other")
        other.write_bytes(new)
        other.replace(path)
    else:
        path.write_bytes(new)
    assert values(file.news()) == (["c"] if changed == "shorter" else ["c", "d"])


def test_a_huge_file_is_neither_read_nor_written(path):
    file = RevocationFile(path, most_bytes=200)
    file.append([one("a")])
    with pytest.raises(OSError, match="full"):
        file.append([one("b" * 150)])
    assert values(file.news()) == ["a"]
    with path.open("ab") as huge:
        huge.truncate(201)
    for forbidden in (file.news, lambda: file.compact(NOW), lambda: file.append([one("b")])):
        with pytest.raises(OSError, match=r"larger than|full"):
            forbidden()


def test_compaction_keeps_revocations_in_force_and_unreadable_lines(file, path):
    subject = [one("alice", kind=Kind.SUBJECT, before=before, until=NOW) for before in (5, 9, 7)]
    file.append([one("over", until=NOW - HOUR), one("a", until=NOW), one("a", until=NOW + 5), one("a"), *subject])
    with path.open("ab") as broken:
        broken.write(b"what is this?\n")
    before = path.stat().st_ino
    file.compact(NOW)
    news = file.news()
    assert (values(news), news.broken, news.lines) == (["a", "alice"], 1, 3)
    assert [revocation.until for revocation in news.revocations] == [NOW + 60, NOW]
    assert news.revocations[1].before == 9
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_compaction_that_fails_leaves_the_old_file(file, path, monkeypatch):
    file.append([one("a")])

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(revocation_file.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.compact(NOW)
    assert values(RevocationFile(path).news()) == ["a"]
    assert list(path.parent.iterdir()) == [path]


def test_who_waited_for_a_file_that_was_replaced_writes_into_the_new_one(file, path):
    file.append([one("a")])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=file.append, args=([one("b")],))
        writer.start()
        other = path.with_name("other")
        other.write_bytes(encode(one("c")))
        other.replace(path)
    writer.join(10)
    assert values(RevocationFile(path).news()) == ["c", "b"]


def test_a_lock_that_is_never_given_back_is_an_error_for_writers_and_none_for_readers(file, path, monkeypatch):
    monkeypatch.setattr(shared_file, "_LOCK_S", 0.02)
    file.append([one("a")])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process"):
            file.append([one("b")])
        assert values(file.news()) == ["a"]


def test_append_makes_a_missing_file_again(file, path):
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.news()
    file.append([one("a")])
    assert values(file.news()) == ["a"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_a_symbolic_link_is_neither_followed_nor_given_away(path, tmp_path, monkeypatch, there, begun):
    given = []
    monkeypatch.setattr(revocation_file.os, "geteuid", lambda: 0)
    monkeypatch.setattr(revocation_file.os, "fchown", lambda *arguments: given.append(arguments))
    victim = tmp_path / "elsewhere" / "victim"
    victim.parent.mkdir()
    if there:
        victim.write_bytes(b"")
    file = RevocationFile(path) if begun else None
    path.symlink_to(victim)
    file = file or RevocationFile(path)
    for forbidden in (lambda: file.append([one("a")]), lambda: file.compact(NOW), file.news):
        with pytest.raises(OSError, match=f"{path} is a symbolic link"):
            forbidden()
    assert given == []
    assert victim.exists() == there
    assert not there or victim.read_bytes() == b""


def test_only_a_file_that_we_made_is_given_to_the_owner_of_the_folder(path, monkeypatch):
    """Somebody else makes it at the last moment before we open it."""
    given = []
    monkeypatch.setattr(revocation_file.os, "geteuid", lambda: 0)
    monkeypatch.setattr(revocation_file.os, "fchown", lambda _descriptor, *owner: given.append(owner))
    really = os.open

    def late(name, *arguments, **others):
        if not path.exists() and str(name) == str(path):
            path.write_bytes(b"")
        return really(name, *arguments, **others)

    with monkeypatch.context() as race:
        race.setattr(revocation_file.os, "open", late)
        RevocationFile(path).append([one("a")])
    assert given == []
    path.unlink()
    RevocationFile(path).append([one("a")])
    assert given == [(path.parent.stat().st_uid, path.parent.stat().st_gid)]


def test_a_link_that_takes_the_name_of_a_locked_file_is_not_in_place(file, path, monkeypatch):
    lock = fcntl.flock

    def swapped(descriptor, how):
        if not path.is_symlink():
            path.rename(path.with_name("moved"))
            path.symlink_to("moved")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", swapped)
    with pytest.raises(OSError, match="is a symbolic link"):
        file.append([one("a")])
    assert path.read_bytes() == b""


def test_a_file_with_a_second_name_is_not_written(file, path):
    victim = path.with_name("victim")
    os.link(path, victim)
    for forbidden in (lambda: file.append([one("a")]), lambda: file.compact(NOW)):
        with pytest.raises(OSError, match=f"{path} has another name too"):
            forbidden()
    assert victim.read_bytes() == b""


def test_a_fifo_is_refused_as_the_file_without_waiting(path):
    os.mkfifo(path)
    file = RevocationFile(path)
    for forbidden in (lambda: file.append([one("a")]), file.news):
        with pytest.raises(OSError, match="it is a FIFO, not a regular file"):
            forbidden()


def test_a_draft_that_is_a_second_name_of_a_file_leaves_that_file_alone(file, path):
    file.append([one("a")])
    victim = path.with_name("victim")
    victim.write_text("precious")
    os.link(victim, path.with_name(f".{path.name}.new"))
    file.compact(NOW)
    assert victim.read_text() == "precious"
    assert values(file.news()) == ["a"]


@pytest.mark.parametrize("where", ["everywhere", "in one line of the same length"])
def test_a_longer_file_with_a_known_inode_number_is_read_as_a_whole(file, path, where):
    """As after two compactions between two reads, or after an editor."""
    note = "authz revoke, 2026-11-22T07:54:00Z"
    file.append([one("a", note=note), one("b", note=note)])
    assert values(file.news()) == ["a", "b"]
    new = ["c" * 9, "d", "e"] if where == "everywhere" else ["a", "d", "e"]
    path.write_bytes(b"".join(encode(one(value, note=note)) for value in new))  # in place: the inode stays
    news = file.news()
    assert (values(news), news.lines) == (new, 3)
    file.append([one("f")])
    assert values(file.news()) == ["f"]


def test_what_is_on_record_is_not_written_again(file, path):
    file.append([one("a"), one("a"), one("b")])
    assert path.read_bytes() == encode(one("a")) + encode(one("b"))
    before = path.read_bytes()
    RevocationFile(path).append([one("b"), one("a", until=NOW + 59), one("a", note="by somebody else")])
    assert path.read_bytes() == before
    for other in (one("a", until=NOW + 61), one("a", kind=Kind.JTI), one("a", kind=Kind.SUBJECT, before=5)):
        file.append([other])
        before += encode(other)
        assert path.read_bytes() == before
    file.append([one("a", kind=Kind.SUBJECT, before=4), one("a", kind=Kind.SUBJECT, before=6)])
    assert path.read_bytes() == before + encode(one("a", kind=Kind.SUBJECT, before=6))


@pytest.mark.parametrize("left", [b"", encode(one("a"))[:-5], b"x" + encode(one("a"))])
def test_what_was_on_record_once_is_written_again(file, path, left):
    file.append([one("a")])
    path.write_bytes(left)
    file.append([one("a")])
    assert values(RevocationFile(path).news()) == ["a"]


def test_a_line_that_is_cut_off_where_a_writer_begins_to_look_says_nothing(file, path, monkeypatch):
    line = encode(one("a"))
    path.write_bytes(b"x" + line)
    monkeypatch.setattr(revocation_file, "_RECENT_BYTES", len(line))
    file.append([one("a")])
    assert values(RevocationFile(path).news()) == ["a"]


def test_what_two_lines_say_only_together_is_written(file, path):
    subject = {"kind": Kind.SUBJECT}
    file.append([one("alice", before=9, until=NOW + 60, **subject), one("alice", before=7, until=NOW + 99, **subject)])
    before = path.read_bytes()
    file.append([one("alice", before=8, until=NOW + 90, **subject)])  # outlives the first
    assert path.read_bytes() == before + encode(one("alice", before=8, until=NOW + 90, **subject))


def test_compaction_shortens_nothing(file):
    subject = {"kind": Kind.SUBJECT}
    file.append([one("alice", before=5, until=NOW + 90, **subject), one("alice", before=9, until=NOW + 60, **subject)])
    file.compact(NOW)
    [kept] = file.news().revocations
    assert (kept.before, kept.until) == (9, NOW + 90)


def _write_many(path, name, count):
    file = RevocationFile(path)
    for number in range(count):
        file.append([one(f"{name}-{number}")])
        if number % 10 == 9:
            file.compact(NOW)


def test_no_line_is_lost_among_several_processes_that_write_and_compact(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, name, 30)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    news = RevocationFile(path).news()
    assert set(values(news)) == {f"{name}-{number}" for name in "abc" for number in range(30)}
    assert news.broken == 0
