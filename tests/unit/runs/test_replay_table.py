"""The replay table in one process: what it keeps and for how long, and whom it lets near its file."""

import os
import struct
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from authz.core.errors import ReplaysFullError
from authz.core.reasons import Reason
from authz.runs import replay_table
from authz.runs.replay_table import BUCKET, Replays
from tests.support.examples import examples
from tests.support.factories.tokens import NOW


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "replays"


@pytest.fixture
def table(path):
    made = Replays(path, 4 * BUCKET)
    yield made
    made.close()


@pytest.fixture
def bucket(path):
    """A table of one bucket, so that a test knows what meets what."""
    made = Replays(path, BUCKET)
    yield made
    made.close()


def names_in(folder):
    return [entry.name for entry in folder.iterdir()]


def digest(name):
    return sha256(str(name).encode()).digest()[:16]


def test_a_proof_is_first_once(table):
    assert table.first(digest("a"), NOW + 60, NOW)
    assert not table.first(digest("a"), NOW + 60, NOW)
    assert not table.first(digest("a"), NOW + 60, NOW + 59.9)
    assert table.first(digest("b"), NOW + 60, NOW)


def test_two_tables_of_one_file_are_one(path, table):
    other = Replays(path, 4 * BUCKET)
    assert table.first(digest("a"), NOW + 60, NOW)
    assert not other.first(digest("a"), NOW + 60, NOW)
    other.close()
    assert not table.first(digest("a"), NOW + 60, NOW)


def test_what_was_used_is_still_known_after_a_restart(path):
    before = Replays(path, BUCKET)
    assert before.first(digest("a"), NOW + 60, NOW)
    before.close()
    after = Replays(path, BUCKET, floor=NOW + 1000)  # a floor is for a table that is made new
    assert not after.first(digest("a"), NOW + 60, NOW + 1)
    assert after.first(digest("b"), NOW + 60, NOW + 1)
    after.close()


def test_a_new_table_does_not_know_what_was_used_before_it(path):
    made = Replays(path, 4 * BUCKET, floor=NOW + 60)
    assert not made.first(digest("made before"), NOW + 60, NOW)
    assert made.first(digest("made after"), NOW + 60.5, NOW)
    made.close()


@pytest.mark.parametrize("now", [NOW + 60, NOW + 61, float("inf"), float("nan")])
def test_what_is_over_is_never_first(table, now):
    assert not table.first(digest("a"), NOW + 60, now)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), float("-inf")])
def test_a_time_is_a_number(table, until):
    with pytest.raises(ValueError, match="not a time"):
        table.first(digest("a"), until, NOW)


@pytest.mark.parametrize("short", [b"", b"a" * 15, b"a" * 17])
def test_a_digest_has_its_length(table, short):
    with pytest.raises(ValueError, match="not a digest"):
        table.first(short, NOW + 60, NOW)


def test_a_full_table_lets_nothing_through_and_heals(bucket):
    for number in range(BUCKET):
        assert bucket.first(digest(number), NOW + 60 + number, NOW)
    with pytest.raises(ReplaysFullError) as caught:
        bucket.first(digest("more"), NOW + 60, NOW)
    assert caught.value.reason is Reason.REPLAY_CACHE_FULL
    assert not bucket.first(digest(5), NOW + 60, NOW)  # what is known is known, full or not
    assert bucket.first(digest("more"), NOW + 121, NOW + 60)  # one entry's time is over
    with pytest.raises(ReplaysFullError):
        bucket.first(digest("even more"), NOW + 121, NOW + 60)
    assert not bucket.first(digest(1), NOW + 61, NOW + 60)


def test_slots_are_whole_buckets(path):
    table = Replays(path, BUCKET + 1)
    assert table.slots == 2 * BUCKET
    table.close()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="needs slots"):
            Replays(path, wrong)


def test_a_clock_that_steps_back_makes_nothing_forgotten(bucket):
    for number in range(BUCKET):
        assert bucket.first(digest(number), NOW + 60, NOW)
    assert bucket.first(digest("later"), NOW + 160, NOW + 100)  # in the place of one that was over
    gone = [number for number in range(BUCKET) if bucket_is_free_of(bucket, digest(number))]
    assert len(gone) == 1
    for number in range(BUCKET):
        assert not bucket.first(digest(number), NOW + 60, NOW + 10)
    assert not bucket.first(digest("new"), NOW + 60, NOW + 10)  # it may have been the one
    with pytest.raises(ReplaysFullError):
        bucket.first(digest("new"), NOW + 61, NOW + 10)  # it was not, but all the others count again
    assert bucket.first(digest("new"), NOW + 130, NOW + 70)


