"""The header that says which run Airflow made: on answers that say it, and nothing else of an answer changes."""

import asyncio
import gzip
import json

import pytest

from authz.airflow.made_run import HEADER, makes_run, naming_run
from authz.core import edge

JSON = [(b"content-type", b"application/json")]
BODY = json.dumps({"dag_run_id": "manual__1", "dag_id": "a"}).encode()


def sent(messages):
    got = []

    async def send(message):
        got.append(message)

    async def run():
        named = naming_run(send)
        for message in messages:
            await named(message)

    asyncio.run(run())
    return got


def answer(*parts, status=200, headers=JSON):
    start = {"type": "http.response.start", "status": status, "headers": [*headers]}
    bodies = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    bodies[-1]["more_body"] = False
    return [start, *bodies]


def header(messages):
    return dict(messages[0]["headers"]).get(HEADER)


def test_the_header_is_the_one_that_envoy_removes():
    assert HEADER.decode() == edge.MADE_RUN


@pytest.mark.parametrize(
    ("method", "path", "makes"),
    [
        ("POST", "/api/v2/dags/a/dagRuns", True),
        ("POST", "/api/v2/dags/a/dagRuns/", True),
        ("GET", "/api/v2/dags/a/dagRuns", False),
        ("POST", "/api/v2/dags/a/dagRuns/list", False),
        ("POST", "/api/v2/dags/a/b/dagRuns", False),
        ("POST", "/x/api/v2/dags/a/dagRuns", False),
    ],
)
def test_which_requests_make_a_run(method, path, makes):
    assert makes_run(method, path) is makes


@pytest.mark.parametrize("parts", [[BODY], [BODY[:5], BODY[5:]], [BODY, b""], [gzip.compress(BODY, mtime=0)]])
def test_an_answer_with_a_run_names_it_and_stays_as_it_is(parts):
    got = sent(answer(*parts))
    assert header(got) == b"manual__1"
    assert got[1:] == answer(*parts)[1:]
    assert got[0]["headers"][:1] == JSON


@pytest.mark.parametrize(
    "messages",
    [
        answer(BODY, status=409),
        answer(BODY, headers=[(b"content-type", b"text/html")]),
        answer(BODY, headers=[]),
        answer(b"[]"),
        answer(b"{"),
        answer(b"\x1f\x8bx"),
        answer(b'{"dag_run_id": 7}'),
        answer(b'{"dag_run_id": "a b"}'),
        answer(b'{"dag_run_id": "a\\r\\nset-cookie: x"}'),
        answer(json.dumps({"dag_run_id": "x" * 251}).encode()),
        answer('{"dag_run_id": "é"}'.encode()),
        answer(BODY[:-1], b" " * 70_000, b"}"),
        [{"type": "http.response.debug"}],
    ],
)
def test_every_other_answer_passes_as_it_is(messages):
    before = json.dumps(messages, default=repr)
    assert json.dumps(sent(messages), default=repr) == before
