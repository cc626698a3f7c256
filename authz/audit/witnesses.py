"""Asks witnesses to cosign the log's checkpoints (c2sp.org/tlog-witness), each in a thread of its own.

Law 1: nothing waits for a witness: the log's writer leaves a checkpoint here, and takes a cosigned one when one is
there. Each answer has a deadline and a most number of bytes, and redirects are not followed.
Law 2: only checkpoints that are on the disk are sent. So a witness that knows a longer log than ours has seen records
that are gone: that is said loudly, and nothing is changed for it. The claim is one that anyone in its place can make,
so it stops nothing.
Law 3: threads here read tiles and write nothing.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from authz.audit.status import WitnessStatus
from authz.audit.tile_files import TileFiles
from authz.core.audit.checkpoint import Trust
from authz.core.audit.cosigning import Asked, Cosigning, Head, Pace, Result
from authz.core.audit.keys import VerifierKey
from authz.core.audit.note import Signature
from authz.core.audit.proving import consistency
from authz.core.audit.witness import SIZE_TYPE, add_checkpoint, read_cosignature, read_size
from authz.core.characters import one_line
from authz.core.errors import AuditBrokenError, FetchError
from authz.core.loopback import names_loopback
from authz.core.urls import Url
from authz.fetching.download import Downloader, Reach, default_tls
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits
from authz.system.clock import Clock
from authz.system.regular_file import why
from authz.system.threads import Background

log = logging.getLogger(__name__)

LIMITS: Final = Limits(timeout_s=5.0, max_bytes=64 * 1024)
"""Of one answer."""
_LOOK_S: Final = 0.25
_MOST_PROBLEM: Final = 500  # characters: all of them are in the writer's status, which is bounded
_TRIES: Final = 3  # the size that we know, the one that the witness says, and one more if it was asked meanwhile
_OK, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 200, 403, 404, 409, 422
_REPLACED: Final = "the log does not continue the {} records of it that the witness knows: it was replaced"
_REFUSALS: Final = {
    _FORBIDDEN: "it does not trust the log's keys: give its operator what `authz audit key` prints",
    _NOT_FOUND: "it does not know this log: give its operator what `authz audit key` prints",
}


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its key, and the submission prefix of its URLs."""

    key: VerifierKey
    url: Url


class _FailedError(Exception):
    """A witness did not cosign."""

    def __init__(self, result: Result, problem: str) -> None:
        self.result, self.problem = result, problem
        super().__init__(problem)


class Client:
    """Asks one witness.

    Args:
        witness: which one.
        downloader: speaks with it.
        tiles: those of the log, for proofs.
    """

    def __init__(self, witness: Witness, downloader: Downloader, tiles: TileFiles) -> None:
        self._key, self._downloader, self._tiles = witness.key, downloader, tiles
        url = witness.url
        self._reach = Reach(insecure_http=False, loopback=names_loopback(url.host))
        self._url = Url.parse(f"{url.origin}{url.path.rstrip('/')}/add-checkpoint")

    def cosign(self, head: Head, known: int) -> Signature:
        """Its cosignature; `known` is the size that it knows, as far as we know.

        Raises:
            _FailedError: there is none.
        """
        size = head.checkpoint.size
        for _ in range(_TRIES):
            known = min(known, size)
            found = self._ask(head, known)
            if isinstance(found, Signature):
                return found
            if found == known == size:
                raise _FailedError(Result.CONFLICT, _REPLACED.format(size))
            if found > size:
                text = f"it knows {found} records of this log, which has {size}: the log was cut or rolled back"
                raise _FailedError(Result.CONFLICT, text)
            known = found
        raise _FailedError(Result.INVALID, "it says again and again that it knows another size of the log")

    def _ask(self, head: Head, old: int) -> Signature | int:
        """The cosignature, or the size of the log that the witness knows."""
        try:
            proof = consistency(old, head.checkpoint.size, self._tiles.read)
            body = add_checkpoint(old, proof, head.data)
        except (AuditBrokenError, OSError, ValueError) as error:
            text = why(error) if isinstance(error, OSError) else str(error)
            raise _FailedError(Result.UNREACHABLE, f"there is no proof for it: {text}") from None
        try:
            answer = self._downloader.post(
                self._url,
                body,
                media_type="text/plain; charset=utf-8",
                reach=self._reach,
                deadline=Deadline(LIMITS.timeout_s),
            )
        except FetchError as error:
            raise _FailedError(Result.UNREACHABLE, error.detail) from None
        except OSError as error:
            raise _FailedError(Result.UNREACHABLE, f"{self._url}: {why(error)}") from None
        try:
            if answer.status == _OK:
                return read_cosignature(answer.data, head.checkpoint, self._key)
            if answer.status == _CONFLICT and answer.media_type == SIZE_TYPE:
                return read_size(answer.data)
        except AuditBrokenError as error:
            raise _FailedError(Result.INVALID, f"{self._url} answers with what is no cosignature: {error}") from None
        if (answer.status == _UNPROCESSABLE and old) or (answer.status == _CONFLICT and old == head.checkpoint.size):
            raise _FailedError(Result.CONFLICT, _REPLACED.format(old))
        text = _REFUSALS.get(answer.status, f"{self._url} answers with status {answer.status}")
        raise _FailedError(Result.REFUSED, text)


