"""The process that writes the signed log: takes records from the workers' spool, hashes, signs, rotates, removes.

Law 1: it decides nothing and never speaks with Envoy, so it can be killed and started again at any time: what workers
accepted is in the spool.
Law 2: it ends after the last worker has ended, with everything in the log and signed. What it could not log stays in
the spool for the next start, and that is reported.
Law 3: the writer of the gate before, which still logs what its workers left, is waited for.
Law 4: what came of decisions, in Envoy's access logs, is read by it alone, and after the records of a round.
Law 5: a disk that is full or broken at the start is waited for, as later, if the spool is on another one:
`audit.on_failure` says what workers do.
Law 6: witnesses are asked by threads of their own. The writer leaves them checkpoints and keeps what a quorum cosigned,
so no witness can hold it up, but at the very end for a moment.
Law 7: a log that is not what was signed is not continued: the process ends, and records are refused until someone has
looked.
"""

import contextlib
import errno
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from authz.audit.drain import Drain
from authz.audit.layout import WITNESSED
from authz.audit.log import AuditLog, Limits
from authz.audit.outcomes import Outcomes
from authz.audit.signing import LogKey, load_keys, origin_of
from authz.audit.spool import has_writers, made_spool
from authz.audit.status import LogStatus, read_status, write_status
from authz.audit.tile_files import TileFiles
from authz.audit.witnessed import Demand, kept
from authz.audit.witnesses import Witness, Witnesses
from authz.core.audit.checkpoint import Trust
from authz.core.audit.keys import VerifierKey
from authz.core.errors import AuditBrokenError, ConfigError, Problem
from authz.core.urls import Url
from authz.settings import Settings
from authz.system.clock import Clock
from authz.system.regular_file import why
from authz.system.threads import Background

log = logging.getLogger(__name__)

