"""The entries that a log makes about itself are read as they were written, and nothing else is one."""

import json

import orjson
import pytest

from authz.core.record import EVENTS, LOG_LINE, Event, LogEntry, decision_in, entry_in, log_entry_in, log_line

TIME = "2026-11-30T08:00:00.000000Z"
VALUES = {int: 7, str: 'a "text"', list: ("key", "other")}


def made(event, **changed):
    return log_line(
        event, gate="eu-1", time=TIME, **{**{name: VALUES[kind] for name, kind in EVENTS[event].items()}, **changed}
    )


@pytest.mark.parametrize("event", Event)
def test_an_entry_is_read_as_it_was_written(event):
    line = made(event)
    assert line.startswith(LOG_LINE)
    found = log_entry_in(line)
    assert found == json.loads(line)
    assert (found["event"], found["gate"], found["time"]) == (event, "eu-1", TIME)
    assert set(found) <= set(LogEntry.__annotations__)
    assert decision_in(line) is None
    assert entry_in(line) is None


def test_every_field_belongs_to_an_event():
    fields = {name for names in EVENTS.values() for name in names}
    assert fields | {"v", "type", "event", "time", "gate"} == set(LogEntry.__annotations__)
    assert set(EVENTS) == set(Event)


@pytest.mark.parametrize("fields", [{}, {"count": 1}, {"count": 1, "reason": "x", "more": 1}])
def test_an_entry_has_the_fields_of_its_event(fields):
    with pytest.raises(ValueError, match="other fields"):
        log_line(Event.GAP, gate="eu-1", time=TIME, **fields)


def test_texts_are_cut_and_valid():
    found = log_entry_in(made(Event.GAP, reason="x" * 5000))
    assert found["reason"] == "x" * 2048
    assert log_entry_in(made(Event.GAP, reason="\ud800"))["reason"] == "\ufffd"


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{}",
        b'{"v":1,"type":"log"}',
        LOG_LINE,
        LOG_LINE + b'"event":"elsewhere"}',
        LOG_LINE + b'"event":7}',
        LOG_LINE + b'"event":"gap","time":"x","gate":"g","count":1}',
        made(Event.FILE).replace(b'"index":7', b'"index":"7"'),
        made(Event.FILE).replace(b'"index":7', b'"index":true'),
        made(Event.FILE).replace(b'"index":7', b'"index":7,"more":7'),
        made(Event.FILE).replace(b'"gate":"eu-1"', b'"gate":null'),
        orjson.dumps({**json.loads(made(Event.STOP)), "v": "1"}),
    ],
)
def test_what_is_no_entry_is_none(wrong):
    assert log_entry_in(wrong) is None
