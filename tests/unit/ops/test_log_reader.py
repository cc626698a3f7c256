"""Logs are found and read whole, whatever they were renamed to and compressed with; damage is told with its place."""

import bz2
import gzip
import lzma
import os
import random

import pytest

from authz.audit.verifying import verify
from authz.core.errors import ConfigError
from authz.core.model import Plane
from authz.core.reasons import Reason
from authz.core.record import LONGEST
from authz.ops import log_reader
from authz.ops.log_reader import LogReader, Part, find, rotated
from tests.support.factories.audit_logs import LOG
from tests.support.factories.decision_logs import Writer, request
from tests.support.factories.policies import load
from tests.support.factories.written_logs import opened

LINES = [b'{"n":%d}' % number for number in range(5000)]
DATA = b"".join(line + b"\n" for line in LINES)
COMPRESSED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def lines_of(path, reader=None):
    return [line for _number, line in (reader or LogReader()).lines(path)]


@pytest.mark.parametrize("ending", ["", *COMPRESSED])
@pytest.mark.parametrize("name", ["decisions.jsonl.1", "no-such-ending"])
def test_a_file_is_read_by_what_it_holds(tmp_path, ending, name):
    path = tmp_path / name
    path.write_bytes(COMPRESSED.get(ending, bytes)(DATA))
    read = []
    found = list(LogReader(read.append).lines(path))
    assert found == list(enumerate(LINES, start=1))
    assert sum(read) == path.stat().st_size


def test_a_file_may_be_several_compressed_ones(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(DATA[:700]) + gzip.compress(DATA[700:]))
    assert lines_of(path) == LINES


