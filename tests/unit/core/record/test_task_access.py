"""What a task reads or changes in Airflow: from Envoy's line who asked, as far as that is known, and for what."""

import json
from typing import Literal, get_args

import pytest

from authz.core.record import (
    ACCESS_LINE,
    AccessEntry,
    Action,
    Kind,
    access_in,
    decision_in,
    entry_in,
    followed_id,
    followed_line,
    log_entry_in,
    outcome_in,
    record_in,
)

REQUEST = "845474c3-250f-42ff-b6c0-11cf30e33924"
INSTANCE = "0199d1c3-1111-7aaa-8bbb-0123456789ab"
SAID = {
    "time": "2026-11-30T12:00:00.123Z",
    "id": None,
    "method": "GET",
    "host": "airflow.internal",
    "path": "/execution/connections/orders_db",
    "status": 200,
    "flags": "-",
    "details": "via_upstream",
    "bytes_sent": 345,
    "upstream": "execution.airflow",
    "upstream_host": "10.0.0.1:8080",
    "client": "192.0.2.7",
    "request_id": REQUEST,
    "user_agent": "alice's",
    "plane": "execution",
    "instance": INSTANCE,
}


def made(**changed):
    found = followed_line(json.dumps({**SAID, **changed}).encode())
    assert found is not None
    assert (found[0], followed_id(found[1])) == (REQUEST, REQUEST)
    assert access_in(found[1]) == json.loads(found[1])
    assert record_in(found[1]) == ("access", json.loads(found[1]))
    return json.loads(found[1])


def asked(method, path):
    """What is asked of what, by its names."""
    found = made(method=method, path=f"/execution/{path}")
    return [found.get(name) for name in ("action", "kind", "dag", "run", "task", "name")]


def test_an_entry_has_these_fields_of_the_line_and_no_other():
    _, line = followed_line(json.dumps(SAID).encode())
    assert line.startswith(ACCESS_LINE)
    assert json.loads(line) == {
        "v": 1,
        "type": "access",
        "id": REQUEST,
        "time": "2026-11-30T12:00:00.123000Z",
        "instance": INSTANCE,
        "action": "read",
        "kind": "connection",
        "name": "orders_db",
        "status": 200,
        "ended_by": "upstream",
    }
    of_xcom = made(path="/execution/xcoms/d/r/t/k", status=403)
    assert {*of_xcom} == {*AccessEntry.__annotations__}
    assert decision_in(line) is entry_in(line) is log_entry_in(line) is outcome_in(line) is None


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "variables/team/key", ["read", "variable", None, None, None, "team/key"]),
        ("PUT", "variables/a", ["write", "variable", None, None, None, "a"]),
        ("DELETE", "variables/a", ["delete", "variable", None, None, None, "a"]),
        ("HEAD", "xcoms/d/r/t/k", ["read", "xcom", "d", "r", "t", "k"]),
        ("POST", "xcoms/d/r/t/k/l", ["write", "xcom", "d", "r", "t", "k/l"]),
        ("PATCH", "connections/a", ["write", "connection", None, None, None, "a"]),
        ("GET", "xcoms/d/r/t/k/item/-1", ["read", "xcom", "d", "r", "t", "k"]),
        ("GET", "xcoms/d/r/t/a/b/slice", ["read", "xcom", "d", "r", "t", "a/b"]),
        ("POST", "xcoms/d/r/t/k/slice", ["write", "xcom", "d", "r", "t", "k/slice"]),
        ("GET", "xcoms/d/r/t/item/1", ["read", "xcom", "d", "r", "t", "item/1"]),
        ("GET", "xcoms/d/r", ["read", "xcom", "d", "r", "", ""]),
        ("GET", "xcoms/d%2Fr/t/k", ["read", "xcom", "d", "r", "t", "k"]),
        ("GET", "xcoms/d/manual__1%2B00%3A00/t/%E6%97%A5", ["read", "xcom", "d", "manual__1+00:00", "t", "日"]),
        ("GET", "connections%2Fa", ["read", "connection", None, None, None, "a"]),
        ("GET", "connections/%252F", ["read", "connection", None, None, None, "%2F"]),
        ("GET", "connections/%ff%", ["read", "connection", None, None, None, "\ufffd%"]),
        ("GET", "connections/" + "x" * 3000, ["read", "connection", None, None, None, "x" * 2048]),
    ],
)
def test_names_are_as_airflow_reads_them(method, path, wanted):
    assert asked(method, path) == wanted


