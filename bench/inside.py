"""One build's service inside one process, without sockets: the most precise way to measure it.

Run as a script (`python -P inside.py SETTINGS`) by `bench.compare` with the build on PYTHONPATH, so nothing of
`tests` is imported here, and of `authz` only what is as old as its `App`. Each line of the input names a file of
framed CheckRequests and a file for the framed answers; each line of the output is the CPU time of the serving thread in
nanoseconds for all of them together.
"""

import struct
import sys
import threading
import time
from pathlib import Path

import authz
from authz import settings as files

try:
    from authz.serve import app as wiring
except ImportError:  # a build from before there were rooms
    from authz import app as wiring

_HEAD = 5
_LONGEST_S = 5.0


def _messages(data):
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack(">I", data[at + 1 : at + _HEAD])
        found.append(data[at + _HEAD : at + _HEAD + length])
        at += _HEAD + length
    return found


def _waited(outcome):
    """The answer of a check that had to wait, as the first call of a task does."""
    while not isinstance(outcome, bytes):
        over = threading.Event()
        begin = outcome.begin if hasattr(outcome, "begin") else outcome.wait  # an older build's, None for a key
        if begin is not None and begin(over.set):
            over.wait(_LONGEST_S)
        outcome = outcome.resume()
    return outcome


class Loop:
    """Stands where the engine does: it asks the service what the input says, and ends with the input."""

    def __init__(self, service):
        self._service = service

    def run(self, started):
        started([])
        for line in sys.stdin:
            source, target = line.split()
            messages = _messages(Path(source).read_bytes())
            check, clock = self._service.check, time.thread_time_ns
            begun = clock()
            answers = [check(message) for message in messages]
            spent = clock() - begun
            answers = [_waited(answer) for answer in answers]
            Path(target).write_bytes(b"".join(b"\0" + struct.pack(">I", len(answer)) + answer for answer in answers))
            print(spent, flush=True)  # noqa: T201 this is the answer

    def stop(self):
        """The input ends it."""

    def set_serving(self, *, serving):
        """No one asks for health here."""


def main(settings):
    app = wiring.App(files.load(Path(settings)))
    app.engine = Loop(app.service)
    app.run()


if __name__ == "__main__":
    print(Path(authz.__file__).resolve(), flush=True)  # noqa: T201 whose code this is
    main(sys.argv[1])
