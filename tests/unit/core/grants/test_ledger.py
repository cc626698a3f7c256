"""The ledger: events in the order of the file make grants, and what is over stays over."""

import pytest

from authz.core.grants import Actor, Approved, Ended, Ledger, State
from authz.core.grants import ledger as module
from authz.core.grants.ledger import KEPT_S, WAIT_S
from tests.support.factories.grants import HOUR, approved, ended, requested
from tests.support.factories.tokens import ISS, NOW


def made(*events):
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    return ledger


def state(ledger, name="g0000001"):
    return ledger.get(name).state


def test_a_request_waits_until_it_is_approved_and_then_lasts_its_duration_from_there():
    ledger = made(requested())
    assert (state(ledger), ledger.active()) == (State.WAITING, ())
    assert ledger.apply(approved(at=NOW + 600))
    assert state(ledger) is State.ACTIVE
    [held] = ledger.active()
    assert (held.issuer, held.subject, held.held.until) == (ISS, "ana", NOW + 600 + HOUR)
    assert (held.held.seconds, held.held.is_approved) == (HOUR, True)


def test_a_request_that_needs_no_approval_is_in_force_at_once():
    ledger = made(requested(open=True))
    [held] = ledger.active()
    assert (held.held.until, held.held.is_approved) == (NOW + HOUR, False)
    assert not ledger.apply(approved()), "it would begin anew"


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1), (0, 1, 1)])
def test_events_that_are_read_twice_or_out_of_order_do_nothing_more(order):
    events = [requested(), approved()]
    ledger = made(*(events[at] for at in order))
    assert len(ledger) == 1
    assert state(ledger) is (State.WAITING if order == (1, 0) else State.ACTIVE)


def test_a_second_request_with_the_same_id_changes_nothing():
    ledger = made(requested(seconds=60))
    assert not ledger.apply(requested(seconds=HOUR, subject="eve"))
    assert ledger.get("g0000001").request.seconds == 60


def test_the_holder_cannot_approve_and_another_issuers_account_of_the_same_name_is_another_identity():
    ledger = made(requested())
    assert not ledger.apply(approved(by="ana"))
    other = Actor(issuer="https://other.test", subject="ana")
    assert ledger.apply(Approved(id="g0000001", at=NOW + 1, by=other))


def test_what_is_not_known_does_nothing():
    ledger = made(approved(), ended())
    assert len(ledger) == 0


def test_an_end_ends_and_is_never_taken_back():
    ledger = made(requested(), approved(), ended(by="bo"))
    assert (state(ledger), ledger.active(), ledger.unrecorded()) == (State.ENDED, (), [])
    assert not ledger.apply(ended(at=NOW + 130))
    assert not ledger.apply(approved(at=NOW + 130))
    assert state(ledger) is State.ENDED


def test_time_ends_grants_and_requests_and_a_clock_that_is_set_back_brings_nothing_back():
    ledger = made(requested(), approved(at=NOW), requested("g0000002"))
    ledger.pass_time(NOW + HOUR - 1)
    assert (state(ledger), state(ledger, "g0000002")) == (State.ACTIVE, State.WAITING)
    ledger.pass_time(NOW + HOUR)
    ledger.pass_time(NOW)
    assert (state(ledger), state(ledger, "g0000002")) == (State.ENDED, State.WAITING)
    ledger.pass_time(NOW + WAIT_S)
    ledger.pass_time(NOW)
    assert state(ledger, "g0000002") is State.ENDED
    assert not ledger.apply(approved("g0000002"))
    assert ledger.open() == []
    assert ledger.unrecorded() == [ended(at=NOW + HOUR), ended("g0000002", at=NOW + WAIT_S)]
    assert ledger.apply(ledger.unrecorded()[0])
    assert [one.id for one in ledger.unrecorded()] == ["g0000002"]
    assert ledger.get("g0000001").over_at == NOW + HOUR


def test_the_time_of_an_event_is_time_that_has_passed():
    ledger = made(requested(), approved(at=NOW), requested("g0000002", at=NOW + 2 * HOUR))
    assert state(ledger) is State.ENDED
    assert state(ledger, "g0000002") is State.WAITING


def test_an_end_that_another_place_has_seen_counts():
    ledger = made(requested(), approved(at=NOW), requested("g0000002"))
    before = ledger.changes
    ledger.close(["g0000001", "unknown", "g0000001"])
    assert (state(ledger), ledger.changes) == (State.ENDED, before + 1)
    assert ledger.get("g0000001").end == ended(at=NOW + HOUR)
    assert ledger.get("g0000002").end is None


