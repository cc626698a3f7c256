"""When fetches happen and who waits: the rules, one by one, as plain bookkeeping."""

import pytest

from authz.keys.schedule import KeyOptions, Schedule

OPTIONS = KeyOptions(
    refresh_s=300.0, min_interval_s=5.0, max_stale_s=86400.0, negative_s=30.0, negative_kids=3, waiting=4
)


def nobody():
    raise AssertionError("told, but by the store and not here")


def schedule(*, options=OPTIONS, refresh_s=300.0, jitter=0.5):
    return Schedule(options, refresh_s=refresh_s, jitter=lambda: jitter)


def test_the_first_fetch_is_due_at_once():
    assert schedule().due() < 0


@pytest.mark.parametrize(("jitter", "due"), [(0.0, 370.0), (0.5, 400.0), (0.999999, 430.0)])
def test_a_success_is_repeated_after_the_interval_give_or_take_a_tenth(jitter, due):
    plan = schedule(jitter=jitter)
    plan.start(99.0)
    plan.succeeded(100.0, kids={"a"}, max_age=None)
    assert plan.due() == pytest.approx(due, abs=0.01)


@pytest.mark.parametrize(("max_age", "interval"), [(0, 30), (29, 30), (90, 90), (300, 300), (3600, 300), (None, 300)])
def test_cache_control_shortens_the_interval_and_never_lengthens_it(max_age, interval):
    plan = schedule()
    plan.start(0.0)
    plan.succeeded(0.0, kids={"a"}, max_age=max_age)
    assert plan.due() == pytest.approx(interval)


def test_keys_are_refreshed_before_they_are_stale():
    plan = schedule(options=KeyOptions(max_stale_s=10.0))
    plan.start(0.0)
    plan.succeeded(0.0, kids={"a"}, max_age=None)
    assert plan.due() == pytest.approx(5.0)


@pytest.mark.parametrize(("usable", "ceiling"), [(True, 300.0), (False, 30.0)])
def test_failures_back_off_up_to_a_ceiling(usable, ceiling):
    plan, now, delays = schedule(), 0.0, []
    for _ in range(30):
        plan.start(now)
        plan.failed(now, usable=usable)
        delays.append(plan.due() - now)
        now = plan.due()
    assert delays[0] == pytest.approx(9.0)
    assert delays == sorted(delays)
    assert max(delays) <= ceiling
    assert delays[-1] == pytest.approx(0.9 * ceiling)


def test_a_success_ends_the_backing_off():
    plan = schedule()
    for _ in range(5):
        plan.start(0.0)
        plan.failed(0.0, usable=True)
    plan.start(0.0)
    plan.succeeded(0.0, kids={"a"}, max_age=None)
    plan.start(0.0)
    plan.failed(0.0, usable=True)
    assert plan.due() == pytest.approx(9.0)


def test_a_file_is_looked_at_often_even_after_failures():
    plan = schedule(refresh_s=0.5)
    for _ in range(10):
        plan.start(0.0)
        plan.failed(0.0, usable=False)
        assert plan.due() <= 0.5
    plan.ask("x", nobody, 0.0)
    assert plan.due() <= 0.5


def test_a_question_brings_the_fetch_forward_to_the_end_of_the_interval():
    plan = schedule()
    plan.start(100.0)
    plan.succeeded(100.5, kids={"a"}, max_age=None)
    assert plan.ask("b", nobody, 101.0)
    assert plan.due() == pytest.approx(105.0)
    assert plan.start(105.0) is True
    assert plan.succeeded(105.1, kids={"a", "b"}, max_age=None) == [nobody]
    assert plan.due() > 300


def test_a_scheduled_fetch_is_not_hurried():
    plan = schedule()
    assert plan.start(0.0) is False
    plan.succeeded(0.0, kids={"a"}, max_age=None)
    assert plan.start(plan.due()) is False


def absent(plan, at, kid="forged", kids=("a",)):
    """Somebody asks for the key at this time, and the fetch that begins at once does not bring it."""
    assert plan.ask(kid, nobody, at)
    plan.start(at)
    assert plan.succeeded(at, kids=kids, max_age=None) == [nobody]


def test_what_two_fetches_did_not_bring_is_absent_for_a_while():
    plan = schedule()
    absent(plan, 0.0)
    absent(plan, 5.0)
    assert not plan.ask("forged", nobody, 34.9)
    assert plan.ask("forged", nobody, 35.0)


def test_one_who_guesses_the_next_key_id_does_not_make_it_absent():
    """A moment later the provider rotates; whoever has a good token of the new key waits for one fetch."""
    plan = schedule()
    absent(plan, 0.0, "2026-12")
    assert plan.ask("2026-12", nobody, 0.1)
    plan.start(5.0)
    assert plan.succeeded(5.1, kids={"a", "2026-12"}, max_age=None) == [nobody]


def test_two_absences_a_moment_apart_are_one():
    plan = schedule()
    absent(plan, 0.0)
    absent(plan, 4.9)
    absent(plan, 5.0)
    assert not plan.ask("forged", nobody, 6.0)


