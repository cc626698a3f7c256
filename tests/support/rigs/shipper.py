"""A log shipper and its receiver: syslog-ng with the configuration in deploy/, and an HTTPS server that can be away.

Law: the configuration is the one that people copy; only places, the receiver's address and the pauses are others.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.factories.certificates import Authority
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port

SAMPLE = Path(__file__).parents[3] / "deploy" / "shippers" / "syslog-ng"
PROGRAM = "syslog-ng"
MODULE = "libhttp.so"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def program():
    """The program's path. Without it the test is skipped; in CI it fails, unless rsyslog is in its place."""
    found = shutil.which(PROGRAM, path=PATH)
    if found is None or not [*Path("/usr/lib/syslog-ng").rglob(MODULE)]:
        if shutil.which("rsyslogd", path=PATH):
            pytest.skip("syslog-ng would take rsyslog's place: scripts/system-packages leaves it out here")
        skip_or_fail("syslog-ng with its module for HTTP is not installed: scripts/system-packages installs it")
    return found


class Receiver:
    """Stores what is posted, by path; knows its callers by their certificates.

    Attributes:
        stored: the bytes that were posted, by path.
        silent: how many requests are still to be stored and not answered, as by a receiver that is killed.
    """

    def __init__(self, folder):
        authority = Authority(folder)
        issued, self.client = authority.issue("localhost"), authority.issue("gate.example.com")
        self.ca, self.port = authority.certificate, free_port()
        self.stored, self.silent = {"/decisions": b"", "/checkpoints": b""}, 0
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_cert_chain(issued.certificate, issued.key)
        self._server, self._connections = None, set()

    def start(self):
        receiver = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                connection, address = super().get_request()
                receiver._connections.add(connection)
                return connection, address

            def finish_request(self, request, client_address):
                with receiver._tls.wrap_socket(request, server_side=True) as connection:
                    super().finish_request(connection, client_address)

            def handle_error(self, _request, _address):
                """Connections are broken on purpose."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True
                    return
                receiver.stored[self.path] += body
                if receiver.silent and self.path == "/decisions":
                    receiver.silent -= 1
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments):
                """The test says what it expects."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Go away, with all connections."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._connections.clear()

    def lines(self):
        return self.stored["/decisions"].split(b"\n")[:-1]


class Shipper:
    """syslog-ng as `authz-ship.service` runs it, for the log in a folder."""

    def __init__(self, log, receiver, folder):
        folder.mkdir()
        self._log, self._folder, self._process = log, folder, None
        self._program = program()
        text = (SAMPLE / "ship.conf").read_text()
        for there, here in (
            ("/var/log/authz/audit/", f"{log}/"),
            ("https://logs.example.com/", f"https://localhost:{receiver.port}/"),
            ("/etc/authz-ship/ca.pem", receiver.ca),
            ("/etc/authz-ship/gate.pem", receiver.client.certificate),
            ("/etc/authz-ship/gate-key.pem", receiver.client.key),
            ("/var/lib/authz-ship", folder),
            ("time-reopen(10)", "time-reopen(1)"),
        ):
            assert there in text
            text = text.replace(there, str(here))
        self._config = folder / "ship.conf"
        self._config.write_text(text)

    def start(self):
        places = {"--cfgfile": self._config}
        places |= {name: self._folder / name.strip("-") for name in ("--persist-file", "--control", "--pidfile")}
        arguments = [str(part) for pair in places.items() for part in pair]
        with (self._folder / "errors").open("ab") as errors:
            self._process = subprocess.Popen(
                [self._program, "--foreground", "--no-caps", *arguments], stderr=errors, stdout=errors
            )

    def has_read(self):
        """Whether it has all of the open file of the log."""
        assert self._process.poll() is None, (self._folder / "errors").read_text()
        status = (self._log / "decisions.jsonl").stat()
        process = Path("/proc", str(self._process.pid))
        for link in (process / "fd").iterdir():
            try:
                if (found := link.stat()).st_ino == status.st_ino and found.st_dev == status.st_dev:
                    return f"pos:\t{status.st_size}\n" in (process / "fdinfo" / link.name).read_text()
            except FileNotFoundError:
                continue
        return False

    def kill(self):
        self._process.kill()
        assert self._process.wait(20) == -signal.SIGKILL

    def stop(self):
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(20) == 0
