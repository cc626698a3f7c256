"""Requests that the supervisor forwards: to one worker, whole, and never twice where it may have been done."""

import socket
import threading
from http import HTTPStatus

import pytest

from authz.ops.http_server import Asked, Page, SmallServer
from authz.serve.supervisor.private_pages import forward
from authz.sessions.token_limits import peer_of
from tests.support.simulators.idp import PATIENCE_S


@pytest.fixture
def workers(tmp_path):
    """Starts workers that answer with what they were asked."""
    servers = []

    def start(name, status=HTTPStatus.CREATED, headers=(("Cache-Control", "no-store"), ("Retry-After", "1"))):
        seen = []

        def answer(asked):
            seen.append(asked)
            return Page(status, "application/json", b'{"id": "x"}', headers)

        server = SmallServer(f"unix:{tmp_path / name}", answer, most_body=8192)
        server.start()
        servers.append(server)
        return tmp_path / name, seen

    yield start
    for server in servers:
        server.stop(PATIENCE_S)


def asked(**changes):
    given = {
        "method": "POST",
        "target": "/grants?x=1",
        "accept": "",
        "content_type": "application/json",
        "body": b'{"a":1}',
        "peer": "192.0.2.7",
        "forwarded": "198.51.100.1",
        "authorization": ("Bearer one", "Bearer two"),
    }
    return Asked(**{**given, **changes})


def test_the_worker_gets_the_whole_request_and_the_caller_the_whole_answer(workers):
    path, seen = workers("one")
    page = forward([path], asked())
    assert page == Page(
        HTTPStatus.CREATED,
        "application/json",
        b'{"id": "x"}',
        (("Cache-Control", "no-store"), ("Retry-After", "1")),
    )
    [got] = seen
    assert (got.method, got.target, got.content_type, got.body) == (
        "POST",
        "/grants?x=1",
        "application/json",
        b'{"a":1}',
    )
    assert got.authorization == ("Bearer one", "Bearer two")
    assert got.forwarded == "192.0.2.7 198.51.100.1"


def test_a_request_without_a_body_or_a_token(workers):
    path, seen = workers("one")
    assert forward([path], asked(method="GET", body=None, authorization=(), content_type="", forwarded="")) is not None
    assert (seen[0].body, seen[0].authorization, seen[0].forwarded) == (None, (), "192.0.2.7")


def test_an_address_of_a_customers_network_is_counted_as_the_network(workers):
    path, seen = workers("one")
    for forwarded in ("2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"):
        assert forward([path], asked(forwarded=forwarded)) is not None
    one, same, other = (peer_of(got) for got in seen)
    assert one == same != other


def test_what_a_sender_calls_itself_is_not_kept_whole(workers):
    path, seen = workers("one")
    assert forward([path], asked(forwarded="x" * 10_000)) is not None
    assert len(peer_of(seen[0])) < 250


def test_a_worker_that_cannot_be_reached_is_passed_over(workers, tmp_path):
    path, seen = workers("two")
    assert forward([tmp_path / "none", path], asked()) is not None
    assert len(seen) == 1
    assert forward([tmp_path / "none"], asked()) is None
    assert forward([], asked()) is None


def test_a_worker_that_hangs_up_may_have_done_it_and_no_other_is_asked(workers, tmp_path):
    path, seen = workers("two")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "one"))
    listener.listen()

    def hang_up():
        connection, _ = listener.accept()
        connection.recv(10)
        connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    assert forward([tmp_path / "one", path], asked()) is None
    thread.join(PATIENCE_S)
    listener.close()
    assert seen == []


def test_a_worker_that_says_nothing_is_not_waited_for_longer(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "one"))
    listener.listen()
    assert forward([tmp_path / "one"], asked(), timeout_s=0.05) is None
    listener.close()


@pytest.mark.parametrize("change", [{"target": "/grants\r\nX: y"}, {"forwarded": "a\r\nX: y"}, {"target": "/a b"}])
def test_nothing_can_be_smuggled_in(workers, change):
    path, seen = workers("one")
    assert forward([path], asked(**change)) is None
    assert seen == []


def test_an_address_with_a_comma_is_one_address(workers):
    path, seen = workers("one")
    forward([path], asked(forwarded="a, b"))
    assert seen[0].forwarded == "192.0.2.7 a  b"
