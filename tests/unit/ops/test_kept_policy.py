"""The policy across restarts: the last one that was in force for this file, or none."""

import errno
import os
from hashlib import sha256

import pytest

from authz.core.errors import Problem
from authz.core.policy.bundle import Bundle, Part
from authz.ops.file_watcher import Content
from authz.ops.kept_policy import KeptPolicy
from authz.ops.policy_file import PolicyFile
from authz.system.state_folder import Item, StateFolder
from tests.support.factories import included
from tests.support.rigs.service import POLICY

NEWER = POLICY.replace("id: readers", "id: others")
BROKEN = POLICY.replace("roles: [viewer]", "roles: [veiwer]")
MISSING = None


class Events:
    def __init__(self):
        self.told = []

    def policy_loaded(self, revision, _rules):
        self.told.append(("ok", revision))

    def policy_restored(self, revision, _rules):
        self.told.append(("restored", revision))

    def policy_files_refused(self, files):
        self.files = dict(files)

    def policy_refused(self, test):
        self.told.append(("failed", ""))


class Process:
    """One process of a gate, from its start."""

    def __init__(self, folder, *, file="policy.yaml", now=0.0, check=lambda _policy: ()):
        self.events, self.accepted, self.looked_at = Events(), [], []
        self.state = StateFolder(folder / "state")
        kept = KeptPolicy(self.state, lambda: now)
        path = folder / file
        self.file = PolicyFile(
            path, accept=self.accepted.append, events=self.events, check=check, kept=kept, look=self._look
        )

    def _look(self, suite, size):
        self.looked_at.append((suite.policy.revision, size))

    def take(self, text):
        data = text.encode() if text is not None else None
        self.file.take(Content(data=data, problem="No such file or directory", in_place=False))
        return self

    @property
    def in_force(self):
        return self.file.current.revision if self.file.current is not None else None


def revision(text):
    return sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("found", [BROKEN, MISSING, ""])
def test_what_was_in_force_serves_and_it_is_said(tmp_path, found):
    Process(tmp_path).take(POLICY)
    again = Process(tmp_path, now=3600).take(found)
    assert again.in_force == revision(POLICY)
    assert again.events.told == [("failed", ""), ("restored", revision(POLICY))]
    assert [policy.revision for policy in again.accepted] == [revision(POLICY)]
    assert again.file.problems
    assert "in force since 1970-01-01T00:00:00Z and kept from before the restart" in again.file.restored
    assert again.looked_at == [(revision(POLICY), len(POLICY.encode()))], "its warnings are told as those of the file"


def test_a_valid_policy_file_replaces_the_restored_policy(tmp_path):
    Process(tmp_path).take(POLICY)
    again = Process(tmp_path).take(BROKEN).take(NEWER)
    assert (again.in_force, again.file.restored, again.file.problems) == (revision(NEWER), "", ())


def test_the_newest_is_what_comes_back(tmp_path):
    Process(tmp_path).take(POLICY).take(NEWER).take(BROKEN)
    assert Process(tmp_path).take(BROKEN).in_force == revision(NEWER)


def test_going_back_to_an_older_policy_is_going_back(tmp_path):
    Process(tmp_path).take(POLICY).take(NEWER).take(POLICY)
    assert Process(tmp_path).take(MISSING).in_force == revision(POLICY)


def test_a_worker_that_was_away_does_not_bring_back_what_the_others_have_left(tmp_path):
    first, second = Process(tmp_path).take(POLICY), Process(tmp_path).take(POLICY)
    del first  # it ends before the newer policy comes, and begins again after the file was broken
    second.take(NEWER).take(BROKEN)
    assert Process(tmp_path).take(BROKEN).in_force == revision(NEWER)


