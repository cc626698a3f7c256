"""Lines that someone put into a log, and what they do to what is printed."""

import json

import pytest
from click.testing import CliRunner

from authz.cli import main

GOOD = b'{"v":1,"type":"decision","id":"%024x","time":"2026-11-30T08:00:00.000000Z","decision":"allow","subject":"ada"}'


def run(*arguments):
    done = CliRunner().invoke(main, ["audit", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stdout, done.stderr


def nested(depth):
    deep = b"[" * depth + b"]" * depth
    return GOOD[:-1] % 7 + b',"roles":' + deep + b',"x":' + deep + b"}"


@pytest.mark.parametrize("depth", [300, 990, 1000, 1020])
@pytest.mark.parametrize("form", ["table", "json", "csv", "ocsf"])
def test_a_line_that_is_nested_deeply_hides_no_other(tmp_path, form, depth):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(GOOD % 1 + b"\n" + nested(depth) + b"\n" + GOOD % 2 + b"\n")
    status, out, _ = run("query", path, "--format", form)
    assert status == 0
    assert f"{1:024x}" in out
    assert f"{2:024x}" in out
    if form in {"json", "ocsf"}:
        [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("form", ["tree", "json"])
def test_a_line_that_is_nested_deeply_hides_no_story(tmp_path, form):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(GOOD % 1 + b"\n" + nested(1000).replace(b'"id"', b'"method":"POST","id"') + b"\n")
    assert run("story", "ada", path, "--format", form)[0] == 0


@pytest.mark.parametrize("identity", ["[]", "{}", "7", "null"])
def test_a_line_whose_identity_is_no_text_hides_no_other(tmp_path, identity):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(GOOD[:-1] % 7 + b',"identity":%s}\n' % identity.encode() + GOOD % 1 + b"\n")
    assert run("query", path, "--user", "ada")[0] == 1
    assert run("story", "ada", path)[0] == 0
