"""A search on all CPUs has the answer of one search, whatever the parts; and no process is left behind."""

import errno
import gzip
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
from multiprocessing import active_children
from pathlib import Path

import orjson
import pytest

from authz.core.policy.patterns import parse_glob
from authz.core.traffic.selection import EndSelection, Selection
from authz.ops import log_parts
from authz.ops.log_followed import accesses_of, ended_so, outcomes_of
from authz.ops.log_parts import searched
from authz.ops.log_reader import LONGEST_LINE, Part
from authz.ops.log_search import Search
from tests.support.factories.asked_logs import access_of, asked_of, many, outcome_of, selection, spoiled, written_again
from tests.support.waiting import wait_for

MOST = 300
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def lines():
    return many()


def files(folder, lines):
    """A log in three files, one of them compressed, one with a line that is too long, one torn."""
    third = len(lines) // 3
    text = [b"".join(line + b"\n" for line in lines[at : at + third]) for at in range(0, 3 * third, third)]
    (folder / "decisions.jsonl").write_bytes(text[2] + b'{"v":1,"type":"decision","id":"7')
    (folder / "decisions.jsonl.1").write_bytes(text[1][:9000] + b"x" * (LONGEST_LINE + 9000) + b"\n" + text[1][9000:])
    (folder / "decisions.jsonl.2.gz").write_bytes(gzip.compress(text[0]))
    return sorted(folder.iterdir())


def in_one(paths, asked, users=()):
    """One search of whole files."""
    search = Search(asked, MOST)
    if users:
        for path in paths:
            search.learn(Part(path))
        search.narrow(asked.of_callers(search.of_users(users)))
    for path in paths:
        search.read(Part(path))
    return search


def same(one, other):
    assert [*one.newest()] == [*other.newest()]
    for name in ("lines", "matched", "undated", "others", "entries", "damages"):
        assert getattr(one.tally, name) == getattr(other.tally, name), name
    assert one.skipped == other.skipped


@pytest.mark.parametrize("part_size", [5_000, 50_000])
def test_parts_in_processes_have_the_answer_of_one_search(lines, tmp_path, part_size):
    rng = random.Random(part_size)  # noqa: S311 no secret
    paths = files(tmp_path, [*spoiled(lines, rng)])
    records = [orjson.loads(line) for line in lines if b'"type":"decision"' in line]
    found = 0
    for _ in range(12):
        asked = asked_of(rng, records)
        users = [parse_glob(rng.choice(["p1*", "p7", "none"]))] if rng.random() < 0.3 else []
        answer = searched(paths, asked, users, MOST, worth=0, part_size=part_size, processes=2)
        same(answer, in_one(paths, asked, users))
        found += bool(answer.tally.matched)
    assert found > 3


def test_progress_is_that_of_all_bytes(lines, tmp_path):
    paths, read = files(tmp_path, lines), []
    searched(paths, Selection(), (), MOST, read.append, worth=0, processes=2)
    assert sum(read) == sum(path.stat().st_size for path in paths)


def test_a_file_that_is_renamed_meanwhile_is_searched_once(lines, tmp_path):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))

    def rename(_read):
        if not (moved := tmp_path / "decisions.jsonl.1").exists():
            path.rename(moved)
            path.write_bytes(lines[-1] + b"\n")

    found = searched([path], Selection(), (), MOST, rename, worth=0, part_size=20_000, processes=2)
    assert found.tally.lines == len(lines)
    assert (tmp_path / "decisions.jsonl.1").exists()


def test_a_file_that_cannot_be_read_is_an_error_of_the_search(lines, tmp_path):
    paths = files(tmp_path, lines)
    with pytest.raises(FileNotFoundError, match="absent"):
        searched([*paths, tmp_path / "absent.jsonl"], Selection(), (), MOST, worth=0, processes=2)
    assert active_children() == []


def test_a_process_that_ends_is_an_error_of_the_search(lines, tmp_path):
    def kill(_read):
        for child in active_children():
            child.kill()

    with pytest.raises(ChildProcessError, match="a process that searched the log ended"):
        searched(files(tmp_path, lines), Selection(), (), MOST, kill, worth=0, part_size=5_000, processes=2)
    assert active_children() == []


