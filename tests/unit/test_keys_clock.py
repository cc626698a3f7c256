"""The system's clock, and what becomes of a wall clock that is set back (PITFALLS d-44)."""

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
