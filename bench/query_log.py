"""A log of millions of decisions for `bench.audit_query`, made once and kept in `build/`.

One block of lines is what the real Recorder writes. The others differ from it in bytes that differ between records: the
beginnings of ids, days and hours, workers, the ids of runs. So there are four workers, seven days, and files of half a
million, the older half of them compressed.
"""

import json
import os
import re
import shutil
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from authz.core.policy import Bundle, load
from bench import rulebook
from tests.support.factories.decision_logs import Lines, traffic

BLOCK = 25_000
FILE = 20  # blocks
DAYS = [f"2026-11-{day}" for day in range(16, 23)]
_RULES = 100
_ID, _HOUR, _WORKER, _RUN = b"\1\1\1\1", b"\2", b"\3", b"\4"
_MARKED = [
    (rb'("type":"decision","id":")[0-9a-f]{4}', rb"\g<1>" + _ID),
    (rb'"time":"2026-11-22T02', rb'"time":"' + _HOUR),
    (rb'"worker":0', rb'"worker":' + _WORKER),
    (rb"__2026-11-", rb"__" + _RUN),
]


def template(folder):
    """The block with marks where the others differ."""
    text = rulebook.policy(_RULES, folder / "jwks.json", egress=True)
    sink = Lines()
    traffic(load(Bundle(text.encode(), "policy.yaml")), BLOCK, issuer=rulebook.ISSUER, group=rulebook.GROUP, sink=sink)
    block = b"".join(sink.lines)
    for pattern, marked in _MARKED:
        block = re.sub(pattern, marked, block)
    return block


def hour_of(number, count):
    """The hour of a block of so many."""
    at = number * len(DAYS) * 24 // count
    return f"{DAYS[at // 24]}T{at % 24:02}"


def block(marked, number, count):
    """The lines of one block."""
    made = marked.replace(_ID, b"%04x" % number).replace(_HOUR, hour_of(number, count).encode())
    return made.replace(_WORKER, b"%d" % (number % 4)).replace(_RUN, b"%d-" % number)


def written(folder, marked, count, first):
    """Write one file; returns its lines and its bytes, decompressed."""
    files = -(-count // FILE)
    age = files - 1 - first // FILE
    packed = age >= files / 2
    name = "decisions.jsonl" + f".{age}" * bool(age) + ".gz" * packed
    lines = size = 0
    packer = zlib.compressobj(6, wbits=31)
    with (folder / name).open("wb") as file:
        for number in range(first, min(first + FILE, count)):
            made = block(marked, number, count)
            lines, size = lines + made.count(b"\n"), size + len(made)
            file.write(packer.compress(made) if packed else made)
        file.write(packer.flush() if packed else b"")
    os.utime(folder / name, (1_795_000_000 - age, 1_795_000_000 - age))
    return lines, size


def kept(folder, records):
    """The folder of a log of so many decisions, and what is known of it; made if it is not there."""
    count = max(2, records // BLOCK)
    about = {"decisions": count * BLOCK, "made_by": sha256(Path(__file__).read_bytes()).hexdigest()}
    note = folder / "about.json"
    if note.exists() and {**(known := json.loads(note.read_text())), **about} == known:
        return folder / "log", known
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "log").mkdir(parents=True)
    marked = template(folder)
    about["id"] = re.search(rb'"id":"%b([0-9a-f]{20})"' % _ID, marked)[1].decode()
    write = partial(written, folder / "log", marked, count)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as pool:
        found = [*pool.map(write, range(0, count, FILE))]
    about |= {"files": len(found), "lines": sum(lines for lines, _ in found), "bytes": sum(size for _, size in found)}
    about["bytes_on_disk"] = sum(path.stat().st_size for path in (folder / "log").iterdir())
    note.write_text(json.dumps(about))
    return folder / "log", about
