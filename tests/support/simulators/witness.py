"""A witness that follows c2sp.org/tlog-witness to the letter, over real HTTP, and misbehaves on request.

with Witness("witness.example/w1", 10, logs=[str(LOG.public)]) as witness:
    witness.misbehave(status(500))            from now on, until witness.behave()
    witness.latest["gate.example/audit/eu-1"].size

It is written from the specification and shares none of the product's code for notes, keys and cosignatures; proofs are
verified by the product's code, which Go's implementation checks in tests/interop.
"""

import base64
import contextlib
import hashlib
import http.server
import re
import ssl
import threading
import time
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from authz.core.audit.verifying import verify_consistency
from authz.core.errors import AuditBrokenError

DASH = "—"


class Latest(NamedTuple):
    """The last checkpoint that was cosigned."""

    size: int
    root: bytes
    note: bytes


class Refused(Exception):  # noqa: N818 an answer, not an error
    def __init__(self, status, body=b"", kind="text/plain"):
        self.answer = status, body, kind


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


class Witness:
    """Serves on loopback; `logs` are the verifier keys of the logs that it knows; `tls` is its certificate, if any."""

    def __init__(self, name, seed, logs=(), prefix="/w", tls=None):
        self._private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self.public = self._private.public_key().public_bytes_raw()
        self.name, self.prefix = name, prefix
        self.logs = [self._log(text) for text in logs]
        self.latest, self.requests, self.statuses = {}, [], []
        self.wall = time.time
        self.over = threading.Event()
        self._instead = None
        self._lock = threading.Lock()
        self._port, self._tls = 0, tls

    @staticmethod
    def _log(text):
        name, _, material = text.split("+", 2)
        data = base64.b64decode(material)
        assert data[0] == 1
        return name, data[1:]

    @property
    def key(self):
        """The verifier key."""
        material = base64.b64encode(b"\4" + self.public).decode()
        return f"{self.name}+{key_id(self.name, 4, self.public).hex()}+{material}"

    @property
    def url(self):
        return f"{'https://localhost' if self._tls else 'http://127.0.0.1'}:{self._port}{self.prefix}"

    def __enter__(self):
        self.over.clear()
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._server.witness = self
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls.certificate, self._tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def misbehave(self, instead):
        """`instead(handler, answer)` answers; `answer()` gives what a good witness says: status, body and type."""
        self._instead = instead

    def behave(self):
        self._instead = None

    def answer(self, body):
        try:
            return 200, self.add_checkpoint(body), "text/plain"
        except Refused as refused:
            return refused.answer

    def add_checkpoint(self, body):
        """The cosignature lines."""
        old, proof, text, signatures, whole = self._parsed(body)
        origin, size, root = self._checkpoint(text)
        keys = [public for name, public in self.logs if name == origin]
        if not keys:
            raise Refused(404)
        if not self._is_signed(text, signatures, origin, keys):
            raise Refused(403)
        if old > size:
            raise Refused(400, b"old")
        with self._lock:
            latest = self.latest.get(origin)
            if old != (latest.size if latest else 0):
                raise Refused(409, b"%d\n" % latest.size if latest else b"0\n", "text/x.tlog.size")
            if latest and old == size and root != latest.root:
                raise Refused(409, b"another root\n", "text/plain")
            if size == 0 and root != hashlib.sha256(b"").digest():
                raise Refused(422)
            if old == 0:
                if proof:
                    raise Refused(422)
            else:
                try:
                    verify_consistency(
                        first=old, first_root=latest.root, second=size, second_root=root, proof=tuple(proof)
                    )
                except AuditBrokenError:
                    raise Refused(422) from None
            line = self.cosignature(text)
            self.latest[origin] = Latest(size, root, whole + line)
        return line

    def cosignature(self, text, when=None, name=None):
        """A line with the cosignature of a checkpoint's text."""
        when, name = int(self.wall()) if when is None else when, name or self.name
        signature = self._private.sign(f"cosignature/v1\ntime {when}\n{text}".encode())
        data = key_id(name, 4, self.public) + when.to_bytes(8, "big") + signature
        return f"{DASH} {name} {base64.b64encode(data).decode()}\n".encode()

    @staticmethod
    def _parsed(body):
        head, empty, rest = body.partition(b"\n\n")
        lines = head.decode("ascii").split("\n")
        old = re.fullmatch("old (0|[1-9][0-9]*)", lines[0])
        text, end, block = rest.decode().rpartition("\n\n")
        if not empty or old is None or not end or not block.endswith("\n") or len(lines) > 64:
            raise Refused(400)
        proof = [base64.b64decode(line, validate=True) for line in lines[1:]]
        if any(len(one) != 32 for one in proof):
            raise Refused(400)
        return int(old[1]), proof, text + "\n", block[:-1].split("\n"), rest

    @staticmethod
    def _checkpoint(text):
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not re.fullmatch("0|[1-9][0-9]*", lines[1]):
            raise Refused(400)
        return lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)

    @staticmethod
    def _is_signed(text, signatures, origin, keys):
        known, found = {(origin, key_id(origin, 1, public)): public for public in keys}, False
        for line in signatures:
            dash, name, value = line.split(" ")
            data = base64.b64decode(value, validate=True)
            public = known.get((name, data[:4]))
            if dash != DASH:
                raise Refused(400)
            if public is not None:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(data[4:], text.encode())
                except InvalidSignature:
                    raise Refused(403) from None
                found = True
        return found


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_arguments):
        """A client that goes away while it is answered is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        witness = self.server.witness
        body = self.rfile.read(int(self.headers["content-length"]))
        witness.requests.append(body)
        if self.path != f"{witness.prefix}/add-checkpoint":
            self.say(404, b"")
        elif witness._instead is not None:
            witness._instead(self, lambda: witness.answer(body))
        else:
            self.say(*witness.answer(body))

    def do_GET(self):
        witness = self.server.witness
        shown = {
            f"{witness.prefix}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint": latest.note
            for origin, latest in witness.latest.items()
        }
        if witness._instead is not None:
            witness._instead(self, lambda: (200, shown.get(self.path, b""), "text/plain"))
        else:
            self.say(200 if self.path in shown else 404, shown.get(self.path, b""))

    def say(self, status, body, kind="text/plain", **headers):
        self.server.witness.statuses.append(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        """Nothing."""


def status(number, body=b"", kind="text/plain", **headers):
    """Answers this, whatever is asked."""
    return lambda handler, _answer: handler.say(number, body, kind, **headers)


def changed(change):
    """Does what a good witness does, and answers `change(body)`."""

    def instead(handler, answer):
        number, body, kind = answer()
        handler.say(number, change(body) if number == 200 else body, kind)

    return instead


def hanging(handler, _answer):
    """Never answers."""
    handler.server.witness.over.wait()


def dripping(handler, _answer):
    """Announces a body, and sends a byte of it now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "60000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.server.witness.over.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()


def endless(handler, _answer):
    """Sends a body without end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.server.witness.over.is_set():
            handler.wfile.write(b"\xe2\x80\x94" * 20_000)


def silent(handler, _answer):
    """Closes the connection."""
    handler.close_connection = True