def test_where_a_newer_one_could_not_be_kept_the_older_does_not_come_back(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    gate = Process(tmp_path).take(POLICY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        gate.take(NEWER)
    assert gate.in_force == revision(NEWER)
    assert "cannot be kept" in gate.state.problems()[0]
    assert Process(tmp_path).take(BROKEN).in_force is None


def test_since_is_when_it_came_into_force_first(tmp_path):
    for now in (1000.0, 2000.0):
        Process(tmp_path, now=now).take(POLICY)
    assert "since 1970-01-01T00:16:40Z" in Process(tmp_path, now=3000.0).take(MISSING).file.restored


def test_of_two_gates_with_one_folder_neither_serves_the_policy_of_the_other(tmp_path):
    Process(tmp_path, file="a.yaml").take(POLICY)
    Process(tmp_path, file="b.yaml").take(NEWER)
    again = Process(tmp_path, file="a.yaml").take(BROKEN)
    assert again.in_force is None
    assert "it was another file's" in again.state.problems()[0]


def test_the_checks_of_today_are_passed_or_it_is_not_used(tmp_path):
    Process(tmp_path).take(POLICY)
    again = Process(tmp_path, check=lambda _policy: [Problem("p", 1, 1, "not with these settings")]).take(BROKEN)
    assert (again.in_force, again.accepted) == (None, [])
    assert "not with these settings" in again.state.problems()[0]


@pytest.mark.parametrize(
    ("text", "why"), [(BROKEN, "does not load any more"), (NEWER, "not the revision that it says")]
)
def test_an_item_that_is_not_what_it_says_is_not_used(tmp_path, text, why):
    Process(tmp_path).take(POLICY)
    about = {"file": str(tmp_path / "policy.yaml"), "revision": revision(POLICY), "in_force_since": 0}
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=text.encode()))
    again = Process(tmp_path).take(MISSING)
    assert again.in_force is None
    assert why in again.state.problems()[0]


@pytest.mark.parametrize("since", [None, "x", [], 1e400])
def test_a_time_that_is_none_stops_nothing(tmp_path, since):
    about = {"file": str(tmp_path / "policy.yaml"), "revision": revision(POLICY), "in_force_since": since}
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=POLICY.encode()))
    assert "since an unknown time" in Process(tmp_path).take(MISSING).file.restored


def test_nothing_kept_is_nothing_served(tmp_path):
    gate = Process(tmp_path).take(BROKEN)
    assert (gate.in_force, gate.file.restored, gate.state.problems()) == (None, "", [])


def fails_once(monkeypatch, state, text):
    """The next policy of this process cannot be kept, and what was there stays: the file system went read-only."""
    with monkeypatch.context() as patch:
        patch.setattr("authz.system.state_folder.write_whole", refuses)
        patch.setattr(os, "unlink", refuses)
        state.take(text)


def refuses(*_arguments, **_more):
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("by_another_worker", [True, False])
def test_what_waits_to_be_kept_never_replaces_what_came_into_force_later(tmp_path, monkeypatch, by_another_worker):
    first, second, third = POLICY, NEWER, POLICY.replace("id: readers", "id: third")
    one = Process(tmp_path).take(first)
    fails_once(monkeypatch, one, second)
    last = first
    if by_another_worker:
        last = third
        Process(tmp_path).take(third)
    one.take(last)
    with one.state._lock:
        assert one.state._waiting == {}
    assert one.state.problems() == []
    assert Process(tmp_path).take(BROKEN).in_force == revision(last)


NAMING = POLICY.replace("version: 1", "version: 1\ntest_files: [tests.yaml]")
PASSES = "tests:\n  - {who: {groups: [data-readers]}, request: GET /api/v2/dags, expect: allow}\n"


def take_with_tests(process, tests):
    parts = (Part("tests.yaml", tests.encode()),)
    process.file.take(Content(data=NAMING.encode(), parts=parts))
    return process


