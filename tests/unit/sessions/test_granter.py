"""The granter: recorded before it is in force, followed by every process, ended for good."""

import errno
import logging
import time

import pytest

from authz.core.documents.moments import moment_text
from authz.core.errors import ConfigError
from authz.core.grants import Actor, Ended, Granted, GrantRefusedError, Refusal, encode
from authz.sessions import granter as module
from authz.sessions.granter import Granter
from authz.sessions.grants_file import GrantsFile
from authz.system import shared_file
from tests.support.factories.grants import DAY, HOUR, ONCALL, approved, ended, policy, requested
from tests.support.factories.tokens import ISS, NOW
from tests.support.simulators.idp import SimClock
from tests.support.waiting import wait_for

POLICY = policy()


class Process:
    """One process: its table, its granter, its clock."""

    def __init__(self, path, clock=None, **parts):
        self.clock = clock or SimClock()
        self.granted = Granted()
        self.granter = Granter(self.granted, path, self.clock, **parts)

    def record(self, *events):
        for event in events:
            self.granter.record(lambda _ledger, _now, event=event: event)

    def held(self, subject="ana", wall=None):
        found = self.granted.held(ISS, subject, self.clock.wall() if wall is None else wall)
        return [grant.id for grant in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "grants.jsonl"


@pytest.fixture
def process(path):
    return Process(path)


GRANT = (requested(), approved(at=NOW))


def full(*_arguments, **_named):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_recorded_is_in_force_here_and_after_a_restart(process, path):
    process.record(*GRANT)
    assert process.held() == ["g0000001"]
    assert Process(path).held() == ["g0000001"]
    assert process.granter.status(POLICY) == (1, 0, 0, False)
    assert process.granter.problems() == []


def test_every_process_follows_the_file_within_a_second(path):
    one, two = Process(path), Process(path)
    two.granter.start()
    try:
        one.record(*GRANT)
        began = time.monotonic()
        wait_for(lambda: two.held() == ["g0000001"])
        one.record(ended())
        wait_for(lambda: two.held() == [])
        assert time.monotonic() - began < 2.0
    finally:
        two.granter.stop()
    assert not two.granter._thread.is_alive()


def test_what_cannot_be_written_is_not_in_force_and_is_reported(process, path, monkeypatch):
    process.record(requested())
    with monkeypatch.context() as disk:
        disk.setattr(shared_file.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            process.record(approved(at=NOW))
    assert process.held() == Process(path).held() == []
    [problem] = process.granter.problems()
    assert "answered 503: No space left" in problem
    assert process.granter.status(POLICY) == (0, 1, 0, True)
    process.record(approved(at=NOW))
    assert (process.held(), process.granter.problems()) == (["g0000001"], [])


def test_an_end_that_is_seen_is_recorded_and_outlives_a_restart_with_the_clock_set_back(process, path):
    process.record(*GRANT)
    process.clock.set_wall(NOW + HOUR)
    process.granter.look()
    process.granter.record_ends()
    assert path.read_bytes().endswith(encode(ended(at=NOW + HOUR)))
    assert Process(path, SimClock(wall=float(NOW))).held() == []
    process.clock.set_wall(NOW)
    process.granter.look()
    assert process.held() == []
    before = path.read_bytes()
    process.granter.record_ends()
    assert path.read_bytes() == before, "once"


def test_an_end_that_only_a_check_has_seen_is_recorded_too(process, path):
    process.record(*GRANT)
    assert process.held(wall=NOW + HOUR) == []
    process.granter.look()
    process.granter.record_ends()
    assert path.read_bytes().endswith(encode(ended(at=NOW + HOUR)))
    assert process.held(wall=NOW) == []


def test_several_processes_record_an_end_once(path):
    clock = SimClock()
    several = [Process(path, clock) for _ in range(3)]
    several[0].record(*GRANT)
    clock.set_wall(NOW + HOUR)
    for process in several:
        process.granter.look()
    for process in several:
        process.granter.record_ends()
    assert path.read_bytes().count(b'"end"') == 1


def test_it_has_ended_even_if_the_end_cannot_be_recorded_and_that_is_tried_again(process, path, monkeypatch):
    process.record(*GRANT)
    process.clock.set_wall(NOW + HOUR)
    process.granter.look()
    with monkeypatch.context() as disk:
        disk.setattr(shared_file.os, "write", full)
        process.granter.record_ends()
    process.clock.set_wall(NOW)
    process.granter.look()
    assert process.held() == []
    assert "the end of grants cannot be recorded" in process.granter.problems()[0]
    process.granter.record_ends()
    assert process.granter.problems() == []
    assert path.read_bytes().endswith(encode(ended(at=NOW + HOUR)))


def test_the_thread_records_ends_and_compacts(path, monkeypatch):
    monkeypatch.setattr(module, "_SLACK", 0)
    monkeypatch.setattr(module, "_RECORD_S", 0)
    monkeypatch.setattr(module, "_TIDY_S", 0)
    process = Process(path)
    process.record(*GRANT)
    process.granter.start()
    try:
        process.clock.set_wall(NOW + HOUR)
        wait_for(lambda: b'"end"' in path.read_bytes())
        process.clock.set_wall(NOW + HOUR + DAY)
        wait_for(lambda: path.read_bytes() == b"")
        process.clock.set_wall(NOW)
        assert process.held() == []
    finally:
        process.granter.stop()


def test_a_compaction_that_fails_is_a_warning(process, monkeypatch, caplog):
    process.record(*GRANT, ended())
    process.clock.set_wall(NOW + 3 * DAY)
    monkeypatch.setattr(module, "_SLACK", 0)
    monkeypatch.setattr("authz.sessions.grants_file.write_whole", full)
    process.granter.tidy()
    assert "could not be compacted" in caplog.text
    process.granter.tidy()


@pytest.mark.parametrize("change", ["gone", "unreadable"])
def test_while_the_file_cannot_be_read_nothing_is_in_force(process, path, change):
    process.record(*GRANT)
    data = path.read_bytes()
    path.unlink()
    if change == "unreadable":
        path.mkdir()
    process.granter.look()
    assert process.held() == []
    assert "no grant is in force" in process.granter.problems()[0]
    assert process.granter.status(POLICY) == (0, 0, 0, True)
    with pytest.raises(OSError, match="cannot be read"):
        process.granter.read(len)
    if change == "unreadable":
        path.rmdir()
    path.write_bytes(data)
    path.chmod(0o600)
    process.granter.look()
    assert (process.held(), process.granter.problems()) == (["g0000001"], [])


def test_foreign_edits_and_broken_lines_are_reported_and_give_nothing(process, path):
    process.record(*GRANT, ended())
    path.write_bytes(b"".join(map(encode, GRANT)) + b"nonsense\n")
    process.granter.look()
    assert process.held() == [], "the end's line was taken away"
    assert "1 line(s) are no events" in process.granter.problems()[0]


def test_a_file_that_others_may_use_is_reported(process, path):
    process.record(*GRANT)
    path.chmod(0o660)
    process.granter.look()
    assert process.granter.problems() == [f"{path}: others may use it, and it names people and gives access: chmod go="]


def test_a_refusal_writes_nothing_and_is_no_failure(process, path):
    def refuse(_ledger, _now):
        raise GrantRefusedError(Refusal.UNKNOWN, "no", "no")

    with pytest.raises(GrantRefusedError):
        process.granter.record(refuse)
    assert (path.read_bytes(), process.granter.problems()) == (b"", [])


def test_a_decision_for_what_is_there_already_writes_nothing(process, path):
    process.record(requested())
    before = path.read_bytes()
    made, grant = process.granter.record(lambda ledger, _now: ledger.get("g0000001"))
    assert (made, grant.id, path.read_bytes()) == (None, "g0000001", before)


def test_an_event_that_changes_nothing_that_is_there_is_a_bug(process):
    with pytest.raises(ValueError, match="not there"):
        process.granter.record(lambda _ledger, _now: ended())


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path):
    with pytest.raises(ConfigError, match="the grants file cannot be used"):
        Process(tmp_path / "none" / "grants.jsonl")


def test_a_bug_in_a_look_holds_nothing_and_the_next_look_goes_on(path, monkeypatch, caplog):
    process = Process(path)
    process.record(*GRANT)
    looks = []
    look = process.granter.look

    def broken():
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("canary")
        if len(looks) > 2:
            look()

    monkeypatch.setattr(process.granter, "look", broken)
    process.granter.start()
    try:
        wait_for(lambda: looks and process.held() == [])
        wait_for(lambda: process.held() == ["g0000001"])
    finally:
        process.granter.stop()
    assert "following the grants" in caplog.text
    assert process.granter.problems() == []


@pytest.mark.parametrize("what", ["look", "record_ends", "tidy"])
def test_while_a_bug_lasts_it_is_reported_and_logged_once(path, monkeypatch, caplog, what):
    monkeypatch.setattr(module, "_LOOK_S", 0.001)
    monkeypatch.setattr(module, "_RECORD_S", 0)
    monkeypatch.setattr(module, "_TIDY_S", 0)
    process, rounds = Process(path), []
    process.record(*GRANT)

    def broken():
        rounds.append(1)
        raise RuntimeError("canary")

    with monkeypatch.context() as bug:
        bug.setattr(process.granter, what, broken)
        process.granter.start()
        try:
            wait_for(lambda: len(rounds) > 5)
            [problem] = process.granter.problems()
            assert "no grant is in force: RuntimeError" in problem
            assert (process.held(), process.granter.status(POLICY)) == ([], (0, 0, 0, True))
            with pytest.raises(OSError, match="no grant is in force"):
                process.granter.read(len)
            errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
            assert [record.exc_info is not None for record in errors] == [True, False]
        finally:
            bug.undo()
    try:
        wait_for(lambda: process.held() == ["g0000001"])
        assert process.granter.problems() == []
    finally:
        process.granter.stop()


def test_what_the_policy_does_not_permit_is_not_counted_as_in_force(process):
    process.record(*GRANT, requested("g0000002"))
    assert process.granter.status(POLICY)[:2] == (1, 1)
    assert process.granter.status(policy(ONCALL.replace("3d", "1m")))[:2] == (0, 1)
    assert process.granter.status(None)[:2] == (0, 1)


def test_what_ended_days_ago_is_forgotten_at_the_start(path):
    Process(path).record(*GRANT, ended())
    later = Process(path, SimClock(wall=float(NOW + 3 * DAY)))
    assert later.granter.read(len) == 0


class TestLog:
    def test_each_event_has_one_line_with_who_what_until_when_and_why(self, process, caplog):
        caplog.set_level(logging.INFO)
        process.record(*GRANT, ended(by="bo"), requested("g0000002", entry="night", open=True))
        process.clock.set_wall(NOW + HOUR)
        process.granter.look()
        process.granter.record_ends()
        texts = [record.getMessage() for record in caplog.records]
        who = {name: f"{name} (sub {name} of {ISS})" for name in ("ana", "bo")}
        what, end = f"oncall of {who['ana']}", moment_text(NOW + HOUR)
        assert texts == [
            f"grant g0000001: {who['ana']} requested oncall for 3600 s, waits for approval: incident",
            f"grant g0000001: {who['bo']} approved {what} until {end}: incident",
            f"grant g0000001: {who['bo']} ended {what}: incident",
            f"grant g0000002: {who['ana']} requested night for 3600 s, in force until {end}: incident",
            f"grant g0000002: the end of its time ended night of {who['ana']}: incident",
        ]

    def test_what_a_local_account_did_is_logged_by_one_process(self, path, caplog):
        caplog.set_level(logging.INFO)
        one, two = Process(path), Process(path, announces=False)
        GrantsFile(path).record(lambda _ledger: [requested(local="root")])
        GrantsFile(path).record(lambda _ledger: [Ended(id="g0000001", at=NOW, by=Actor(local="root"))])
        GrantsFile(path).record(lambda _ledger: [requested("g0000002")])
        one.granter.look()
        two.granter.look()
        texts = [record.getMessage() for record in caplog.records]
        assert [text.partition(":")[2].split(" of ")[0] for text in texts] == [
            " local root for ana (sub ana",
            " local root ended oncall",
        ]
        Process(path)
        assert len(caplog.records) == 2, "not again at the next start"
        GrantsFile(path).compact(NOW)
        one.granter.look()
        assert len(caplog.records) == 2, "not again after a compaction"
        GrantsFile(path).compact(NOW)
        GrantsFile(path).record(lambda _ledger: [requested("g0000003", local="root")])
        one.granter.look()
        assert len(caplog.records) == 3, "but what is new in another file"

    def test_names_and_reasons_stay_in_one_line(self, process, caplog):
        caplog.set_level(logging.INFO)
        event = requested()
        holder = Actor(issuer=ISS, subject="ana", name="Ana\nERROR all is lost \u202e")
        process.record(type(event)(id=event.id, at=NOW, holder=holder, entry="x", seconds=1, reason="a\nb"))
        [text] = [record.getMessage() for record in caplog.records]
        assert "\n" not in text
        assert "\u202e" not in text


def test_stopping_without_having_started(process):
    process.granter.stop()
    assert not process.granter._thread.is_alive()


def test_an_end_that_only_a_check_has_seen_outlives_a_file_that_cannot_be_read(process, path, monkeypatch):
    monkeypatch.setattr(module, "_SLACK", -1000)
    process.record(*GRANT)
    assert process.held(wall=NOW + HOUR) == []
    lines = path.read_bytes()
    path.unlink()
    path.mkdir()
    process.granter.tidy()
    assert process.held() == []
    path.rmdir()
    path.write_bytes(lines)
    process.granter.look()
    assert process.held() == [], "the clock of that check was right, or was set back since"
