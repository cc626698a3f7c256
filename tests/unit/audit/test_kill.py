"""`kill -9` at any point: what an append had returned for is there, and the next writer continues the tree."""

import os
import random
import subprocess
import sys

import pytest

from authz.audit.layout import CHECKPOINT
from authz.audit.verifying import verify
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.note import parse
from tests.support.factories.audit_logs import LOG
from tests.support.factories.written_logs import findings, line, lines_of, older, opened

RIG = "tests.support.rigs.killed_writer"
KILLS = 40


def test_a_writer_that_is_killed_at_any_call_of_the_system_loses_nothing(in_memory, tmp_path):
    """Each call that opens, writes, cuts, syncs, renames, links or removes; of a write, half is done."""
    done = subprocess.run(
        [sys.executable, "-m", RIG, "each", in_memory], capture_output=True, text=True, timeout=250, check=True
    )
    rows = [list(map(int, row.split())) for row in done.stdout.splitlines()]
    assert len(rows) > 200
    assert [killed for _, killed, _ in rows] == [1] * (len(rows) - 1) + [0]
    assert {returned for _, _, returned in rows} == set(range(13))
    for number, _, returned in rows:
        folder = in_memory / str(number)
        kept = [older(folder, tmp_path / "kept")] if (folder / CHECKPOINT).exists() else []
        if kept:
            assert findings(folder, since=kept) == [], number
        before = lines_of(folder) if folder.exists() else []
        log = opened(folder)
        log.append([line(77)])
        log.close()
        assert findings(folder, since=kept) == [], number
        after = lines_of(folder)
        # Old files are removed, so the log may begin later now; what is there is as it was.
        begin = after.index(before[0]) if before and before[0] in after else 0
        assert after[begin : begin + len(before)] == before or not before, number
        if returned:
            wanted = [one for at in range(returned) for one in (line(at), line(at, 100))]
            present = [one for one in after if one in set(wanted)]
            assert present == wanted[len(wanted) - len(present) :], number
            assert wanted[-1] in present, number


def test_a_log_verifies_at_any_time_while_it_is_written(in_memory):
    """Files are closed, compressed by a second thread, and removed meanwhile."""
    folder, reports = in_memory / "audit", []
    writer = subprocess.Popen(
        [sys.executable, "-m", RIG, "on", folder], stdout=subprocess.PIPE, env={**os.environ, "KEEP": "20000"}
    )
    try:
        while len(reports) < 10 or not reports[-1].first:  # until the first files are removed
            for _ in range(300):
                assert writer.stdout.readline()
            reports.append(verify(folder, [LOG.public]))
            assert len(reports) < 300
    finally:
        writer.kill()
        writer.stdout.close()
        assert writer.wait(20) == -9
    assert [report.findings for report in reports] == [[]] * len(reports)
    assert findings(folder) == []


@pytest.mark.full  # the calls of the system are each tried in `make test`
@pytest.mark.parametrize("seed", [0, 1])
def test_a_writer_that_is_killed_again_and_again_loses_nothing(tmp_path, seed):
    """At random moments, while files are closed, compressed by a second thread, and signed."""
    rng = random.Random(seed)  # noqa: S311 how many records a writer may write
    folder, kept, places, begun = tmp_path / "audit", [], {}, 0
    for turn in range(KILLS // 2):
        writer = subprocess.Popen(
            [sys.executable, "-m", RIG, "on", folder],
            stdout=subprocess.PIPE,
            env={**os.environ, "BEGIN": str(begun)},
        )
        try:
            for _ in range(rng.randint(1, 400)):
                number, index = map(int, writer.stdout.readline().split())
                places[number] = index
        finally:
            writer.kill()
            rest = writer.stdout.read()
            assert writer.wait(20) == -9
            writer.stdout.close()
        for row in rest.split(b"\n")[:-1]:
            number, index = map(int, row.split())
            places[number] = index
        begun = max(places) + 2  # the last one may be in the log, though its append had not returned
        kept.append(older(folder, tmp_path / str(turn)))
        assert findings(folder, since=kept) == []
    log = opened(folder)
    while log.compress() is not None:
        pass
    log.close()
    assert findings(folder, since=kept) == []
    found = lines_of(folder)
    assert {number: found[index] for number, index in places.items()} == {
        number: line(number, number % 300) for number in places
    }
    assert len(places) > KILLS
    assert Checkpoint.parse(parse((folder / CHECKPOINT).read_bytes()).text).size == len(found)
