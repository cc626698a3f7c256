"""The watcher: every way in which a file gets other contents, within a second, and never half of one."""

import os
import threading
import time

import pytest

from authz.ops import file_watcher as watching
from authz.ops.file_watcher import Content, Watcher
from authz.ops.named_files import NamedFiles
from tests.support.simulators.idp import PATIENCE_S


class Watched:
    """A watcher whose changes are kept in the order in which they were handed over."""

    def __init__(self, path, *, on_change=None, **options):
        self.contents = []
        self._changed = threading.Semaphore(0)
        self._on_change = on_change
        self.watcher = Watcher(path, self._take, **{"most_bytes": 1000, **options})

    def _take(self, content):
        self.contents.append(content)
        self._changed.release()
        if self._on_change is not None:
            self._on_change(content)

    @property
    def last(self):
        return self.contents[-1].data

    def until(self, expected):
        """Wait until that was handed over; returns how long it took."""
        began = time.monotonic()
        while True:
            assert self._changed.acquire(timeout=PATIENCE_S), f"never handed over: {expected}, only {self.contents}"
            if expected in (self.contents[-1].data, self.contents[-1].problem):
                return time.monotonic() - began


@pytest.fixture
def watch():
    watched = []

    def make(path, **options):
        one = Watched(path, **options)
        watched.append(one)
        one.watcher.begin()
        one.watcher.start()
        return one

    yield make
    for one in watched:
        one.watcher.stop(PATIENCE_S)
        assert not one.watcher._thread.is_alive()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("one")
    return path


def by_rename(path, text):
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_what_is_there_at_the_start_is_handed_over_first(watch, path):
    assert watch(path).contents == [Content(data=b"one")]


def test_a_file_that_was_written_long_ago_is_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(watching.time, "time", lambda: path.stat().st_ctime + 60)
    monkeypatch.setattr(Watcher, "_settled", lambda *_: pytest.fail("it waits"))
    watched = Watched(path)
    watched.watcher.begin()
    assert watched.last == b"one"


def test_half_a_file_at_the_start_is_waited_out(path):
    watched = Watched(path)
    finishing = threading.Timer(0.05, path.write_text, ["one and two"])
    finishing.start()
    watched.watcher.begin()
    finishing.join()
    assert [content.data for content in watched.contents] == [b"one and two"]


def test_written_in_place(watch, path):
    watched = watch(path)
    path.write_text("two")
    assert watched.until(b"two") < 1.0
    assert watched.contents[-1].in_place


def test_written_in_place_with_the_same_size_and_time(watch, path):
    watched = watch(path)
    before = path.stat()
    path.write_text("eno")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watched.until(b"eno") < 1.0


def test_replaced_by_rename(watch, path):
    watched = watch(path)
    by_rename(path, "two")
    assert watched.until(b"two") < 1.0
    assert not watched.contents[-1].in_place


def test_quick_renames_are_not_taken_for_a_save_in_place(path):
    """The second file may get the inode number of the one that was read, which the first rename has given back."""
    watched = Watched(path)
    watched.watcher.begin()
    for number in range(20):
        by_rename(path, f"between {number}")
        by_rename(path, f"two {number}")
        assert watched.watcher.look()
    watched.watcher.stop()
    assert [content.data for content in watched.contents if content.in_place] == []


