"""The section `log`: what may be hidden, and where the salts are."""

from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.core.record import PATH, PEOPLE
from authz.settings.log import Privacy


def loaded(text):
    return settings.parse(f"version: 1\n{text}\n".encode(), Path("/etc/authz/authz.yaml"))


def problems(text):
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def words(name):
    """The words that the list takes."""
    return Privacy.model_json_schema()["properties"][name]["items"]["enum"]


def test_the_fields_are_those_that_the_records_can_hide():
    assert words("hash") == list(PEOPLE)
    assert words("drop") == [*PEOPLE, PATH]


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("log: {decisions: d.jsonl}", ""),
        ("log: {decisions: d.jsonl, privacy: {drop: [subject]}}", ""),
        ("log: {decisions: d.jsonl, privacy: {hash: [subject]}}", "/etc/authz/d.jsonl.salts"),
        ("log: {decisions: d.jsonl, privacy: {hash: [subject], salts: s/x}}", "/etc/authz/s/x"),
        ("state: kept\nlog: {decisions: d.jsonl, privacy: {hash: [subject]}}", "/etc/authz/d.jsonl.salts"),
        ("state: kept\nlog: {privacy: {hash: [subject]}}", "/etc/authz/kept/salts"),
        ("state: kept\nlog: {decisions: /dev/null, privacy: {hash: [subject]}}", "/etc/authz/kept/salts"),
    ],
)
def test_where_the_salts_are(text, file):
    assert loaded(text).salts == file


@pytest.mark.parametrize("decisions", ["stdout", "/dev/null"])
def test_salts_need_a_place(decisions):
    text = f"log: {{decisions: {decisions}, privacy: {{hash: [subject]}}}}"
    [(line, told)] = problems(text)
    assert line == 2
    assert "`hash` needs a file for the salts" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("log: {privacy: {drop: [roles]}}", "`source` or `path`, found `roles`"),
        ("log: {decisions: d, privacy: {hash: [path]}}", "`groups` or `source`, found `path`"),
        ("log: {decisions: d, privacy: {drop: [user, subject], hash: [subject]}}", "`subject` is in `hash` too"),
        (
            "log: {decisions: d, privacy: {hash: [subject]}}\nrevocation: {file: d.salts}",
            "`revocation.file`: `log.privacy.salts` is by default the same file, /etc/authz/d.salts",
        ),
        (
            "log: {decisions: policy, privacy: {hash: [subject]}}\npolicy: policy.salts",
            "`log.privacy.salts`: `policy` names the same file, /etc/authz/policy.salts",
        ),
        ("log: {decisions: d, privacy: {salts: s}}", "`salts` has no effect without `hash`"),
        ("log: {decisions: d, privacy: {hash: [subject], salts: d}}", "names the same file"),
        ("state: k\nlog: {decisions: d, privacy: {hash: [subject], salts: k/s}}", "which is in that folder"),
    ],
)
def test_what_cannot_have_an_effect_is_said(text, told):
    found = problems(text)
    assert len(found) == 1
    assert told in found[0][1]
