import json

import pytest

from authz.audit import DecisionRecord, encode

PLAIN = {
    "id": "d1",
    "time": 1.5,
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
    "trace": "",
    "source": "127.0.0.1",
    "latency_us": 42,
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


def test_half_a_surrogate_among_the_roles_is_replaced_too():
    assert json.loads(encode(DecisionRecord(**{**PLAIN, "roles": ("\ud800",)})))["roles"] == ["?"]


def test_a_very_long_path_is_cut():
    assert len(json.loads(encode(DecisionRecord(**{**PLAIN, "path": "/" + "a" * 8000})))["path"]) == 2048
