"""Each line is in the file of the log that its worker made it for, so that its identity entry is in the same file."""

import os
import random
import re

import orjson
import pytest

from authz.audit.drain import TURN_S, Drain
from authz.audit.layout import closed_files
from authz.audit.log import Limits
from authz.audit.spool import LOOK_S, SpoolWriter, current_file, made_spool
from tests.support.factories.written_logs import findings, lines_of, opened
from tests.support.simulators.idp import SimClock

LIMITS = Limits(records=3, file_bytes=2000)


@pytest.fixture
def place(in_memory):
    made_spool(in_memory / "spool")
    return in_memory


class Reader:
    """A reader with its log, whose files are small."""

    def __init__(self, place, clock):
        self.log = opened(place / "audit", limits=LIMITS, clock=clock)
        self.drain = Drain(place / "spool", place / "audit", self.log, clock)

    def look(self):
        self.drain.drain()
        self.drain.tend()

    def die(self):
        """End as a killed process does."""
        os.close(self.log._lock)

    def finish(self):
        self.drain.finish()
        self.log.close()


class Worker:
    """Writes records of a few people, an identity entry before the first of each in a file, as `Recorder` does."""

    def __init__(self, place, number):
        self.spool, self.number, self.file, self.entered = place / "spool", number, 1, set()
        self.writer = SpoolWriter(self.spool, number)
        self.records = 0

    def look(self):
        self.file = current_file(self.spool)

    def put(self, who):
        line = orjson.dumps({"worker": self.number, "id": f"{self.number}-{self.records}", "identity": who}) + b"\n"
        self.records += 1
        entry = b""
        if (self.file, who) not in self.entered:
            self.entered.add((self.file, who))
            entry = orjson.dumps({"worker": self.number, "entry": who}) + b"\n"
        self.writer.put(entry + line, self.file)


def files_of(folder):
    return [path for path in (*(one.path for one in closed_files(folder)), folder / "decisions.jsonl") if path.exists()]


def check_entries(folder):
    """Every record has its entry before it in its file; returns how many files there are."""
    found = files_of(folder)
    for path in found:
        entered = set()
        for line in map(orjson.loads, path.read_bytes().splitlines()):
            if "entry" in line:
                entered.add((line["worker"], line["entry"]))
            elif "identity" in line:
                assert (line["worker"], line["identity"]) in entered, path
    return len(found)


def ids(folder):
    return [found[1].decode() for line in lines_of(folder) if (found := re.search(rb'"id":"([^"]+)"', line))]


def test_a_file_is_closed_when_workers_write_for_the_next_one(place):
    clock = SimClock()
    reader, worker = Reader(place, clock), Worker(place, 0)
    for _ in range(40):
        worker.put("a")
    reader.look()
    assert (current_file(place / "spool"), len(files_of(place / "audit"))) == (2, 1), "announced, and not yet closed"
    worker.put("late, for the file before")
    clock.advance(LOOK_S)
    worker.look()
    worker.put("a")
    reader.look()
    assert b'"id":"0-41"' not in lines_of(place / "audit")[-1], "it is for the next file"
    clock.advance(TURN_S)
    reader.look()
    reader.look()
    first, second = files_of(place / "audit")
    assert b"late" in first.read_bytes().splitlines()[-1]
    assert b'"id":"0-41"' in second.read_bytes()
    reader.finish()
    assert check_entries(place / "audit") == 2
    assert findings(place / "audit") == []


@pytest.mark.parametrize("turned", [False, True])
def test_a_reader_that_is_killed_between_announcement_and_turn_goes_on(place, turned):
    clock = SimClock()
    reader, worker = Reader(place, clock), Worker(place, 0)
    for _ in range(40):
        worker.put("a")
    reader.look()
    worker.look()
    worker.put("a")
    if turned:  # the file is closed, and the position was not saved since
        reader.log.rotate()

    reader.die()
    reader = Reader(place, clock)
    reader.look()
    clock.advance(TURN_S)
    reader.look()
    reader.look()
    worker.put("a")
    reader.finish()
    assert check_entries(place / "audit") in {2, 3}
    assert ids(place / "audit") == [f"0-{number}" for number in range(42)]
    assert findings(place / "audit") == []


@pytest.mark.parametrize("seed", range(20))
def test_every_record_has_its_entry_in_its_file(place, seed):
    """Three workers that look as late as they may, and a reader that is replaced now and then."""
    rng, clock = random.Random(seed), SimClock()  # noqa: S311 no secret
    reader, workers = Reader(place, clock), [Worker(place, number) for number in range(3)]
    looked = [clock.monotonic()] * 3
    for _ in range(400):
        clock.advance(rng.random() / 5)
        for number, worker in enumerate(workers):
            if clock.monotonic() - looked[number] > rng.random() * TURN_S - LOOK_S:
                worker.look()
                looked[number] = clock.monotonic()
            for _ in range(rng.randrange(3)):
                worker.put(rng.choice("abc"))
        if rng.random() < 0.7:
            reader.look()
        if rng.random() < 0.02:
            reader.die()
            reader = Reader(place, clock)
    reader.finish()
    assert check_entries(place / "audit") > 10
    assert sorted(ids(place / "audit")) == sorted(
        f"{one.number}-{number}" for one in workers for number in range(one.records)
    )
    assert findings(place / "audit") == []
