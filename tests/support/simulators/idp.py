"""Stand-ins that behave, and misbehave, on request: an identity provider, a key fetcher, a clock, a sink. No mocks.

with IdP([key]) as idp:                       a real HTTP server on loopback
    idp.keys = [other]                        rotated
    idp.misbehave(gzip_bomb(10**9))           from now on, until idp.behave()
    assert idp.count("/jwks") == 1

clock = SimClock()
clock.until_waiting(1)                        a thread waits on the clock ...
clock.advance(300)                            ... and now its time has come
"""

import contextlib
import gzip
import http.server
import json
import ssl
import threading

from authz.core.errors import AuditUnavailableError, KeysUnavailableError
from authz.keys import Fetched
from tests.support.factories.tokens import NOW, jwks_of

PATIENCE_S = 30.0  # how long a test waits for what must happen, on a busy machine too


class SimClock:
    """A clock that a test sets. Threads that wait on it sleep until their time has come on *this* clock."""

    def __init__(self, wall=float(NOW), monotonic=1000.0):
        self._wall = wall
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._waiting = {}
        self._read = threading.local()

    def wall(self):
        return self._wall

    def monotonic(self):
        self._read.at = self._monotonic
        return self._monotonic

    def set_wall(self, wall):
        """Jump, forwards or backwards, as NTP does; monotonic time does not notice."""
        self._wall = wall

    def wait(self, condition, timeout):
        token = object()
        with self._changed:
            if self._read.at != self._monotonic:
                return  # time has passed since the caller worked out its timeout: let it look again
            self._waiting[token] = (condition, self._monotonic + timeout)
            self._changed.notify_all()
        condition.wait()
        with self._changed:
            self._waiting.pop(token, None)

    def advance(self, seconds):
        """Let time pass, and let everybody who waits look at the clock again."""
        with self._changed:
            self._wall += seconds
            self._monotonic += seconds
            conditions = [condition for condition, _ in self._waiting.values()]
            self._waiting.clear()
        for condition in conditions:
            with condition:
                condition.notify_all()

    def until_waiting(self, threads=1):
        """Wait (in real time) until so many threads wait on this clock, all of them since the last `advance`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._waiting) >= threads, PATIENCE_S), "no thread waits"


class SimFetcher:
    """A fetcher whose answers a test sets, by issuer name: keys, raw bytes, or an exception to raise."""

    def __init__(self, **answers):
        self.answers = answers
        self.max_age = None
        self.calls = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, issuer, *, hurried=False):
        self.calls.append((issuer.name, hurried))
        answer = self.answers.get(issuer.name, KeysUnavailableError("nobody answers"))
        self.begun.release()
        assert self.gate.wait(PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        data = answer if isinstance(answer, bytes) else jwks_of(answer)
        return Fetched(data=data, max_age=self.max_age)

    def until_begun(self):
        """Wait for one fetch that was not waited for yet."""
        assert self.begun.acquire(timeout=PATIENCE_S), "no fetch began"

    @contextlib.contextmanager
    def held(self):
        """Fetches begin in this block, and end after it."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


class MemorySink:
    """Keeps lines in memory; refuses them while `failing`, drops them while `dropping`. `offers.append([])`: next file.

    `files` are the lines of each file in their order, `lines` and `records` the decisions of all files, `entries` the
    identity entries.
    """

    def __init__(self):
        self.files = [[]]
        self.offers = []
        self.failing = self.dropping = False

    @property
    def file(self):
        return len(self.files)

    def turn(self):
        if self.offers:
            self.files.append(self.offers.pop())

    def put(self, lines):
        if self.failing:
            raise AuditUnavailableError("the memory is full")
        if not self.dropping:
            assert lines.endswith(b"\n")
            self.files[-1] += lines.splitlines(keepends=True)
        return not self.dropping

    @property
    def lines(self):
        return [line for line in self._all if not line.startswith(b'{"v":1,"type":"identity"')]

    @property
    def records(self):
        return [json.loads(line) for line in self.lines]

    @property
    def entries(self):
        return [entry for entry in map(json.loads, self._all) if entry["type"] == "identity"]

    @property
    def _all(self):
        return [line for file in self.files for line in file]