def test_changes_are_counted_so_that_nothing_is_published_in_vain():
    ledger = made(requested())
    before = ledger.changes
    ledger.apply(requested())
    ledger.pass_time(NOW)
    assert ledger.changes == before
    ledger.apply(approved())
    assert ledger.changes == before + 1


def test_what_ended_long_ago_is_dropped_from_memory_and_file_once_it_is_recorded():
    ledger = made(requested(), approved(at=NOW), requested("g0000002"), ended(at=NOW + 1))
    late = NOW + 1 + KEPT_S
    assert [event.id for event in ledger.events(late - 1)] == ["g0000001"] * 3 + ["g0000002"]
    assert [event.id for event in ledger.events(late)] == ["g0000002"]
    ledger.forget(late - 1)
    assert len(ledger) == 2
    ledger.forget(late)
    assert [grant.id for grant in ledger] == ["g0000002"]
    ledger.pass_time(NOW + WAIT_S)
    ledger.forget(NOW + WAIT_S + KEPT_S)
    assert len(ledger) == 1, "its end is not on record"


def test_a_compacted_file_says_that_what_was_over_is_over():
    ledger = made(requested(), approved(at=NOW), requested("g0000002", seconds=60, open=True))
    ledger.pass_time(NOW + 60)
    again = made(*ledger.events(NOW + 60))
    assert state(again) is State.ACTIVE
    assert state(again, "g0000002") is State.ENDED


def test_in_another_file_what_was_over_is_over():
    ledger = made(requested(), approved(at=NOW), ended(), requested("g0000002"))
    again = ledger.replaced()
    assert (len(again), again.changes) == (0, ledger.changes + 1)
    for event in (requested(), approved(at=NOW), requested("g0000002"), approved("g0000002")):
        again.apply(event)
    assert (state(again), state(again, "g0000002")) == (State.ENDED, State.ACTIVE)
    assert again.unrecorded() == [Ended(id="g0000001", at=NOW + 120)]
    third = again.replaced()
    third.apply(requested())
    assert state(third) is State.ENDED


def test_what_is_remembered_of_other_files_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST_OVER", 2)
    ledger = made(*(requested(f"g000000{number}") for number in range(4)))
    ledger.close([f"g000000{number}" for number in range(4)])
    again = ledger.replaced()
    for number in range(4):
        again.apply(requested(f"g000000{number}"))
    assert [grant.state is State.ENDED for grant in again] == [False, False, True, True]


def test_the_grants_of_one_identity():
    ledger = made(requested(), requested("g0000002", subject="eve"))
    assert [grant.id for grant in ledger.of(ISS, "ana")] == ["g0000001"]
    assert ledger.of("https://other.test", "ana") == []


def test_what_was_forgotten_is_still_over_in_an_older_copy_of_the_file():
    day = 30 * 86_400
    ledger = made(requested(seconds=day), approved(), ended(at=NOW + 60))
    ledger.forget(NOW + 60 + KEPT_S)
    assert len(ledger) == 0
    ledger = ledger.replaced()
    ledger.apply(requested(seconds=day))
    ledger.apply(approved())
    assert (state(ledger), ledger.active()) == (State.ENDED, ())
    assert [event.id for event in ledger.unrecorded()] == ["g0000001"], "its end is recorded anew"


def test_what_was_ended_before_its_time_is_remembered_longest(monkeypatch):
    monkeypatch.setattr(module, "_MOST_OVER", 1)
    day = 30 * 86_400
    ledger = made(requested(seconds=day), approved(), ended(), requested("g0000002", seconds=60, open=True))
    ledger.apply(ended("g0000002", at=NOW + 130))
    ledger.forget(NOW + 130 + KEPT_S)
    again = ledger.replaced()
    for event in (requested(seconds=day), approved()):
        again.apply(event)
    assert (state(again), again.active()) == (State.ENDED, ())


def test_what_a_ledger_knows_is_what_it_has_and_what_was_over_before():
    ledger = made(requested(), approved(), requested("g0000002"))
    assert ledger.knows(requested())
    assert ledger.knows(approved())
    assert not ledger.knows(ended())
    assert not ledger.knows(approved("g0000002"))
    assert not ledger.knows(requested("g0000003"))
    ledger.apply(ended())
    assert ledger.knows(ended())
    assert ledger.replaced().knows(requested())
