"""A task repeats itself: what it asked for is compressed well, and stays in the log that is verified and searched."""

import random
from uuid import UUID

import orjson

from authz.audit.layout import closed_files
from authz.audit.receipts import find
from authz.core.edge import EXECUTION_UPSTREAM
from authz.core.record import followed_line
from authz.ops.log_reader import LogReader
from tests.support.factories.written_logs import findings, line, opened

PATH = "/execution/variables/" + "%01" * 675  # Envoy's log has 2,048 characters of it


def accesses(count, draw):
    """Entries about one path, which no one had to have a token for."""
    for _ in range(count):
        said = {
            "time": "2026-11-30T08:00:00.000Z",
            "upstream": EXECUTION_UPSTREAM,
            "method": "GET",
            "path": PATH,
            "status": 401,
            "upstream_host": "10.0.0.1:8080",
            "request_id": str(UUID(bytes=draw(16))),
        }
        yield followed_line(orjson.dumps(said))[1]


def test_a_log_that_a_task_filled_with_one_long_name_is_read_to_its_end(tmp_path):
    log = opened(tmp_path / "audit")
    log.append([*accesses(4000, random.Random(1).randbytes)])  # noqa: S311
    log.append([line(7)])
    log.rotate()
    log.append([line(8)])
    packed = log.compress()
    log.close()
    reader = LogReader()
    count = sum(1 for _ in reader.lines(packed))
    assert closed_files(tmp_path / "audit")[0].path == packed
    assert (reader.damages, count) == ([], 4004)
    assert findings(tmp_path / "audit") == []
    assert find(tmp_path / "audit", f"{7:024x}") is not None