class Witnesses:
    """The witnesses of one log. `offer`, `take`, `status` and `finish` are for the thread that writes the log.

    Args:
        witnesses: which ones.
        trust: the log's newest key, their keys, the quorum.
        tiles: those of the log.
        clock: tells the time.
        pace: how often they are asked.
    """

    def __init__(
        self, witnesses: Sequence[Witness], trust: Trust, tiles: TileFiles, clock: Clock, pace: Pace | None = None
    ) -> None:
        self._clock = clock
        self._cosigning = Cosigning(trust, pace or Pace())
        downloader = Downloader(limits=LIMITS, tls=default_tls(), resolver=system_resolver)
        self._clients = {one.key: Client(one, downloader, tiles) for one in witnesses}
        self._changed = threading.Condition()
        self._offered = self._made = b""
        self._is_over = False

    def start(self) -> None:
        """Begin to ask."""
        for number, key in enumerate(self._clients):
            Background(self._follow, args=(key,), name=f"witness-{number}").start()

    def offer(self, signed: bytes) -> None:
        """The log's newest checkpoint, which is on the disk."""
        if signed != self._offered:
            head = Head.parse(signed)
            with self._changed:
                self._cosigning.offer(head)
                self._changed.notify_all()
            self._offered = signed

    def take(self) -> bytes:
        """The newest checkpoint with a quorum of cosignatures, if it was not taken yet; else nothing."""
        with self._changed:
            made, self._made = self._made, b""
        return made

    def status(self) -> list[WitnessStatus]:
        """What is known of each witness."""
        with self._changed:
            return [
                WitnessStatus(
                    name=key.name,
                    known=asked.known,
                    cosigned_at=asked.cosigned_at,
                    problem=asked.problem,
                    conflict=asked.in_conflict,
                    counts={result.value: asked.counts[result] for result in Result},
                )
                for key, asked in self._cosigning.asked.items()
            ]

    def finish(self, signed: bytes, longest_s: float) -> None:
        """Ask about the last checkpoint, and wait until it has its quorum, or what lacks it fails, or for so long."""
        deadline = self._clock.monotonic() + longest_s
        self.offer(signed)
        with self._changed:
            self._cosigning.is_over = True
            self._changed.notify_all()
            while (left := deadline - self._clock.monotonic()) > 0:
                if self._cosigning.is_settled(self._clock.monotonic()):
                    break
                self._changed.wait(min(left, _LOOK_S))
            self._is_over = True
            self._changed.notify_all()

    def _follow(self, key: VerifierKey) -> None:
        """Ask one witness, again and again."""
        client, asked = self._clients[key], self._cosigning.asked[key]
        while True:
            with self._changed:
                while (head := self._cosigning.due(key, self._clock.monotonic())) is None:
                    if self._is_over:
                        return
                    self._changed.wait(_LOOK_S)
            try:
                found: Signature | _FailedError = client.cosign(head, asked.known)
            except _FailedError as error:
                found = error
            with self._changed:
                before, now = asked.last, self._clock.monotonic()
                if isinstance(found, Signature):
                    self._made = self._cosigning.cosigned(key, head, found, now) or self._made
                else:
                    self._cosigning.failed(key, found.result, one_line(found.problem)[:_MOST_PROBLEM], now)
                self._changed.notify_all()
            _say(key.name, before, asked)


def _say(name: str, before: Result | None, asked: Asked) -> None:
    """Log what has changed."""
    if asked.last is before:
        return
    if asked.problem:
        level = logging.ERROR if asked.last is Result.CONFLICT else logging.WARNING
        log.log(level, "the witness %s does not cosign: %s", name, asked.problem)
    elif before is not None:
        log.info("the witness %s cosigns again", name)