@pytest.mark.parametrize("status", [0, 101, 307, 401, 403, 404, 500, 503])
def test_an_instance_is_claimed_wherever_airflow_did_not_accept_its_token(status):
    assert made(status=status)["claimed"] is True
    assert "claimed" not in made(status=status, instance=None)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_instance_is_airflows_word_where_it_accepted_the_token(status):
    assert "claimed" not in made(status=status)


@pytest.mark.parametrize("instance", [None, "", "-", 7, INSTANCE.upper(), INSTANCE + "0", "0" * 36, [INSTANCE]])
def test_what_is_no_id_of_a_task_instance_is_none(instance):
    assert made(instance=instance)["instance"] == ""


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [({"status": 503, "flags": "UF"}, "envoy"), ({"status": 0, "flags": "DC"}, "client"), ({}, "upstream")],
)
def test_who_ended_it(changed, wanted):
    assert made(**changed)["ended_by"] == wanted


@pytest.mark.parametrize(
    "changed",
    [
        {"upstream": None},
        {"upstream": "inbound.airflow"},
        {"request_id": None},
        {"request_id": "x"},
        {"method": "OPTIONS"},
        {"method": None},
        {"path": None},
        {"path": "/execution/connections/"},
        {"path": "/execution/connections"},
        {"path": "/execution/task-instances/1/heartbeat"},
        {"path": "/execution/health"},
        {"path": "/connections/a"},
        {"path": "connections/a"},
        {"path": "/EXECUTION/connections/a"},
        {"path": "/execution//connections/a"},
    ],
)
def test_other_requests_are_no_access(changed):
    assert followed_line(json.dumps({**SAID, **changed}).encode()) is None


@pytest.mark.parametrize("line", [b"", b"[1]", b"{", b"\xff", b'"x"'])
def test_what_is_no_line_of_envoys_is_no_access(line):
    assert followed_line(line) is None


def test_a_name_stays_within_its_field():
    evil = '"}\n{"v":1,"type":"access","instance":"x'
    found = made(path=f"/execution/variables/{evil}")
    assert (found["name"], found["instance"]) == (evil, INSTANCE)
    _, line = followed_line(json.dumps({**SAID, "path": f"/execution/variables/{evil}"}).encode())
    assert b"\n" not in line


def test_nothing_else_of_the_line_is_copied():
    others = set(SAID) - {"path", "method", "upstream", "request_id", "status"}
    assert "canary" not in json.dumps(made(**dict.fromkeys(others, "canary"), reason="canary"))


@pytest.mark.parametrize(
    "line", [b"", b"{}", ACCESS_LINE, ACCESS_LINE + b'"id":7}', b'{"v":1,"type":"outcome","id":"a"}']
)
def test_another_line_has_no_id_of_a_request(line):
    assert followed_id(line) == ""


@pytest.mark.parametrize("changed", [{"more": 1}, {"id": 7}, {"claimed": 1}, {"dag": None}, {"status": "200"}])
def test_an_entry_that_does_not_have_its_fields_is_no_access(changed):
    found = made(path="/execution/xcoms/d/r/t/k", status=403)
    line = json.dumps({**found, **changed}, separators=(",", ":")).encode()
    assert line.startswith(ACCESS_LINE)
    assert access_in(line) is None


def test_the_words_of_the_page_are_these():
    hints = {name: get_args(hint)[1] for name, hint in AccessEntry.__annotations__.items()}
    assert all(f"`{word}`" in hints["action"] for word in Action)
    assert all(f"`{word}`" in hints["kind"] for word in Kind)
    assert get_args(AccessEntry.__annotations__["type"])[0] == Literal["access"]
