"""Clients that ask without an end while processes are killed, and keep the id of every answer that they got.

Law: an answer counts as soon as it has left the gate, also if its call never ended. One that was asked for and never
came is none: the client asks again.
"""

import contextlib
import selectors
import struct
import threading
import time
from collections import Counter
from itertools import cycle

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.core.edge import DECISION, META_DECISION
from bench.sender import Connection, Sent
from tests.e2e.raw_http import connected

_STREAMS = 8
_CONNECTIONS = 16
_LOOK_S = 0.002
_RETRY_S = 0.02
_BURST = 20
_AWAY_S = 0.25
"""No answer for so long means that no one answers."""
OK = 200
REFUSED = 503
_HEADER = DECISION.encode() + b": "


class Answers:
    """What all clients of a row got: ids by their status, and how long there was none."""

    def __init__(self):
        self._lock = threading.Lock()
        self.ids, self.statuses, self.longest_s = {}, Counter(), 0.0
        self._last, self._answering_s = 0.0, 0.0
        self.times = {}  # when each status came first, and an answer that allows last, since `mark`

    def begin(self):
        """They are asked from now on."""
        self._last = time.monotonic()

    def mark(self):
        """Forget when which answer came first."""
        with self._lock:
            self.times = {}

    def add(self, found):
        """Add pairs of status and id."""
        now = time.monotonic()
        with self._lock:
            self._passed(now)
            for status, name in found:
                self.statuses[status] += 1
                self.times.setdefault(status, now)
                if name:
                    self.ids[name] = status

    def end(self):
        """No more are awaited."""
        self._passed(time.monotonic())

    def _passed(self, now):
        gap, self._last = now - self._last, now
        self.longest_s = max(self.longest_s, gap)
        self._answering_s += gap if gap < _AWAY_S else 0.0

    @property
    def count(self):
        return sum(self.statuses.values())

    @property
    def decided(self):
        """The ids of answers that decided. The others are 503: refused because no record could be handed over."""
        return [name for name, status in self.ids.items() if status != REFUSED]

    @property
    def rate(self):
        """Answers a second, without the times when none came."""
        return self.count / (self._answering_s or 1.0)

    def first(self, status):
        """When an answer with this status came first since the mark; None if none has."""
        with self._lock:
            return self.times.get(status)


class Paced:
    """Bodies at a given rate: none for now when there were enough."""

    def __init__(self, bodies, rate):
        self._bodies, self._every, self._due = cycle(bodies), 1 / rate, time.monotonic()

    def __iter__(self):
        return self

    def __next__(self):
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = max(self._due + self._every, now - _BURST * self._every)
        return next(self._bodies)


class Client(threading.Thread):
    """Asks at one address until it is `over`; connects again whenever the other side is gone."""

    def __init__(self, address, bodies, rate, answers):
        super().__init__()
        self._address, self._bodies, self._answers = address, Paced(bodies, rate), answers
        self._over = threading.Event()
        self.count = 0

    def over(self):
        """Ask no more."""
        self._over.set()

    def run(self):
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                self._ask()
            self._over.wait(_RETRY_S)

    def _add(self, found):
        self._answers.add(found)
        self.count += len(found)

    def _ask(self):
        raise NotImplementedError


class Checks(Client):
    """Sends CheckRequests to one worker, as Envoy does."""

    def __init__(self, address, messages, rate, answers):
        bodies = [b"\0" + struct.pack(">I", len(message)) + message for message in messages]
        super().__init__(address, bodies, rate, answers)

    def _ask(self):
        sent = Sent()
        connection = Connection(self._address, _STREAMS, self._bodies, sent, keep=True)
        with connection.socket, selectors.DefaultSelector() as selector:
            selector.register(connection.socket, selectors.EVENT_READ)
            try:
                while connection.busy or not self._over.is_set():
                    if selector.select(_LOOK_S):
                        connection.read()
                    elif not self._over.is_set():
                        connection.pump()
                    self._take(sent)
            finally:
                sent.answers += connection.rest()
                self._take(sent)

    def _take(self, sent):
        if sent.answers:
            self._add([_of(answer) for answer in sent.answers])
            sent.answers.clear()
            sent.latencies.clear()

    def over(self):
        super().over()
        self._bodies = Paced([None], 1)  # a connection that reads asks no more


def _of(answer):
    """Status and id of an answer; an answer without an id is one that was refused before it was recorded."""
    response = pb.CheckResponse.FromString(answer)
    denied = response.HasField("denied_response")
    status = response.denied_response.status.code if denied else OK
    fields = response.dynamic_metadata.fields
    return status, fields[META_DECISION].string_value if META_DECISION in fields else ""


class Requests(Client):
    """Sends HTTP requests through Envoy, each on one of a few connections."""

    def _ask(self):
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            for _ in range(_CONNECTIONS):
                one = stack.enter_context(connected(self._address))
                selector.register(one, selectors.EVENT_READ, bytearray())
            idle, asked = [key.fileobj for key in selector.get_map().values()], 0
            while asked or not self._over.is_set():
                while idle and not self._over.is_set() and (body := next(self._bodies)) is not None:
                    idle.pop().sendall(body)
                    asked += 1
                for key, _ in selector.select(_LOOK_S):
                    data = key.fileobj.recv(65536)
                    if not data:
                        raise ConnectionError("Envoy closed the connection")
                    key.data.extend(data)
                    if found := _whole(key.data):
                        self._add([found])
                        key.data.clear()
                        idle.append(key.fileobj)
                        asked -= 1


def _whole(data):
    """Status and id of an HTTP/1.1 answer; None while a part is missing."""
    head, end, body = bytes(data).partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.lower().split(b"\r\n")
    length = next((int(line[16:]) for line in lines if line.startswith(b"content-length: ")), 0)
    if len(body) < length:
        return None
    name = next((line[len(_HEADER) :].decode() for line in lines if line.startswith(_HEADER)), "")
    return int(lines[0].split()[1]), name


@contextlib.contextmanager
def asking(clients, answers):
    """The clients ask meanwhile, and have all their answers at the end."""
    answers.begin()
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.over()
        for client in clients:
            client.join()
        answers.end()


def pause(seconds):
    """Wait a moment."""
    threading.Event().wait(seconds)


def until(check, what, seconds=60.0):
    """Wait for it; returns how long that took.

    Raises:
        TimeoutError: it did not come.
    """
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"after {seconds} s: {what}")
        pause(0.01)
    return time.monotonic() - began
