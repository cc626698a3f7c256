"""The cache of what is used: bounded, keeps what is used, gives up the oldest of what is not."""

import random
from dataclasses import dataclass

import pytest

from authz.core.caching.clock_cache import SecondChance


@dataclass(slots=True)
class Item:
    of: object
    used: bool = False


def filled(capacity, keys):
    cache = SecondChance(capacity)
    for key in keys:
        cache.put(key, Item(key))
    return cache


def use(cache, key):
    cache.get(key).used = True


def test_what_was_put_is_found_and_nothing_else():
    cache = filled(3, "ab")
    assert cache.get("a").of == "a"
    assert cache.get("c") is None
    assert list(cache) == ["a", "b"]


def test_nothing_is_given_up_while_there_is_room():
    cache = filled(100, range(100))
    assert len(cache) == 100
    assert all(cache.get(key).of == key for key in range(100))


def test_the_oldest_goes_first():
    cache = filled(3, "abcd")
    assert list(cache) == ["b", "c", "d"]
    cache.put("e", Item("e"))
    assert list(cache) == ["c", "d", "e"]


def test_what_was_used_is_let_off_once():
    cache = filled(3, "abc")
    use(cache, "a")
    cache.put("d", Item("d"))
    assert list(cache) == ["a", "c", "d"]
    cache.put("e", Item("e"))
    cache.put("f", Item("f"))
    assert list(cache) == ["d", "e", "f"], "a was not used again"


def test_where_all_were_used_the_oldest_goes_after_one_round():
    cache = filled(3, "abc")
    for key in "abc":
        use(cache, key)
    cache.put("d", Item("d"))
    assert list(cache) == ["b", "c", "d"]
    assert not any(cache.get(key).used for key in "bcd")


def test_no_put_looks_at_more_than_a_few_entries():
    cache = filled(1_000, range(1_000))
    for key in range(1_000):
        use(cache, key)
    cache.put("new", Item("new"))
    assert len(cache) == 1_000
    assert sum(not cache.get(key).used for key in cache) <= 65


def test_an_entry_takes_the_place_of_the_one_before():
    cache = filled(3, "abc")
    cache.put("b", Item("another"))
    assert list(cache) == ["a", "b", "c"]
    assert cache.get("b").of == "another"


def test_what_is_used_all_the_time_outlives_any_flood():
    cache = filled(10, ["hot"])
    for number in range(1_000):
        cache.put(number, Item(number))
        use(cache, "hot")
        assert len(cache) <= 10


@pytest.mark.parametrize("capacity", [1, 2, 7, 100])
def test_it_is_bounded_and_never_answers_with_another_keys_entry(capacity):
    cache, chance = SecondChance(capacity), random.Random(7)  # noqa: S311 a test that repeats
    for _ in range(5_000):
        key = chance.randrange(20)
        if chance.random() < 0.5:
            cache.put(key, Item(key))
        found = cache.get(key)
        assert found is None or found.of == key
        if found is not None and chance.random() < 0.5:
            found.used = True
        assert len(cache) <= capacity


def test_without_room_for_anything_one_is_kept():
    cache = filled(0, "ab")
    assert list(cache) == ["b"]