def bucket_is_free_of(table, name):
    kept = replay_table.blake2b(name, digest_size=16, key=table._secret).digest()
    return table._find(replay_table._HEADER_BYTES + replay_table._DIGESTS, kept) is None


def test_where_a_digest_is_found_is_where_one_begins(bucket):
    """Bytes that end one entry and begin the next are no entry."""
    assert bucket.first(digest("a"), NOW + 60, NOW)
    assert bucket.first(digest("b"), NOW + 60, NOW)
    start = replay_table._HEADER_BYTES + replay_table._DIGESTS
    across = bytes(bucket._map[start + 8 : start + 24])
    assert any(across)
    assert bucket._find(start, across) is None
    whole = bytes(bucket._map[start + 16 : start + 32])
    assert bucket._find(start, whole) == 1
    bucket._map[start + 48 : start + 64] = across  # first across the border of two entries, then as one
    assert bucket._find(start, across) == 3


@pytest.mark.parametrize("step", range(1, 4))
def test_an_insert_that_ends_anywhere_leaves_a_table_that_is_right(bucket, step):
    """What a kill leaves behind after each store, in the order of `_insert`."""
    for number in range(BUCKET):
        assert bucket.first(digest(number), NOW + 50 + number, NOW)
    now, start = NOW + 50.5, replay_table._HEADER_BYTES
    kept = replay_table.blake2b(digest("killed"), digest_size=16, key=bucket._secret).digest()
    struct.pack_into("<d", bucket._map, start, NOW + 50)
    if step > 1:
        struct.pack_into("<d", bucket._map, start + replay_table._ENDS, 0.0)
    if step > 2:
        bucket._map[start + replay_table._DIGESTS : start + replay_table._DIGESTS + 16] = kept
    for number in range(1, BUCKET):
        assert not bucket.first(digest(number), NOW + 50 + number, now)
    assert bucket.first(digest("killed"), NOW + 200, now)
    assert not bucket.first(digest("killed"), NOW + 200, now)
    assert not bucket.first(digest(0), NOW + 50, NOW)  # nor after a step back


def test_the_file_is_ours_alone(path, table):
    assert path.stat().st_mode & 0o777 == 0o600
    assert names_in(path.parent) == [path.name]
    assert digest("a") not in path.read_bytes()
    assert table.first(digest("a"), NOW + 60, NOW)
    assert digest("a") not in path.read_bytes()


def test_the_umask_has_no_say(path):
    before = os.umask(0o777)
    try:
        Replays(path, 1).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_process_left_unfinished_is_no_hindrance(path):
    path.with_name(f".replays.{'a' * 16}.draft").write_text("half")
    Replays(path, 1).close()
    assert names_in(path.parent) == ["replays"]


def test_two_that_make_it_at_once_have_one(path, monkeypatch):
    """The second finds that the first was faster, and takes what the first has made."""
    link, first = os.link, []

    def slow_link(source, target):
        monkeypatch.setattr(os, "link", link)
        aside = Path(source).rename(Path(source).with_name("aside"))
        first.append(Replays(path, BUCKET))
        aside.rename(source)
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    second = Replays(path, BUCKET)
    assert first[0].first(digest("a"), NOW + 60, NOW)
    assert not second.first(digest("a"), NOW + 60, NOW)
    assert names_in(path.parent) == ["replays"]
    for table in (*first, second):
        table.close()


def test_a_link_is_not_followed(path, tmp_path):
    Replays(tmp_path / "real", 1).close()
    path.symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        Replays(path, 1)


def test_the_folder_may_be_a_link(tmp_path):
    real = tmp_path / "real"
    real.mkdir(0o700)
    (tmp_path / "link").symlink_to(real)
    Replays(tmp_path / "link" / "replays", 1).close()
    assert (real / "replays").exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_none(tmp_path, mode):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    with pytest.raises(PermissionError, match="only we may write to"):
        Replays(shared / "replays", 1)
    assert names_in(shared) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_use_is_none(path, mode):
    Replays(path, 1).close()
    path.chmod(mode)
    with pytest.raises(PermissionError, match="only we may read and write"):
        Replays(path, 1)