NOT_NOW: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What is wrong with a disk and not with the settings: it is tried again."""

_BUSY_S: Final = 0.01
_IDLE_S: Final = 0.05
_SAY_S: Final = 0.5
_COMPRESS_S: Final = 5.0
_PRINT_S: Final = 60.0
_RETRY_S: Final = 0.25
_MARGIN_S: Final = 5.0
_LAST_COSIGNATURES_S: Final = 2.0


class LogWriter:
    """Writes the log of one gate.

    Args:
        settings: name the log, its keys and the spool.
        clock: tells the time.
        show: prints a checkpoint, as a line of JSON.

    Raises:
        ConfigError: the log cannot be written, or is not what was signed; or a key cannot be used.
        OSError: the log cannot be written now: one of `NOT_NOW`.
    """

    def __init__(self, settings: Settings, clock: Clock, show: Callable[[str], None]) -> None:
        if settings.assertion is None:
            raise LookupError("there is no `assertion` section")
        audit = settings.audit
        self._folder, self._spool = Path(audit.log), Path(settings.spool)
        self._clock, self._show = clock, show
        origin = origin_of(settings.assertion.issuer, settings.gate_name)
        keys = load_keys([Path(name) for name in audit.keys], origin)
        trust = _trust_of(settings, keys)
        limits = Limits(
            records=audit.checkpoints.records,
            seconds=audit.checkpoints.every,
            file_bytes=audit.files.max_bytes,
            file_seconds=audit.files.max_age,
            keep_bytes=audit.files.keep_bytes or 0,
            keep_seconds=audit.files.keep or 0.0,
        )
        wait_s, access_logs = _longest_s(settings), [Path(name) for name in audit.access_logs]
        try:
            with contextlib.ExitStack() as failing:
                self._log = AuditLog(
                    self._folder, keys, gate=settings.gate_name, clock=clock, limits=limits, wait_s=wait_s
                )
                failing.callback(self._log.let_go)
                self._make_spool()
                self._drain = Drain(self._spool, self._folder, self._log, clock)
                self._outcomes = Outcomes(access_logs, self._folder, self._log, clock)
                if not (cosigned := trust is not None and _is_cosigned(settings, keys)):
                    self._log.witnessed = 0  # anyone who can write there can put a checkpoint in its place
                failing.pop_all()
        except AuditBrokenError as error:
            hint = "keep the folder as it is and look what changed it; with another folder the gate can serve"
            raise ConfigError([self._problem(f"the log cannot be continued: {error}", hint)]) from None
        except OSError as error:
            if error.errno in NOT_NOW:
                raise
            hint = "make the folder above it first" if isinstance(error, FileNotFoundError) else ""
            raise ConfigError([self._problem(f"the log cannot be written: {why(error)}", hint)]) from None
        self._witnesses = None if trust is None else _witnesses_of(settings, trust, clock)
        self._failed, self._mute = "", False
        self._said_at = self._printed_at = float("-inf")
        self._printed, self._signed_at, self._signed = b"", clock.wall(), self._log.signed
        self._witnessed_at = min(_time_of(self._folder / WITNESSED), self._signed_at) if cosigned else self._signed_at
        self._unkept = b""
        self._empty_at, self._behind = clock.monotonic(), False
        self._over = threading.Event()
        self._compressor = Background(self._compress, name="log-compressor")

    def _make_spool(self) -> None:
        """It may be in the log's folder, which is there by now."""
        try:
            made_spool(self._spool)
        except OSError as error:
            if error.errno in NOT_NOW:
                raise
            raise ConfigError([_unusable(self._spool, error)]) from None

    def _problem(self, text: str, hint: str = "") -> Problem:
        return Problem(str(self._folder), 0, 0, text, hint)

    def begin(self) -> None:
        """Say that records are taken, before the first worker looks."""
        self._round()
        self._say()

    def run(self, over: Callable[[], bool], longest_s: float) -> int:
        """Write until `over` and all workers have ended, or for `longest_s` seconds since; returns the exit status.

        Raises:
            AuditBrokenError: the log was changed by something else.
        """
        self._compressor.start()
        if self._witnesses is not None:
            self._witnesses.start()
        deadline = float("inf")
        try:
            while True:
                if ending := over():
                    deadline = min(deadline, self._clock.monotonic() + longest_s)
                    if not self._has_writers() or self._clock.monotonic() > deadline:
                        break
                count = self._round()
                self._say()
                time.sleep(_RETRY_S if self._failed else _BUSY_S if count or ending else _IDLE_S)
        finally:
            self._over.set()
        return self._finish()

    def _has_writers(self) -> bool:
        try:
            return has_writers(self._spool)
        except OSError as error:
            self._fail(f"the spool cannot be read: {why(error)}")
            return True

    def _round(self) -> int:
        """Log what has come, and do what is due; returns how many lines that were."""
        began = self._clock.monotonic()
        try:
            count = self._drain.drain()
            outcomes = self._outcomes.drain()
            self._drain.tend()
            self._outcomes.tend()
        except OSError as error:
            self._fail(unwritable(error))
            return 0
        if self._failed:
            log.info("the decision log can be written again")
            self._failed = ""
        self._behind = count > 0
        if not count:
            self._empty_at = began
        return count + outcomes

    def _fail(self, text: str) -> None:
        if text != self._failed:
            log.error("%s", text)
        self._failed, self._behind = text, True
        self._said_at = float("-inf")  # workers must know at once

    def _say(self) -> None:
        """Tell workers and supervisor how it is, and others which checkpoint there is."""
        now, status = self._clock.monotonic(), self._log
        if now - self._said_at < _SAY_S:
            return
        self._keep_witnessed()
        if status.signed != self._signed:
            self._signed, self._signed_at = status.signed, self._clock.wall()
        found = LogStatus(
            beat=now,
            failed=self._failed,
            size=status.size,
            signed=status.signed,
            signed_at=self._signed_at,
            head=status.head.decode(),
            waits_since=self._empty_at,
            behind=self._behind,
            outcomes=self._outcomes.taken,
            accesses=self._outcomes.accesses,
            skipped=self._outcomes.skipped,
            lost=self._outcomes.lost,
            unread=self._outcomes.problem,
            witnessed=status.witnessed,
            witnessed_at=self._witnessed_at,
            witnesses=tuple(self._witnesses.status()) if self._witnesses is not None else (),
        )
        try:
            write_status(self._spool, found)
        except OSError as error:  # workers refuse when they hear nothing for long enough
            if not self._mute:
                log.error("the spool cannot be written: %s", why(error))  # noqa: TRY400 the text says it all
            self._mute = True
        else:
            self._said_at, self._mute = now, False
        if now - self._printed_at >= _PRINT_S:
            self._print()

    def _keep_witnessed(self) -> None:
        """Leave the checkpoint for the witnesses, and keep the one that a quorum has cosigned."""
        if self._witnesses is None:
            return
        self._witnesses.offer(self._log.head)
        made = self._witnesses.take() or self._unkept
        if not made:
            return
        try:
            self._log.keep_witnessed(made)
        except OSError as error:  # the next call tries again
            if not self._unkept:
                log.error("the witnessed checkpoint cannot be written: %s", why(error))  # noqa: TRY400 the text says it all
            self._unkept = made
        else:
            self._witnessed_at, self._unkept = self._clock.wall(), b""

    def _print(self) -> None:
        """Print the checkpoint, if it is a new one: a program that ships standard output is a witness."""
        if self._log.head != self._printed:
            self._show(json.dumps({"v": 1, "type": "checkpoint", "checkpoint": self._log.head.decode()}))
            self._printed = self._log.head
        self._printed_at = self._clock.monotonic()

    def _finish(self) -> int:
        """Log the rest, sign, and let go of the log."""
        deadline = self._clock.monotonic() + _MARGIN_S
        while True:
            try:
                self._drain.finish()
                self._outcomes.finish()
                if not self._has_writers():
                    self._drain.forget()
                break
            except OSError as error:
                self._fail(unwritable(error))
                if self._clock.monotonic() >= deadline:
                    log.error("what is not in the log stays in %s: the next start logs it", self._spool)  # noqa: TRY400 said above
                    return 1
                time.sleep(_RETRY_S)
        try:
            self._log.close(self._last_cosignatures)
        except OSError as error:
            self._fail(f"the last lines of the decision log are not signed: {why(error)}")
            return 1
        self._print()
        return 0

    def _last_cosignatures(self) -> None:
        if self._witnesses is not None:
            self._witnesses.finish(self._log.head, _LAST_COSIGNATURES_S)
            self._keep_witnessed()

    def _compress(self) -> None:
        """Compress closed files, one after the other, beside the writer."""
        while not self._over.wait(_COMPRESS_S):
            try:
                while self._log.compress() is not None and not self._over.is_set():
                    pass
            except OSError as error:
                log.error("a closed file of the log cannot be compressed: %s", why(error))  # noqa: TRY400 the text says it all


