"""What has ended answers no check, whatever the clock does; and time alone makes no policy unusable."""

import logging
import time

import pytest

from authz.core.documents.moments import moment_text, parse_end
from authz.ops import in_force
from authz.ops.file_watcher import Content
from authz.ops.in_force import AHEAD_S, PolicyInForce
from authz.ops.policy_file import PolicyFile
from tests.e2e.envoy_harness import wait_for
from tests.support.factories.policies import load, text
from tests.unit.ops.test_policy_file import Events

RULES = """{id: a, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01T12:00Z}
{id: b, plane: inbound, roles: [viewer], operations: ["pools:read"], until: 2026-12-01T13:00Z}
{id: c, plane: inbound, roles: [viewer], operations: ["variables:read"], until: 2026-12-02T12:00Z}
{id: k, plane: inbound, roles: [viewer], operations: ["connections:read"]}"""
ROLES = "\n  viewer: {groups: [data-readers, {name: contractors, until: 2026-12-01T13:00Z}]}\n"
ONE, TWO, THREE = map(parse_end, ("2026-12-01T12:00Z", "2026-12-01T13:00Z", "2026-12-02T12:00Z"))


class Clock:
    """The time, as a test sets it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock(ONE - 3600)


@pytest.fixture
def held(clock):
    made = PolicyInForce(clock)
    made.put(load(RULES, roles=ROLES))
    return made


def rules(policy):
    return "".join(sorted(policy.rules)) if policy is not None else None


def at(held, clock, now):
    clock.now = now
    return rules(held.at(now))


def test_without_a_policy_there_is_none():
    held = PolicyInForce(time.time)
    held.look()
    assert (held.current, held.at(time.time()), held.problem()) == (None, None, "")


def test_what_has_ended_when_a_policy_is_put_into_force_is_left_out(clock):
    clock.now = TWO
    held = PolicyInForce(clock)
    now = held.put(load(RULES, roles=ROLES))
    assert (now is held.current, rules(now), at(held, clock, TWO)) == (True, "ck", "ck")


def test_the_next_policy_is_made_ahead_and_in_force_at_the_very_moment(held, clock):
    clock.now = ONE - AHEAD_S
    held.look()
    before = held.current
    assert at(held, clock, ONE - 0.001) == "abck"
    assert held.current is before
    assert at(held, clock, ONE) == "bck", "not a check was denied"
    assert held.current is not before


def test_long_before_an_end_there_is_one_policy_in_memory(held, clock, monkeypatch):
    monkeypatch.setattr(in_force, "as_of", None)
    clock.now = ONE - AHEAD_S - 1
    before = held.current
    held.look()
    assert held.current is before
    assert at(held, clock, clock.now) == "abck"


@pytest.mark.parametrize("now", [ONE, ONE + 1, TWO, THREE, THREE + 86400 * 3650])
def test_a_clock_that_is_set_ahead_answers_nothing_until_the_policy_of_then_is_there(held, clock, now):
    assert at(held, clock, now) is None
    held.look()
    assert at(held, clock, now) == {ONE: "bck", ONE + 1: "bck", TWO: "ck"}.get(now, "k")


def test_a_policy_that_was_made_ahead_is_not_used_beyond_its_own_end(held, clock):
    clock.now = ONE - 1
    held.look()
    assert at(held, clock, TWO) is None
    held.look()
    assert at(held, clock, TWO) == "ck"


@pytest.mark.parametrize("back", [1, 20, 3600, 86400])
def test_a_clock_that_is_set_back_brings_nothing_back(held, clock, back):
    clock.now = ONE
    held.look()
    assert at(held, clock, ONE) == "bck"
    assert at(held, clock, ONE - back) == "bck"
    clock.now = ONE - back
    held.look()
    again = held.put(load(RULES, roles=ROLES))
    assert rules(again) == "bck", "nor does an edit of the policy"
    assert held.problem() == (
        f"the policy is as it is from {moment_text(ONE)} on, and the clock was set back before that:"
        " what has ended stays ended until the gate is restarted"
    )
    clock.now = ONE
    assert held.problem() == ""


def test_an_end_that_no_check_came_after_is_passed_all_the_same(held, clock):
    clock.now = ONE
    held.look()
    assert rules(held.current) == "bck"


def test_a_new_policy_takes_the_place_of_one_that_was_made_ahead(held, clock):
    clock.now = ONE - 1
    held.look()
    held.put(load(RULES.replace("id: k", "id: o"), roles=ROLES))
    assert at(held, clock, ONE) is None
    held.look()
    assert at(held, clock, ONE) == "bco"


def test_a_policy_that_is_replaced_while_the_next_one_is_made_is_not_brought_back(held, clock, monkeypatch):
    new = load(RULES.replace("id: k", "id: o"), roles=ROLES)

    def meanwhile(policy, now):
        monkeypatch.undo()
        held.put(new)
        return in_force.as_of(policy, now)

    monkeypatch.setattr(in_force, "as_of", meanwhile)
    clock.now = ONE - 1
    held.look()
    assert held.current is new
    assert at(held, clock, ONE) is None
    held.look()
    assert at(held, clock, ONE) == "bco"


def test_what_ended_is_logged_once(held, clock, caplog):
    caplog.set_level(logging.INFO, "authz.ops.in_force")
    clock.now = TWO
    held.look()
    held.look()
    [line] = caplog.messages
    assert line.endswith(
        "the rule `a` ended on 2026-12-01T12:00Z, the rule `b` ended on 2026-12-01T13:00Z, "
        "the role `viewer` of the group `contractors` ended on 2026-12-01T13:00Z"
    )


def test_a_thread_of_its_own_makes_the_next_policy(held, clock):
    held.start()
    try:
        assert at(held, clock, TWO) is None
        wait_for(lambda: held.at(TWO) is not None, "it is not made", pause=time.sleep)
        assert at(held, clock, TWO) == "ck"
    finally:
        held.stop()


FAILING_LATER = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01}
{id: stays, plane: inbound, roles: [viewer], operations: ["pools:read"]}"""
TESTS = """callers: {reader: {groups: [data-readers]}}
tests: [{who: reader, request: GET /api/v2/dags, expect: allow, rule: readers}]
"""


def test_the_tests_of_a_policy_are_about_what_is_written_so_time_never_makes_it_unusable(tmp_path):
    written = (text(FAILING_LATER) + TESTS).encode()
    for now in ("2026-11-30", "2026-12-01", "2036-01-01"):
        events = Events()
        file = PolicyFile(
            tmp_path / "policy.yaml", accept=lambda _: None, events=events, wall=Clock(parse_end(now) - 1)
        )
        file.take(Content(data=written))
        assert (file.problems, [*file.current.rules]) == ((), ["readers", "stays"] if now < "2026-12-02" else ["stays"])
        assert events.told == [file.current.revision]
