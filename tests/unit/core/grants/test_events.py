"""The lines of the grants file: exactly one form each, and no other line is an event."""

import json

import pytest

from authz.core.grants import Actor, Ended, encode, parse
from authz.core.grants.events import LONGEST_LINE, MOST_REASON
from authz.core.model import LONGEST_GRANT_S
from authz.core.tokens.claims import MAX_TIME
from tests.support.factories.grants import approved, ended, requested, who
from tests.support.factories.tokens import ISS

EVENTS = [
    requested(),
    requested(open=True),
    requested(local="root"),
    requested(subject="ünïcode \u202e"),
    approved(),
    ended(),
    ended(by="bo"),
    Ended(id="g0000001", at=1, by=Actor(local="root")),
]
LINES = [json.loads(encode(event)) for event in (requested(), approved(), ended(by="bo"))]


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_a_line_is_read_back_as_the_event(event):
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse(line) == event


def test_a_name_is_kept_and_does_not_make_another_identity():
    event = approved()
    named = type(event)(id=event.id, at=event.at, by=who("bo", name="Bo B."))
    assert parse(encode(named)).by.name == "Bo B."
    assert named == event


def test_brackets_in_a_text_are_text():
    event = approved()
    named = type(event)(id=event.id, at=event.at, by=who("bo", name="[" * 200))
    assert parse(encode(named)).by.name == "[" * 200


@pytest.mark.parametrize("members", LINES, ids=lambda members: members["event"])
@pytest.mark.parametrize(
    "change",
    [
        {"event": "other"},
        {"event": None},
        {"id": "short"},
        {"id": "UPPERCASE1"},
        {"id": "x" * 43},
        {"id": 12345678},
        {"at": -1},
        {"at": True},
        {"at": 1.5},
        {"at": 10**15},
        {"subject": ""},
        {"subject": "x" * 1025},
        {"issuer": 7},
        {"name": ""},
        {"more": 1},
    ],
    ids=str,
)
def test_anything_else_is_no_event(members, change):
    with pytest.raises(ValueError, match=" ") as caught:
        parse(json.dumps(members | change).encode())
    assert "ana" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 0},
        {"seconds": LONGEST_GRANT_S + 1},
        {"seconds": "1h"},
        {"reason": ""},
        {"reason": "x" * (MOST_REASON + 1)},
        {"entry": ["a"]},
        {"local": ""},
    ],
    ids=str,
)
def test_a_request_has_its_own_bounds(change):
    with pytest.raises(ValueError, match=" "):
        parse(json.dumps(LINES[0] | change).encode())


@pytest.mark.parametrize("value", [1, "true", "yes", False, None, []], ids=str)
def test_open_is_true_or_not_there(value):
    assert parse(json.dumps(LINES[0] | {"open": True}).encode()).open is True
    with pytest.raises(ValueError, match="open is not true"):
        parse(json.dumps(LINES[0] | {"open": value}).encode())


def test_the_longest_name_that_a_token_may_have_can_be_read_back():
    event = type(requested())(
        id="g0000001",
        at=MAX_TIME,
        holder=who("\U0001f600" * 1024, issuer="\U0001f600" * 1024, name="\x01" * 200),
        entry="\U0001f600" * 200,
        seconds=LONGEST_GRANT_S,
        reason="\U0001f600" * MOST_REASON,
        open=True,
        local="\U0001f600" * 200,
    )
    assert parse(encode(event)) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"event":"end","event":"end","id":"g0000001","at":1}',
        b'{"event":"end","id":"g0000001","at":1,"issuer":"x"}',
        b'{"event":"approve","id":"g0000001","at":1}',
        b'{"event":"end","id":"g0000001","at":1,"local":"root","issuer":"x","subject":"y"}',
        b"x" * (LONGEST_LINE + 1),
        b'{"event":"end","id":"g0000001","at":1,"x":[[[[[[[[[]]]]]]]]]}',
    ],
)
def test_what_is_no_such_object_is_no_event(line):
    with pytest.raises(ValueError, match=" "):
        parse(line)


def test_an_actor_is_shown_in_one_line():
    shown = str(who("ana", name="Ana\nadmin: yes\u202e"))
    assert shown == rf"Ana\nadmin: yes\u202e (sub ana of {ISS})"
    assert str(Actor(local="ro\not")) == r"local ro\not"