def test_a_configmap_that_is_swapped(watch, tmp_path):
    """Kubernetes: the file is a link through `..data`, and `..data` is renamed over."""
    for name, text in (("..v1", "one"), ("..v2", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    watched = watch(tmp_path / "policy.yaml")
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert watched.until(b"two") < 1.0
    assert not watched.contents[-1].in_place


def test_a_parent_folder_that_is_swapped(watch, tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(name)
    (tmp_path / "current").symlink_to("v1")
    watched = watch(tmp_path / "current" / "policy.yaml")
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "current")
    assert watched.until(b"v2") < 1.0


def test_removed_and_made_again(watch, path):
    watched = watch(path)
    path.unlink()
    watched.until("No such file or directory")
    path.write_text("one")
    watched.until(b"one")


def test_a_folder_that_comes_later(watch, tmp_path):
    late = tmp_path / "late" / "policy.yaml"
    watched = watch(late)
    late.parent.mkdir()
    late.write_text("here")
    assert watched.until(b"here") < 1.0


def test_a_short_absence_of_the_file_is_no_problem(watch, path):
    """`git checkout` removes a file before it writes the new one."""
    watched = watch(path)
    path.unlink()
    path.write_text("two")
    watched.until(b"two")
    assert [content.problem for content in watched.contents] == ["", ""]


def fifo(path):
    os.mkfifo(path)


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(("make", "problem"), [(fifo, "it is a FIFO"), (folder, "it is a folder")])
def test_what_is_no_file_stops_nothing_and_is_named(watch, path, make, problem):
    watched = watch(path)
    path.unlink()
    watched.until("No such file or directory")
    make(path)
    watched.until(f"{problem}, not a regular file")
    path.rename(path.with_suffix(".away"))
    path.write_text("two")
    assert watched.until(b"two") < 1.5


def test_a_file_that_is_too_large_is_not_read(watch, path):
    watched = watch(path)
    os.truncate(path, 3 << 30)
    watched.until("it is larger than 1000B")
    path.write_text("two")
    watched.until(b"two")


def test_the_same_content_is_no_change(path):
    watched = Watched(path)
    watched.watcher.begin()
    by_rename(path, "one")
    path.touch()
    assert not watched.watcher.look()
    assert len(watched.contents) == 1


def test_a_change_that_no_mark_shows_is_found_within_a_second(watch, path, monkeypatch):
    """As on a network file system that remembers what it said of the file."""
    marks = watching.mark_of(path)
    monkeypatch.setattr(watching, "mark_of", lambda _path: marks)
    watched = watch(path)
    path.write_text("two")
    assert watched.until(b"two") < 1.5


def test_nothing_is_read_while_nothing_changes(watch, path, monkeypatch):
    reads = []
    read = watching.read_with_status
    monkeypatch.setattr(watching, "read_with_status", lambda *args: reads.append(time.monotonic()) or read(*args))
    monkeypatch.setattr(watching, "SETTLE_S", 0)
    marked = threading.Semaphore(0)
    marks = watching.mark_of
    monkeypatch.setattr(watching, "mark_of", lambda path: marked.release() or marks(path))
    watch(path)
    for _ in range(30):  # looks at the marks
        assert marked.acquire(timeout=PATIENCE_S)
    assert len(reads) < 15


def test_a_writer_in_pieces_is_followed_to_the_end(watch, path):
    """Two hundred saves, each in pieces with pauses of any length: what stands there in the end is handed over."""
    watched = watch(path, settle_s=0.03)
    for number in range(200):
        whole = f"save {number}: ".encode() + b"x" * 40
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(whole), 13):
                file.write(whole[start : start + 13])
                time.sleep((number % 7) * 0.001)
        if number % 20 == 19:
            watched.until(whole)
    assert watched.last == whole


def test_a_short_pause_is_waited_out(path):
    watched = Watched(path)
    watched.watcher.begin()
    path.write_text("tw")
    finishing = threading.Timer(0.1, path.write_text, ["two"])
    finishing.start()
    assert watched.watcher.look()
    finishing.join()
    assert [content.data for content in watched.contents] == [b"one", b"two"]


def test_a_new_file_that_is_seen_growing_was_written_in_place(watch, path):
    watched = watch(path)
    new = path.with_suffix(".new")
    new.write_text("half")
    new.rename(path)
    watched.until(b"half")
    with path.open("a") as file:
        file.write(" and half")
    watched.until(b"half and half")
    assert [content.in_place for content in watched.contents] == [False, False, True]


def test_a_change_that_is_taken_back_is_not_handed_over(path):
    watched = Watched(path)
    watched.watcher.begin()
    path.write_text("")
    restoring = threading.Timer(0.02, path.write_text, ["one"])
    restoring.start()
    assert not watched.watcher.look()
    restoring.join()
    assert len(watched.contents) == 1


def test_a_file_that_never_rests_is_a_problem_until_it_does(watch, path, monkeypatch):
    monkeypatch.setattr(watching, "_RESTLESS_S", 0.5)
    watched = watch(path)
    stop = threading.Event()

    def restless():
        number = 0
        while not stop.wait(0.01):
            path.write_text(str(number := number + 1))

    thread = threading.Thread(target=restless)
    thread.start()
    try:
        watched.until("it keeps changing; it is taken when it has been the same for 0.25 s")
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    path.write_text("rest")
    watched.until(b"rest")


def test_what_was_not_taken_is_handed_over_again(watch, path, caplog):
    """A bug or a full machine must not leave a saved policy unseen."""
    failures = [RuntimeError("no threads left")]

    def fail_once(content):
        if content.data == b"two" and failures:
            raise failures.pop()

    watched = watch(path, on_change=fail_once)
    path.write_text("two")
    watched.until(b"two")
    watched.until(b"two")
    assert "no threads left" in caplog.text
    path.write_text("three")
    watched.until(b"three")


def test_asked_it_hands_over_what_did_not_change(watch, path):
    watched = watch(path)
    assert watched.until(b"one") is not None
    watched.watcher.ask()
    watched.until(b"one")
    assert len(watched.contents) == 2


def test_without_settling_a_change_is_handed_over_at_once(watch, path):
    watched = watch(path, settle_s=0)
    path.write_text("two")
    assert watched.until(b"two") < 0.5


def test_stopping_without_having_started(path):
    watched = Watched(path)
    watched.watcher.stop()
    path.write_text("two")
    assert not watched.watcher.look()


def test_a_name_that_no_file_can_have(watch, tmp_path):
    assert "path holds NUL" in watch(tmp_path / "nul\0byte").contents[0].problem


def bundled(path, **options):
    """A watcher of a policy file with test files."""
    (path.parent / "tests").mkdir(exist_ok=True)
    (path.parent / "tests" / "a.yaml").write_text("a1")
    path.write_text('test_files: ["tests/*.yaml"]\n')
    return Watched(path, others=NamedFiles(path), **options)


def parts(content):
    return {part.name.removeprefix("tests/"): part.data.decode() or part.problem for part in content.parts}


def until_parts(watched, expected):
    began = time.monotonic()
    while not watched.contents or parts(watched.contents[-1]) != expected:
        assert watched._changed.acquire(timeout=PATIENCE_S), f"never handed over: {expected}, only {watched.contents}"
    return time.monotonic() - began


@pytest.fixture
def followed(path):
    watched = bundled(path)
    watched.watcher.begin()
    watched.watcher.start()
    yield watched
    watched.watcher.stop(PATIENCE_S)


def test_the_files_that_a_file_names_are_handed_over_with_it(followed):
    until_parts(followed, {"a.yaml": "a1"})


def test_a_change_of_a_named_file_is_a_change(followed, path):
    folder = path.parent / "tests"
    (folder / "a.yaml").write_text("a2")
    assert until_parts(followed, {"a.yaml": "a2"}) < 1.5
    assert not followed.contents[-1].in_place, "the file itself was not written"
    by_rename(folder / "b.yaml", "b1")
    until_parts(followed, {"a.yaml": "a2", "b.yaml": "b1"})
    (folder / "a.yaml").unlink()
    until_parts(followed, {"b.yaml": "b1"})


def test_the_named_files_are_those_that_the_file_names_now(followed, path):
    by_rename(path, "test_files: [tests/c.yaml]\n")
    until_parts(followed, {"c.yaml": "No such file or directory"})
    by_rename(path, "version: 1\n")
    until_parts(followed, {})


def test_all_files_settle_together(path):
    watched = bundled(path)
    watched.watcher.begin()
    (path.parent / "tests" / "a.yaml").write_text("a")
    finishing = threading.Timer(0.1, (path.parent / "tests" / "a.yaml").write_text, ["a2"])
    finishing.start()
    assert watched.watcher.look()
    finishing.join()
    assert [parts(content) for content in watched.contents] == [{"a.yaml": "a1"}, {"a.yaml": "a2"}]


def test_files_of_two_generations_are_not_handed_over_at_the_start(path, monkeypatch):
    """A folder is replaced by another, whose files were written long ago, while the first one's are read."""
    watched = bundled(path)
    monkeypatch.setattr(watching.time, "time", lambda: path.stat().st_ctime + 60)
    read = watching.read_with_status

    def replaced_after(*arguments):
        result = read(*arguments)
        if (path.parent / "tests" / "a.yaml").read_text() == "a1":
            by_rename(path.parent / "tests" / "a.yaml", "a2")
            by_rename(path, 'test_files: ["tests/*.yaml"]\n# 2\n')
        return result

    monkeypatch.setattr(watching, "read_with_status", replaced_after)
    watched.watcher.begin()
    [content] = watched.contents
    assert (content.data.decode().splitlines()[-1], parts(content)) == ("# 2", {"a.yaml": "a2"})
