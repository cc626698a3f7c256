"""`authz audit tail`: a real process that looks on while a log is written, renamed and ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from authz.cli import main
from tests.support.factories.asked_logs import ADA, BEN, ESC, POLICY, inbound
from tests.support.factories.decision_logs import Writer
from tests.support.factories.policies import load
from tests.support.factories.written_logs import opened
from tests.support.ocsf import mistakes
from tests.support.terminal import in_terminal

ROOT = Path(__file__).parents[3]


class Log:
    """What a gate writes, decision by decision."""

    def __init__(self, path):
        self.path = path
        self.writer = Writer(load(POLICY), sink=self, ids=(f"{number:024x}" for number in range(1, 100)).__next__)
        path.touch()

    file = 1
    offers = ()

    def put(self, lines):
        with self.path.open("ab") as file:
            file.write(lines)
        return True

    def ask(self, who, dag, method="GET"):
        self.writer.ask(inbound(method, f"/api/v2/dags/{dag}"), who)

    def rotate(self):
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        self.path.touch()


class Tail:
    """The command in a process of its own."""

    def __init__(self, folder, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "authz", "audit", "tail", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.said = self.process.stderr.readline()

    def line(self):
        """The next line; pytest's timeout ends a test that waits in vain."""
        return self.process.stdout.readline().rstrip("\n")

    def end(self, number=signal.SIGINT):
        """Its exit status, and what else it wrote."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def tail(tmp_path):
    started = []

    def start(*arguments):
        started.append(Tail(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_decisions_come_as_they_are_made_also_after_a_rename(tmp_path, tail):
    log = Log(tmp_path / "decisions.jsonl")
    log.ask(ADA, "sales_old")
    looking = tail(log.path)
    assert looking.said == f"following {log.path}: Ctrl-C ends\n"
    log.ask(ADA, "sales_eu")
    line = " ".join(looking.line().split())
    assert line == "2026-11-22T02:39:35Z allow ada dags:read sales_eu rule readers 000000000000000000000002"
    log.rotate()
    log.ask(BEN, "sales_us", "DELETE")
    line = " ".join(looking.line().split())
    assert line.endswith("Z deny ben dags:delete sales_us no_rule 000000000000000000000003")
    assert looking.end() == (130, "", "")


def test_filters_and_names_from_entries_that_were_there_before(tmp_path, tail):
    log = Log(tmp_path / "decisions.jsonl")
    log.ask(ADA, "sales_old")
    looking = tail(log.path, "--user", "ada", "--decision", "deny", "--json")
    log.ask(BEN, "other")
    log.ask(ADA, "sales_eu")
    log.ask(ADA, "other")
    found = json.loads(looking.line())
    assert (int(found["id"], 16), found["caller"]["user"]) == (4, "ada")
    assert looking.end() == (130, "", "")


def test_since_shows_what_is_there_already(tmp_path, tail):
    log = Log(tmp_path / "decisions.jsonl")
    log.ask(ADA, "sales_old")
    looking = tail(log.path, "--since", "2026-11-22")
    assert "sales_old" in looking.line()


def test_a_signed_logs_folder_is_followed_into_its_next_file(tmp_path, tail):
    written = Log(tmp_path / "unsigned")
    for dag in ("sales_1", "sales_2", "sales_3"):
        written.ask(ADA, dag)
    lines = written.path.read_bytes().splitlines()
    log = opened(tmp_path / "audit")
    log.append(lines[:2])
    looking = tail("audit")
    log.append(lines[2:3])
    assert "sales_2" in looking.line()
    log.rotate()
    log.append(lines[3:])
    assert "sales_3" in looking.line()
    log.close()
    assert looking.end() == (130, "", "")


def test_a_line_that_is_no_record_is_said(tmp_path, tail):
    log = Log(tmp_path / "decisions.jsonl")
    looking = tail(log.path)
    log.put(b'{"v":1,"type":"decision","id\n\n{"v":9}\n')
    log.ask(ADA, "sales_eu")
    assert "sales_eu" in looking.line()
    status, out, err = looking.end()
    assert (status, out) == (130, "")
    first, second = err.splitlines()
    assert first.startswith(f"{log.path}:1: The line is not one JSON object")
    assert second == f"{log.path}:3: another version of the format"


def test_events_of_ocsf_as_they_are_made(tail, tmp_path):
    log = Log(tmp_path / "decisions.jsonl")
    looking = tail(log.path, "--format", "ocsf")
    log.ask(BEN, "sales_eu")
    log.ask(ADA, "finance")
    found = [json.loads(looking.line()) for _ in range(2)]
    assert [problem for one in found for problem in mistakes(one)] == []
    assert [(one["actor"]["user"]["name"], one["action"]) for one in found] == [("ben", "Allowed"), ("ada", "Denied")]


def test_two_formats_are_a_mistake(tmp_path):
    (tmp_path / "a.jsonl").touch()
    done = CliRunner().invoke(main, ["audit", "tail", str(tmp_path / "a.jsonl"), "--json", "--format", "ocsf"])
    assert (done.exit_code, "give one of them" in done.stderr) == (2, True)


@pytest.mark.parametrize("options", [[], ["--json"], ["--format", "ocsf"]])
def test_no_control_character_reaches_the_output(tmp_path, tail, options):
    path = tmp_path / "a.jsonl"
    path.touch()
    looking = tail(path, *options)
    record = {"v": 1, "type": "decision"} | dict.fromkeys(
        ("id", "time", "path", "method", "subject", "dag", "rule"), ESC
    )
    path.write_text(json.dumps({**record, "reason": "a\u202eb", "decision": "\x9bdeny\x7f"}) + "\n")
    line = looking.line()
    assert line.isprintable()
    assert "owned" in line


def test_a_terminal_gets_colours_and_short_texts_unless_no_color_is_set(tmp_path):
    log = Log(tmp_path / "decisions.jsonl")
    log.ask(ADA, "x" * 90)

    def shown_with(**environment):
        words = ("audit", "tail", log.path, "--since", "2026-11-22")
        return in_terminal(*words, folder=tmp_path, until="following", **environment)

    shown = shown_with()
    assert shown.status == 130
    assert "\x1b[31mdeny \x1b[0m" in shown.text
    assert "x" * 47 + "…" in shown.text
    assert "x" * 48 not in shown.text
    assert "\x1b" not in shown_with(NO_COLOR="1").text


def test_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for names in ([], ["missing.jsonl"], ["empty"]):
        done = CliRunner().invoke(main, ["audit", "tail", *names])
        assert (done.exit_code, done.stdout) == (2, "")
        assert "error: " in done.stderr.lower()
