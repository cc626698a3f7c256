"""Grants that assertions only name: kept while one may be asked for, and within bounds that no caller can use up."""

import json
import logging

import pytest

from authz.check import grants
from authz.check.grants import KEPT_S, Grants
from authz.core.policy.dags import grant_of

NOW = 1_000_000.0
SALES, OPS = frozenset({"sales"}), frozenset({"ops"})


def grant(name, count=1):
    return grant_of(tuple(f"{name}{number}_{'x' * 200}" for number in range(max(count, 41))), (), 9000)


def test_a_grant_is_found_by_its_reference_and_by_nothing_else():
    kept = Grants()
    assert kept.keep(grant("a"), SALES, NOW)
    found = json.loads(kept.find(grant("a").reference))
    assert found == {"allowed": list(grant("a").allowed), "denied": []}
    assert kept.find(grant("b").reference) is None
    assert kept.find("") is None


def test_a_grant_outlives_every_assertion_that_names_it():
    """60 s of an assertion, and 60 s by which Airflow's clock may be behind."""
    kept = Grants()
    kept.keep(grant("a"), SALES, NOW)
    kept.keep(grant("b"), SALES, NOW + 125)
    assert kept.find(grant("a").reference) is not None
    kept.keep(grant("c"), SALES, NOW + KEPT_S)
    assert kept.find(grant("a").reference) is None
    assert len(kept) == 2


def test_one_that_is_named_again_is_kept_for_longer():
    kept = Grants()
    kept.keep(grant("a"), SALES, NOW)
    kept.keep(grant("a"), OPS, NOW + 100)
    kept.keep(grant("b"), SALES, NOW + KEPT_S)
    assert kept.find(grant("a").reference) is not None
    kept.keep(grant("c"), SALES, NOW + 100 + KEPT_S)
    assert kept.find(grant("a").reference) is None


def test_callers_of_one_role_set_take_no_more_than_their_share(monkeypatch, caplog):
    monkeypatch.setattr(grants, "_SHARE", 3 * (41 + 64))
    kept = Grants()
    with caplog.at_level(logging.ERROR):
        taken = [kept.keep(grant(f"s{number}"), SALES, NOW + number / 10) for number in range(6)]
    assert taken == [True, True, True, False, False, False]
    assert all(kept.find(grant(f"s{number}").reference) for number in range(3))
    assert kept.keep(grant("o"), OPS, NOW + 1)
    assert len(caplog.records) == 1
    assert "503" in caplog.text
    assert kept.keep(grant("later"), SALES, NOW + KEPT_S + 1)


def test_all_together_take_no_more_than_there_is_room_for_and_nothing_is_pushed_out(monkeypatch):
    monkeypatch.setattr(grants, "_ROOM", 3 * (41 + 64))
    kept = Grants()
    taken = [kept.keep(grant(f"s{number}"), frozenset({f"r{number}"}), NOW) for number in range(5)]
    assert taken == [True, True, True, False, False]
    assert len(kept) == 3
    assert kept.find(grant("s0").reference)


@pytest.mark.parametrize("bound", ["_SHARE", "_ROOM"])
def test_the_first_is_kept_whatever_its_size(monkeypatch, bound):
    monkeypatch.setattr(grants, bound, 10)
    kept = Grants()
    assert kept.keep(grant("a", 500), SALES, NOW)
    assert not kept.keep(grant("b"), SALES, NOW)
    assert kept.keep(grant("a", 500), SALES, NOW)


def test_what_expired_leaves_nothing_behind():
    kept = Grants()
    for number in range(50):
        assert kept.keep(grant(f"s{number}"), frozenset({f"r{number}"}), NOW + number * (KEPT_S + 1))
        assert len(kept) == 1
    assert len(kept._taken) == 1
    assert len(kept._due) == 1
