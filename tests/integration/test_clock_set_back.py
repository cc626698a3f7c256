"""A gate that started an hour ahead of the time: what it says at its admin port, and when it serves again.

A machine's clock cannot be set for a test, so `SystemClock` reads others in the gate's processes: both take an offset
from a file. All else is the real gate.
"""

import re

import pytest

from tests.e2e.gate import SETTINGS, now
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP

HOUR = 3600
SITE = """
import time
from pathlib import Path
from authz.system.clock import SystemClock

def moved(clock, place, offsets=Path({path!r})):
    return lambda: clock() + float(offsets.read_text().split()[place])

SystemClock.__init__.__kwdefaults__.update(wall=moved(time.time, 0), monotonic=moved(time.monotonic, 1))
"""


class Clocks:
    """How far the process's wall clock and its monotonic clock are ahead."""

    def __init__(self, folder):
        self._path = folder / "offsets"
        (folder / "sitecustomize.py").write_text(SITE.format(path=str(self._path)))
        self.folder = folder

    def set(self, *, wall, monotonic):
        new = self._path.with_suffix(".new")
        new.write_text(f"{wall} {monotonic}")
        new.replace(self._path)


@pytest.fixture
def clocks(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Clocks(folder)


@pytest.mark.parametrize("settings", [SETTINGS, TWO], ids=["one worker", "two workers"])
def test_a_gate_that_started_an_hour_ahead_says_so_once_the_clock_is_right_and_follows_it_after_five_minutes(
    tmp_path, clocks, settings
):
    clocks.set(wall=HOUR, monotonic=0)
    with IdP([KEY]) as idp, Pair(tmp_path / "gate", idp, settings=settings) as gate:
        credential = gate.token(exp=now() + 3000)
        workers = range(len(gate.endpoints))

        def answers():
            return {(answer.http, answer.reason) for answer in (gate.check(index, credential) for index in workers)}

        assert answers() == {(401, "expired")}
        assert "clock" not in gate.get("/readyz").text, "nothing tells it yet"
        assert gate.metric("authz_clock_ahead_seconds") == 0

        clocks.set(wall=0, monotonic=0)
        gate.until(lambda: "clock was set back" in gate.get("/readyz").text, "it is not said")
        state = gate.get("/readyz")
        assert (state.status_code, state.text.count("clock was set back")) == (200, len(workers))
        assert re.search("and follows it in (300|2..) s if it stays there", state.text)
        assert HOUR - 60 < gate.metric("authz_clock_ahead_seconds") <= HOUR
        assert answers() == {(401, "expired")}
        assert gate.log.read_text().count("clock was set back by") == len(workers)

        clocks.set(wall=301, monotonic=301)  # time passes
        gate.until(lambda: answers() == {(200, "rule")}, "it does not follow the clock")
        gate.until(lambda: "clock" not in gate.get("/readyz").text, "it is still said")
        assert gate.metric("authz_clock_ahead_seconds") == 0
        assert "it has stayed where it was set for 300 s" in gate.log.read_text()


def test_an_expired_token_does_not_come_back_with_a_clock_that_is_set_back(tmp_path, clocks):
    clocks.set(wall=0, monotonic=0)
    with IdP([KEY]) as idp, Pair(tmp_path / "gate", idp, settings=SETTINGS) as gate:
        credential = gate.token()
        assert gate.check(0, credential).reason == "rule"
        clocks.set(wall=HOUR, monotonic=0)
        assert gate.check(0, credential).reason == "expired"
        clocks.set(wall=0, monotonic=0)
        assert gate.check(0, credential).reason == "expired"