class LoopbackServer:
    """An HTTP server on a loopback port, in threads of its own.

    Handlers, and the misbehaviours below, find it as `server.idp`. `closing` is set when it goes away. With `tls`, a
    pair of files, it speaks TLS.
    """

    host = "localhost"

    def __init__(self, handler, *, tls=None):
        self.closing = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # clients that hang up are part of the game
        self._server.idp = self
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Go away: connections are refused from now on."""
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(PATIENCE_S)

    @property
    def url(self):
        return f"{self._scheme}://{self.host}:{self.port}"


class IdP(LoopbackServer):
    """An OpenID provider's discovery and key set on a loopback port, with a list of who asked for what."""

    def __init__(self, keys=(), *, tls=None, cache_control=None):
        self.keys = list(keys)
        self.says_issuer = None
        self.says_jwks_uri = None
        self.cache_control = cache_control
        self.requests = []
        self._misbehaviour = {}
        super().__init__(_IdPHandler, tls=tls)

    @property
    def jwks_uri(self):
        return self.url + "/jwks"

    def misbehave(self, answer, path="/jwks"):
        """Answer requests for `path` with `answer(handler)` from now on."""
        self._misbehaviour[path] = answer

    def behave(self):
        self._misbehaviour.clear()

    def count(self, path):
        return self.requests.count(path)

    def answer(self, handler):
        path = handler.path.partition("?")[0]
        self.requests.append(path)
        if path in self._misbehaviour:
            self._misbehaviour[path](handler)
        elif path == "/.well-known/openid-configuration":
            document = {"issuer": self.says_issuer or self.url, "jwks_uri": self.says_jwks_uri or self.jwks_uri}
            body(json.dumps(document).encode())(handler)
        elif path == "/jwks":
            headers = {"Cache-Control": self.cache_control} if self.cache_control else {}
            body(jwks_of(self.keys), **headers)(handler)
        else:
            body(b"", status=404)(handler)


class _IdPHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.headers_seen = dict(self.headers)
        self.server.idp.last_headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.idp.answer(self)

    def log_message(self, *_):
        pass


def body(data, *, status=200, **headers):
    """An ordinary answer."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def html(status=200):
    """What a proxy or a login page answers."""
    return body(b"<!doctype html><title>Sign in</title>secret-in-the-body", status=status, Content_Type="text/html")


def redirect(location, status=302):
    return body(b"", status=status, Location=location)


def gzip_bomb(size):
    """A small body that decodes to `size` bytes."""
    bomb = gzip.compress(b"0" * size)
    return body(bomb, Content_Encoding="gzip")


def gzipped(data):
    return body(gzip.compress(data), Content_Encoding="gzip")


def endless():
    """A body without a length that goes on for as long as somebody reads."""

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.idp.closing.is_set():
            handler.wfile.write(b" " * 65536)

    return answer


def drip(data=b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000):
    """Bytes of an answer, one every 20 ms: each of them comes in time."""

    def answer(handler):
        for byte in data:
            if handler.server.idp.closing.wait(0.02):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()

    return answer


def drip_body():
    return drip_after(b'HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n{"keys":[')


def drip_after(head):
    """A head at once, then the body byte by byte."""

    def answer(handler):
        handler.wfile.write(head)
        drip(b" " * 10_000)(handler)

    return answer


def silence():
    """Nothing, for as long as the client waits."""

    def answer(handler):
        handler.server.idp.closing.wait(PATIENCE_S)

    return answer


def hang_up(data=b""):
    """Some bytes, then the end."""

    def answer(handler):
        handler.wfile.write(data)
        handler.close_connection = True

    return answer
