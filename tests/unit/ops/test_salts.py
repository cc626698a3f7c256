"""The file of the salts: on the disk before use, the same in every worker, and gone with its line."""

import errno
import fcntl
import json
import os
import threading

import pytest

from authz.core.errors import ConfigError
from authz.ops import salts as module
from authz.ops.salts import COMMON, Salts
from tests.support.simulators.idp import PATIENCE_S
from tests.support.waiting import wait_for as until

ISS = "https://idp.test"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl.salts"


@pytest.fixture
def salts_of(path, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.02)
    made = []

    def make(**options):
        made.append(Salts(path, **{"required": True, **options}))
        made[-1].start()
        return made[-1]

    yield make
    for salts in made:
        salts.stop(PATIENCE_S)


def made(salts, subject="alice", issuer=ISS):
    """The subject's salt, once it is made."""
    done = threading.Event()
    assert salts.make(issuer, subject, done.set)
    assert done.wait(PATIENCE_S)
    return salts.of(issuer, subject)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_new_file_is_private_and_has_the_salt_of_those_without_a_subject(salts_of, path):
    salts = salts_of()
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines(path) == [{"issuer": "", "subject": "", "salt": salts.common}]
    assert len(salts.common) == 32


def test_a_salt_is_in_the_file_when_it_is_used_and_each_subject_has_its_own(salts_of, path):
    salts = salts_of()
    assert salts.of(ISS, "alice") is None
    found = {name: made(salts, name) for name in ("alice", "bob")}
    found["elsewhere"] = made(salts, "alice", "https://other.test")
    assert len(set(found.values())) == 3
    assert [(line["issuer"], line["subject"], line["salt"]) for line in lines(path)[1:]] == [
        (ISS, "alice", found["alice"]),
        (ISS, "bob", found["bob"]),
        ("https://other.test", "alice", found["elsewhere"]),
    ]


def test_they_outlive_the_process_and_are_the_same_in_every_worker(salts_of):
    first, second = salts_of(), salts_of()
    salt = made(first)
    assert second.of(ISS, "alice") is None, "it was not asked for yet"
    assert made(second) == salt
    assert salts_of().of(ISS, "alice") == salt
    assert first.common == second.common


def test_two_workers_that_make_one_at_once_make_the_same(salts_of, path):
    workers = [salts_of() for _ in range(4)]
    done = threading.Semaphore(0)
    with path.open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for salts in workers:
            for name in ("alice", "bob", "alice"):
                assert salts.make(ISS, name, done.release)
    for _ in range(12):
        assert done.acquire(timeout=PATIENCE_S)
    assert len({(salts.of(ISS, "alice"), salts.of(ISS, "bob")) for salts in workers}) == 1
    assert len(lines(path)) == 3


def write(path, *found, end="\n"):
    """Put these lines in place of the file's, as an editor does that renames."""
    other = path.with_name("other")
    entries = ({"issuer": ISS, "subject": name, "salt": salt} for name, salt in found)
    other.write_text("\n".join(map(json.dumps, entries)) + end)
    other.chmod(0o600)
    other.replace(path)


def edit(path, change):
    """Change the text in place, as some editors do; the clock of the file system has moved then."""
    before = path.stat().st_ctime_ns
    text = change(path.read_text())
    while path.stat().st_ctime_ns == before:
        with path.open("r+") as file:
            file.write(text)
            file.truncate()


def without(name):
    """An edit that deletes the line of a subject."""
    return lambda text: "".join(line for line in text.splitlines(True) if f'"{name}"' not in line)


def blanked(name):
    """An edit that does the same and keeps the size."""

    def change(text):
        return "".join(
            " " * (len(line) - 1) + "\n" if f'"{name}"' in line else line for line in text.splitlines(keepends=True)
        )

    return change


def looked(path):
    """A worker without its thread: the test says when it looks."""
    return Salts(path, required=True)


def test_of_two_lines_that_others_add_the_first_one_counts(path):
    salts = looked(path)
    with path.open("a") as other:
        for salt in ("1", "2"):
            other.write(json.dumps({"issuer": ISS, "subject": "alice", "salt": salt}) + "\n")
    salts.look()
    assert salts.of(ISS, "alice") == "1"
    with path.open("a") as other:
        other.write(json.dumps({"issuer": ISS, "subject": "alice", "salt": "3"}) + "\n")
    salts.look()
    assert (salts.of(ISS, "alice"), looked(path).of(ISS, "alice"), salts.erased) == ("1", "1", 0)


