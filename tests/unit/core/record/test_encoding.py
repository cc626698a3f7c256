"""Lines of decisions: one line of JSON whatever is in them, and the bytes of a plain encoder."""

import json
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from authz.core.record import DecisionLine, end_of_line

OWN = {
    "v": 1,
    "type": "decision",
    "id": "d1",
    "time": "2026-11-22T02:39:35.165133Z",
    "latency_us": 42,
    "trace": "",
    "source": "127.0.0.1",
    "upstream": "airflow",
    "gate": "gate-1",
    "worker": 3,
}
SHARED = {
    "plane": "inbound",
    "method": "GET",
    "host": "airflow.test",
    "path": "/api/v2/dags",
    "identity": "9" * 24,
    "subject": "alice",
    "client": "cli",
    "roles": ("viewer",),
    "operation": "dags:read",
    "dag": "",
    "decision": "allow",
    "reason": "rule",
    "rule": "readers",
    "revision": "abc",
    "detail": "",
}
AT = 1795315175.1651332
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def line_of():
    line = DecisionLine("gate-1", 3)

    def make(time=AT, source="127.0.0.1", upstream="airflow", **shared):
        return line("d1", time, 42, "", source, upstream, end_of_line({**SHARED, **shared}))

    return make


def test_a_decision_is_one_line_of_json_in_the_order_of_its_fields(line_of):
    line = line_of()
    assert line == orjson.dumps({**OWN, **SHARED}) + b"\n"
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == [*OWN, *SHARED]


@pytest.mark.parametrize("nasty", ["a\nb", 'x","reason":"rule', "\x00\x1b[2J", "\u2028", "é" * 10, "\x7f", "{x}", "%s"])
@pytest.mark.parametrize("field", ["path", "subject", "client", "dag", "detail", "source", "upstream"])
def test_whatever_a_caller_sends_it_stays_one_valid_line(line_of, nasty, field):
    for _ in range(2):  # the source and the upstream are remembered
        line = line_of(**{field: nasty})
        assert line == orjson.dumps({**OWN, **SHARED, field: nasty}) + b"\n"
        assert line.count(b"\n") == 1
        line_of()


def test_half_a_surrogate_is_replaced_by_a_character_that_shows_it(line_of):
    run = {"dag_id": "a\ud800b", "map_index": -1}
    found = json.loads(line_of(subject="x\udfff", roles=("\ud800",), run=run, narrowed=True))
    assert (found["subject"], found["roles"], found["narrowed"]) == ("x\ufffd", ["\ufffd"], True)
    assert found["run"] == {"dag_id": "a\ufffdb", "map_index": -1}


def test_a_very_long_path_is_cut(line_of):
    assert len(json.loads(line_of(path="/" + "a" * 8000))["path"]) == 2048
    assert json.loads(line_of(path="/" + "a" * 2047))["path"] == "/" + "a" * 2047


def test_fields_without_a_path_are_encoded_too():
    assert end_of_line({"host": "a"}) == b'"host":"a"}\n'


@pytest.mark.parametrize("gate", ["gate-1", 'a"b'])
def test_gate_and_worker_are_in_each_line(gate):
    line = DecisionLine(gate, 7)
    for source in ("a", "b", "a"):
        found = json.loads(line("d", AT, 0, "", source, "", end_of_line(SHARED)))
        assert (found["gate"], found["worker"], found["source"]) == (gate, 7, source)


def test_many_sources_are_bounded():
    line = DecisionLine("gate-1", 0)
    for number in range(3000):
        assert json.loads(line("d", AT, 0, "", str(number), "", end_of_line(SHARED)))["source"] == str(number)
        assert len(line._known) <= 1024


TIMES = [0.0, AT, AT + 0.4, AT + 1, AT - 3600, 1795315175.0, 1795315175.9999995, 1e9 + 0.000001, 253402300799.5]


def test_times_are_in_utc_with_six_digits_in_any_order(line_of):
    stamps = DecisionLine("gate-1", 3)
    for time in (*TIMES, *reversed(TIMES)):
        found = json.loads(line_of(time=time))["time"]
        assert found == stamps.stamp(time)
        assert len(found) == len("2026-11-22T02:39:35.165133Z")
        assert found.endswith("Z")
        assert abs(datetime.fromisoformat(found) - (EPOCH + timedelta(seconds=time))) <= timedelta(microseconds=31)


def test_a_source_that_is_hidden_is_left_out(line_of):
    expected = {name: value for name, value in OWN.items() if name != "source"}
    for source in (None, "127.0.0.1", None):
        found = json.loads(line_of(source=source))
        assert found == {**(OWN if source else expected), **SHARED, "roles": ["viewer"]}
