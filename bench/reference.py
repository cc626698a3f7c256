"""Servers that exist only to be compared with; run as `python -m bench.reference KIND …`.

`echo ENDPOINT FILE`: our completion-queue loop with a handler that decodes nothing and answers the bytes of the
file. It is what the loop and the C core below it cost, hence the limit.
`threads SETTINGS`: the product's own service and settings on `grpc.server` with 8 threads. The service is made for one
thread, so a lock stands around it; without the GIL's help it could not be faster anyway.
"""

import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

from authz import settings as files
from authz.engine import EngineOptions
from authz.engine.contract import CHECK
from authz.engine.poller import choose_poller

_THREADS = 8


class Echo:
    """The handler that knows its answer."""

    parked = 0

    def __init__(self, answer):
        self._answer = answer

    def check(self, _message):
        return self._answer

    def overloaded(self):
        return self._answer


def echo(endpoint, answer):
    choose_poller([endpoint], client_ca=False)
    from authz.engine.cq import CqEngine  # gRPC is loaded after that

    handler = Echo(Path(answer).read_bytes())
    options = EngineOptions(listen=[endpoint], drain_delay=0.0, drain_grace=1.0)
    engine = CqEngine(handler, options, load=handler)
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    engine.set_serving(serving=True)
    engine.run(lambda _addresses: None)


class ThreadsEngine:
    """`grpc.server` behind the part of the engine's contract that a benchmark needs."""

    def __init__(self, service, listen):
        self._service = service
        self._listen = listen
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, started):
        import grpc  # after authz.engine, which says who reads the sockets

        server = grpc.server(futures.ThreadPoolExecutor(_THREADS))
        service, _, method = CHECK.removeprefix("/").partition("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(self._check)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        for address in self._listen:
            server.add_insecure_port(address)
        server.start()
        started(self._listen)
        self._stop.wait()
        server.stop(1.0).wait()

    def _check(self, message, _context):
        with self._lock:
            return self._service.check(message)

    def stop(self):
        self._stop.set()

    def set_serving(self, *, serving):
        """No one asks for health here."""


def threads(path):
    settings = files.load(Path(path))
    choose_poller(settings.listen, client_ca=False)
    from authz.serve.app import App  # gRPC is loaded after that

    app = App(settings)
    app.engine = ThreadsEngine(app.service, settings.listen)
    app.run()


if __name__ == "__main__":
    {"echo": echo, "threads": threads}[sys.argv[1]](*sys.argv[2:])
