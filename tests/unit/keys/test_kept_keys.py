"""Key sets across restarts: the last good one, for its issuer only, within `max_stale` by wall time."""

import pytest

from authz.core.errors import KeysUnavailableError
from authz.keys import Fetched, KeyOptions, KeyStore
from authz.keys.boot import Boot, this_boot
from authz.keys.kept_keys import KeepingFetcher
from authz.system.state_folder import StateFolder
from tests.support.factories.tokens import issuer, jwks_of, make_key
from tests.support.simulators.idp import SimClock

KEY, OTHER = make_key("ES256", kid="k1"), make_key("ES256", kid="k2")
CORP = issuer()
DAY = 86400.0


class Provider:
    """Answers with bytes or an error."""

    def __init__(self, answer):
        self.answer = answer

    def fetch(self, _issuer, *, hurried=False):
        if isinstance(self.answer, Exception):
            raise self.answer
        return Fetched(data=self.answer)


DEAD = KeysUnavailableError("connection refused")


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def started(path, clock, answer, boot="boot-1"):
    """A process that begins anew."""
    state = StateFolder(path)
    fetcher = KeepingFetcher(
        Provider(answer),
        state,
        clock,
        max_stale_s=DAY,
        max_bytes=100_000,
        boot=lambda: Boot(boot, clock.monotonic()),
    )
    return fetcher, state


@pytest.fixture
def kept(path, clock):
    assert started(path, clock, jwks_of([KEY]))[0].fetch(CORP).error == ""


def test_a_dead_provider_after_a_restart_is_answered_from_the_state(path, clock, kept):
    clock.advance(3600)
    fetched = started(path, clock, DEAD)[0].fetch(CORP)
    assert (fetched.data, fetched.age, fetched.error) == (jwks_of([KEY]), 3600, "connection refused")
    assert fetched.since.endswith("Z")


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b'{"keys": []}'])
def test_an_answer_without_keys_is_neither_kept_nor_used(path, clock, kept, answer):
    fetcher, _state = started(path, clock, answer)
    assert fetcher.fetch(CORP).data == jwks_of([KEY])
    assert started(path, clock, DEAD)[0].fetch(CORP).data == jwks_of([KEY])


@pytest.mark.parametrize("seconds", [DAY, 10 * DAY, -60])
def test_beyond_max_stale_or_from_the_future_it_is_not_used(path, clock, kept, seconds):
    clock.set_wall(clock.wall() + seconds)
    fetcher, state = started(path, clock, DEAD)
    with pytest.raises(KeysUnavailableError, match="connection refused"):
        fetcher.fetch(CORP)
    assert "keys.max_stale" in state.problems()[0]


def test_a_clock_that_was_put_back_makes_nothing_younger_within_one_boot(path, clock, kept):
    clock.advance(DAY - 10)
    clock.set_wall(clock.wall() - DAY + 60)
    assert started(path, clock, DEAD)[0].fetch(CORP).age == DAY - 10
    clock.advance(10)
    fetcher, state = started(path, clock, DEAD)
    with pytest.raises(KeysUnavailableError, match="connection refused"):
        fetcher.fetch(CORP)
    [told] = state.problems()
    assert "older than that by the time since the machine started, and `keys.max_stale` is" in told
    clock.advance(1)
    with pytest.raises(KeysUnavailableError):
        fetcher.fetch(CORP)
    assert state.problems() == [told]  # equal texts are logged once


def test_a_set_from_the_future_is_not_used_though_the_boot_says_that_it_is_young(path, clock, kept):
    clock.advance(10)
    clock.set_wall(clock.wall() - 3600)
    with pytest.raises(KeysUnavailableError, match="connection refused"):
        started(path, clock, DEAD)[0].fetch(CORP)


@pytest.mark.parametrize("boot", ["boot-2", ""])
def test_after_a_reboot_or_without_a_boot_id_the_wall_time_counts(path, clock, kept, boot):
    clock.advance(DAY + 10)
    clock.set_wall(clock.wall() - DAY)
    assert started(path, clock, DEAD, boot)[0].fetch(CORP).age == 10


def test_the_boot_has_an_id_and_goes_on():
    first, second = this_boot(), this_boot()
    assert first.id == second.id != ""
    assert 0 < first.seconds <= second.seconds


def test_another_issuer_or_source_gets_nothing(path, clock, kept):
    fetcher, _state = started(path, clock, DEAD)
    for other in (issuer(issuer="https://other.test"), issuer(discovery=False, jwks_uri="https://idp.test/keys")):
        with pytest.raises(KeysUnavailableError):
            fetcher.fetch(other)


def test_a_set_under_another_name_is_not_used(path, clock, kept):
    """Whoever may move files there still cannot give one issuer's keys to another."""
    [file] = path.iterdir()
    other = issuer(issuer="https://other.test")
    fetcher, state = started(path, clock, jwks_of([OTHER]))
    fetcher.fetch(other)
    [theirs] = [one for one in path.iterdir() if one != file]
    file.replace(theirs)
    fetcher, state = started(path, clock, DEAD)
    with pytest.raises(KeysUnavailableError):
        fetcher.fetch(other)
    assert "it belongs to another issuer" in state.problems()[0]


def test_a_rotated_set_takes_the_place_of_the_old_one(path, clock, kept):
    started(path, clock, jwks_of([OTHER]))[0].fetch(CORP)
    assert started(path, clock, DEAD)[0].fetch(CORP).data == jwks_of([OTHER])


def test_the_same_set_is_written_once_a_minute(path, clock, kept):
    fetcher, _state = started(path, clock, jwks_of([KEY]))
    fetcher.fetch(CORP)
    [file] = path.iterdir()
    first = file.stat().st_ino, file.read_bytes()
    fetcher.fetch(CORP)
    assert (file.stat().st_ino, file.read_bytes()) == first
    clock.advance(61)
    fetcher.fetch(CORP)
    assert file.read_bytes() != first[1]


def test_the_store_serves_it_and_goes_on_asking(path, clock, kept):
    clock.advance(600)
    events = []
    fetcher, _state = started(path, clock, DEAD)
    options = KeyOptions(max_stale_s=DAY)
    store = KeyStore(fetcher, clock, options, lambda *event: events.append(event), jitter=lambda: 0.5)
    store.configure([CORP])
    store.start()
    try:
        clock.until_waiting()
        state = store.view()[CORP.name]
        assert set(state.usable(clock.monotonic()).keys) == {"k1"}
        assert state.restored
        assert state.last_error == "connection refused"
        assert events == [(CORP.name, "failed")]
        assert state.usable(clock.monotonic() + DAY - 601) is not None
        assert state.usable(clock.monotonic() + DAY - 599) is None
        fetcher._fetcher.answer = jwks_of([KEY, OTHER])
        clock.advance(60)
        clock.until_waiting()
        state = store.view()[CORP.name]
        assert set(state.keyset.keys) == {"k1", "k2"}
        assert (state.restored, state.last_error) == ("", "")
    finally:
        store.stop()
