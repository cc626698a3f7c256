"""The processes under measurement: `authz serve` with its files, the reference servers, a peer. All on loopback.

The decision log has no `off`: rows that say "log off" write it to /dev/null, so its lines are still made and written.
"""

import contextlib
import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path

from authz.settings.endpoints import of_all
from bench import checks, machine, rulebook, runs
from bench.sender import ask
from demo.ports import free_ports

NO_LOG = "/dev/null"
_START_S = 60.0
_STOP_S = 15.0

_SETTINGS = """version: 1
policy: policy.yaml
listen: ["{listen}"]
engine: {engine}
limits: {{cached_tokens: {cached_tokens}{limits}}}
admin: {{listen: "127.0.0.1:{admin}"}}
assertion: {{issuer: "{issuer}", keys: [assertion.pem]}}
log: {{decisions: "{decisions}", queue: 100000, level: warning}}
shutdown: {{drain_delay: 10ms, drain_grace: 1s}}
"""
_RUNS = """run_identity:
  airflow: "{airflow}"
  issuer: airflow.bench.test
  jwks_file: "{jwks}"
  signing_key_isolated: true
  replays: 10000000
"""
_HTTP = """http_check:
  listen: ["unix:{socket}"]
  audiences: [{{name: airflow, audience: {audience}}}]
"""
_SLOW = "  timeout: 30s\n  recheck: 60s\n"  # an Airflow that does not answer is waited for


class Server:
    """A process that answers Checks; started by `start`, ready after `wait`, ended by `stop`.

    `endpoints` has one for each worker as Envoy knows it; `address` is where the first is reached: the path of its Unix
    socket, or host and port.
    """

    admin = 0
    http_check = ""

    def __init__(self, name, command, endpoints, folder, build=None):
        self.name = name
        self.build = build
        self.endpoints = endpoints
        self.addresses = [_address(endpoint) for endpoint in endpoints]
        self.address = self.addresses[0]
        self.folder = Path(folder)
        self.log = self.folder / "server.log"
        self._command = [str(part) for part in command]
        self.process = None

    def start(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.build.folder if self.build else machine.ROOT,
                env=self.build.environment if self.build else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self, body, address=None):
        """Until a Check is answered, and its answer."""
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError, ValueError):
                return ask(address or self.address, body)
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start: {self.log.read_text()}")
            time.sleep(0.005)

    def wait_allowed(self, body):
        """Until every worker answers a Check with an allow: keys and policy are there.

        `body` makes the framed call that is tried next. One with a proof has to be new each time, and is refused for
        up to two seconds by a server that starts: the proof could be older than its replay cache.
        """
        end = time.monotonic() + _START_S
        for address in self.addresses:
            while not checks.allows(self.wait(body(), address)):
                if time.monotonic() > end:
                    raise RuntimeError(f"{self.name} does not allow: {self.log.read_text()}")
                time.sleep(0.005)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def pids(self):
        """All processes but the one that writes a signed log, which works beside them (`bench.audit_log`)."""
        return [pid for pid in machine.family(self.process.pid) if not _writes_log(pid)]

    def peak_mb(self):
        return machine.largest_mb(self.process.pid)

    def rss_mb(self):
        return machine.largest_mb(self.process.pid, "VmRSS")

    def metric(self, sample):
        """One line of our /metrics; 0.0 without it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            for line in connection.getresponse().read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == sample:
                    return float(value)
        return 0.0


def _address(endpoint):
    host, _, port = endpoint.rpartition(":")
    return port if host == "unix" else (host, int(port))


class Peer:
    """A server that someone else runs. Its CPU time and memory are known when it runs on this machine."""

    def __init__(self, text):
        self.name = "peer"
        self.endpoints = [text]
        self.address = host, port = _address(text)
        self._pid = machine.listener_of(port) if host in {"127.0.0.1", "localhost", "::1"} else None

    @property
    def pids(self):
        return machine.family(self._pid) if self._pid else []

    def peak_mb(self):
        return machine.largest_mb(self._pid) if self._pid else 0.0


def _writes_log(pid):
    try:
        return b'"writes_log": true' in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


class Fleet:
    """Makes servers under one folder and ends all of them on exit."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self.jwks = self._folder / "jwks.json"
        self._made = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self._made:
            server.stop()

    def gate(
        self,
        name,
        *,
        rules=100,
        engine="cq",
        decisions=NO_LOG,
        workers=1,
        cached_tokens=100_000,
        tcp=False,
        airflow="",
        slow=False,
        grants=0,
        http=False,
        build=None,
    ):
        """`authz serve` on Unix sockets, or on TCP; with engine `threads` the same service on `grpc.server`.

        With the address of an Airflow it knows runs; `folder` of the server then has its signing key before it starts.
        With `grants`, so many accounts hold one, the caller of most requests among them.
        With `http` it answers checks over HTTP too, at `http_check`, the path of a socket.
        With `slow` its checks wait for that Airflow as long as may be set. `build` is the code that is run; ours if not
        given.
        """
        folder = self._new_folder(name)
        listen = f"127.0.0.1:{free_ports(workers)[0]}" if tcp else f"unix:{folder / 'authz.sock'}"
        admin = free_ports(1)[0]
        (folder / "policy.yaml").write_text(
            rulebook.policy(rules, self.jwks, egress=bool(airflow), grantable=bool(grants))
        )
        chosen = "aio" if engine == "threads" else engine
        settings = folder / "authz.yaml"
        text = _SETTINGS.format(
            listen=listen,
            admin=admin,
            engine=chosen,
            decisions=decisions,
            cached_tokens=cached_tokens,
            issuer=runs.GATE,
            limits=", wait: 60s" if slow else "",
        )
        more = _RUNS.format(airflow=airflow, jwks=self.jwks) + (_SLOW if slow else "")
        if grants:
            holders = (f"u-{number:09}" for number in range(grants))
            (folder / "grants.jsonl").write_text(rulebook.grants(holders, int(time.time())))
            text += "grants: {file: grants.jsonl}\n"
        socket = folder / "http.sock"
        text += _HTTP.format(socket=socket, audience=rulebook.AUDIENCE) if http else ""
        settings.write_text(text + (more if airflow else ""))
        if airflow:
            runs.make_key(folder / "assertion.pem")
        if engine == "threads":
            command = [sys.executable, "-m", "bench.reference", "threads", settings]
        else:
            program = build.command if build else [Path(sys.executable).with_name("authz")]
            command = [*program, "serve", "--settings", settings, "--workers", workers]
        server = self._keep(Server(name, command, of_all([listen], workers), folder, build))
        server.admin, server.http_check = admin, str(socket)
        return server

    def echo(self, answer):
        """A fixed answer on our loop, nothing decoded."""
        folder = self._new_folder("echo")
        (folder / "answer.bin").write_bytes(answer)
        endpoint = f"unix:{folder / 'echo.sock'}"
        command = [sys.executable, "-m", "bench.reference", "echo", endpoint, folder / "answer.bin"]
        return self._keep(Server("echo", command, [endpoint], folder))

    def _new_folder(self, name):
        folder = self._folder / "servers" / f"{len(self._made):02}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _keep(self, server):
        self._made.append(server)
        return server
