import json

import pytest

from authz.core.record import DecisionRecord, OutboundRecord, OwnFields, PreparedRecord, SharedFields, encode

PLAIN = {
    "id": "d1",
    "time": 1.5,
    "latency_us": 42,
    "trace": "",
    "source": "127.0.0.1",
    "plane": "inbound",
    "method": "GET",
    "host": "airflow.test",
    "path": "/api/v2/dags",
    "subject": "alice",
    "client": "cli",
    "issuer": "https://idp.test",
    "roles": ("viewer",),
    "operation": "dags:read",
    "dag": "",
    "decision": "allow",
    "reason": "rule",
    "rule": "readers",
    "revision": "abc",
    "detail": "",
}


def test_a_record_is_one_line_of_json_in_the_order_of_its_fields():
    line = encode(DecisionRecord(**PLAIN))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {**PLAIN, "roles": ["viewer"]}
    assert list(json.loads(line)) == list(PLAIN)


@pytest.mark.parametrize("nasty", ["a\nb", 'x","reason":"rule', "\x00\x1b[2J", "\u2028", "\ud800", "é" * 10, "\x7f"])
@pytest.mark.parametrize("field", ["path", "subject", "client", "dag", "detail"])
def test_whatever_a_caller_sends_it_stays_one_valid_line(nasty, field):
    line = encode(DecisionRecord(**{**PLAIN, field: nasty}))
    assert line.count(b"\n") == 1
    value = json.loads(line)[field]
    assert value == nasty.encode("utf-8", "replace").decode()


def test_half_a_surrogate_in_a_runs_name_is_replaced():
    run = {"dag_id": "a\ud800b", "map_index": -1}
    line = encode(OutboundRecord(**PLAIN, destination="orders", run=run, level="verified"))
    assert json.loads(line)["run"] == {"dag_id": "a?b", "map_index": -1}


def test_half_a_surrogate_among_the_roles_is_replaced_too():
    assert json.loads(encode(DecisionRecord(**{**PLAIN, "roles": ("\ud800",)})))["roles"] == ["?"]


def test_a_very_long_path_is_cut():
    assert len(json.loads(encode(DecisionRecord(**{**PLAIN, "path": "/" + "a" * 8000})))["path"]) == 2048


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"time": 1795315175.1651332, "latency_us": 0, "trace": "4bf92f3577b34da6a3ce929d0e0e4736"},
        {"source": '"\\\n\x00 ::1'},
        {"time": 0.0, "source": ""},
    ],
)
@pytest.mark.parametrize("shared", [{}, {"path": "/" + "a" * 8000}, {"subject": "\ud800"}, {"roles": ()}])
def test_a_prepared_record_gives_the_very_bytes_that_encoding_would(own, shared):
    fields = {name: {**PLAIN, **own, **shared}[name] for name in PLAIN}
    prepared = PreparedRecord(SharedFields(**{name: fields[name] for name in SharedFields.__annotations__}))
    own_fields = OwnFields(**{name: fields[name] for name in OwnFields.__annotations__})
    assert prepared.line(own_fields) == encode(DecisionRecord(**fields))