def test_a_fifo_is_refused_as_a_table_without_waiting(path):
    os.mkfifo(path, 0o600)
    with pytest.raises(PermissionError, match="only we may read and write"):
        Replays(path, 1)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 64, b"x" * 5000, bytes(64 + replay_table._STRIDE)])
def test_another_file_is_no_table(path, content):
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(OSError, match="not a replay table"):
        Replays(path, 1)
    assert path.read_bytes() == content


def test_a_table_has_its_number_of_slots(path):
    Replays(path, BUCKET).close()
    with pytest.raises(OSError, match="another number of slots"):
        Replays(path, 2 * BUCKET)
    data = path.read_bytes()
    path.write_bytes(data[:16] + struct.pack("<Q", 2) + data[24:])
    with pytest.raises(OSError, match="another number of slots"):
        Replays(path, BUCKET)


def test_a_child_may_not_use_its_parents_lock(table, monkeypatch):
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ValueError, match="shares its lock"):
            table.first(digest("a"), NOW + 60, NOW)
    assert table.first(digest("a"), NOW + 60, NOW)


def test_a_bucket_that_another_process_keeps_locked_fails_the_call_quickly(path, bucket):
    other = Replays(path, BUCKET)
    other._lock(0)
    waits = []
    for _ in range(5):
        begun = time.perf_counter()
        with pytest.raises(ReplaysFullError, match=r"^replay_cache_locked: another process has held"):
            bucket.first(digest("a"), NOW + 60, NOW)
        waits.append(time.perf_counter() - begun)
    assert min(waits) < 0.02, "the serving thread waits for the time of some checks, not for that of hundreds"
    other.close()  # as its end would
    assert bucket.first(digest("a"), NOW + 60, NOW)


def test_a_bucket_is_free_again_after_a_call_that_failed(path, bucket):
    for number in range(BUCKET):
        assert bucket.first(digest(number), NOW + 60, NOW)
    with pytest.raises(ReplaysFullError):
        bucket.first(digest("more"), NOW + 60, NOW)
    other = Replays(path, BUCKET)
    assert not other.first(digest(3), NOW + 60, NOW)
    other.close()


def test_threads_of_one_process_exclude_each_other(path, table, monkeypatch):
    monkeypatch.setattr(replay_table, "_LOCK_S", 30.0)  # threads that wait to run keep buckets longer
    tables = [table, table, Replays(path, 4 * BUCKET)]
    won = []

    def work(mine):
        won.extend(number for number in range(150) if mine.first(digest(number), NOW + 60, NOW))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(150))
    tables[2].close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", *range(3 * BUCKET)]),  # the digest
        st.integers(1, 61),  # how long from now it is kept
        st.sampled_from([0, 0, 0, 0, 1, 5, 30, 61, 200, -1, -30, -100]),  # how the clock moves before
    ),
    max_size=400,
)


@given(steps=STEPS)
@examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_as_right_as_a_dictionary_that_forgets_nothing(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    folder.chmod(0o700)
    tables = [Replays(folder / "replays", 2 * BUCKET) for _ in range(2)]
    try:
        compare(steps, tables)
    finally:
        for table in tables:
            table.close()


def compare(steps, tables):
    """No proof is first twice; a new one is refused only after a clock stepped back, or where there is no room."""
    used, now, highest = {}, NOW, NOW
    for turn, (name, lasts, moved) in enumerate(steps):
        now += moved
        highest = max(highest, now)
        until = now + lasts
        known = used.get(name, 0) >= until or used.get(name, 0) > now
        try:
            first = tables[turn % 2].first(digest(name), until, now)
        except ReplaysFullError:
            assert sum(end > now for end in used.values()) >= BUCKET
            continue
        assert not (first and known)
        if not known and until > highest:
            assert first
        if first:
            used[name] = until


def test_used_is_the_share_of_slots_that_are_taken(path):
    table = Replays(path, 1024)
    assert table.used(NOW) == 0
    for number in range(256):
        assert table.first(digest(number), NOW + 60, NOW)
    assert table.used(NOW) == 0.25
    assert table.used(NOW + 60) == 0
    table.close()