@pytest.mark.parametrize("who", ["a crash", "an editor"])
def test_a_last_line_without_its_newline_is_the_salt_in_every_worker(path, who):
    one, two = looked(path), looked(path)
    if who == "a crash":
        with path.open("a") as crashed:
            crashed.write(json.dumps({"issuer": ISS, "subject": "bob", "salt": "11"}))
    else:
        write(path, ("carol", "33"), ("bob", "11"), end="")
    one._make([(ISS, "bob")])
    two._make([(ISS, "dave")])
    for salts in (one, two, one, looked(path)):
        salts.look()
        assert salts.of(ISS, "bob") == "11"
        assert salts.problems() == []
    assert path.read_text().count('"bob"') == 1


def test_a_last_line_without_its_newline_that_went_again_is_erased(path):
    salts = looked(path)
    kept = path.read_text()
    path.write_text(kept + json.dumps({"issuer": ISS, "subject": "bob", "salt": "11"}))
    salts.look()
    assert (salts.of(ISS, "bob"), salts.erased) == ("11", 0)
    path.write_text(kept)
    salts.look()
    assert (salts.of(ISS, "bob"), salts.erased) == (None, 1)


def test_half_a_surrogate_is_not_a_question_mark(salts_of):
    salts = salts_of()
    assert made(salts, "a\ud800") != made(salts, "a?")
    assert salts.of(ISS, "a\ud800") == made(salts, "a\ufffd"), "as the log shows it"


def test_half_a_surrogate_in_a_name_makes_no_line_after_line(salts_of, path):
    salt = made(salts_of(), "a\ud800")
    later = salts_of()
    assert later.of(ISS, "a\ud800") == salt == made(later, "a\ud800")
    assert len(lines(path)) == 2


def test_a_name_that_breaks_out_of_nothing(salts_of, path):
    salts = salts_of()
    for name in ('x","salt":"0', "a\nb", "\u2028"):
        assert made(salts, name) == salts_of().of(ISS, name)
    assert path.read_bytes().count(b"\n") == 4


class TestErasing:
    def test_a_deleted_line_erases_the_person(self, salts_of, path):
        salts = salts_of()
        before, kept = made(salts), made(salts, "bob")
        rest = [line for line in path.read_text().splitlines(keepends=True) if '"alice"' not in line]
        other = path.with_name("other")
        other.write_text("".join(rest))
        other.chmod(0o600)
        other.replace(path)  # as `sed -i` does it
        until(lambda: salts.erased)
        assert salts.of(ISS, "alice") is None
        assert salts.of(ISS, "bob") == kept
        assert salts.erased == 1
        assert made(salts) != before

    def test_in_place_among_lines_that_this_process_wrote(self, salts_of, path):
        salts = salts_of()
        for name in ("alice", *map(str, range(50))):
            made(salts, name)
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"alice"' not in line))
        until(lambda: salts.erased)
        assert (salts.of(ISS, "alice"), salts.erased) == (None, 1)
        assert salts.of(ISS, "49") is not None

    def test_in_place_too(self, salts_of, path):
        salts = salts_of()
        made(salts)
        made(salts, "bob")
        common = salts.common
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"bob"' in line))
        until(lambda: salts.common != common)  # the line of those without a subject was deleted too
        assert (salts.of(ISS, "alice"), salts.erased) == (None, 1)
        assert lines(path)[-1] == {"issuer": "", "subject": "", "salt": salts.common}

    def test_a_worker_that_makes_one_sees_it_at_once(self, salts_of, path, monkeypatch):
        monkeypatch.setattr(module, "_LOOK_S", 3600.0)
        salts = salts_of()
        made(salts)
        path.write_bytes(b"")
        assert made(salts, "bob") is not None
        assert (salts.of(ISS, "alice"), salts.erased, salts.problems()) == (None, 1, [])
        told = {line["subject"]: line["salt"] for line in lines(path)}
        assert told == {"": salts.common, "bob": salts.of(ISS, "bob")}

    def test_a_deleted_file_erases_everybody(self, salts_of, path):
        salts = salts_of()
        made(salts)
        common = salts.common
        path.unlink()
        until(lambda: salts.common != common)
        assert (salts.of(ISS, "alice"), salts.erased) == (None, 1)
        assert lines(path) == [{"issuer": "", "subject": "", "salt": salts.common}]
        assert salts.problems() == []

    def test_what_others_add_erases_no_one(self, salts_of):
        first, second = salts_of(), salts_of()
        made(first)
        for name in ("bob", "carol"):
            salt = made(second, name)
            until(lambda name=name, salt=salt: first.of(ISS, name) == salt)
        assert (first.erased, second.erased) == (0, 0)

    def test_in_place_with_the_same_size_although_a_worker_adds_a_line_within_the_second(self, path):
        salts = looked(path)
        salts._make([(ISS, "alice"), (ISS, "bob")])
        kept = salts.of(ISS, "bob")
        edit(path, blanked("alice"))
        salts._make([(ISS, "carol")])
        assert (salts.of(ISS, "alice"), salts.erased) == (None, 1)
        assert salts.of(ISS, "bob") == kept

    def test_who_was_erased_and_comes_back_has_one_salt_in_two_workers(self, path):
        one, two = looked(path), looked(path)
        one._make([(ISS, "alice"), (ISS, "bob")])
        two.look()
        before = two.of(ISS, "alice")
        edit(path, without("alice"))
        one._make([(ISS, "alice")])  # where she comes first; the file has its old size again
        two._make([(ISS, "dave")])  # before it has looked
        assert one.of(ISS, "alice") == two.of(ISS, "alice") != before
        assert (one.erased, two.erased) == (1, 1)
        edit(path, without("bob"))
        one._make([(ISS, "eve")])
        two._make([(ISS, "eve")])
        one.look()
        assert one.of(ISS, "eve") == two.of(ISS, "eve")
        assert (one.of(ISS, "bob"), two.of(ISS, "bob")) == (None, None)
        assert len({line["subject"] for line in lines(path)}) == len(lines(path))

    def test_a_line_far_from_the_end_that_went_while_another_worker_added_one(self, path):
        one, two = looked(path), looked(path)
        one._make([(ISS, "alice"), *((ISS, str(number)) for number in range(50))])
        edit(path, blanked("alice"))
        two._make([(ISS, "dave")])
        one.look()
        assert (one.of(ISS, "alice"), one.erased) == (None, 1)
        assert one.of(ISS, "dave") == two.of(ISS, "dave")

    def test_it_is_told_when_checks_can_use_the_new_common_salt_and_not_before(self, path, monkeypatch):
        salts = looked(path)
        salts._make([(ISS, "alice")])
        old, told, sync = salts.common, [], os.fsync

        def slow(descriptor):
            told.append((salts.erased, salts.common))
            sync(descriptor)

        path.write_text("")
        monkeypatch.setattr(os, "fsync", slow)
        salts.look()
        assert told == [(0, old)]
        assert salts.erased == 1
        assert salts.common == salts.of(*COMMON) != old

    def test_the_new_common_salt_is_told_too_when_it_could_not_be_stored_at_first(self, path, monkeypatch):
        salts = looked(path)
        salts._make([(ISS, "alice")])
        old = salts.common

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        path.write_text("")
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", full)
            salts.look()
        assert (salts.of(ISS, "alice"), salts.common, salts.erased) == (None, old, 1)
        salts.look()
        assert salts.common != old
        assert salts.erased == 2


