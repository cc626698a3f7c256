"""The policy in force: replaced as a whole by a better one, never by a worse one."""

import gc
import logging
import time
from hashlib import sha256

import pytest

from authz.core.errors import Problem
from authz.core.policy.bundle import Bundle, Part
from authz.ops.file_watcher import Content, Watcher
from authz.ops.policy_file import PolicyFile
from tests.e2e.envoy_harness import wait_for
from tests.support.factories import included
from tests.support.rigs.service import POLICY

OTHER = POLICY.replace("id: readers", "id: others")
BROKEN = POLICY.replace("roles: [viewer]", "roles: [veiwer]").replace("version: 1", "version: 7")


class Events:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def policy_loaded(self, revision, _rules):
        self.told.append(revision)

    def policy_restored(self, revision, _rules):
        self.told.append(f"restored {revision}")

    def policy_files_refused(self, files):
        self.told.append(dict(files))

    def policy_refused(self, test):
        self.told.append(f"refused {test}".strip())


class Place:
    """A policy file on disk, and who follows it."""

    def __init__(self, folder):
        self.path = folder / "policy.yaml"
        self.path.write_text(POLICY)
        self.events = Events()
        self.accepted = []
        self.file = PolicyFile(self.path, accept=self._accept, events=self.events)

    def _accept(self, policy):
        assert self.file.current is not policy, "accepted before it is in force"
        self.accepted.append(policy.revision)

    def load(self, text=None):
        if text is not None:
            self.path.write_text(text)
        return self.take(self.path.read_bytes() if self.path.exists() else None)

    def take(self, data, *, problem="No such file or directory", in_place=False):
        """As the watcher hands it over."""
        self.file.take(Content(data=data, problem="" if data is not None else problem, in_place=in_place))
        return self.file.current


def revision_of(text):
    return sha256(text.encode()).hexdigest()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_before_the_first_load_there_is_no_policy(place):
    assert place.file.current is None


def test_a_loaded_policy_is_in_force_accepted_and_reported(place):
    current = place.load()
    assert current.revision == revision_of(POLICY)
    assert place.accepted == place.events.told == [revision_of(POLICY)]


def test_a_new_policy_replaces_the_old_one_as_a_whole(place):
    old = place.load()
    new = place.load(OTHER)
    assert (old.revision, new.revision) == (revision_of(POLICY), revision_of(OTHER))
    assert "readers" in old.rules
    assert "readers" not in new.rules


def test_the_same_content_is_not_loaded_twice(place):
    first = place.load()
    assert place.load(POLICY) is first
    assert len(place.events.told) == 1


def test_a_bad_policy_changes_nothing_and_every_problem_is_kept(place, caplog):
    good = place.load()
    with caplog.at_level(logging.ERROR):
        assert place.load(BROKEN) is good
    assert len(place.file.problems) >= 2
    assert all(problem.line for problem in place.file.problems)
    assert place.events.told[-1] == "refused"
    assert place.accepted == [good.revision]
    assert "stays in force" in caplog.text
    assert str(place.file.problems[0]) in caplog.text


def test_a_refused_policy_is_reported_once_not_at_every_look(place):
    place.load()
    place.load(BROKEN)
    place.load()
    assert place.events.told.count("refused") == 1


@pytest.mark.parametrize("mended", [POLICY, OTHER])
def test_mending_it_clears_the_problems(place, mended):
    place.load()
    place.load(BROKEN)
    assert place.load(mended).revision == revision_of(mended)
    assert place.file.problems == ()


def test_a_mended_file_with_the_policy_in_force_is_not_logged_as_a_new_policy(place, caplog):
    revision = place.load().revision[:12]
    place.load(BROKEN)
    with caplog.at_level(logging.INFO):
        place.load(POLICY)
    assert f"policy {revision} stays in force: its file can be used again" in caplog.text
    assert "before:" not in caplog.text
    with caplog.at_level(logging.INFO):
        other = place.load(OTHER).revision[:12]
    assert f"policy {other} is in force (before: {revision})" in caplog.text


def test_each_policy_is_passed_to_look_once_it_is_in_force(place):
    looked = []
    file = PolicyFile(
        place.path,
        accept=lambda _policy: None,
        events=place.events,
        look=lambda suite, size: looked.append((file.current is suite.policy, size)),
    )
    for text in (POLICY, BROKEN, OTHER):
        file.take(Content(data=text.encode(), problem="", in_place=False))
    assert looked == [(True, len(POLICY)), (True, len(OTHER))]


def test_a_file_that_goes_away_and_comes_back(place):
    good = place.load()
    place.path.unlink()
    assert place.load() is good
    assert "cannot be read" in str(place.file.problems[0])
    place.load(POLICY)
    assert place.file.problems == ()
    assert place.file.current.revision == good.revision