def test_a_last_line_without_its_end_is_handed_out(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(DATA[:-5])
    assert lines_of(path)[-1] == LINES[-1][:-4]
    path.write_bytes(b"")
    assert lines_of(path) == []


@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[: len(data) // 2] + b"\0" * 900])
def test_what_stands_before_damage_is_read(tmp_path, ending, damage):
    text = b"".join(b"%s %s\n" % (line, os.urandom(40).hex().encode()) for line in LINES)
    path = tmp_path / "a"
    path.write_bytes(damage(COMPRESSED[ending](text)))
    reader = LogReader()
    found = lines_of(path, reader)
    (told,) = reader.damages
    assert told.path == path
    assert told.line in {len(found), len(found) + 1}
    assert "damaged or cut" in told.text
    if ending == "gz":  # the others compress in large blocks
        assert len(found) > 2000
        assert found[:2000] == text.splitlines()[:2000]


def test_a_line_without_end_is_skipped_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(log_reader, "LONGEST_LINE", 100)
    monkeypatch.setattr(log_reader, "_CHUNK", 64)
    path = tmp_path / "a"
    path.write_bytes(b"one\n" + b"x" * 1000 + b"\ntwo\n" + b"y" * 90 + b"\nthree\n" + b"z" * 400)
    reader = LogReader()
    assert list(reader.lines(path)) == [(1, b"one"), (3, b"two"), (4, b"y" * 90), (5, b"three")]
    assert [(damage.line, damage.text) for damage in reader.damages] == [
        (2, "the line is longer than 100 bytes"),
        (6, "the line is longer than 100 bytes"),
    ]


NAMES = [
    "decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2.gz", "decisions.jsonl-20261129.gz",
    "decisions.jsonl-20261129-1764374400.xz", "other.jsonl.10.bz2",
]  # fmt: skip
OTHERS = ["decisions.jsonl.salts", "decisions.jsonl.swp", "authz.yaml", "decisions.jsonl.1.gz.tmp", ".jsonl"]


@pytest.fixture
def folder(tmp_path):
    for name in (*NAMES, *OTHERS):
        (tmp_path / name).write_bytes(DATA)
    (tmp_path / "more.jsonl").mkdir()
    return tmp_path


def test_a_folder_stands_for_its_logs_and_never_for_the_salts(folder):
    assert sorted(path.name for path in find([str(folder)])) == sorted(NAMES)


def test_a_log_stands_for_what_it_was_renamed_to(folder):
    (folder / "decisions.jsonl.gz").write_bytes(DATA)
    names = [name.rpartition("/")[2] for name in rotated(folder / "decisions.jsonl")]
    assert names == sorted([*NAMES[:-1], "decisions.jsonl.gz"])


def test_a_name_is_a_file_first_and_then_a_pattern(folder):
    odd = folder / "d[1].jsonl"
    odd.write_bytes(DATA)
    assert find([str(odd)]) == [odd]
    assert [path.name for path in find([f"{folder}/decisions.jsonl.?"])] == ["decisions.jsonl.1"]


def test_each_file_is_read_once(folder):
    path = folder / "decisions.jsonl"
    (folder / "link").symlink_to(path)
    (folder / "hard").hardlink_to(path)
    assert find([str(path), str(folder / "link"), str(folder / "hard"), f"{folder}/decisions.jsonl"]) == [path]


def test_all_names_that_cannot_be_read_are_reported_at_once(folder):
    os.mkfifo(folder / "pipe")
    (folder / "z").write_bytes(b"\x28\xb5\x2f\xfd....")
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError) as told:
        find([f"{folder}/{name}" for name in ("nothing", "pipe", "z", "empty", "no*pe", "decisions.jsonl")])
    texts = [f"{problem.file.rpartition('/')[2]}: {problem.message}" for problem in told.value.problems]
    assert sorted(texts) == [
        "empty: there is no decision log",
        "no*pe: there is no decision log",
        "nothing: cannot be read: No such file or directory",
        "pipe: is not a file",
        "z: is compressed with zstd",
    ]


def test_an_xz_file_may_be_several_with_padding_between(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(lzma.compress(DATA[:700]) + b"\0" * 8 + lzma.compress(DATA[700:]) + b"\0" * 4)
    assert lines_of(path) == LINES


def test_an_xz_file_may_not_ask_for_any_amount_of_memory(tmp_path, monkeypatch):
    """The head of an xz file says how much memory its reader needs: up to 4 GiB."""
    path = tmp_path / "a"
    path.write_bytes(lzma.compress(DATA, preset=9))
    monkeypatch.setattr(log_reader, "_MOST_MEMORY", 8 << 20)
    reader = LogReader()
    assert lines_of(path, reader) == []
    [told] = reader.damages
    assert (told.path, told.line, told.text) == (path, 1, "decompressing it takes more than 8 MiB")
    monkeypatch.undo()
    assert lines_of(path) == LINES, "xz -9 is read"


def test_what_an_xz_file_holds_is_handed_out_in_parts(tmp_path):
    """A line that is too long is skipped, however small the file is that holds it."""
    path = tmp_path / "a"
    path.write_bytes(lzma.compress(b"x" * (64 << 20) + b"\n{}\n"))
    assert path.stat().st_size < 100_000
    reader = LogReader()
    assert lines_of(path, reader) == [b"{}"]
    assert "longer than" in reader.damages[0].text


@pytest.mark.parametrize(
    ("compress", "line"),
    [
        *((compress, line) for compress in COMPRESSED.values() for line in (b"", b"{}")),
        *((compress, line) for compress in (bz2.compress, lzma.compress) for line in (b"x" * 1000, b"x" * (3 << 20))),
    ],
)
def test_a_file_that_no_gate_can_have_written_is_not_read_to_its_end(tmp_path, monkeypatch, compress, line):
    """A decompression bomb takes no longer than a log of its size, and some seconds."""
    monkeypatch.setattr(log_reader, "_ANY_BYTES", 4 << 20)
    monkeypatch.setattr(log_reader, "_ANY_LINES", 10_000)
    path = tmp_path / "a"
    count = (16 << 20) // (len(line) + 1)
    path.write_bytes(compress((line + b"\n") * count))
    reader = LogReader()
    assert len(lines_of(path, reader)) < 0.7 * count
    assert "compressed better than any log" in reader.damages[-1].text
    assert [damage.is_left for damage in reader.damages] == [False] * (len(reader.damages) - 1) + [True]


@pytest.mark.parametrize("line", [b"x" * 4500, b"x" * (3 << 20)])
def test_no_line_makes_a_file_of_the_gates_compression_one_that_is_not_read(tmp_path, monkeypatch, line):
    monkeypatch.setattr(log_reader, "_ANY_BYTES", 0)
    monkeypatch.setattr(log_reader, "_ANY_LINES", 0)
    path = tmp_path / "a"
    count = (16 << 20) // (len(line) + 1)
    path.write_bytes(gzip.compress((line + b"\n") * count, 9))
    assert path.stat().st_size * 600 < 16 << 20
    reader = LogReader()
    assert len(lines_of(path, reader)) == count
    assert reader.damages == []


def test_a_log_of_one_denied_request_with_the_longest_path_is_whole(tmp_path, monkeypatch):
    """Anyone can repeat a request, and its long path is in each line twice: gzip makes a hundredth of that."""
    monkeypatch.setattr(log_reader, "_ANY_BYTES", 0)
    rng = random.Random(1)  # noqa: S311 no secret
    writer = Writer(load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: ['sales_*']}"))
    asked = request(Plane.INBOUND, "GET", "airflow.test", f"/api/v2/dags/{'a' * (LONGEST - len('/api/v2/dags/'))}")
    for _ in range(1200):
        writer.ask(asked, reason=Reason.NO_TOKEN, step=rng.random(), latency=rng.random())
    made = b"".join(writer.sink.lines).splitlines()
    log = opened(tmp_path)
    log.append(made)
    log.rotate()
    while log.compress() is not None:
        pass
    log.close()
    [path] = tmp_path.glob("*.jsonl.gz")
    assert path.stat().st_size * 100 < sum(map(len, made)), "it was taken for a decompression bomb"
    reader = LogReader()
    assert [line for line in lines_of(path, reader) if b'"decision"' in line] == made
    assert reader.damages == []
    assert verify(tmp_path, (LOG.public,)).findings == []


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_log_is_read_however_well_it_is_compressed(tmp_path, compress):
    """Decisions that differ in nothing but their ids and times, each with its outcome."""
    writer = Writer(load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: ['sales_*']}"))
    for _ in range(12_000):
        writer.ask(request(Plane.INBOUND, "GET", "airflow.test", "/api/v2/dags/sales_1"))
    made = b"".join(writer.sink.lines)
    path = tmp_path / "a"
    path.write_bytes(compress(made))
    reader = LogReader()
    assert b"\n".join(lines_of(path, reader)) + b"\n" == made
    assert reader.damages == []


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1000, 10_000])
def test_the_parts_of_a_file_have_each_line_once(tmp_path, size):
    path, some = tmp_path / "a", DATA[: 300 * size]
    for data in (some, some + b"torn", b"\n\n" + some, b"x" * 300, b"\n", b"y" * 300 + b"\n" + some):
        path.write_bytes(data)
        begins = range(0, len(data), size)
        reader, found, passed = LogReader(), [], 0
        for begin in begins:
            part = Part(path, begin, None if begin == begins[-1] else begin + size)
            for block in reader.blocks(part):
                found += enumerate(block.lines.split(b"\n"), block.first + passed)
            passed += reader.passed
        assert found == [*LogReader().lines(path)]
        assert passed == len(found)
