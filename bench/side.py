"""One build in one pair: its servers, started for this pair alone, and the asking of them."""

import contextlib
import itertools
import subprocess
import sys
import time
from pathlib import Path

from bench import checks, runs
from bench.compare_rows import FIRST, SERVERS
from bench.parked import held
from bench.samples import Meter
from bench.sender import send

_INSIDE = Path(__file__).with_name("inside.py")
_START_S = 60.0


class Inside:
    """The service in one process, see `inside.py`. It uses the settings of a server that is never started."""

    def __init__(self, server):
        self._server = server
        self.build = server.build
        self._question = server.folder / "question.bin"
        self._answer = server.folder / "answer.bin"
        self._process = None

    def start(self):
        with self._server.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", _INSIDE, self._server.folder / "authz.yaml"],
                cwd=self.build.folder,
                env=self.build.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait(self, body):
        """Until an allow, as `Server.wait_allowed`; first of all it says whose code it runs."""
        said = Path(self._process.stdout.readline().strip() or "/")
        if said.parent.parent != self.build.folder.resolve():
            raise RuntimeError(f"{self.build.name} runs {said}: {self._server.log.read_text()}")
        end = time.monotonic() + _START_S
        while not checks.allows(self.ask([body()])[1][0]):
            if time.monotonic() > end:
                raise RuntimeError(f"{self._server.name} does not allow: {self._server.log.read_text()}")
            time.sleep(0.01)

    def ask(self, bodies):
        """CPU microseconds for all of them, and the answers."""
        self._question.write_bytes(b"".join(bodies))
        self._process.stdin.write(f"{self._question} {self._answer}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._server.name} has ended: {self._server.log.read_text()}")
        return int(line) / 1000, list(_unframed(self._answer.read_bytes()))

    def stop(self):
        if self._process is not None:
            self._process.communicate()  # closes its input, which ends it


class Served:
    """`authz serve` behind a socket."""

    def __init__(self, server):
        self._server = server
        self.address = server.address
        self.start, self.stop, self.wait = server.start, server.stop, server.wait_allowed

    def ask(self, bodies):
        """CPU microseconds for all of them, and the answers."""
        with Meter(self._server.pids) as meter:
            sent = send(self._server.address, bodies, keep=True)
        if sent.failed:
            raise RuntimeError(f"{self._server.name}: {sent.failed} of {len(bodies)} checks failed")
        return meter.cpu_us, sent.answers


class Side:
    """The servers of one build that the cases need. `airflows` has the address of the one that answers, and not."""

    def __init__(self, fleet, build, cases, pool, airflows):
        self.build, self._pool = build, pool
        self._tasks, self._targets, self._used = {}, {}, {}
        for case in cases:
            name = case.server
            if (name, case.inside) not in self._targets:
                options = dict(SERVERS[name]) | ({"airflow": airflows[name]} if name in airflows else {})
                server = fleet.gate(f"{name}-{'inside' if case.inside else 'served'}", build=build, **options)
                self._tasks[name, case.inside] = runs.Task(server.folder) if name in airflows else None
                self._targets[name, case.inside] = Inside(server) if case.inside else Served(server)

    def start(self, skip):
        """Start all; then wait until they allow. What cannot be started is told to `skip` with the reason."""
        for target in self._targets.values():
            target.start()
        for (name, inside), target in self._targets.items():
            try:
                target.wait(lambda name=name, task=self._tasks[name, inside]: FIRST[name](self._pool, task))
            except (RuntimeError, OSError) as error:
                skip(self, name, inside, f"it does not start: {error}")

    def stop(self):
        for target in self._targets.values():
            target.stop()

    def ask(self, case, count):
        """CPU microseconds per check of `count` checks, all of which must be answered as the row says.

        Raises:
            RuntimeError: one is not.
        """
        place = case.server, case.inside
        start = self._used.get(place, 0)
        self._used[place] = start + count
        bodies = case.bodies(self._pool, self._tasks[place], start, count)
        spent, answers = self._targets[place].ask(bodies)
        right = sum(checks.allows(answer) is case.allows for answer in answers)
        if right != count:
            raise RuntimeError(f"{self.build.name}: {case.label}: {count - right} of {count} answers are wrong")
        return spent / count

    @contextlib.contextmanager
    def load(self, case, serials=None):
        """What else the server has in hand while the case is measured."""
        if not case.parked:
            yield
            return
        place = case.server, case.inside
        address, probe = self._targets[place].address, self._pool.same["service"]
        with held(address, self._tasks[place], case.parked, serials or itertools.count(1), probe):
            yield


def _unframed(data):
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 1 : at + 5], "big")
        yield data[at + 5 : at + 5 + length]
        at += 5 + length
