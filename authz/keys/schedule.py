"""When the next fetch of one issuer happens, and who waits for it.

Law: plain bookkeeping over times that are passed in; no thread, no lock, no clock. `authz.keys.store` calls it under
its lock. The rules:

1. A fetch starts at most once per `min_interval`, regardless of who asks and how often.
2. A success is repeated after `refresh`, sooner if Cache-Control says so, but for that reason never sooner than 30 s.
3. A failure is repeated after a growing delay, at most `refresh`; at most 30 s without usable keys.
4. A key id is cached as absent for `negative` when two fetches, begun after questions for it and `apart` from each
   other, did not bring it; checks do not wait for it in that time. A check that asked during a fetch which did not
   bring the key waits for the next one.
5. Anyone can guess the id of the next key. So one absence is not cached, and a question for a key id that is cached as
   absent also brings the next fetch forward: to `doubt` after the last one. However a guesser asks, a new key is found
   within that time.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from authz.keys.state import NEVER

_FLOOR_S: Final = 30.0
_JITTER: Final = 0.1
_LARGEST_POWER: Final = 16

Done = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """How often keys are fetched (seconds), and how much a flood of unknown key ids may cost (entries)."""

    refresh_s: float = 300.0
    min_interval_s: float = 5.0
    max_stale_s: float = 86400.0
    file_poll_s: float = 0.5
    negative_s: float = 30.0
    apart_s: float = 5.0
    doubt_s: float = 10.0
    negative_kids: int = 1024
    waiting: int = 10_000


@dataclass(slots=True)
class _Absence:
    """Since when a key id is known to be absent, and until when this is cached."""

    since: float
    until: float = NEVER


@dataclass(frozen=True, slots=True)
class _Waiter:
    kid: str
    fetch: int
    asked_at: float
    done: Done

    def is_answered_by(self, fetch: int, begun: float, kids: Container[str]) -> bool:
        """Whether the fetch of that number settles the question: it began afterwards, or it brought the key."""
        return (self.fetch < fetch and self.asked_at <= begun) or not self.kid or self.kid in kids


def freshness(options: KeyOptions, refresh_s: float, max_age: int | None) -> float:
    """For how many seconds a good result is fresh."""
    if max_age is not None:
        refresh_s = min(refresh_s, max(_FLOOR_S, float(max_age)))
    return min(refresh_s, options.max_stale_s / 2)


class Schedule:
    """The times and the waiters of one issuer.

    Args:
        options: the intervals and bounds.
        refresh_s: the interval of this issuer: `options.refresh_s`, or less for a file.
        jitter: numbers in [0, 1).
    """

    def __init__(self, options: KeyOptions, *, refresh_s: float, jitter: Callable[[], float]) -> None:
        self._options = options
        self._refresh_s = refresh_s
        self._min_interval_s = min(options.min_interval_s, refresh_s)
        self._jitter = jitter
        self._due = NEVER
        self._started_at = NEVER
        self._fetch = 0
        self._failures = 0
        self._waiting: list[_Waiter] = []
        self._absent: dict[str, _Absence] = {}
        self._doubted = False

    def due(self) -> float:
        """When the next fetch starts."""
        if self._waiting:
            return min(self._due, self._started_at + self._min_interval_s)
        if self._doubted:
            return min(self._due, self._started_at + max(self._min_interval_s, self._options.doubt_s))
        return self._due

    def ask(self, kid: str, done: Done, now: float) -> bool:
        """Wait for the next fetch because of `kid`; False when there is no point, or too many wait already."""
        absence = self._absent.get(kid)
        if absence is not None and absence.until > now:
            self._doubted = True
            return False
        if len(self._waiting) >= self._options.waiting:
            return False
        self._waiting.append(_Waiter(kid, self._fetch, now, done))
        return True

    def start(self, now: float) -> bool:
        """A fetch starts now. True when it happens only because a check waits."""
        self._started_at = now
        self._doubted = False
        self._fetch += 1
        return now < self._due

    def succeeded(self, now: float, *, kids: Container[str], max_age: int | None, age: float = 0.0) -> list[Done]:
        """The fetch brought `kids`. Returns the waiters to notify.

        `age` is for a result that another process fetched: how many seconds ago that began. It answers only questions
        that are older, and the next fetch is due as if it had been ours.
        """
        if age:
            self._started_at = now - age
        interval = freshness(self._options, self._refresh_s, max_age)
        self._failures = 0
        delay = interval * (1 - _JITTER + 2 * _JITTER * self._jitter())
        self._due = now + max(delay - age, interval * _JITTER)
        waiting, self._waiting = self._waiting, []
        answered: list[Done] = []
        for waiter in waiting:
            if not waiter.is_answered_by(self._fetch, self._started_at, kids):
                self._waiting.append(waiter)
                continue
            answered.append(waiter.done)
            if waiter.kid and waiter.kid not in kids:
                self._note_absent(waiter.kid, now)
        return answered

    def failed(self, now: float, *, usable: bool) -> list[Done]:
        """The fetch failed; `usable` says whether the last good keys are still used. Returns the waiters to notify."""
        self._failures = min(self._failures + 1, _LARGEST_POWER)
        ceiling = self._refresh_s if usable else min(self._refresh_s, _FLOOR_S)
        delay = min(ceiling, self._min_interval_s * 2.0**self._failures)
        self._due = max(now + delay * (1 - 2 * _JITTER * self._jitter()), self._started_at + self._min_interval_s)
        return self.abandon()

    def abandon(self) -> list[Done]:
        """Forget all waiters. Returns them, to be notified."""
        waiting, self._waiting = self._waiting, []
        return [waiter.done for waiter in waiting]

    def _note_absent(self, kid: str, now: float) -> None:
        """A fetch did not bring the key. Bounded: the oldest entry is evicted."""
        absence = self._absent.pop(kid, None)
        if len(self._absent) >= self._options.negative_kids:
            del self._absent[next(iter(self._absent))]
        lasts = max(self._options.negative_s, self._options.min_interval_s)
        if absence is None or now - absence.since > lasts:
            absence = _Absence(now)
        elif now - absence.since >= self._options.apart_s:
            absence.until = now + lasts
        self._absent[kid] = absence
