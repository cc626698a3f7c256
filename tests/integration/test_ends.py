"""A gate with two workers whose policy ends in part: no check is answered by what has ended, on any worker.

A machine's clock cannot be set for a test, so `SystemClock` reads others in the gate's processes, as in
`test_clock_set_back.py`. All else is the real gate.
"""

import threading

import jwt
import pytest

from authz.core.documents.moments import moment_text
from tests.e2e.gate import POLICY, now
from tests.integration.pair_of_workers import KEY, Pair
from tests.integration.test_clock_set_back import Clocks, clocks
from tests.support.simulators.idp import IdP

__all__ = ["clocks"]  # the fixture
WORKERS = (0, 1)


def ending(by, at):
    """The usual policy, in which the readers' right ends."""
    until = moment_text(at)
    if by == "rule":
        changed = POLICY.replace("id: readers,", f"id: readers, until: {until},")
    else:
        changed = POLICY.replace("[data-readers]", f"[{{{{name: data-readers, until: {until}}}}}]")
    assert changed != POLICY
    return changed


class Asking:
    """Asks both workers without a pause, and keeps the answers with the time that was set when each was asked."""

    def __init__(self, gate, credential, **asked):
        self.answers = {index: [] for index in WORKERS}
        self.after = threading.Event()
        self._ended = threading.Event()
        self._gate, self._credential, self._asked = gate, credential, asked
        self._threads = [threading.Thread(target=self._ask, args=(index,)) for index in WORKERS]

    def _ask(self, index):
        while not self._ended.is_set():
            after = self.after.is_set()
            answer = self._gate.check(index, self._credential, **self._asked)
            self.answers[index].append((after, answer.http, answer.reason))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("by", ["rule", "membership"])
def test_no_check_is_answered_by_what_has_ended_on_any_worker(tmp_path, clocks: Clocks, by):
    clocks.set(wall=0, monotonic=0)
    end = now() + 1800
    with IdP([KEY]) as idp, Pair(tmp_path / "gate", idp, policy=ending(by, end)) as gate:
        credential = gate.token(exp=now() + 3000, groups=["data-readers"], realm_access={})
        with Asking(gate, credential) as asking:
            gate.until(lambda: all(len(asking.answers[index]) > 20 for index in WORKERS), "no answers")
            assert {answer[1:] for index in WORKERS for answer in asking.answers[index]} == {(200, "rule")}

            clocks.set(wall=1800, monotonic=1800)  # the clock is set ahead, to the end
            asking.after.set()
            gate.until(lambda: all(asking.answers[index][-1][1] == 403 for index in WORKERS), "it does not end")
            clocks.set(wall=1700, monotonic=1800)  # and back
            seen = [len(asking.answers[index]) for index in WORKERS]
            gate.until(lambda: all(len(asking.answers[i]) > seen[i] + 20 for i in WORKERS), "no answers")
        for index in WORKERS:
            after = {answer[1:] for answer in asking.answers[index] if answer[0]}
            assert after <= {(503, "not_ready"), (403, "no_rule"), (403, "no_role")}
            assert asking.answers[index][-1][1] == 403
        gate.until(lambda: "ended on" in gate.log.read_text(), "it is not logged")


def test_an_end_that_comes_by_itself_denies_no_one_else_and_caps_assertions(tmp_path, clocks: Clocks):
    clocks.set(wall=0, monotonic=0)
    end = now() + 600
    with IdP([KEY]) as idp, Pair(tmp_path / "gate", idp, policy=ending("rule", end)) as gate:
        readers, operators = (gate.token(exp=now() + 3000, groups=[group]) for group in ("data-readers", "data-ops"))
        clocks.set(wall=end - now() - 4, monotonic=600)  # time enough to make the policy after the end
        for index in WORKERS:
            answer = gate.check(index, readers)
            assert answer.reason == "rule"
            assert jwt.decode(answer.set["x-authz-assertion"], options={"verify_signature": False})["exp"] <= end
        with Asking(gate, operators, target="/api/v2/pools") as asking:
            gate.until(lambda: {gate.check(index, readers).http for index in WORKERS} == {403}, "it does not end")
            seen = [len(asking.answers[index]) for index in WORKERS]
            gate.until(lambda: all(len(asking.answers[i]) > seen[i] + 20 for i in WORKERS), "no answers")
        assert {answer[1:] for index in WORKERS for answer in asking.answers[index]} == {(200, "rule")}
