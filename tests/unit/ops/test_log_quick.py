"""A search with DuckDB finds what the other one finds, or says that it cannot know."""

import gzip
import random
import sys

import orjson
import pytest

from authz.core.policy.patterns import parse_glob
from authz.core.traffic.selection import Selection
from authz.ops import log_quick
from authz.ops.log_quick import quick
from authz.ops.log_search import Search
from tests.support.factories.asked_logs import asked_of, many, selection, spoiled, written_again
from tests.unit.ops.test_log_search import searched

MOST = 300


@pytest.fixture(scope="module")
def lines():
    return many()


def files(folder, lines):
    """A log in two files, one of them compressed."""
    half = len(lines) // 2
    (folder / "decisions.jsonl").write_bytes(b"".join(line + b"\n" for line in lines[half:]))
    (folder / "decisions.jsonl.1.gz").write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines[:half])))
    return sorted(folder.iterdir())


def slowly(paths, asked, users=()):
    search = Search(asked, MOST)
    if users:
        for path in paths:
            search.learn(path)
        search.narrow(asked.of_callers(search.of_users(users)))
    for path in paths:
        search.read(path)
    return search


def same(one, other):
    assert (one.lines, one.matched) == (other.lines, other.matched)
    assert [*one.newest()] == [*other.newest()]


def test_both_searches_find_the_same_rows(lines, tmp_path):
    rng = random.Random(11)  # noqa: S311 no secret
    paths = files(tmp_path, [*written_again(lines, rng)])
    records = [orjson.loads(line) for line in lines if b'"type":"decision"' in line]
    done, found = 0, 0
    for _ in range(60):
        asked = asked_of(rng, records)
        users = [parse_glob(rng.choice(["p1*", "p7", "none"]))] if rng.random() < 0.3 else []
        answer = quick(paths, asked, users, MOST)
        if answer is None:
            assert "run" in asked.wanted or "*" in "".join(one.text for one in asked.wanted["role"])
            continue
        other = slowly(paths, asked, users)
        same(answer, other)
        done, found = done + 1, found + bool(other.matched)
    assert done > 30
    assert found > 15


NAMES = ["sales_1", "sales%1", "sales!1", "SALES_1", "sa'les", 'sa"les', "säles", "a\nb", "", "~"]


@pytest.mark.parametrize("text", NAMES)
@pytest.mark.parametrize("star", ["", "*"])
def test_no_character_of_a_value_means_anything_else(tmp_path, text, star):
    names = [*NAMES, "salesX1", "x"]
    made = {"v": 1, "type": "decision", "time": "2026-11-22T02:39:35.269999Z", "roles": ["viewer"]}
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"".join(orjson.dumps({**made, "id": str(at), "dag": dag}) + b"\n" for at, dag in enumerate(names))
    )
    asked = selection(dag=[text + star])
    answer = quick([path], asked, (), MOST)
    same(answer, searched(path, asked))
    assert answer.matched >= 1


def test_a_log_with_a_line_that_is_no_record_is_left_to_the_other_search(lines, tmp_path):
    rng = random.Random(3)  # noqa: S311 no secret
    path = tmp_path / "a.jsonl"
    for line in spoiled(lines, rng):
        if line in lines:
            continue
        path.write_bytes(b"\n".join([lines[0], line, lines[-1]]) + b"\n")
        answer = quick([path], selection(decision=["deny"]), (), MOST)
        other = searched(path, selection(decision=["deny"]))
        if other.skipped or other.other_version[0]:
            assert answer is None
        elif answer is not None:
            same(answer, other)


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b'{"v":1,"type":"decision","id":"1","time":"2026-11-22T02:39:35.269999Z"} x',
        b'{"v":1,"type":"decision","id":"1","time":7}',
        b'{"v":1,"type":"decision","id":"1"}',
        b'{"v":1,"id":"1","time":"2026-11-22T02:39:35.269999Z"}',
        b'{"v":1,"type":"metric"}',
        b'{"v":2,"type":"decision","time":"2026-11-22T02:39:35.269999Z"}',
        b'{"v":1,"type":"decision","time":"2026-11-22T02:39:35.269999Z","id":"\xff"}',
        b'{"v":1,"type":"decision","time":"2026-11-22T02:39:35.269999Z","id":"\\ud800"}',
        b"[1]",
        b"7",
        b"{}",
    ],
)
def test_lines_of_which_duckdb_might_think_otherwise(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(line + b"\n")
    assert quick([path], Selection(), (), MOST) is None


def test_without_duckdb_there_is_no_answer(lines, tmp_path, monkeypatch):
    paths = files(tmp_path, lines)
    assert quick(paths, Selection(), (), MOST) is not None
    assert quick(paths, Selection(), (), log_quick.MOST + 1) is None
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert quick(paths, Selection(), (), MOST) is None
