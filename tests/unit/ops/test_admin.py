"""The operator's port: its pages, and clients that try to hang it."""

import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from authz.ops.admin import AdminServer, Readiness
from authz.ops.metrics import Metrics
from authz.sessions.grants_port import not_enabled
from tests.support.simulators.idp import PATIENCE_S
from tests.support.waiting import wait_for

KEYS = {"keys": [{"kty": "EC", "kid": "k1"}]}


UNFINISHED = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


class State:
    """What the service would say of itself."""

    def __init__(self):
        self.readiness = Readiness(ready=True, details={"policy": "abc"})
        self.jwks = KEYS
        self.grants = {"g" * 43: b'{"allowed":["x"],"denied":[]}'}
        self.error = None

    def ask(self):
        if self.error:
            raise self.error
        return self.readiness


@pytest.fixture
def state():
    return State()


@pytest.fixture
def serve(state):
    servers = []

    def make(listen="127.0.0.1:0", **options):
        servers.append(
            AdminServer(
                listen, Metrics(), state.ask, lambda: state.jwks, grants=state.grants.get, access=not_enabled, **options
            )
        )
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stop(PATIENCE_S)
        assert not server._thread.is_alive()


def request(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()


def test_a_grant_is_found_by_its_reference_alone(serve):
    server = serve()
    status, headers, body = request(server, "/grants/" + "g" * 43)
    assert (status, body) == (200, b'{"allowed":["x"],"denied":[]}')
    assert headers["Content-Type"] == "application/json"
    for path in (
        "/grants/" + "h" * 43,
        "/grants/",
        "/grants",
        "/grants/" + "g" * 44,
        "/grants/../readyz",
        "/grants/%67",
    ):
        assert request(server, path)[0] == 404
    assert request(server, "/grants/" + "g" * 43, "POST")[0] == 405


def raw(server, data, *, timeout=PATIENCE_S):
    """Everything that the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as client:
        client.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while received := client.recv(65536):
                answer += received
        return answer


class TestPages:
    def test_metrics(self, serve):
        status, headers, body = request(serve(), "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"authz_checks_total" in body
        assert headers["Content-Length"] == str(len(body))

    def test_metrics_in_the_other_format(self, serve):
        _, headers, body = request(serve(), "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0")
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert body.endswith(b"# EOF\n")

    def test_alive(self, serve):
        assert request(serve(), "/healthz")[::2] == (200, b"ok\n")

    def test_ready(self, serve):
        status, headers, body = request(serve(), "/readyz")
        assert status == 200
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert json.loads(body) == {"ready": True, "reasons": [], "policy": "abc"}

    def test_not_ready_and_why(self, serve, state):
        state.readiness = Readiness(ready=False, reasons=("issuer corp: no keys yet",))
        status, _, body = request(serve(), "/readyz")
        assert status == 503
        assert json.loads(body) == {"ready": False, "reasons": ["issuer corp: no keys yet"]}

    def test_keys(self, serve):
        status, headers, body = request(serve(), "/jwks.json")
        assert (status, json.loads(body)) == (200, KEYS)
        assert headers["Cache-Control"] == "public, max-age=60"

    @pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/jwks.json"])
    def test_head(self, serve, path):
        server = serve()
        head = raw(server, f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) > 0

    @pytest.mark.parametrize("path", ["/", "/metrics/", "/METRICS", "/../metrics", "/policy", "*"])
    def test_anything_else(self, serve, path):
        assert request(serve(), path)[0] == 404

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_other_methods(self, serve, method):
        status, headers, _ = request(serve(), "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("method", ["TRACE", "get", "BREW"])
    def test_an_unknown_method_is_501(self, serve, method):
        status, _, body = request(serve(), "/metrics", method)
        assert status == 501
        assert b"authz_" not in body

    def test_a_body_does_not_spoil_the_answer(self, serve):
        answer = raw(serve(), b"POST /metrics HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        assert answer.startswith(b"HTTP/1.1 405 ")

    def test_an_error_inside(self, serve, state, caplog):
        state.error = ZeroDivisionError("secret")
        server = serve()
        status, _, body = request(server, "/readyz")
        assert (status, body) == (500, b"internal error\n")
        assert "showing /readyz" in caplog.text
        assert request(server, "/healthz")[0] == 200


class TestHostileClients:
    @pytest.mark.parametrize(
        "data",
        [
            b"\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET /metrics HTTP/2.0\r\n\r\n",
            b"GET /metrics HTTP/1.1 more\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ],
    )
    def test_what_is_not_http(self, serve, data):
        server = serve(deadline_s=0.5)
        answer = raw(server, data)
        assert b"authz_" not in answer
        assert not answer.startswith(b"HTTP/1.1 2")
        assert request(server, "/healthz")[0] == 200

    def test_a_head_that_is_too_large(self, serve):
        server = serve()
        assert raw(server, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000) == b""
        assert request(server, "/healthz")[0] == 200

    def test_one_who_says_nothing_or_little_is_dropped(self, serve):
        server = serve(deadline_s=0.3)
        began = time.monotonic()
        assert raw(server, b"") == b""
        assert raw(server, b"GET /metrics HTTP/1.1\r\n") == b""
        assert time.monotonic() - began < 3

    def test_one_who_trickles_is_dropped(self, serve):
        server = serve(deadline_s=0.3)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client, contextlib.suppress(OSError):
            client.settimeout(0.05)
            while time.monotonic() - began < PATIENCE_S:
                client.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1):
                        break
        assert time.monotonic() - began < 3

    def test_one_who_hangs_up_early(self, serve):
        server = serve()
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b"GET /metrics HTT")
        assert request(server, "/healthz")[0] == 200

    def test_connections_are_bounded_and_the_next_is_closed_at_once(self, serve):
        server = serve(connections=2, deadline_s=PATIENCE_S)
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
                client.sendall(b"GET ")
            began = time.monotonic()
            assert raw(server, b"") == b""
            assert time.monotonic() - began < 2
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if request(server, "/healthz")[0] == 200:
                    return
        pytest.fail("the places were not given back")

    def test_many_silent_clients_do_not_keep_others_out(self, serve):
        server = serve(connections=32)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
            began = time.monotonic()
            assert request(server, "/healthz")[0] == 200
            assert time.monotonic() - began < 2


class TestListening:
    def test_an_address_that_is_taken(self, serve):
        server = serve()
        with pytest.raises(OSError, match="in use"):
            serve(f"127.0.0.1:{server.port}")

    def test_ipv6(self, serve):
        try:
            server = serve("[::1]:0")
        except OSError:
            pytest.skip("no IPv6 on this machine")
        with socket.create_connection(("::1", server.port), PATIENCE_S) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")

    def test_the_server_starts_again_on_the_unix_socket_of_an_earlier_one(self, serve, tmp_path):
        path = tmp_path / "admin.sock"
        for _ in range(2):
            server = serve(f"unix:{path}")
            assert server.port == 0
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE_S)
                client.connect(str(path))
                client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
            server.stop()

    def test_a_file_that_is_no_socket_is_left_alone(self, serve, tmp_path):
        path = tmp_path / "precious"
        path.write_text("x")
        with pytest.raises(OSError, match="a file that is not a socket is in the way"):
            serve(f"unix:{path}")
        assert path.read_text() == "x"

    def test_stopping_without_having_started(self, state):
        server = AdminServer("127.0.0.1:0", Metrics(), state.ask, dict, grants=state.grants.get, access=not_enabled)
        port = server.port
        server.stop()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), 1)


class TestPlaces:
    """Temporary access never takes all connections: the probes and scrapes of the port go on."""

    PLACES = 8

    @pytest.fixture
    def open_sockets(self):
        with contextlib.ExitStack() as opened:
            yield lambda server: opened.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))

    def test_requests_that_are_not_answered_yet(self, state, open_sockets):
        over, asked = threading.Event(), []

        def access(one):
            asked.append(one)
            over.wait(PATIENCE_S)
            return not_enabled(one)

        server = AdminServer(
            "127.0.0.1:0", Metrics(), state.ask, dict, grants={}.get, access=access, connections=self.PLACES
        )
        server.start()
        try:
            clients = [open_sockets(server) for _ in range(self.PLACES // 2)]
            for client in clients:
                client.sendall(b"GET /grants HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: len(asked) == len(clients))
            status, headers, _body = request(server, "/grants?x=1")
            assert (status, headers["Retry-After"]) == (503, "1")
            assert request(server, "/grants/0123456789/end", "POST")[0] == 503
            assert request(server, "/readyz")[0] == request(server, "/metrics")[0] == 200
            assert request(server, "/grants/" + "g" * 43)[0] == 404, "a grant of DAGs is another page"
            over.set()
            for client in clients:
                assert client.recv(12) == b"HTTP/1.1 404"
            wait_for(lambda: request(server, "/grants")[0] == 404)
        finally:
            over.set()
            server.stop(PATIENCE_S)

    @pytest.mark.parametrize("target", ["/grants", "/grants/0123456789/approve"])
    def test_bodies_that_do_not_arrive_hold_half_of_the_connections(self, serve, open_sockets, target):
        server = serve(connections=self.PLACES, deadline_s=PATIENCE_S)

        def is_full():
            if request(server, "/grants")[0] == 503:
                return True
            open_sockets(server).sendall(UNFINISHED % target.encode())  # refused if it comes meanwhile
            return False

        wait_for(is_full)
        late = open_sockets(server)
        late.sendall(UNFINISHED % target.encode())
        assert late.recv(12) == b"HTTP/1.1 503", "its body is not waited for"
        assert request(server, "/readyz")[0] == 200

    @pytest.mark.parametrize("target", ["/grants/" + "g" * 43, "/metrics", "/none"])
    def test_no_body_is_waited_for_by_other_pages(self, serve, open_sockets, target):
        client = open_sockets(serve(deadline_s=PATIENCE_S))
        client.sendall(UNFINISHED % target.encode())
        assert client.recv(10) == b"HTTP/1.1 4"
