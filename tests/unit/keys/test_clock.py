"""The system's clock, and what becomes of a wall clock that is set back (security.md d-44)."""

import time

import pytest

from authz.keys import SystemClock


class Times:
    def __init__(self):
        self.wall, self.monotonic = 1_000_000.0, 50.0

    def pass_by(self, seconds, *, step=0.0):
        """Time passes; the wall clock is also set by `step` seconds."""
        self.wall += seconds + step
        self.monotonic += seconds


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def clock(times):
    return SystemClock(wall=lambda: times.wall, monotonic=lambda: times.monotonic)


def test_it_is_the_systems_time():
    clock = SystemClock()
    assert abs(clock.wall() - time.time()) < 1
    assert abs(clock.monotonic() - time.monotonic()) < 1


def test_time_goes_on(clock, times):
    times.pass_by(3600)
    assert clock.wall() == 1_003_600.0


@pytest.mark.parametrize("step", [-0.5, -10, -30])
def test_a_small_correction_is_followed(clock, times, step):
    clock.wall()
    times.pass_by(10, step=step)
    assert clock.wall() == times.wall


@pytest.mark.parametrize("step", [-31, -3600, -1e9])
def test_a_clock_that_is_set_back_does_not_bring_the_past_back(clock, times, step):
    times.pass_by(100)
    clock.wall()
    times.pass_by(10, step=step)
    assert clock.wall() == 1_000_110.0 - 30
    times.pass_by(60)
    assert clock.wall() == 1_000_170.0 - 30


def test_once_the_clock_is_right_again_it_is_followed_again(clock, times):
    clock.wall()
    times.pass_by(10, step=-3600)
    clock.wall()
    times.pass_by(10, step=3600)
    assert clock.wall() == times.wall


def test_a_jump_ahead_is_followed(clock, times):
    times.pass_by(1, step=5000)
    assert clock.wall() == times.wall


def test_many_small_steps_back_add_up_to_no_more_than_one(clock, times):
    for _ in range(100):
        times.pass_by(1, step=-20)
        clock.wall()
    assert clock.wall() >= 1_000_100.0 - 30


# --- a clock that cannot come back


def pass_slowly(clock, times, seconds, **options):
    """Time passes, and the clock is looked at each second, as it is in a process that serves."""
    for _ in range(seconds):
        times.pass_by(1, **options)
        clock.wall()


def test_a_process_that_started_an_hour_ahead_comes_back(clock, times, caplog):
    """NTP puts the clock right after the start; without this every token would be expired until a restart."""
    times.pass_by(1, step=-3600)
    assert clock.wall() == times.wall + 3600 - 30
    pass_slowly(clock, times, 299)
    assert clock.wall() == times.wall + 3600 - 30, "expired tokens stay expired meanwhile"
    pass_slowly(clock, times, 2)
    assert clock.wall() == times.wall
    pass_slowly(clock, times, 1000)
    assert clock.wall() == times.wall
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "the system's clock was set back by 3600 s: it is not followed yet",
        "the system's clock is followed again: it has stayed where it was set for 300 s",
    ]


def test_time_goes_on_while_the_clock_is_set_back_again_and_again(clock, times):
    latest = clock.wall()
    for _ in range(20):
        times.pass_by(1, step=-100)
        pass_slowly(clock, times, 100)
        assert clock.wall() > latest
        latest = clock.wall()


def test_a_clock_that_was_set_back_is_reported_with_when_it_will_be_followed(clock, times):
    assert (clock.problem(), clock.divergence()) == ("", 0.0)
    times.pass_by(10, step=-20)
    assert (clock.problem(), clock.divergence()) == ("", 0.0)
    times.pass_by(10, step=-3600)
    assert clock.divergence() == 3620 - 30
    pass_slowly(clock, times, 100)
    assert clock.problem() == (
        "the system's clock was set back: the gate's time is 3590 s ahead of it, and follows it in 200 s if it stays"
        " there"
    )
    pass_slowly(clock, times, 200)
    assert (clock.problem(), clock.divergence()) == ("", 0.0)


def test_a_clock_that_is_put_right_in_time_is_no_problem_any_more(clock, times, caplog):
    times.pass_by(10, step=-3600)
    assert clock.problem()
    times.pass_by(10, step=3600)
    assert clock.problem() == ""
    assert "it was corrected" in caplog.text


def test_a_process_that_looks_rarely_is_not_held_back_for_longer(clock, times):
    times.pass_by(10, step=-3600)
    clock.wall()
    times.pass_by(3600)
    assert clock.wall() == times.wall
