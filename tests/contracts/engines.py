"""Runs any engine in a thread with a scripted handler, for the contract tests."""

import contextlib
import queue
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import grpc

from authz.core.http_answer import HttpAnswer
from authz.core.parked import Parked
from authz.engine import EngineOptions
from authz.engine.aio import AioEngine
from authz.engine.contract import CHECK
from authz.engine.cq import CqEngine
from authz.engine.http import HttpEngine

ENGINES = {"aio": AioEngine, "cq": CqEngine}
MOST_HEAD = 8 * 1024


class EchoRoutes:
    """Asks about the target without its slash, and answers with what the handler says; `/none` is no question."""

    def find(self, target):
        return None if target in {b"/none", b"/body"} else (self, target[1:])

    def message(self, _method, target, headers):
        return target if dict(headers).get(b"host") else None

    def answer(self, response):
        return HttpAnswer(200, {"x-answer": "yes"}, response)


class EchoApi:
    """`/body` asks about each line of a body and answers with all answers in one; the line `bug` is one of ours.

    `EchoRoutes` leaves it what it has no route for: these targets.
    """

    def takes_body(self, target):
        return target == b"/body"

    def converse(self, method, target, _headers, body):
        return self._conversation(method, body) if target == b"/body" else None

    def _conversation(self, method, body):
        answers = []
        for line in body.splitlines():
            answers.append((yield line))
            if line == b"bug":
                broken()
        return HttpAnswer(200, {"x-method": method}, b",".join(answers))


class EchoParams:
    """The same for variables: asks about `REQUEST_URI` without its slash; without one it is no question."""

    def message(self, params):
        return dict(params).get(b"REQUEST_URI", b"")[1:] or None

    def answer(self, response):
        return HttpAnswer(200, {"Variable-X-ANSWER": "yes", "Variable-X-SAID": response.decode()}, b"")


def fastcgi_engine(handler, options, *, load):
    places = [(address, EchoParams()) for address in options.listen]
    options = replace(options, listen=[])
    return HttpEngine(handler, options, load=load, routes=EchoRoutes(), most_head=MOST_HEAD, fastcgi=places)


def http_engine(handler, options, *, load):
    return HttpEngine(handler, options, load=load, routes=EchoRoutes(), most_head=MOST_HEAD, api=EchoApi())


@dataclass
class ScriptedHandler:
    """Echoes the message; `park:<key>` parks the check and answers what `resumed` says.

    `wait` parks it for what `waits` begins, instead of a key; `first` parks it for a key and then for that, and `both`
    for that and then for that again. `broken wait` and `broken resume` raise where their names say.

    `hold` keeps the engine's thread busy until the test lets `go`.
    """

    seen: list = field(default_factory=list)
    resumed: bytes = b"resumed"
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    waits: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    willing: bool = True
    keys: "KeyWaits | None" = None

    def for_key(self, key_id, resume):
        """A check that waits for a key, which takes a place."""
        return Parked(resume, partial(self.keys, "corp", key_id), counted=True)

    def _wait(self, done):
        self.waits.put(done)
        return self.willing

    def _then_wait(self):
        return Parked(lambda: self.resumed, self._wait)

    def check(self, message):
        self.seen.append(message)
        if message in SCRIPTS:
            return SCRIPTS[message](self)
        if message == b"hold":
            self.held.set()
            assert self.go.wait(10)
        if message == b"wait":
            return self._then_wait()
        if message.startswith(b"park"):
            return self.for_key(message.decode(), lambda: self.resumed)
        return b"answer:" + message

    def overloaded(self):
        return b"overloaded"


def broken(*_):
    raise ZeroDivisionError("scripted")


SCRIPTS = {
    b"first": lambda handler: handler.for_key("first", handler._then_wait),
    b"both": lambda handler: Parked(handler._then_wait, handler._wait),
    b"broken wait": lambda handler: Parked(lambda: handler.resumed, broken),
    b"broken resume": lambda handler: handler.for_key("broken", broken),
    b"broken": broken,
}


@dataclass
class KeyWaits:
    """Records what the engine asked for; the test ends the waits."""

    willing: bool = True
    fails: bool = False
    asked: list = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, issuer, key_id, done):
        with self.arrived:
            self.asked.append((issuer, key_id, done))
            self.arrived.notify_all()
        if self.fails:
            broken()
        return self.willing

    def until(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.asked) >= count, 10)

    def finish(self):
        for _issuer, _key, done in self.asked:
            done()


class Running:
    """One engine in its own thread."""

    def __init__(self, kind, handler=None, **options):
        self.handler = handler or ScriptedHandler()
        self.waits = KeyWaits()
        self.handler.keys = self.waits
        self.load = SimpleNamespace(parked=0)
        defaults = {"listen": ["127.0.0.1:0"], "drain_delay": 0.0, "drain_grace": 5.0}
        self.engine = {**ENGINES, "http": http_engine, "fastcgi": fastcgi_engine}[kind](
            self.handler,
            EngineOptions(**{**defaults, **options}),
            load=self.load,
        )
        self.addresses = []
        self._started = threading.Event()
        self._failure = None
        self.thread = threading.Thread(target=self._run, name=f"engine-{kind}")

    def _run(self):
        try:
            self.engine.run(self._note)
        except OSError as error:
            self._failure = error
            self._started.set()

    def _note(self, addresses):
        self.addresses = list(addresses)
        self._started.set()

    def __enter__(self):
        self.thread.start()
        assert self._started.wait(10)
        if self._failure:
            self.thread.join()
            raise self._failure
        return self

    def __exit__(self, *_exc):
        self.waits.finish()
        self.engine.stop()
        self.thread.join(15)
        assert not self.thread.is_alive(), "the engine did not stop"

    @contextlib.contextmanager
    def channel(self, credentials=None, address=None, **options):
        target = address or self.addresses[0]
        made = (
            grpc.secure_channel(target, credentials, options=list(options.items()))
            if credentials
            else grpc.insecure_channel(target, options=list(options.items()))
        )
        with made as channel:
            yield channel


def check(channel):
    """The Check method over raw bytes."""
    return channel.unary_unary(CHECK)
