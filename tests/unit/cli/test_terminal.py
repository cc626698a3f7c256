"""Reports in a real terminal of 80 and 120 columns: whole words, colours there alone, commands that can be copied."""

import json
import re
import shlex
import subprocess
import sys

import click
import pytest

from authz.cli.terminal import wrapped
from authz.core.policy import Bundle, load
from tests.support.factories.decision_logs import day_of
from tests.support.rigs.grants import Rig
from tests.support.terminal import COLOR, in_terminal
from tests.unit.core.shadow.test_report import record

POLICY = """version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
    groups: [groups]
roles:
  reader: {groups: [data-readers, data-engineers, data-analysts-of-finance, data-analysts-of-sales]}
  engineer: {groups: [data-engineers]}
rules:
  - {id: read, plane: inbound, roles: [reader], operations: ["dags:read", "dag_runs:read", "assets:read"]}
  - {id: engineers, plane: inbound, roles: [engineer], operations: [airflow.op], dags: ["sales_*", "finance_*"]}
  - {id: variables, plane: inbound, roles: [engineer], operations: ["variables:*"]}
never:
  - {name: engineers never touch the variables of others, roles: [engineer], operations: ["variables:*"]}
tests:
  - name: "a reader may create a pool, which is not so, and is found out by this test of many words"
    who: {groups: [data-readers]}
    request: POST /api/v2/pools
    expect: allow
"""
NEW = POLICY.replace("reader: {groups: [data-readers, ", "reader: {groups: [").replace('"finance_*"', '"marketing_*"')


@pytest.mark.parametrize("width", [40, 80])
def test_a_line_is_broken_between_words_and_goes_on_indented(width):
    line = "  " + " ".join(["words"] * 60)
    parts = [*wrapped(line, width)]
    assert max(map(len, parts)) <= width
    assert " ".join(part.strip() for part in parts) == line.strip()
    assert parts[0].startswith("  words")
    assert all(part.startswith("      words") for part in parts[1:])


def test_a_word_that_is_too_long_stays_whole():
    word = "a" * 100
    assert [*wrapped(f"see {word} there", 40)] == ["see", f"    {word}", "    there"]


def test_a_command_is_never_broken():
    line = f"    try: authz check GET /api/v2/dags {'--group x ' * 30}"
    assert [*wrapped(line, 80)] == [line]


def test_colours_take_no_room():
    line = f"{click.style('now allowed', fg='green')} {'x' * 68}"
    assert [*wrapped(line, 80)] == [line]
    parts = [*wrapped(f"{line} more", 80)]
    assert [click.unstyle(part) for part in parts] == [f"now allowed {'x' * 68}", "    more"]


EVERY = {
    "replay": ("replay", "decisions.jsonl", "--policy", "new.yaml"),
    "unused": ("unused", "decisions.jsonl"),
    "shadow": ("shadow", "report", "shadow.jsonl"),
    "test": ("test", "--coverage", "--verbose"),
    "never": ("prove", "never", "policy.yaml"),
    "diff": ("diff", "policy.yaml", "new.yaml"),
    "lint": ("lint", "policy.yaml"),
    "who-can": ("who-can", "dags:read"),
    "what-can": ("what-can", "--group", "data-engineers"),
    "matrix": ("matrix",),
}
COLOURED = {"replay", "unused", "shadow", "test", "never", "diff", "matrix"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what each report needs, so that it has long lines."""
    made = tmp_path_factory.mktemp("reports")
    (made / "policy.yaml").write_text(POLICY)
    (made / "new.yaml").write_text(NEW)
    (made / "decisions.jsonl").write_bytes(day_of(load(Bundle(POLICY.encode(), "policy.yaml"))))
    lost = {"revision": "c" * 64, "decision": "deny", "reason": "no_rule", "rule": ""}
    long = "a-rule-with-a-long-name-of-the-team-that-owns-the-warehouse"
    records = [record(lost, rule=long, path="/api/v2/dags/a_dag_with_a_name_of_many_characters/dagRuns"),
               record({"revision": "c" * 64, "unknown": "issuer"})]  # fmt: skip
    (made / "shadow.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in records))
    return made


def too_wide(lines, columns):
    """Lines that a terminal breaks, other than those with a command or one long word."""
    wide = [line for line in lines if len(line) > columns and "authz check " not in line]
    return [line for line in wide if max(map(len, line.split())) < columns - 8]


@pytest.mark.parametrize(("name", "words"), EVERY.items(), ids=EVERY)
def test_a_report_fits_the_terminal_and_a_file_gets_its_words(folder, name, words):
    """A terminal gets the same words, in other lines; a file gets no colours and its lines unbroken."""
    shown = in_terminal(*words, folder=folder, columns=80)
    assert shown.status in {0, 1}, shown.text
    assert too_wide(shown.lines, 80) == []
    assert (COLOR.search(shown.text) is not None) is (name in COLOURED)
    assert "\x1b" not in COLOR.sub("", shown.text), "cursor movements, as of a progress bar"
    assert "\r" not in shown.text
    command = [sys.executable, "-m", "authz", *words]
    plain = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert "\x1b" not in plain.stdout
    if name != "matrix":  # a table is as wide as the terminal, or as 80 characters
        assert took(" ".join(shown.lines)) == took(plain.stdout + plain.stderr)


def took(text):
    """The words, without how long it took."""
    return re.sub(r"in \d+\.\d+ s", "", " ".join(text.split())).split()


@pytest.mark.parametrize("name", sorted(COLOURED))
def test_who_wants_no_colours_gets_none(folder, name):
    assert "\x1b" not in in_terminal(*EVERY[name], folder=folder, NO_COLOR="1").text


def test_an_empty_no_color_means_nothing(folder):
    assert COLOR.search(in_terminal(*EVERY["diff"], folder=folder, NO_COLOR="").text)


def test_the_commands_of_a_report_can_be_copied(folder):
    """A terminal copies a line that it breaks by itself in one piece, so each is one line of ours."""
    shown = in_terminal("diff", "policy.yaml", "new.yaml", folder=folder)
    commands = [line.partition("try: ")[2] for line in shown.lines if "try: " in line]
    assert commands
    assert all(shlex.split(line)[:2] == ["authz", "check"] and "--issuer corp" in line for line in commands)


def test_the_list_of_grants_fits_the_terminal(tmp_path):
    rig = Rig(tmp_path / "grants.jsonl")
    rig.server.start()
    try:
        gate = ("--gate", f"http://127.0.0.1:{rig.server.port}")
        token = rig.token("ana", "data-readers", preferred_username="ana")
        reason = "incident 4711, in which the loads of the warehouse came late because a partition was missing"
        asked = in_terminal(
            "grant", "request", "oncall", "--for", "1h", "--reason", reason, *gate, folder=tmp_path, AUTHZ_TOKEN=token
        )
        listed = in_terminal("grant", "list", *gate, folder=tmp_path, AUTHZ_TOKEN=token)
    finally:
        rig.server.stop()
    for shown in (asked, listed):
        assert shown.status == 0, shown.text
        assert too_wide(shown.lines, 80) == []
        assert reason in " ".join(" ".join(shown.lines).split())
    assert "you may ask for oncall" in listed.text
