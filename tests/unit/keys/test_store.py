"""The store: threads, views and waiting, on a clock that the test sets."""

import itertools
import logging
import threading
import time
from collections import Counter

import pytest

from authz.core.errors import KeysUnavailableError
from authz.keys import KeyFetcher, KeyOptions, KeyState, KeyStore, SystemClock
from tests.support.factories.tokens import issuer, make_key
from tests.support.simulators.idp import PATIENCE_S, IdP, SimClock, SimFetcher

OLD, NEW = make_key("ES256", kid="old"), make_key("ES256", kid="new")
CORP = issuer(name="corp")
LAB = issuer(name="lab", issuer="https://lab.example.com")


class Stage:
    """A store with everything around it, and ways to wait for it."""

    def __init__(self, fetcher, **options):
        self.clock = SimClock()
        self.fetcher = fetcher
        self.events = []
        self.store = KeyStore(
            fetcher, self.clock, KeyOptions(**options), lambda *event: self.events.append(event), jitter=lambda: 0.5
        )

    def run(self, *issuers):
        self.store.configure(issuers)
        self.store.start()
        self.clock.until_waiting(len(issuers))
        return self

    def later(self, seconds, threads=1):
        self.clock.advance(seconds)
        self.clock.until_waiting(threads)

    def kids(self, name="corp"):
        keyset = self.store.view()[name].keyset
        return set(keyset.keys) if keyset else None

    def ask(self, kid, name="corp"):
        """An event that is set by `done`, or None where nobody will call it."""
        told = threading.Event()
        return told if self.store.request(name, kid, told.set) else None


@pytest.fixture
def stage():
    stages = []

    def make(fetcher, *issuers, **options):
        stages.append(Stage(fetcher, **options))
        return stages[-1].run(*issuers)

    yield make
    for made in stages:
        made.store.stop(PATIENCE_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("keys-corp")]


