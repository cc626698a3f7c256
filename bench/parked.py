"""Checks that wait: calls of many tasks while Airflow does not answer, held open while other checks are measured.

The tasks hold tokens for proxies, each of a task instance of its own, so that the service parks their calls until
Airflow has said whether they run. `Slow` is that Airflow: it answers nothing until `let_go`.
"""

import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import checks
from bench.sender import Sent, hold

PARKED = 4_000
_OF_ONE = 250  # calls of one task: fewer than may wait for one answer
_CONNECTIONS = 8
_LONGEST_S = 60.0


class Slow:
    """An API server that accepts every question and answers none before `let_go`."""

    def __init__(self):
        self._go = threading.Event()
        go = self._go

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                go.wait(_LONGEST_S)
                with contextlib.suppress(OSError):
                    self.send_error(404)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def let_go(self):
        """Answer whatever is asked, from now on: no such task instance."""
        self._go.set()

    @contextlib.contextmanager
    def silence(self):
        """Answer nothing for the time of the block, and everything after it: who waited needs no place any more."""
        self._go.clear()
        try:
            yield
        finally:
            self.let_go()

    def close(self):
        self.let_go()
        self._server.shutdown()
        self._server.server_close()


def bodies(task, count, serials):
    """`count` framed calls of tasks that the server has not heard of yet; each serial is one task instance."""
    for _ in range(0, count, _OF_ONE):
        body = task.borne(f"{next(serials):012x}")
        yield from itertools.repeat(body, min(_OF_ONE, count))
        count -= _OF_ONE


@contextlib.contextmanager
def held(address, task, count, serials, probe):
    """Keep `count` calls parked at the server at `address` for the time of the block.

    `probe` is the framed body of a call that is answered at once: its answer says that the calls before it on the same
    connection were taken.

    Raises:
        AssertionError: one of the calls was answered, and so did not wait.
    """
    everyone = list(bodies(task, count, serials))
    share = -(-len(everyone) // _CONNECTIONS)
    shares = [everyone[start : start + share] for start in range(0, len(everyone), share)]
    sent = Sent()
    with contextlib.ExitStack() as stack:
        connections = []
        for some in shares:
            connections.append(hold(address, [*some, probe], sent))
            stack.callback(connections[-1].socket.close)
        yield
        for connection in connections:
            connection.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.read()
        assert len(sent.latencies) == len(shares), f"{len(sent.latencies) - len(shares)} of {count} calls did not wait"
        assert all(map(checks.allows, sent.answers)), "the call that asks whether the others were taken was refused"