def test_an_absence_of_long_ago_is_none():
    plan = schedule()
    absent(plan, 0.0)
    absent(plan, 30.1)
    assert plan.ask("forged", nobody, 30.2)


def test_one_who_guesses_all_the_time_delays_a_new_key_by_seconds():
    plan = schedule()
    absent(plan, 100.0)
    absent(plan, 105.0)
    assert plan.due() == pytest.approx(405.0)
    assert not plan.ask("forged", nobody, 106.0)
    assert plan.due() == pytest.approx(115.0), "nobody waits, but the provider is asked again soon"
    assert plan.start(115.0), "in a hurry"
    plan.succeeded(115.0, kids={"a", "forged"}, max_age=None)
    assert plan.due() == pytest.approx(415.0)


def test_a_doubt_comes_no_sooner_than_fetches_may():
    plan = schedule(options=KeyOptions(min_interval_s=20.0, apart_s=5.0, negative_s=60.0))
    absent(plan, 0.0)
    absent(plan, 20.0)
    assert not plan.ask("forged", nobody, 21.0)
    assert plan.due() == pytest.approx(40.0)


def test_a_failed_fetch_says_nothing_about_absence():
    plan = schedule()
    plan.ask("new", nobody, 0.0)
    plan.start(0.0)
    assert plan.failed(0.1, usable=True) == [nobody]
    assert plan.ask("new", nobody, 0.2)


def test_who_asks_during_a_fetch_waits_for_the_next_unless_the_key_came():
    plan = schedule()
    plan.start(0.0)
    plan.ask("came", nobody, 0.1)
    plan.ask("late", print, 0.1)
    assert plan.succeeded(0.2, kids={"came"}, max_age=None) == [nobody]
    assert plan.due() == pytest.approx(5.0)
    plan.start(5.0)
    assert plan.succeeded(5.1, kids={"came", "late"}, max_age=None) == [print]
    assert plan.ask("late", nobody, 5.2)


def test_a_token_without_a_key_id_is_answered_by_any_fetch_and_remembered_by_none():
    plan = schedule()
    plan.start(0.0)
    plan.ask("", nobody, 0.1)
    assert plan.succeeded(0.2, kids={"a"}, max_age=None) == [nobody]
    assert plan.ask("", nobody, 0.3)


def test_absent_key_ids_are_bounded_and_the_oldest_makes_room():
    plan = schedule()
    for at in range(2):
        for kid in ("k1", "k2", "k3"):
            absent(plan, 5.0 * at, kid)
    assert not plan.ask("k1", nobody, 6.0)
    absent(plan, 6.0, "k4")
    assert plan.ask("k1", nobody, 6.0)
    assert not plan.ask("k3", nobody, 6.0)
    assert len(plan._absent) == 3


def test_waiters_are_bounded():
    plan = schedule()
    assert [plan.ask(f"k{n}", nobody, 0.0) for n in range(6)] == [True] * 4 + [False] * 2


def test_abandon_returns_every_waiter_once():
    plan = schedule()
    plan.ask("a", nobody, 0.0)
    plan.ask("b", print, 0.0)
    assert plan.abandon() == [nobody, print]
    assert plan.abandon() == []


class TestResultsOfOthers:
    """A result that somebody else fetched is older than it looks."""

    def test_the_next_fetch_is_due_as_if_it_had_been_ours(self):
        plan = schedule()
        plan.start(100.0)
        plan.succeeded(100.0, kids={"a"}, max_age=None, age=60.0)
        assert plan.due() == pytest.approx(340.0)

    def test_however_old_it_is_there_is_a_pause(self):
        plan = schedule()
        plan.start(100.0)
        plan.succeeded(100.0, kids={"a"}, max_age=None, age=5000.0)
        assert plan.due() == pytest.approx(130.0)

    def test_it_does_not_settle_a_question_that_is_younger(self):
        plan, told = schedule(), []
        plan.start(0.0)
        plan.succeeded(0.0, kids={"a"}, max_age=None)
        plan.ask("b", lambda: told.append("b"), 100.0)
        plan.start(100.0)
        assert plan.succeeded(100.0, kids={"a"}, max_age=None, age=2.0) == []
        assert plan.due() == pytest.approx(103.0), "once the interval since that fetch is over"
        assert plan.start(103.0), "in a hurry"
        [done] = plan.succeeded(103.1, kids={"a"}, max_age=None, age=0.1)
        done()
        assert told == ["b"]
        absent(plan, 109.0, "b")
        assert not plan.ask("b", nobody, 110.0), "now it is known to be absent"

    def test_an_older_fetch_settles_a_question_whose_key_it_brings(self):
        plan = schedule()
        plan.start(0.0)
        plan.succeeded(0.0, kids={"a"}, max_age=None)
        plan.ask("b", nobody, 100.0)
        plan.start(100.0)
        assert plan.succeeded(100.0, kids={"a", "b"}, max_age=None, age=2.0) == [nobody]