def test_a_policy_is_kept_with_the_files_that_it_names(tmp_path):
    before = take_with_tests(Process(tmp_path), PASSES).in_force
    again = take_with_tests(Process(tmp_path), PASSES.replace("allow", "deny"))
    assert again.in_force == before
    assert again.events.told == [("failed", ""), ("restored", before)]
    assert again.looked_at == [(before, len(NAMING) + len(PASSES))]


def test_a_kept_policy_whose_tests_fail_now_is_not_used(tmp_path):
    """A newer gate may decide otherwise: what its tests contradict does not serve."""
    process = take_with_tests(Process(tmp_path), PASSES)
    about = {"file": str(tmp_path / "policy.yaml"), "revision": process.in_force, "in_force_since": 0, "files": 2}
    bundle = Bundle(NAMING.encode(), "policy.yaml", (Part("tests.yaml", PASSES.replace("allow", "deny").encode()),))
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=bundle.packed()))
    again = Process(tmp_path).take(MISSING)
    assert again.in_force is None
    assert "it does not load any more (1 problems)" in again.state.problems()[0]


def test_kept_files_that_cannot_be_divided_are_not_used(tmp_path):
    take_with_tests(Process(tmp_path), PASSES)
    about = {"file": str(tmp_path / "policy.yaml"), "revision": "", "in_force_since": 0, "files": 2}
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=POLICY.encode()))
    again = Process(tmp_path).take(MISSING)
    assert again.in_force is None
    assert "it cannot be divided into its files" in again.state.problems()[0]


def test_what_an_older_gate_has_kept_is_used(tmp_path):
    about = {"file": str(tmp_path / "policy.yaml"), "revision": revision(POLICY), "in_force_since": 0}
    Process(tmp_path).take(POLICY)
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=POLICY.encode()))
    assert Process(tmp_path).take(MISSING).in_force == revision(POLICY)


def take_files(process, text, **files):
    """As the watcher hands over a policy with files of teams; None in place of one that cannot be read."""
    process.file.take(Content(data=text.encode(), parts=included.bundle(**files).parts))
    return process


def test_after_a_restart_a_team_has_its_last_good_file(tmp_path):
    before = take_files(Process(tmp_path), included.main()).in_force
    again = take_files(Process(tmp_path), included.main(), sales="rules: [", hr=None)
    assert again.in_force == before
    assert [(fault.name, fault.status) for fault in again.file.faults] == [
        (included.HR, "last good"),
        (included.SALES, "last good"),
    ]
    assert again.events.told == [("ok", before)]
    other = take_files(Process(tmp_path, file="other.yaml"), included.main(), sales="rules: [")
    assert {fault.status for fault in other.file.faults} == {"left out"}


def test_a_kept_policy_serves_with_what_is_still_good_of_it(tmp_path):
    """A newer gate may find a mistake in what a team has written: the others are served all the same."""
    bundle = included.bundle(sales="rules: [{id: x}]")
    about = {"file": str(tmp_path / "policy.yaml"), "revision": bundle.revision, "in_force_since": 0, "files": 3}
    packed = Bundle(bundle.data, str(tmp_path / "policy.yaml"), bundle.parts)
    about["revision"] = packed.revision
    Process(tmp_path).take(POLICY)
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=packed.packed()))
    again = Process(tmp_path).take(MISSING)
    assert again.in_force is not None
    assert [(fault.name, fault.status) for fault in again.file.faults] == [(included.SALES, "left out")]
    assert again.file.notes()[-1] == again.file.restored


def test_what_is_kept_and_cannot_be_divided_has_no_last_good_file(tmp_path):
    take_files(Process(tmp_path), included.main())
    about = {"file": str(tmp_path / "policy.yaml"), "revision": "", "in_force_since": 0, "files": 2}
    StateFolder(tmp_path / "state").keep("policy", Item(about=about, data=POLICY.encode()))
    again = take_files(Process(tmp_path), included.main(), sales="rules: [")
    assert [fault.status for fault in again.file.faults] == ["left out"]
