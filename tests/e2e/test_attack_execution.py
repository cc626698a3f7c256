"""Attacks of a task on what the access log of the execution listener says about it."""

import json
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import pytest

from authz.core.record import followed_line
from tests.e2e.envoy_harness import wait_for
from tests.e2e.raw_http import exchange, request
from tests.e2e.test_execution_listener import (  # noqa: F401
    INSTANCE,
    accesses,
    bearer,
    running_workers,
    task_token,
    workers,
)

pytestmark = pytest.mark.e2e
NUMBERS = count()


@pytest.mark.parametrize(
    "form",
    [
        "BEARER {}",
        "bearer {}",
        "bEARER {}",
        "Bearer   {}",
        "Bearer \t{}",
        "Bearer \xa0{}",
        "Bearer \x85{}",
        "Bearer {}==",
        "Bearer {}!!!!",
        "Bearer {},",
        "Bearer {}\xff\xff",
    ],
)
def test_each_spelling_of_a_token_that_airflow_accepts_names_the_task_instance(workers, form):  # noqa: F811
    """FastAPI's HTTPBearer compares the scheme in lower case and strips; PyJWT takes padding, and before 2.15 junk."""
    head = request("/execution/connections/orders", "User-Agent: SPELLING", host="airflow.internal")
    line = f"Authorization: {form.format(task_token())}\r\n\r\n".encode("latin-1")
    mine = f"spelling-{next(NUMBERS)}".encode()
    assert exchange(workers.address, head.removesuffix(b"\r\n").replace(b"SPELLING", mine) + line).status == 200
    path = Path(workers.envoy.section.access_log)

    def found():
        return [line for line in path.read_bytes().splitlines() if mine in line]

    wait_for(found, "the request is not in the access log", pause=workers.envoy.pause)
    entry = json.loads(followed_line(found()[0])[1])
    assert (entry["status"], entry["instance"]) == (200, INSTANCE)


@pytest.mark.parametrize(
    "line",
    [
        "X-Envoy-Original-Path: /execution/variables/innocent",
        "X-Original-Url: /execution/variables/innocent",
        "X-Envoy-Internal: true",
        "X-Forwarded-For: 127.0.0.1",
        "X-Request-Id: no-uuid",
        "X-Request-Id: 00000000-0000-0000-0000-000000000000",
    ],
)
def test_no_header_of_a_task_changes_what_is_logged_as_read(workers, line):  # noqa: F811
    lines = (*bearer(task_token()), line, "X-Forwarded-For: 10.0.0.1")
    ((found,), _) = accesses(workers, ("/execution/connections/orders", lines, {}))
    assert (found["kind"], found["name"]) == ("connection", "orders")
    assert "00000000-0000" not in found["id"]


@pytest.mark.parametrize(
    "target",
    [
        "/execution/connections/orders?x=/execution/variables/y",
        "/execution/connections/ord\\ers",
        "/execution/connections/orders%E2%80%AE",
        "/execution/connections/orders%FF",
        "/execution/connections/orders%",
        "/execution/connections/orders%2",
        "/execution/connections/%%6frders",
        "/execution/connections/orders/",
        "/execution/connections/orders%23x",
        '/execution/connections/or"ders',
        "/execution/connections//orders",
        "/execution/connections/or{}ders",
        "/execution/connections/or^|`ders",
    ],
)
def test_the_name_is_what_uvicorn_gives_to_airflow(workers, target):  # noqa: F811
    workers.airflow.reset()
    ((found,), _) = accesses(workers, (target, bearer(task_token()), {}))
    path = unquote(workers.airflow.only.target.partition("?")[0])
    assert path == "/execution/connections/" + found["name"]


@pytest.mark.parametrize(
    "line",
    [
        b"User-Agent: \xff\xfe\x80",
        b"User-Agent: a\tb\x7f",
        b'User-Agent: "},{"id":"0a1b","instance":"x\\',
        b"User-Agent: \xed\xa0\x80\xf8\x88\x80\x80\x80",
        b"User-Agent: " + b"\xff" * 5000,
        b"Traceparent: \xff" + b"0" * 54,
        b"X-Request-Id: \xff",
        b"Host: \xff.test",
        b'Host: a"b',
        b"Cookie: " + b"x" * 30_000,
    ],
)
def test_no_header_hides_an_access(workers, line):  # noqa: F811
    """A line that is no JSON is passed over."""
    path = Path(workers.envoy.section.access_log)
    name = f"hidden-{next(NUMBERS)}"
    head = request(f"/execution/connections/{name}", *bearer(task_token()), host="airflow.internal")
    if line.startswith(b"Host"):
        head = head.replace(b"Host: airflow.internal", line, 1)
        assert line in head
    else:
        head = head.removesuffix(b"\r\n") + line + b"\r\n\r\n"
    status = exchange(workers.address, head).status
    if status != 200:
        return

    def found():
        """What its line says: lines of requests before it may come late."""
        made = [followed_line(written) for written in path.read_bytes().splitlines()]
        entries = [json.loads(text) for _id, text in filter(None, made)]
        return [entry for entry in entries if entry.get("name") == name]

    wait_for(found, "the request is not in the access log", pause=workers.envoy.pause)
    assert [entry["instance"] for entry in found()] == [INSTANCE]


def test_a_line_end_behind_the_name_of_a_variable_gets_to_airflow_and_is_not_in_the_log(workers):  # noqa: F811
    """Airflow's route ends before it: the variable `secret` is read."""
    workers.airflow.reset()
    ((found,), _) = accesses(workers, ("/execution/variables/secret%0A", bearer(task_token()), {}))
    assert workers.airflow.only.target == "/execution/variables/secret%0A"
    assert (found["name"], found["status"], found["instance"]) == ("secret", 200, INSTANCE)