@pytest.mark.parametrize("most", [0, 1, 2])
def test_where_processes_cannot_be_started_those_that_were_or_this_one_search(lines, tmp_path, monkeypatch, most):
    """A limit on processes (RLIMIT_NPROC, pids.max) is an EAGAIN of fork."""
    paths, forks, fork = files(tmp_path, lines), [], os.fork

    def limited():
        if len(forks) == most:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        forks.append(None)
        return fork()

    monkeypatch.setattr(os, "fork", limited)
    answer = searched(paths, Selection(), (), MOST, worth=0, part_size=5_000, processes=3)
    monkeypatch.undo()
    same(answer, in_one(paths, Selection()))
    assert (len(forks), active_children()) == (most, [])


def test_without_pipes_this_process_searches(lines, tmp_path):
    paths = files(tmp_path, lines)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, hard))
    try:
        answer = searched(paths, Selection(), (), MOST, worth=0, processes=3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert active_children() == []
    same(answer, in_one(paths, Selection()))


def test_what_follows_decisions_is_found_in_parts_as_in_whole_files(lines, tmp_path, monkeypatch):
    decisions = [one["id"] for line in lines if (one := orjson.loads(line))["type"] == "decision"]
    more = [outcome_of(name, 200) for name in decisions[::3]]
    more += [access_of(f"variables/{n}", number=n, second=10 + n % 40) for n in range(3000)]
    paths = files(tmp_path, [*lines, *random.Random(7).sample(more, len(more))])  # noqa: S311 no secret

    def kind(entry):
        return (0, 1, None)[int(entry["name"]) % 3]

    def answer():
        found = accesses_of(paths, kind, (400, 5))
        assert ended_so(paths, EndSelection((parse_glob("2*"),))) == {*outcomes_of(paths, decisions)}
        return outcomes_of(paths, decisions), [(one.kept(), one.count, one.left_out) for one in found]

    whole = answer()
    monkeypatch.setattr(log_parts, "_WORTH", 0)
    monkeypatch.setattr(log_parts, "_PART", 20_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    assert answer() == whole
    outcomes, accesses = whole
    assert len(outcomes) > 100
    assert [len(kept) for kept, _, _ in accesses] == [400, 5]


def test_no_process_is_left_when_the_one_that_started_them_is_killed(lines, tmp_path):
    files(tmp_path, lines)
    code = """
        import sys
        from multiprocessing import active_children
        from pathlib import Path
        from authz.core.traffic.selection import Selection
        from authz.ops.log_parts import searched

        def say(_read):
            print(*(child.pid for child in active_children()), flush=True)
            sys.stdin.read()

        searched(sorted(Path(sys.argv[1]).iterdir()), Selection(), (), 1, say, worth=0, part_size=5000, processes=3)
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        children = [*map(int, parent.stdout.readline().split())]
        assert len(children) == 3
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, children)))


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_sql_has_the_rows_of_the_filters(lines, tmp_path):
    """The same conditions in SQL, as `bench.audit_query` asks: DuckDB's rows are those of the definition."""
    from authz.ops.log_database import LogDatabase  # it has threads, and processes begin as copies

    rng = random.Random(5)  # noqa: S311 no secret
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in written_again(lines, rng)))
    since, until = "2026-11-22T02:39:36.000000Z", "2026-11-22T02:39:39.000000Z"
    cases = {
        "subject = 'p17'": selection(subject=["p17"]),
        "decision = 'deny' AND reason = 'no_rule'": selection(decision=["deny"], reason=["no_rule"]),
        f"time >= '{since}' AND time < '{until}' AND decision = 'deny'": selection(since, until, decision=["deny"]),
        "run.run_id LIKE 'scheduled__2026-11-1%'": selection(run=["scheduled__2026-11-1*"]),
        "plane = 'egress' AND dag = 'sales_0'": selection(destination=["*"], dag=["sales_0"]),
        "list_contains(roles, 'viewer')": selection(role=["viewer"]),
    }
    for strict in (True, False):
        database = LogDatabase([path], strict=strict)
        for condition, asked in cases.items():
            rows = database.ask(f"SELECT id FROM decisions WHERE {condition} ORDER BY id", 1000).rows  # noqa: S608
            search = Search(asked, 1000)
            search.read(Part(path))
            assert [one for (one,) in rows] == sorted(found.record["id"] for found in search.newest()), condition
            assert rows or "dag" in condition
        database.close()
