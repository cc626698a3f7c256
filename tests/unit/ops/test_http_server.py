"""The small server itself: its places, and the sockets that it finds."""

import contextlib
import socket
import threading
import urllib.request
from http import HTTPStatus

import pytest

from authz.ops.http_server import Page, SmallServer
from authz.system.listening import clear_the_way
from tests.support.simulators.idp import PATIENCE_S


def test_a_thread_that_cannot_be_started_gives_its_place_back(monkeypatch):
    server = SmallServer("127.0.0.1:0", lambda _asked: Page(HTTPStatus.OK, "text/plain", b"ok"), connections=1)
    server.start()
    try:
        with monkeypatch.context() as changed:

            def fails(_self):
                raise RuntimeError("can't start new thread")

            changed.setattr(threading.Thread, "start", fails)
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
                    assert client.recv(1) == b"", "the connection is closed"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"ok"
    finally:
        server.stop()


def test_the_socket_of_a_live_process_is_left_alone_and_that_of_a_dead_one_removed(tmp_path):
    listen = f"unix:{tmp_path / 'admin.sock'}"

    def page(_asked):
        return Page(HTTPStatus.OK, "text/plain", b"ok")

    first = SmallServer(listen, page)
    first.start()
    with pytest.raises(OSError, match="another process does"):
        SmallServer(listen, page)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "admin.sock"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    first.stop()
    assert (tmp_path / "admin.sock").is_socket(), "as after a crash"
    second = SmallServer(listen, page)
    second.stop()


def test_a_live_process_that_is_too_busy_to_accept_still_lives(tmp_path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as clients:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))
        with pytest.raises(OSError, match="another process does"):
            clear_the_way(f"unix:{path}")
        assert path.is_socket()


def test_no_file_that_is_no_socket_is_removed(tmp_path):
    (tmp_path / "admin.sock").write_text("mine")
    with pytest.raises(OSError, match="a file that is not a socket is in the way"):
        SmallServer(f"unix:{tmp_path / 'admin.sock'}", lambda _asked: Page(HTTPStatus.OK, "text/plain", b"ok"))
