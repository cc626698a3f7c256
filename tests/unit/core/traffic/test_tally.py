"""Counts with their times."""

from authz.core.traffic.tally import Tally, total


def test_it_has_the_first_and_the_last_time_in_any_order():
    tally = Tally()
    for name, time in (("b", "2"), ("d", "4"), ("x", ""), ("a", "1"), ("c", "3")):
        tally.add(name, time)
    assert (tally.count, tally.first, tally.last, tally.id) == (5, "1", "4", "b")


def test_it_may_begin_without_a_time():
    tally = Tally()
    tally.add("a", "")
    assert (tally.first, tally.last, tally.id) == ("", "", "a")
    tally.add("b", "2")
    assert (tally.first, tally.last, tally.id) == ("2", "2", "a")


def test_all_together():
    assert total([]) == Tally()
    both = total([Tally(2, "2", "3", "x"), Tally(), Tally(1, "", "", "y"), Tally(1, "1", "1")])
    assert (both.count, both.first, both.last) == (4, "1", "3")
