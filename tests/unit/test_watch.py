"""The watcher: every way in which a file gets other contents, within a second."""

import os
import threading
import time

import pytest
import watchfiles

from authz.watch import Watcher
from tests.simulators import PATIENCE_S


class Watched:
    def __init__(self, *paths, on_change=None):
        self.changes = threading.Semaphore(0)
        self.watcher = Watcher(paths, on_change or self.changes.release)

    def until_told(self):
        """Wait for one change; returns how long it took."""
        began = time.monotonic()
        assert self.changes.acquire(timeout=PATIENCE_S), "no change was told"
        return time.monotonic() - began

    def told_nothing(self):
        """Nothing is told; the watcher is asked to look, so there is nothing to wait for."""
        return not self.watcher.look() and not self.changes.acquire(blocking=False)


@pytest.fixture
def watch():
    watched = []

    def make(*paths, **options):
        watched.append(Watched(*paths, **options))
        watched[-1].watcher.start()
        return watched[-1]

    yield make
    for one in watched:
        one.watcher.stop(PATIENCE_S)
        assert not one.watcher._thread.is_alive()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("one")
    return path


def test_written_in_place(watch, path):
    watched = watch(path)
    path.write_text("two")
    assert watched.until_told() < 1.0


def test_written_in_place_with_the_same_size_and_time(watch, path):
    watched = watch(path)
    before = path.stat()
    path.write_text("eno")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watched.until_told() < 1.0


def test_replaced_by_rename(watch, path):
    watched = watch(path)
    new = path.with_suffix(".new")
    new.write_text("two")
    new.rename(path)
    assert watched.until_told() < 1.0


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
    assert watched.until_told() < 1.0


def test_a_parent_folder_that_is_swapped(watch, tmp_path):
    """No notification comes from the folder that is watched; the looking finds it."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(name)
    (tmp_path / "current").symlink_to("v1")
    watched = watch(tmp_path / "current" / "policy.yaml")
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "current")
    assert watched.until_told() < 1.0


def test_removed_and_made_again(watch, path):
    watched = watch(path)
    path.unlink()
    watched.until_told()
    path.write_text("one")
    watched.until_told()


def test_a_folder_that_comes_later(tmp_path):
    late = tmp_path / "late" / "policy.yaml"
    looks, changes = threading.Semaphore(0), threading.Semaphore(0)

    class Counting(Watcher):
        def _contents(self):
            looks.release()
            return super()._contents()

    watcher = Counting([late], changes.release)
    watcher.start()
    for _ in range(3):  # it goes on looking although there is nothing that could notify it
        assert looks.acquire(timeout=PATIENCE_S)
    late.parent.mkdir()
    late.write_text("here")
    assert changes.acquire(timeout=PATIENCE_S)
    watcher.stop(PATIENCE_S)


def test_a_folder_that_is_removed_and_made_again(watch, tmp_path):
    path = tmp_path / "folder" / "policy.yaml"
    path.parent.mkdir()
    path.write_text("one")
    watched = watch(path)
    path.unlink()
    path.parent.rmdir()
    watched.until_told()
    path.parent.mkdir()
    path.write_text("two")
    assert watched.until_told() < 1.5


def test_any_of_several_files(watch, path, tmp_path):
    other = tmp_path / "other" / "jwks.json"
    other.parent.mkdir()
    other.write_text("{}")
    watched = watch(path, other)
    other.write_text("{ }")
    watched.until_told()
    path.write_text("two")
    watched.until_told()


def test_the_same_content_is_no_change(watch, path, tmp_path):
    watched = watch(path)
    path.write_text("one")
    path.touch()
    (tmp_path / "neighbour").write_text("x")
    assert watched.told_nothing()


def test_a_file_in_a_busy_folder(watch, path, tmp_path):
    """A neighbour that is written all the time does not put the change off."""
    stop = threading.Event()

    def busy():
        while not stop.wait(0.005):
            (tmp_path / "decisions.jsonl").write_text("x")

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        watched = watch(path)
        path.write_text("two")
        assert watched.until_told() < 1.0
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_a_lost_notification_in_a_busy_folder(watch, path, tmp_path, monkeypatch):
    """Written between the last look and the first notification that the system would give: the half-second look sees
    it, although the folder never falls silent."""
    stop = threading.Event()
    real = watchfiles.watch

    def busy():
        while not stop.wait(0.005):
            (tmp_path / "decisions.jsonl").write_text("x")

    def late(*folders, **options):
        path.write_text("two")
        return real(*folders, **options)

    monkeypatch.setattr(watchfiles, "watch", late)
    thread = threading.Thread(target=busy)
    thread.start()
    try:
        watch(path).until_told()
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_what_changed_before_the_start_is_told(path):
    watched = Watched(path)
    path.write_text("two")
    watched.watcher.start()
    watched.until_told()
    watched.watcher.stop(PATIENCE_S)


def test_half_a_write_is_waited_out(path):
    """The content must be the same twice before a change is told."""
    contents = []
    watcher = Watcher([path], lambda: contents.append(path.read_text()))
    path.write_text("tw")
    finishing = threading.Timer(0.02, path.write_text, ["two"])
    finishing.start()
    assert watcher.look()
    finishing.join()
    assert contents == ["two"]


def test_a_change_that_is_taken_back_is_none(path):
    watched = Watched(path)
    path.write_text("")
    restoring = threading.Timer(0.02, path.write_text, ["one"])
    restoring.start()
    assert not watched.watcher.look()
    restoring.join()


def test_a_file_that_never_rests_is_told_all_the_same(path):
    class Restless(Watcher):
        count = 0

        def _contents(self):
            self.count += 1
            return (b"%d" % self.count,)

    told = []
    assert Restless([path], lambda: told.append(1)).look()
    assert told == [1]


def test_a_reload_that_fails_does_not_end_the_watching(watch, path, caplog):
    calls = threading.Semaphore(0)

    def broken():
        calls.release()
        raise RuntimeError("bad policy")

    watch(path, on_change=broken)
    for text in ("two", "three"):
        path.write_text(text)
        assert calls.acquire(timeout=PATIENCE_S)
    assert "reloading after a change" in caplog.text


def test_stopping_without_having_started(path):
    watcher = Watcher([path], lambda: None)
    watcher.stop()
    path.write_text("two")
    assert not watcher.look()
