"""Requests that the supervisor forwards: to one worker, whole, and never twice where it may have been done."""

import json
import socket
import threading
from http import HTTPStatus
from types import SimpleNamespace

import pytest

from authz.ops.http_server import Asked, Page, SmallServer
from authz.serve.supervisor.private_pages import UnansweredError, forward
from authz.serve.supervisor.view import FleetView
from authz.sessions.token_limits import sender_of
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
    assert (got.peer, got.forwarded) == ("192.0.2.7", "198.51.100.1")
    assert sender_of(got) == sender_of(asked())


def test_a_request_without_a_body_or_a_token(workers):
    path, seen = workers("one")
    assert forward([path], asked(method="GET", body=None, authorization=(), content_type="", forwarded="")) is not None
    assert (seen[0].body, seen[0].authorization, seen[0].peer, seen[0].forwarded) == (None, (), "192.0.2.7", "")


def test_an_address_of_a_customers_network_is_counted_as_the_network(workers):
    path, seen = workers("one")
    for forwarded in ("2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"):
        assert forward([path], asked(forwarded=forwarded)) is not None
    one, same, other = (sender_of(got) for got in seen)
    assert one == same != other


def test_what_a_sender_calls_itself_is_not_kept_whole(workers):
    path, seen = workers("one")
    assert forward([path], asked(forwarded="x" * 10_000)) is not None
    assert sum(map(len, sender_of(seen[0]))) < 250


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
    with pytest.raises(UnansweredError):
        forward([tmp_path / "one", path], asked())
    thread.join(PATIENCE_S)
    listener.close()
    assert seen == []


def test_a_worker_that_says_nothing_is_not_waited_for_longer(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "one"))
    listener.listen()
    with pytest.raises(UnansweredError):
        forward([tmp_path / "one"], asked(), timeout_s=0.05)
    listener.close()


@pytest.mark.parametrize("change", [{"target": "/grants\r\nX: y"}, {"forwarded": "a\r\nX: y"}, {"target": "/a b"}])
def test_nothing_can_be_smuggled_in(workers, change):
    path, seen = workers("one")
    assert forward([path], asked(**change)) is None
    assert seen == []


def test_an_address_with_a_comma_is_one_address(workers):
    path, seen = workers("one")
    forward([path], asked(forwarded="a, b"))
    assert (seen[0].peer, seen[0].forwarded) == ("192.0.2.7", "a  b")


@pytest.mark.parametrize(
    ("peer", "forwarded"), [("2001:db8::1", "2001:db8:1::1"), ("192.0.2.1", ""), ("", "192.0.2.1")]
)
def test_one_customers_network_is_one_sender_behind_the_supervisor_too(workers, peer, forwarded):
    path, seen = workers("one")
    forward([path], asked(peer=peer, forwarded=forwarded))
    assert sender_of(seen[0]) == sender_of(asked(peer=peer, forwarded=forwarded))


def access(paths, **changes):
    """What the operators' port answers for workers with these pages."""
    running = [SimpleNamespace(worker=(number, 1), path=path) for number, path in enumerate(paths)]
    fleet = SimpleNamespace(running=lambda: running, context=lambda slot: SimpleNamespace(admin=slot.path))
    page = FleetView(fleet).access(asked(**changes))
    return page.status, json.loads(page.body), dict(page.headers).get("Cache-Control")


@pytest.mark.parametrize(("method", "status", "error"), [("POST", 504, "unanswered"), ("GET", 503, "unavailable")])
def test_the_caller_learns_that_it_may_be_recorded(tmp_path, method, status, error):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "one"))
        listener.listen()

        def hang_up():
            connection, _ = listener.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        found, members, cached = access([tmp_path / "one"], method=method)
        thread.join(PATIENCE_S)
    assert (found, members["error"], cached) == (status, error, "no-store")
    assert ("may be recorded" in members["message"]) is (method == "POST")


def test_where_no_worker_got_it_nothing_has_changed(tmp_path):
    found, members, cached = access([tmp_path / "none"])
    assert (found, members["error"], cached) == (503, "unavailable", "no-store")
