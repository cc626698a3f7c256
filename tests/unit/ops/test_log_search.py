"""The newest decisions that are meant: the same as when each line is parsed, and nothing is skipped in silence."""

import gzip
import random

import orjson
import pytest

from authz.core.policy.patterns import parse_glob
from authz.core.record import Skipped, entry_in, outcome_in, record_in
from authz.core.traffic.selection import Selection
from authz.ops.log_followed import outcomes_of
from authz.ops.log_reader import Part
from authz.ops.log_search import Search
from tests.support.factories.asked_logs import access_of, asked_of, many, outcome_of, selection, spoiled, written_again

ALL = 1_000_000


@pytest.fixture(scope="module")
def lines():
    return many()


@pytest.fixture
def with_outcomes(lines):
    """Each decision has an outcome, some lines later."""
    made = []
    for line in lines:
        made.append(line)
        if not entry_in(line) and len(made) % 3:
            made.insert(max(0, len(made) - 5), outcome_of(orjson.loads(line)["id"], 200))
            made.append(access_of(f"variables/{'{' * (len(made) % 2)}key", number=len(made)))
    return made


def searched(path, asked, most=ALL):
    search = Search(asked, most)
    search.read(Part(path))
    return search


def by_definition(lines, asked):
    """What the law says, without anything that makes it quick."""
    found = [record_in(line) for line in lines]
    meant = [one[1] for one in found if not isinstance(one, Skipped) and one[0] == "decision" and asked.matches(one[1])]
    broken = sum(one is Skipped.BROKEN for one in found)
    return sorted(meant, key=lambda record: record["time"]), broken


def test_a_search_finds_what_the_definition_says(with_outcomes, lines, tmp_path):
    rng = random.Random(7)  # noqa: S311 no secret
    path = tmp_path / "decisions.jsonl"
    all_of_them = [*spoiled(with_outcomes, rng)]
    path.write_bytes(b"".join(line + b"\n" for line in all_of_them))
    decisions = [orjson.loads(line) for line in lines if b'"type":"decision"' in line]
    counts = []
    for _ in range(60):
        asked = asked_of(rng, decisions)
        meant, broken = by_definition(all_of_them, asked)
        search = searched(path, asked)
        found = [one.record for one in search.newest()]
        assert sorted(found, key=orjson.dumps) == sorted(meant, key=orjson.dumps), asked
        assert [one["time"] for one in found] == [one["time"] for one in meant]
        assert (search.tally.matched, search.tally.lines) == (len(meant), len(all_of_them))
        assert search.skipped[Skipped.BROKEN][0] == broken > 0
        counts.append(len(meant))
    assert sum(0 < count < len(decisions) for count in counts) > 25


def test_the_newest_are_kept(lines, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(reversed(lines)) + b"\n")
    meant, _ = by_definition(lines, selection(decision=["deny"]))
    search = searched(path, selection(decision=["deny"]), most=20)
    assert [one.record["id"] for one in search.newest()] == [one["id"] for one in meant[-20:]]
    assert search.tally.matched == len(meant) > 20


def test_callers_are_joined_though_their_entry_is_in_another_file(lines, tmp_path):
    entries = [line for line in lines if entry_in(line)]
    decisions = [line for line in lines if not entry_in(line)]
    (tmp_path / "1.jsonl").write_bytes(b"\n".join(decisions))
    with gzip.open(tmp_path / "2.jsonl.gz", "wb") as file:
        file.write(b"\n".join(entries))
    search = Search(Selection(), ALL)
    for name in ("1.jsonl", "2.jsonl.gz"):
        search.learn(Part(tmp_path / name))
    search.narrow(Selection().of_callers(search.of_users([parse_glob("p10*")])))
    for name in ("1.jsonl", "2.jsonl.gz"):
        search.read(Part(tmp_path / name))
    found = [*search.newest()]
    assert {one.entry["user"] for one in found} == {one.record["subject"] for one in found}
    assert {one.entry["user"][:3] for one in found} == {"p10"}
    assert search.tally.matched == sum(b'"subject":"p10' in line for line in decisions)


def test_what_is_no_record_is_counted_with_its_place(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"v":1,"type":"decision","id":"d1","time":7}\n\nnot JSON\n{"v":1,"type":"log","event":"stop"}\n'
        b'{"v":3,"id":"d2"}\n{"v":1,"type":"metric"}\n{"v":1,"type":"decision","id":"d3","ti'
    )
    search = searched(path, selection("2026-11-30T12:00:00.000000Z"))
    assert search.skipped == {
        Skipped.EMPTY: (1, f"{path}:2"),
        Skipped.BROKEN: (2, f"{path}:3"),
        Skipped.OTHER_TYPE: (1, f"{path}:6"),
    }
    count, place = search.tally.others
    assert (count, str(place)) == (1, f"{path}:5")
    assert (search.tally.lines, search.tally.matched, search.tally.undated) == (7, 0, 1)
    search = searched(path, Selection())
    assert [one.record["id"] for one in search.newest()] == ["d1"]


def test_a_damaged_file_is_read_up_to_there(lines, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines))[:-2000])
    search = searched(path, Selection())
    (damage,) = search.tally.damages
    assert damage.path == path
    assert 0 < search.tally.matched < len(lines)


def test_a_file_that_the_gate_compressed_meanwhile_is_found(lines, tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    assert searched(tmp_path / "a.jsonl", Selection()).tally.lines == len(lines)
    with pytest.raises(FileNotFoundError):
        searched(tmp_path / "b.jsonl", Selection())


def test_outcomes_are_found_by_their_decisions_also_those_that_were_written_again(with_outcomes, tmp_path):
    rng, path = random.Random(3), tmp_path / "a.jsonl"  # noqa: S311 no secret
    path.write_bytes(b"\n".join(written_again(with_outcomes, rng)) + b'\n{"type":"outcome"}\n{"outcome"\n')
    outcomes = {one["decision"]: one for line in with_outcomes if (one := outcome_in(line)) is not None}
    assert len(outcomes) > 100
    some = sorted(outcomes)[:50]
    assert outcomes_of([path], some) == {name: outcomes[name] for name in some}
    assert outcomes_of([path], ["f" * 24]) == outcomes_of([tmp_path / "absent"], []) == {}
