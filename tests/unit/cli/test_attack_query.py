"""Lines that someone put into a log, and what they do to what is printed."""

import json

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core.traffic.selection import Selection

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


@pytest.mark.parametrize("value", [[], {}, 7, None])
def test_a_field_of_another_type_matches_nothing_and_ends_no_search(value):
    assert not Selection(identities=frozenset({"x"})).matches({"v": 1, "identity": value})


@pytest.mark.parametrize("value", ["[]", "{}", "7", "null"])
@pytest.mark.parametrize("field", ["method", "plane", "roles", "dag", "operation", "identity"])
def test_a_field_of_another_type_ends_no_story(tmp_path, field, value):
    """`authz.core.traffic.story`: fields of a record may have any type."""
    path = tmp_path / "decisions.jsonl"
    run_of = b',"run":{"dag_id":"d","run_id":"r","task_id":[]}'
    odd = GOOD[:-1] % 7 + run_of + b',"%s":%s}' % (field.encode(), value.encode())
    path.write_bytes(odd + b"\n" + GOOD % 1 + b"\n")
    assert run("story", "ada", path)[0] == 0
    assert run("story", f"{7:024x}", path)[0] == 0
    assert run("story", "r", path)[0] in {0, 1}