def test_only_the_current_problem_of_the_file_is_reported(place):
    """A removed policy that a folder took the place of is not missing any more."""
    place.load()
    for problem in ("No such file or directory", "it is a folder, not a regular file"):
        place.take(None, problem=problem)
        assert [problem in str(told) for told in place.file.problems] == [True]


def test_the_bytes_handed_over_are_loaded_whatever_the_file_holds_now(place):
    """The bytes that were handed over count, whatever stands in the file by now."""
    place.path.unlink()
    assert place.take(POLICY.encode()).revision == revision_of(POLICY)


MARKED = POLICY.replace("version: 1", "version: 1\nend_mark: true") + "...\n"


def test_of_two_hundred_policies_that_are_written_in_pieces_the_last_one_is_in_force(place):
    """Half of a file that was refused is looked at again, whatever was read in between."""
    watcher = Watcher(place.path, place.file.take, most_bytes=1 << 20, settle_s=0.01)
    watcher.begin()
    watcher.start()
    try:
        for number in range(200):
            text = f"{POLICY}# {number}\n".encode()
            with place.path.open("wb", buffering=0) as file:
                for start in range(0, len(text), 200):
                    file.write(text[start : start + 200])
                    time.sleep(0.001 * (number % 8))
        wait_for(lambda: place.file.current.revision == sha256(text).hexdigest(), "never loaded", pause=time.sleep)
        assert place.file.problems == ()
    finally:
        watcher.stop()


@pytest.mark.parametrize(("text", "in_place", "warned"), [(OTHER, True, 1), (OTHER, False, 0), (MARKED, True, 0)])
def test_a_policy_that_is_written_in_place_is_warned_about(place, caplog, text, in_place, warned):
    place.load()
    place.take(text.encode(), in_place=in_place)
    assert caplog.text.count("was written in place") == warned


@pytest.mark.parametrize("length", range(len(MARKED) - 40, len(MARKED) - 1))
def test_with_an_end_mark_no_half_of_a_policy_is_taken(place, length):
    old = place.load()
    assert place.take(MARKED.encode()[:length]) is (old if MARKED[:length][-4:] != "\n..." else place.file.current)
    whole = place.take(MARKED.encode())
    assert whole.revision == revision_of(MARKED)


def test_a_bad_policy_at_the_start_leaves_none_in_force(place, caplog):
    with caplog.at_level(logging.ERROR):
        assert place.load(BROKEN) is None
    assert "every check is denied" in caplog.text


def test_a_long_list_of_problems_is_cut_in_the_log_only(place, caplog):
    rules = "".join(
        f"  - {{id: r{number}, plane: inbound, roles: [nobody{number}], operations: [x]}}\n" for number in range(60)
    )
    with caplog.at_level(logging.ERROR):
        place.load(POLICY + rules)
    assert len(place.file.problems) >= 60
    assert len(caplog.records) == 21


def test_what_a_policy_cannot_bring_into_force_is_not_in_force(tmp_path):
    """`accept` comes first: if it fails, the old policy stays."""

    def fail(_policy):
        raise OSError("no threads left")

    file = PolicyFile(tmp_path / "policy.yaml", accept=fail, events=Events())
    with pytest.raises(OSError, match="no threads left"):
        file.take(Content(data=POLICY.encode()))
    assert file.current is None


def test_the_collector_of_cycles_works_again_after_a_load_good_or_bad(place):
    assert gc.isenabled()
    place.load()
    assert gc.isenabled()
    place.load(BROKEN)
    assert gc.isenabled()


def test_a_collector_that_was_switched_off_stays_so(place):
    gc.disable()
    try:
        place.load()
        assert not gc.isenabled()
    finally:
        gc.enable()


TESTS = """tests:
  - {name: readers read, who: {groups: [data-readers]}, request: GET /api/v2/dags, expect: %s}
"""
NAMING = POLICY.replace("version: 1", "version: 1\ntest_files: [tests.yaml]")


def test_a_policy_whose_tests_pass_comes_into_force(place):
    assert place.load(POLICY + TESTS % "allow").revision == revision_of(POLICY + TESTS % "allow")


def test_a_policy_whose_tests_fail_does_not_come_into_force_and_the_case_is_named(place, caplog):
    good = place.load()
    assert place.load(POLICY + TESTS % "deny") is good
    [problem] = place.file.problems
    assert "the test `readers read` fails: expected deny, found allow by rule `readers`" in str(problem)
    assert place.events.told[-1] == "refused readers read"
    assert place.accepted == [good.revision]
    assert "the test `readers read` fails" in caplog.text
    assert "stays in force" in caplog.text


def test_a_policy_with_a_mistake_is_refused_for_no_test(place):
    place.load(BROKEN)
    assert place.events.told == ["refused"]


