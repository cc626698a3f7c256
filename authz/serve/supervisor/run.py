"""The supervisor: starts the workers, keeps them running, ends them, and shows them as one.

Law: one thread, the main one, starts, signals and reaps workers; it waits only for signals. A worker that ends
unexpectedly is replaced after a growing delay, and a failed start is retried after one; the others keep serving. A
worker whose configuration prevents it from listening (status 2) ends everything, as it would alone. Shutdown: every
worker drains; one that takes longer than allowed is killed, and that is logged. The signed log's writer is replaced
also then, until it has logged what the workers left.

Start: assertion key → admin port bound → the signed log's writer, until it takes records → workers → keys and admin
answer. Stop: workers → the log's writer → admin → keys → folder.
"""

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from authz.core import assertion
from authz.keys import SystemClock
from authz.ops.admin import AdminServer, Readiness
from authz.serve.issuer_keys import fetcher_of, options_of, state_of
from authz.serve.signing_keys import load_keys
from authz.serve.supervisor.backoff import BackOff
from authz.serve.supervisor.fleet import Ended, Fleet, WorkerSlot
from authz.serve.supervisor.frozen_keys import freeze, frozen
from authz.serve.supervisor.key_socket import KeyServer
from authz.serve.supervisor.log_view import LogView
from authz.serve.supervisor.shared_keys import SharedFetcher
from authz.serve.supervisor.view import FleetView
from authz.settings import Settings
from authz.system import threads
from authz.system.threads import Background

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.2
_MARGIN_S: Final = 5.0
_START_S: Final = 0.05
_LAST_LINES_S: Final = 20.0
_NEVER: Final = float("inf")
_LONGEST_WITHOUT_LOG_S: Final = 2.0
"""The longest back-off of the log's writer: workers refuse all checks when it is away for `status.SILENT_S`."""
_USAGE: Final = 2
_END: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_AWAITED: Final = frozenset({*_END, signal.SIGHUP, signal.SIGCHLD})