class TestRefreshing:
    def test_every_issuer_has_its_keys_after_the_start(self, stage):
        running = stage(SimFetcher(corp=[OLD], lab=[NEW]), CORP, LAB)
        assert (running.kids("corp"), running.kids("lab")) == ({"old"}, {"new"})
        state = running.store.view()["corp"]
        assert (state.fetched_at, state.stale_at, state.last_error) == (1000.0, 1000.0 + 86400, "")
        assert state.note(1000.0) == ""
        assert sorted(running.events) == [("corp", "changed"), ("lab", "changed")]

    def test_a_removed_key_is_gone_after_the_refresh(self, stage):
        running = stage(SimFetcher(corp=[OLD, NEW]), CORP)
        running.fetcher.answers["corp"] = [NEW]
        running.later(299)
        assert running.kids() == {"old", "new"}
        running.later(2)
        assert running.kids() == {"new"}

    def test_an_unchanged_key_stays_the_same_object(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        before = running.store.view()["corp"].keyset
        running.later(301)
        assert running.store.view()["corp"].keyset is before
        running.fetcher.answers["corp"] = [OLD, NEW]
        running.later(301)
        assert running.store.view()["corp"].keyset.keys["old"] is before.keys["old"]
        assert running.events == [("corp", "changed"), ("corp", "unchanged"), ("corp", "changed")]

    def test_a_view_is_one_moment_and_cannot_be_changed(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        view = running.store.view()
        running.fetcher.answers["corp"] = [NEW]
        running.later(301)
        assert set(view["corp"].keyset.keys) == {"old"}
        with pytest.raises(TypeError):
            view["corp"] = KeyState()

    def test_a_fetch_is_hurried_where_a_key_is_missing(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.later(301)
        running.clock.advance(10)
        running.ask("new").wait(PATIENCE_S)
        assert [hurried for _, hurried in running.fetcher.calls] == [False, False, True]

    def test_an_unknown_key_finds_the_keys_that_a_provider_has_moved(self, stage):
        with IdP([OLD]) as idp, IdP([OLD, NEW]) as elsewhere:
            running = stage(KeyFetcher(), issuer(name="corp", issuer=idp.url))
            assert running.kids() == {"old"}
            idp.says_jwks_uri = elsewhere.jwks_uri  # the old address goes on answering
            running.clock.advance(5)
            assert running.ask("new").wait(PATIENCE_S)
            assert running.kids() == {"old", "new"}
            assert idp.count("/jwks") == 1

    def test_a_provider_may_ask_for_more_frequent_fetches(self, stage):
        fetcher = SimFetcher(corp=[OLD])
        fetcher.max_age = 60
        running = stage(fetcher, CORP)
        running.later(59)
        assert len(fetcher.calls) == 1
        running.later(1)
        assert len(fetcher.calls) == 2

    def test_a_file_is_read_again_soon_and_is_no_event_unless_it_changed(self, stage):
        running = stage(SimFetcher(corp=[OLD]), issuer(discovery=False, jwks_file="/keys.json"))
        for _ in range(4):
            running.later(0.6)
        running.fetcher.answers["corp"] = [NEW]
        running.later(0.6)
        assert running.kids() == {"new"}
        assert running.events == [("corp", "changed"), ("corp", "changed")]

    def test_ignored_keys_are_said_once(self, stage, caplog):
        weak = make_key("RS256", kid="weak", bits=1024)
        running = stage(SimFetcher(corp=[OLD, weak]), CORP)
        running.later(301)
        assert len([record for record in caplog.records if "left out" in record.message]) == 1


class TestFailing:
    def test_the_last_good_keys_stay_until_they_are_too_old(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP, max_stale_s=1000.0)
        running.fetcher.answers["corp"] = KeysUnavailableError("https://idp: cannot connect")
        for _ in range(3):
            running.later(320)
        state = running.store.view()["corp"]
        now = running.clock.monotonic()
        assert state.usable(now) is state.keyset
        assert state.problem(now) == ""
        assert state.last_error == "https://idp: cannot connect"
        assert state.note(now) == (
            "those from 960 s ago are in use, for at most 40 s more: https://idp: cannot connect"
        )
        running.later(100)
        now = running.clock.monotonic()
        state = running.store.view()["corp"]
        assert state.usable(now) is None
        assert state.problem(now) == state.note(now) == "keys are too old (1060 s): https://idp: cannot connect"
        assert state.keyset is not None

    def test_recovery_within_one_interval(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP, refresh_s=60.0, max_stale_s=120.0)
        running.fetcher.answers["corp"] = KeysUnavailableError("down")
        for _ in range(20):
            running.later(60)
        running.fetcher.answers["corp"] = [NEW]
        running.later(60)
        state = running.store.view()["corp"]
        assert state.problem(running.clock.monotonic()) == ""
        assert running.kids() == {"new"}
        assert running.events[-1] == ("corp", "changed")

    def test_no_keys_yet(self, stage):
        running = stage(SimFetcher(corp=KeysUnavailableError("down")), CORP)
        state = running.store.view()["corp"]
        assert state.keyset is None
        assert state.usable(0.0) is None
        assert state.problem(0.0) == "no keys yet: down"
        assert KeyState().problem(0.0) == "no keys yet"
        assert running.events == [("corp", "failed")]

    @pytest.mark.parametrize("data", [b"", b"<html>secret", b"{}", b'{"keys": []}', b"\xff", b"[" * 10_000])
    def test_a_document_that_is_no_key_set_changes_nothing(self, stage, data):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.fetcher.answers["corp"] = data
        running.later(301)
        assert running.kids() == {"old"}
        assert "secret" not in running.store.view()["corp"].last_error
        assert running.store.view()["corp"].last_error

    @pytest.mark.parametrize("failure", [b"<html>", KeysUnavailableError("/keys.json: No such file or directory")])
    def test_what_is_wrong_with_a_key_file_names_it_once(self, stage, failure):
        running = stage(SimFetcher(corp=failure), issuer(discovery=False, jwks_file="/keys.json"))
        said = running.store.view()["corp"].last_error
        assert said.startswith("/keys.json: ")
        assert said.count("/keys.json") == 1

    def test_a_bug_in_the_fetcher_is_a_failure_and_not_the_end(self, stage):
        running = stage(SimFetcher(corp=ZeroDivisionError("secret")), CORP)
        assert running.store.view()["corp"].last_error == "internal error (ZeroDivisionError)"
        running.fetcher.answers["corp"] = [OLD]
        running.later(30)
        assert running.kids() == {"old"}

    def test_a_failure_is_logged_when_it_begins_and_when_it_ends(self, stage, caplog):
        caplog.set_level(logging.INFO)
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.fetcher.answers["corp"] = KeysUnavailableError("down")
        for _ in range(3):
            running.later(301)
        running.fetcher.answers["corp"] = [OLD]
        running.later(301)
        assert [record.message for record in caplog.records] == [
            "issuer corp: no new keys: down",
            "issuer corp: 1 keys, again",
        ]


class TestAsking:
    def test_a_new_key_is_fetched_at_once_when_nothing_was_fetched_lately(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(5)
        running.fetcher.answers["corp"] = [OLD, NEW]
        told = running.ask("new")
        assert told.wait(PATIENCE_S)
        assert running.kids() == {"old", "new"}
        assert len(running.fetcher.calls) == 2

    def test_a_new_key_is_fetched_at_the_end_of_the_interval_otherwise(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(2)
        running.fetcher.answers["corp"] = [OLD, NEW]
        told = running.ask("new")
        running.clock.until_waiting()
        assert not told.is_set()
        assert len(running.fetcher.calls) == 1
        running.clock.advance(3)
        assert told.wait(PATIENCE_S)
        assert running.kids() == {"old", "new"}

    def test_a_key_that_is_there_needs_no_waiting(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        assert running.ask("old") is None

    def test_a_key_that_is_there_but_too_old_is_fetched(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP, max_stale_s=700.0)
        running.fetcher.answers["corp"] = KeysUnavailableError("down")
        for _ in range(3):
            running.later(301)
        running.fetcher.answers["corp"] = [OLD]
        told = running.ask("old")
        running.clock.advance(10)
        assert told.wait(PATIENCE_S)
        assert running.store.view()["corp"].usable(running.clock.monotonic())

    def test_a_key_that_was_absent_twice_is_not_waited_for(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        for _ in range(2):
            running.clock.advance(10)
            assert running.ask("forged").wait(PATIENCE_S)
            running.clock.until_waiting()
        running.clock.advance(9)
        assert running.ask("forged") is None
        assert len(running.fetcher.calls) == 3

    def test_a_key_that_was_guessed_before_it_was_there_is_found_by_who_has_it(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(10)
        assert running.ask("new").wait(PATIENCE_S)  # a guess
        running.fetcher.answers["corp"] = [OLD, NEW]
        running.clock.until_waiting()
        found = running.ask("new")
        running.clock.advance(5)
        assert found.wait(PATIENCE_S)
        assert running.kids() == {"old", "new"}

    def test_one_who_guesses_all_the_time_delays_a_new_key_by_seconds(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        for _ in range(2):
            running.clock.advance(10)
            assert running.ask("new").wait(PATIENCE_S)
            running.clock.until_waiting()
        running.fetcher.answers["corp"] = [OLD, NEW]
        for _ in range(9):
            assert running.ask("new") is None
            running.later(1)
        assert running.kids() == {"old"}
        running.later(1)
        assert running.kids() == {"old", "new"}

    def test_one_fetch_serves_all_who_wait(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(10)
        running.fetcher.until_begun()
        with running.fetcher.held():
            waiting = [running.ask("new")]
            running.fetcher.until_begun()
            running.fetcher.answers["corp"] = [OLD, NEW]
            waiting += [running.ask("new") for _ in range(50)]
            assert not any(told.is_set() for told in waiting)
        assert waiting[0].wait(PATIENCE_S)
        running.clock.until_waiting()
        running.clock.advance(5)
        assert all(told.wait(PATIENCE_S) for told in waiting)
        assert len(running.fetcher.calls) == 3
        assert running.kids() == {"old", "new"}

    def test_an_issuer_that_is_not_configured(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        assert running.ask("any", "nobody") is None

    def test_a_store_that_does_not_run(self):
        store = KeyStore(SimFetcher(), SimClock(), KeyOptions(), lambda *_: None)
        store.configure([CORP])
        assert not store.request("corp", "any", lambda: None)
        assert store.view() == {"corp": KeyState(issuer=CORP.issuer)}

    def test_a_callback_that_raises_does_not_harm_the_other_waiters(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(2)

        def broken():
            raise RuntimeError("the loop is closed")

        assert running.store.request("corp", "new", broken)
        told = running.ask("new")
        running.clock.until_waiting()
        running.clock.advance(3)
        assert told.wait(PATIENCE_S)
        running.clock.until_waiting()

    def test_a_failed_fetch_wakes_those_who_wait(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.clock.advance(10)
        running.fetcher.answers["corp"] = KeysUnavailableError("down")
        assert running.ask("new").wait(PATIENCE_S)
        assert running.kids() == {"old"}


class TestConfiguring:
    def test_unchanged_issuers_keep_their_keys_and_others_go(self, stage):
        running = stage(SimFetcher(corp=[OLD], lab=[NEW]), CORP, LAB)
        kept = running.store.view()["corp"]
        running.store.configure([issuer(name="corp", groups=(("other",),), max_lifetime=60)])
        assert running.store.view() == {"corp": kept}
        assert running.store.view()["corp"].keyset is kept.keyset
        assert running.ask("any", "lab") is None
        assert [name for name, _ in running.fetcher.calls].count("corp") == 1

    def test_an_issuer_with_another_address_of_its_keys_starts_without_keys(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.fetcher.until_begun()
        with running.fetcher.held():
            running.store.configure([issuer(name="corp", jwks_uri="https://idp.example.com/v2", discovery=False)])
            assert running.store.view() == {"corp": KeyState(issuer=CORP.issuer)}
            running.fetcher.until_begun()
        running.later(0)
        assert running.kids() == {"old"}

    def test_a_new_issuer_is_fetched_at_once(self, stage):
        running = stage(SimFetcher(corp=[OLD], lab=[NEW]), CORP)
        running.store.configure([CORP, LAB])
        running.clock.until_waiting(2)
        assert running.kids("lab") == {"new"}

    def test_removal_and_stop_wake_those_who_wait(self, stage):
        running = stage(SimFetcher(corp=[OLD], lab=[NEW]), CORP, LAB)
        at_removal, at_stop = running.ask("x", "lab"), running.ask("x", "corp")
        running.store.configure([CORP])
        assert at_removal.wait(PATIENCE_S)
        assert not at_stop.is_set()
        running.store.stop(PATIENCE_S)
        assert at_stop.is_set()

    def test_keys_that_arrive_for_a_removed_issuer_are_dropped(self, stage):
        running = stage(SimFetcher(corp=[OLD], lab=[NEW]), CORP, LAB)
        for _ in range(2):
            running.fetcher.until_begun()
        with running.fetcher.held():
            running.clock.advance(301)
            for _ in range(2):
                running.fetcher.until_begun()
            running.store.configure([CORP])
        running.clock.until_waiting()
        running.store.stop(PATIENCE_S)
        assert set(running.store.view()) == {"corp"}

    def test_the_last_view_can_be_read_after_the_stop(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.store.stop(PATIENCE_S)
        assert running.kids() == {"old"}
        assert running.ask("new") is None

    def test_stopping_during_a_fetch(self, stage):
        running = stage(SimFetcher(corp=[OLD]), CORP)
        running.fetcher.until_begun()
        with running.fetcher.held():
            running.clock.advance(301)
            running.fetcher.until_begun()
            running.store.stop(0.0)
        assert running.kids() == {"old"}


def test_the_real_clock_and_the_default_jitter():
    """A file, the real time: nothing simulated but the bytes."""
    fetcher = SimFetcher(corp=[OLD])
    changed = threading.Semaphore(0)
    options = KeyOptions(file_poll_s=0.01)
    store = KeyStore(fetcher, SystemClock(), options, lambda *_: changed.release())
    store.configure([issuer(discovery=False, jwks_file="/keys.json")])
    store.start()
    try:
        assert changed.acquire(timeout=PATIENCE_S)
        fetcher.answers["corp"] = [NEW]
        assert changed.acquire(timeout=PATIENCE_S)
        assert set(store.view()["corp"].keyset.keys) == {"new"}
        assert abs(SystemClock().wall() - SystemClock().wall()) < 60
    finally:
        store.stop(PATIENCE_S)


def test_every_waiter_is_called_back_exactly_once(caplog):
    """Many askers, failing fetches, issuers that come and go, a stop in the middle: no one is lost or told twice."""
    caplog.set_level(logging.CRITICAL)
    fetcher = SimFetcher(corp=[OLD], lab=[NEW])
    options = KeyOptions(refresh_s=0.02, min_interval_s=0.002, negative_s=0.002)
    store = KeyStore(fetcher, SystemClock(), options, lambda *_: None)
    store.configure([CORP, LAB])
    store.start()
    told, accepted = Counter(), Counter()
    stopping = threading.Event()

    def ask(asker):
        for n in itertools.count():
            if stopping.is_set():
                return
            question = (asker, n)
            if store.request(("corp", "lab")[n % 2], f"kid-{asker}-{n % 7}", lambda question=question: note(question)):
                accepted[question] = 1

    lock = threading.Lock()

    def note(question):
        with lock:
            told[question] += 1

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for asker in askers:
        asker.start()
    end = time.monotonic() + 1.0
    for n in itertools.count():
        if time.monotonic() > end:
            break
        fetcher.answers["corp"] = [[OLD], [OLD, NEW], KeysUnavailableError("down"), b"nonsense"][n % 4]
        store.configure([CORP, LAB] if n % 3 else [CORP])
        stopping.wait(0.003)
    store.stop(PATIENCE_S)
    stopping.set()
    for asker in askers:
        asker.join(PATIENCE_S)
    assert len(accepted) > 100
    assert told == accepted
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("keys-corp", "keys-lab"))]