def test_tests_in_other_files_are_part_of_the_policy(place):
    def take(expected):
        parts = (Part("tests.yaml", (TESTS % expected).encode()),)
        place.file.take(Content(data=NAMING.encode(), parts=parts))
        return Bundle(NAMING.encode(), str(place.path), parts).revision

    good = take("allow")
    assert place.file.current.revision == good
    take("deny")
    assert (place.file.current.revision, place.events.told[-1]) == (good, "refused readers read")
    take("allow")
    assert place.file.problems == ()


def test_a_test_file_that_cannot_be_read_is_a_problem(place):
    good = place.load()
    place.file.take(Content(data=NAMING.encode(), parts=(Part("tests.yaml", b"", "Permission denied"),)))
    assert place.file.current is good
    assert str(place.file.problems[0]).endswith("tests.yaml: cannot be read: Permission denied")


def take_files(place, sales=included.GOOD_SALES, hr=included.GOOD_HR, text=None):
    """As the watcher hands over a policy with files of teams; None in place of one that cannot be read."""
    bundle = included.bundle(sales, hr, text=text, file=str(place.path))
    place.file.take(Content(data=bundle.data, parts=bundle.parts))
    return bundle.revision


NEWER_HR = included.GOOD_HR.replace("id: view", "id: newer")


def test_a_mistake_in_a_teams_file_keeps_its_last_good_content_and_no_other_file_waits(place, caplog):
    take_files(place)
    take_files(place, "rules: [", NEWER_HR)
    current = place.file.current
    assert {f"view/{included.SALES}", f"newer/{included.HR}"} <= current.rules.keys()
    assert current.revision == included.bundle(hr=NEWER_HR, file=str(place.path)).revision
    assert place.file.problems == ()
    [note] = place.file.notes()
    assert note.startswith("teams/sales.yaml: its last good content stays in force: ")
    assert "not valid YAML" in note
    assert "teams/sales.yaml cannot be used, its last good content stays in force; 1 problem(s):" in caplog.text
    assert place.events.told[-1] == {included.SALES: "last good"}
    take_files(place, None)
    assert "Permission denied" in place.file.notes()[0]


def test_a_teams_file_that_is_good_again_comes_into_force(place):
    take_files(place)
    take_files(place, "rules: [")
    newer = included.GOOD_SALES.replace("id: view", "id: newer")
    take_files(place, newer)
    assert f"newer/{included.SALES}" in place.file.current.rules
    assert (place.file.notes(), place.events.told[-1]) == ([], {})
    take_files(place, "rules: [")
    assert f"newer/{included.SALES}" in place.file.current.rules


def test_what_was_the_last_good_content_stays_so_while_it_is_left_out(place):
    """The policy file may forbid what a team's file says, and may allow it again."""
    take_files(place)
    without = included.main().replace("team: sales, dest", "roles: [sales-viewer], dags: [other], dest")
    take_files(place, "rules: [", text=without)
    assert place.events.told[-1] == {included.SALES: "left out"}
    take_files(place, "rules: [{}]")
    assert place.events.told[-1] == {included.SALES: "last good"}
    assert f"view/{included.SALES}" in place.file.current.rules


def test_a_mistake_in_the_policy_file_keeps_the_files_of_teams_too(place):
    before = take_files(place)
    take_files(place, hr=NEWER_HR, text=included.main().replace("roles: [admin]", "roles: [admni]"))
    assert place.file.current.revision == before
    assert place.events.told[-1] == "refused"


def test_a_first_file_with_a_mistake_is_left_out(place, caplog):
    take_files(place, "rules: [")
    assert f"left-out/{included.SALES}" in place.file.current.rules
    assert "all that its rules might forbid is denied" in caplog.text


def test_a_team_that_changes_nothing_that_is_in_force_is_not_reported_as_good_again(place, caplog):
    take_files(place)
    with caplog.at_level(logging.INFO):
        take_files(place, "rules: [")
    assert "stays in force: its file can be used again" not in caplog.text


def test_a_teams_never_about_what_settings_do_not_have_is_a_mistake_of_its_file_alone(place):
    def check(suite):
        vain = [one for one in suite.never if "warehose" in one.rule.destinations]
        return [Problem(one.file, one.line, one.column, "unknown destination `warehose`") for one in vain]

    place.file = PolicyFile(place.path, accept=lambda _policy: None, events=place.events, check=check)
    take_files(place)
    never = "never: [{plane: egress, destinations: [warehose]}]\n"
    take_files(place, included.GOOD_SALES + never, NEWER_HR)
    assert f"newer/{included.HR}" in place.file.current.rules
    assert place.events.told[-1] == {included.SALES: "last good"}
    assert place.file.notes()[0].endswith("unknown destination `warehose`")
