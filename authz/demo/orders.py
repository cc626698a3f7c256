"""A small internal API for the outbound half of the demo: `python -m authz.demo.orders --port 9100`.

Law: development only, loopback only. It answers with what it received, so that the tour can see which headers reach an
upstream, and counts its calls, so that the tour can see that a denied call never arrived (`GET /received`).
"""

import argparse
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Orders(ThreadingHTTPServer):
    """The service and its count of calls."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.lock = threading.Lock()
        self.received = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Orders

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.path == "/received":
            self._send(200, {"received": self.server.received})
            return
        if self.path == "/healthz":
            self._send(200, {"status": "ok"})
            return
        with self.server.lock:
            self.server.received += 1
        self._send(
            200,
            {
                "service": "orders",
                "method": self.command,
                "path": self.path,
                "body_bytes": len(body),
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
            },
        )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - the names http.server calls

    def _send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Write one line per request to the child's log."""
        print(format % args, flush=True)


def _stop(*_signal: object) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="authz.demo.orders", description="the demo's internal API")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    with Orders(options.port) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