class Supervisor:
    """Several workers behind one command.

    Args:
        settings: what to serve, and where.
        data: the bytes of the settings file; every worker, even a later one, reads these and not the file.
        arguments: of the command, as the workers get them.
    """

    def __init__(self, settings: Settings, data: bytes, arguments: Sequence[str]) -> None:
        self._settings = settings
        keys = freeze(settings)
        self._jwks = assertion.public_jwks(load_keys(frozen(settings, keys)))
        folders = os.environ.get("RUNTIME_DIRECTORY", "").split(":")
        self._folder = Path(tempfile.mkdtemp(prefix="authz-", dir=folders[0] or None))
        http = settings.http_check.workers if settings.http_check is not None else 0
        self._fleet = Fleet(self._folder, settings.worker_count, arguments, keys, http=http)
        self._fleet.context(self._fleet.slots[0]).settings.write_bytes(data)
        self._writer = Fleet(self._folder, 1 if settings.audit.log else 0, arguments, writes_log=True)
        for slot in self._writer.slots:
            slot.back_off = BackOff(longest_s=_LONGEST_WITHOUT_LOG_S)
        self._state = state_of(settings)
        self._log = LogView(settings, self._writer)
        failed = self._state.failed if self._state else lambda: False
        self._view = FleetView(self._fleet, failed, self._log.metrics)
        self._ending = threading.Event()
        self._status = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit status. Main thread only.

        Raises:
            OSError: the admin address cannot be listened on, or no process can be started.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        with contextlib.ExitStack() as running:
            running.callback(shutil.rmtree, self._folder, ignore_errors=True)
            admin = AdminServer(
                self._settings.admin.listen,
                metrics=self._view,
                readiness=self._readiness,
                jwks=lambda: self._jwks,
                grants=self._view.grant,
                access=self._view.access,
            )
            running.callback(admin.stop)
            keys = self._key_server()
            keys.start()
            running.callback(keys.stop)
            running.callback(self._kill)
            if not self._start_writer():
                return self._status
            for slot in self._fleet.slots:
                self._fleet.spawn(slot, time.monotonic())
            admin.start()
            watching = Background(self._view.follow, args=(self._ending,), name="readiness")
            watching.start()
            running.callback(watching.join)
            running.callback(self._ending.set)
            log.info("%d workers, admin on %s", len(self._fleet.slots), self._settings.admin.listen)
            self._keep_running()
            self._end()
        return self._status

    def _key_server(self) -> KeyServer:
        clock = SystemClock()
        fetcher = SharedFetcher(fetcher_of(self._settings, self._state, clock), clock, options_of(self._settings))
        return KeyServer(self._fleet.context(self._fleet.slots[0]).keys, fetcher)

    def _readiness(self) -> Readiness:
        if self._ending.is_set():
            return Readiness(ready=False, reasons=("ending",), details={"revision": ""})
        now, runs = self._view.readiness(), self._settings.run_identity
        kept = self._state.problems() if self._state is not None else ()
        now = replace(now, reasons=(*now.reasons, *threads.problems(), *kept, *self._log.problems()))
        now = replace(now, details={**now.details, **self._log.details()})
        return replace(now, details={**now.details, "run_identity": runs.report}) if runs is not None else now

    def _keep_running(self) -> None:
        """Run until a signal to end, or a worker that cannot start."""
        while True:
            received = signal.sigtimedwait(_AWAITED, self._pause())
            number = received.si_signo if received is not None else None
            if number == signal.SIGHUP:
                self._fleet.signal(signal.SIGHUP)
            now = time.monotonic()
            gone = [*self._reaped(), *self._writer.reap()]
            hopeless = [ended for ended in gone if not self._replace(ended, now, wanted=number in _END)]
            if number in _END or hopeless:
                self._status = _USAGE if hopeless else 0
                return
            for fleet in (self._writer, self._fleet):
                for slot in fleet.slots:
                    if slot.process is None and now >= slot.due:
                        self._start_again(fleet, slot, now)

    def _start_writer(self) -> bool:
        """Start the process that writes the signed log, if there is one; False if it cannot, or we are to end."""
        for slot in self._writer.slots:
            self._writer.spawn(slot, time.monotonic())
            while not slot.listened:
                received = signal.sigtimedwait(_AWAITED, _START_S)
                if received is not None and received.si_signo in _END:
                    self._end()
                    return False
                for ended in self._writer.reap():
                    log.error("%s cannot start (%s)", slot.name, _received(ended.status))
                    self._status = _USAGE
                    return False
        return True

    def _reaped(self) -> list[Ended]:
        """The workers that have ended since the last look."""
        gone = self._fleet.reap()
        for ended in gone:
            self._view.ended(ended)
        return gone

    def _start_again(self, fleet: Fleet, slot: WorkerSlot, now: float) -> None:
        """Start the next worker; if the system cannot start a process, retry after a growing delay."""
        try:
            fleet.spawn(slot, now)
        except OSError as error:
            delay = slot.back_off.after(0.0)
            slot.due = now + delay
            log.error("%s cannot be started, the next try is in %.1f s: %s", slot.name, delay, error.strerror)  # noqa: TRY400 the text says it all
        else:
            slot.restarts += 1

    def _pause(self) -> float:
        """The seconds until the next restart or look at the workers; SIGCHLD reports an end at once."""
        now = time.monotonic()
        slots = (*self._writer.slots, *self._fleet.slots)
        dues = [slot.due - now for slot in slots if slot.process is None]
        return max(0.0, min([_LOOK_S, *dues]))

    def _replace(self, ended: Ended, now: float, *, wanted: bool) -> bool:
        """Record the end of a worker and when its successor starts; False if a successor could do no better."""
        slot = ended.slot
        if wanted:
            return True
        if ended.status == _USAGE and not slot.listened:
            log.error("%s cannot start", slot.name)
            return False
        delay = slot.back_off.after(now - slot.started_at, served=ended.served)
        slot.due = now + delay
        log.error("%s ended (%s), the next starts in %.1f s", slot.name, _received(ended.status), delay)
        return True

    def _end(self) -> None:
        """All drain at the same time; wait for them and log how they ended."""
        self._ending.set()
        self._fleet.signal(signal.SIGTERM)
        shutdown = self._settings.shutdown
        deadline = time.monotonic() + shutdown.longest + _MARGIN_S
        while self._fleet.running() and time.monotonic() < deadline:
            received = signal.sigtimedwait(_AWAITED, _LOOK_S)
            if received is not None and received.si_signo == signal.SIGHUP:
                self._fleet.signal(signal.SIGHUP)
            for ended in self._reaped():
                self._note_end(ended)
            self._tend_writer()
        log.info("all workers have ended")
        self._end_writer()

    def _end_writer(self) -> None:
        """The log's writer logs what the workers left, signs it, and ends."""
        self._writer.signal(signal.SIGTERM)
        deadline = time.monotonic() + _LAST_LINES_S
        while self._tend_writer(number=signal.SIGTERM):
            if time.monotonic() >= deadline:
                self._status = self._status or 1  # what is left stays in the spool, for the next start
                return
            signal.sigtimedwait(_AWAITED, _LOOK_S)

    def _tend_writer(self, *, number: signal.Signals | None = None) -> bool:
        """Replace a log's writer that was killed, and send the signal to the next one; False if there is none to await.

        One that ended by itself has logged all, or has said why it cannot.
        """
        now = time.monotonic()
        for ended in self._writer.reap():
            if ended.status >= 0 or not self._replace(ended, now, wanted=False):
                self._note_end(ended)
                ended.slot.due = _NEVER
        for slot in self._writer.slots:
            if slot.process is None and now >= slot.due:
                self._start_again(self._writer, slot, now)
                if slot.process is not None and number is not None:
                    slot.process.send_signal(number)
        return any(slot.process is not None or slot.due < _NEVER for slot in self._writer.slots)

    def _note_end(self, ended: Ended) -> None:
        unborn = ended.status == -signal.SIGTERM and not ended.last_metrics
        if ended.status and not unborn:
            log.error("%s ended badly: %s", ended.slot.name, _received(ended.status))
            self._status = self._status or 1

    def _kill(self) -> None:
        """Kill processes that still run: they did not drain in time, or we failed ourselves."""
        for slot in (*self._fleet.running(), *self._writer.running()):
            log.error("%s did not stop in time; killing it", slot.name)
            self._status = self._status or 1
            if slot.process is not None:
                slot.process.kill()
                slot.process.wait()


def _received(status: int) -> str:
    """An exit status in words."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