class TestFailing:
    def test_a_full_disk_is_no_salt_and_reported(self, salts_of, path, monkeypatch, caplog):
        salts = salts_of()

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", full)
            assert made(salts) is None
        assert salts.why() == "salts cannot be stored: No space left on device"
        assert salts.problems() == [salts.why()]
        assert caplog.text.count("No space left") == 1
        assert len(lines(path)) == 1, "nothing of it is left"
        assert made(salts) is not None
        assert salts.problems() == []

    def test_a_bug_ends_no_thread(self, salts_of, monkeypatch, caplog):
        salts = salts_of()
        with monkeypatch.context() as broken:
            broken.setattr(module, "_line", None)
            assert made(salts) is None
        assert "internal error" in salts.why()
        assert "Traceback" in caplog.text
        assert made(salts) is not None

    def test_so_many_may_wait(self, salts_of, path, monkeypatch):
        monkeypatch.setattr(module, "_MOST_WAITING", 2)
        salts = salts_of()
        done = threading.Semaphore(0)
        with path.open("rb+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert salts.make(ISS, "first", done.release)
            until(salts._queue.empty)
            assert salts.make(ISS, "a", done.release)
            assert salts.make(ISS, "b", done.release)
            assert not salts.make(ISS, "c", done.release)
            assert salts.why() == "2 subjects wait for a salt"
        for _ in range(3):
            assert done.acquire(timeout=PATIENCE_S)
        assert salts.of(ISS, "b") is not None
        assert salts.of(ISS, "c") is None

    def test_a_full_file_takes_no_more(self, salts_of, monkeypatch):
        monkeypatch.setattr(module, "MOST_BYTES", 200)
        salts = salts_of()
        found = [made(salts, name) for name in ("alice", "bob", "carol")]
        assert found[0] is not None
        assert found[-1] is None
        assert salts.why() == "salts cannot be stored: decisions.jsonl.salts is full"

    def test_what_was_read_before_stays_while_it_cannot_be_read(self, salts_of, path):
        salts = salts_of()
        salt = made(salts)
        path.rename(path.with_name("away"))
        path.mkdir()
        until(salts.problems)
        assert salts.of(ISS, "alice") == salt
        assert salts.erased == 0
        assert "what was read before stays: it is a folder" in salts.problems()[0]

    def test_a_file_that_can_be_read_again_is_no_problem(self, path, monkeypatch):
        salts = looked(path)

        def broken():
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as disk:
            disk.setattr(salts._file, "is_as_read", broken)
            salts.look()
        assert "what was read before stays: Input/output error" in salts.problems()[0]
        salts.look()
        assert salts.problems() == []

    def test_a_queue_that_is_empty_again_is_no_problem(self, path, monkeypatch):
        monkeypatch.setattr(module, "_MOST_WAITING", 1)
        monkeypatch.setattr(module, "_LOOK_S", 0.02)
        salts = looked(path)
        assert salts.make(ISS, "alice", lambda: None)
        assert not salts.make(ISS, "bob", lambda: None)
        assert salts.problems() == [salts.why()] == ["1 subjects wait for a salt"]
        salts.start()
        until(lambda: not salts.problems())
        salts._fail("wait", "said when the last one was made already")
        until(lambda: not salts.problems())
        salts.stop(PATIENCE_S)

    def test_a_file_that_others_may_read_is_reported_when_it_becomes_so(self, salts_of, path):
        salts = salts_of()
        salt = made(salts)
        other = path.with_name("other")
        other.write_text(path.read_text())
        other.chmod(0o644)
        other.replace(path)  # as `grep -v … > other; mv` leaves it
        until(salts.problems)
        assert salts.problems() == [f"{path}: others may read it, and it names people: chmod go="]
        assert salts.of(ISS, "alice") == salt
        path.chmod(0o600)
        until(lambda: not salts.problems())

    def test_a_worker_that_makes_one_reports_it_too(self, path):
        salts = looked(path)
        path.chmod(0o640)
        salts._make([(ISS, "alice")])
        assert "others may read it" in salts.problems()[0]

    def test_lines_that_are_no_salts_are_counted(self, salts_of, path):
        path.touch(0o600)
        good = {"issuer": ISS, "subject": "alice", "salt": "1"}
        no_salt, no_name = json.dumps({**good, "salt": ""}), json.dumps({**good, "subject": 7})
        wrong = ["{", "[]", "7", '{"issuer":"x"}', no_salt, no_name, ""]
        again = json.dumps({**good, "salt": "2"})
        path.write_text("\n".join([*wrong, json.dumps(good), again, '{"iss']))
        salts = salts_of()
        assert salts.of(ISS, "alice") == "1", "of two lines the first one counts"
        assert salts.problems() == [f"{path}: 7 line(s) are no salts and were passed over"]
        assert json.loads(path.read_text().splitlines()[-1])["salt"] == salts.common

    @pytest.mark.parametrize("what", ["open to others", "a folder", "a link", "no folder"])
    def test_what_cannot_be_used_is_said_at_the_start(self, path, tmp_path, what):
        if what == "open to others":
            path.touch(0o644)
            path.chmod(0o644)
        elif what == "a folder":
            path.mkdir()
        elif what == "a link":
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path = tmp_path / "missing" / "salts"
        with pytest.raises(ConfigError, match="the file of the salts cannot be used: "):
            Salts(path, required=True)


def test_stopping_makes_what_waits(path):
    salts = Salts(path, required=False)
    done = threading.Event()
    assert salts.make(ISS, "alice", done.set)
    salts.stop()  # it was never started
    salts.start()
    salts.stop(PATIENCE_S)
    assert done.is_set()
    assert salts.of(*COMMON) == salts.common


def test_stopping_does_not_wait_for_a_disk_that_hangs(path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_WAITING", 1)
    salts, hangs, goes_on = looked(path), threading.Event(), threading.Event()

    def hang(*_arguments, **_options):
        hangs.set()
        goes_on.wait(PATIENCE_S)

    monkeypatch.setattr(salts._file, "append", hang)
    salts.start()
    assert salts.make(ISS, "alice", lambda: None)
    assert hangs.wait(PATIENCE_S)
    assert salts.make(ISS, "bob", lambda: None), "the queue is full now"
    stopping = threading.Thread(target=salts.stop, args=(0.05,))
    stopping.start()
    stopping.join(PATIENCE_S / 2)
    ended = not stopping.is_alive()
    goes_on.set()
    assert ended
    salts.stop(PATIENCE_S)
