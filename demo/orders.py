"""A small internal API for the outbound half of the demo: `python -m demo.orders --port 9100 --token FILE`.

Law: development only, loopback only. It requires the credential in FILE (401 without) and does not reveal it to
callers: an answer to a call shows what arrived, with a word in place of the credential. `/seen`, which no rule lets a
task call, shows everything, and `/mood` makes the service fail: both are for the tour, at its own port.
"""

import argparse
import hmac
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HEALTH = "/healthz"
FAILED = 500
KEPT = 100


class Orders(ThreadingHTTPServer):
    """The service, the calls that it saw, and its mood: a status to fail with, 0 for none."""

    daemon_threads = True

    def __init__(self, port: int, token: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.lock = threading.Lock()
        self.received = 0
        self.calls: list[dict[str, Any]] = []
        self.mood = 0
        self._token = token

    def note(self, call: dict[str, Any]) -> None:
        """Count a call and keep the last ones."""
        with self.lock:
            self.received += 1
            self.calls = [*self.calls[1 - KEPT :], call]

    def wants(self, authorization: str) -> bool:
        """Return whether this is the credential; the file is read each time, so that it can be changed."""
        wanted = f"Bearer {self._token.read_text()}"
        return hmac.compare_digest(authorization.encode("latin-1"), wanted.encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Orders

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/seen":
            self._send(200, {"received": self.server.received, "calls": self.server.calls})
        elif self.path == "/mood" and self.command == "POST":
            self.server.mood = int(json.loads(body)["fail_with"])
            self._send(200, {"fail_with": self.server.mood})
        elif self.path == HEALTH:
            self._send(self.server.mood or 200, {"status": "told to fail" if self.server.mood else "ok"})
        else:
            self._order()

    def _order(self) -> None:
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        self.server.note({"method": self.command, "path": self.path, "headers": headers})
        authorization = self.headers.get("authorization") or ""
        if self.server.mood:
            self._send(self.server.mood, {"service": "orders", "error": "told to fail"})
        elif not self.server.wants(authorization):
            self._send(401, {"service": "orders", "error": "the credential is missing or wrong"})
        else:
            shown = [[name, "(the credential)" if name == "authorization" else value] for name, value in headers]
            self._send(200, {"service": "orders", "order": self.path, "amount": 42, "headers": shown})

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
    parser = argparse.ArgumentParser(prog="demo.orders", description="the demo's internal API")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", type=Path, required=True, help="file with the credential that calls must have")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    with Orders(options.port, options.token) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