def say_unwritable(spool: Path, clock: Clock, error: OSError) -> str:
    """Tell workers and supervisor that the log cannot be opened now; returns the text of it.

    Where the spool is on the same disk it may not be said: then workers see that the writer says nothing.

    Raises:
        ConfigError: the spool cannot be used.
    """
    text = unwritable(error)
    try:
        made_spool(spool)
        known = read_status(spool) or LogStatus(beat=0.0)  # by what was signed, an older copy of the log is recognised
        write_status(spool, replace(known, beat=clock.monotonic(), failed=text))
    except OSError as problem:
        if problem.errno not in NOT_NOW:
            raise ConfigError([_unusable(spool, problem)]) from None
    return text


def unwritable(error: OSError) -> str:
    """Why records cannot be logged."""
    return f"the decision log cannot be written: {why(error)}"


def _unusable(spool: Path, error: OSError) -> Problem:
    hint = "name a folder of your own, or one that is not there yet: `audit.spool`"
    return Problem(str(spool), 0, 0, f"records cannot be handed over here: {why(error)}", hint)


def _longest_s(settings: Settings) -> float:
    """So long may a writer go on after the supervisor's end: until the last worker has ended, and all is logged."""
    return settings.shutdown.longest + 2 * _MARGIN_S


def _time_of(path: Path) -> float:
    """When a file was written, in seconds since the epoch; infinite if it cannot be known."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return math.inf


def _trust_of(settings: Settings, keys: Sequence[LogKey]) -> Trust | None:
    """The log's newest key, and the witnesses that the settings name; None if there are none.

    Raises:
        ConfigError: one of them has a key of the log.
    """
    audit = settings.audit
    if not audit.witnesses:
        return None
    public = tuple(VerifierKey.parse(one.key) for one in audit.witnesses)
    try:
        trusts = [Trust(log=key.public, witnesses=public, quorum=audit.quorum) for key in keys]
    except ValueError as error:
        hint = "a witness has a key of its own"
        raise ConfigError([Problem(audit.keys[0], 0, 0, f"`audit.witnesses`: {error}", hint)]) from None
    return trusts[0]


def _witnesses_of(settings: Settings, trust: Trust, clock: Clock) -> Witnesses:
    found = [Witness(VerifierKey.parse(one.key), Url.parse(one.url)) for one in settings.audit.witnesses]
    return Witnesses(found, trust, TileFiles(Path(settings.audit.log)), clock)


def _is_cosigned(settings: Settings, keys: Sequence[LogKey]) -> bool:
    """Whether a quorum of the witnesses has cosigned the checkpoint that is kept as such."""
    audit = settings.audit
    witnesses = tuple(VerifierKey.parse(one.key) for one in audit.witnesses)
    demand = Demand(keys=tuple(key.public for key in keys), witnesses=witnesses, quorum=audit.quorum)
    try:
        return kept(Path(audit.log), demand) is not None
    except AuditBrokenError:
        return False
