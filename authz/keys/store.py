"""The key sets of all issuers, refreshed in the background and read as one immutable view.

Law 1: the serving thread never waits here. `view` reads one reference; `request` takes a lock that is never held during
fetching or parsing.
Law 2: one thread per issuer fetches, so there is never more than one fetch of an issuer under way (single flight).
Law 3: a fetch that fails changes nothing but `last_error`. The last good keys serve until they are `max_stale` old. A
fetch that succeeds replaces the set as a whole: a key that is no longer in it no longer verifies anything.
Law 4: a caller that has to wait is notified once when the wait is over, whatever happened, including stop and removal.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from authz.core.errors import KeysUnavailableError
from authz.core.jose import jwks
from authz.core.jose.jwks import KeySet
from authz.core.model import Issuer
from authz.keys.contract import Fetched, Fetcher
from authz.keys.schedule import Done, KeyOptions, Schedule
from authz.keys.state import KeyState
from authz.system.clock import Clock
from authz.system.threads import Background

log = logging.getLogger(__name__)

_RANDOM: Final = random.SystemRandom()

KeyEvents = Callable[[str, str], None]

CHANGED: Final = "changed"
UNCHANGED: Final = "unchanged"
FAILED: Final = "failed"


class _Worker:
    """One issuer: its schedule, its thread, and the last good fetch."""

    def __init__(self, issuer: Issuer, schedule: Schedule, lock: threading.Lock) -> None:
        self.issuer = issuer
        self.schedule = schedule
        self.wake = threading.Condition(lock)
        self.stopping = False
        self.thread: threading.Thread | None = None
        self.state = KeyState(issuer=issuer.issuer)
        self.digest = b""


class KeyStore:
    """Keeps the key sets of the configured issuers fresh.

    Args:
        fetcher: gets the bytes of a key set.
        clock: for time and waiting.
        options: how often, how long.
        events: called with (issuer name, `changed` | `unchanged` | `failed`) after every fetch, from its thread, except
            after reading an unchanged local file.
        jitter: numbers in [0, 1).
    """

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        options: KeyOptions,
        events: KeyEvents,
        *,
        jitter: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._options = options
        self._events = events
        self._jitter = jitter
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        self._retired: list[threading.Thread] = []
        self._running = False
        self._stopped = False
        self._view: Mapping[str, KeyState] = MappingProxyType({})

    def configure(self, issuers: Iterable[Issuer]) -> None:
        """Serve exactly these issuers from now on.

        An issuer whose key source is unchanged keeps its key set; the threads of the others end.
        """
        wanted = {issuer.name: issuer for issuer in issuers}
        with self._lock:
            for name, worker in list(self._workers.items()):
                if name in wanted and _source(wanted[name]) == _source(worker.issuer):
                    continue
                self._retire(self._workers.pop(name))
            for name, issuer in wanted.items():
                if name not in self._workers:
                    self._workers[name] = self._employ(issuer)
            self._renew_view()

    def start(self) -> None:
        """Begin to fetch; the first fetch of every issuer starts at once."""
        with self._lock:
            self._running = True
            for worker in self._workers.values():
                self._launch(worker)

    def stop(self, timeout: float = 10.0) -> None:
        """Stop fetching and wait for the threads, each for at most `timeout` seconds. The last view stays readable."""
        with self._lock:
            self._running, self._stopped = False, True
            for worker in self._workers.values():
                self._retire(worker)
            self._workers.clear()
            threads = self._retired
        for thread in threads:
            thread.join(timeout)

    def view(self) -> Mapping[str, KeyState]:
        """The state of every issuer, by its name: an immutable mapping of one moment."""
        return self._view

    def request(self, issuer_name: str, kid: str, done: Done) -> bool:
        """Ask for keys that the view does not have; `kid` is "" for a token without one.

        Returns:
            True when a fetch is under way or starts within `min_interval`; `done` is then called once, from a thread
            of the store, when it has ended. False when nothing will be fetched for this: answer now, from a new view
            (the key may have arrived just now).
        """
        with self._lock:
            worker = self._workers.get(issuer_name)
            if worker is None or not self._running:
                return False
            now = self._clock.monotonic()
            usable = worker.state.usable(now)
            if usable is not None and kid in usable.keys:
                return False
            before = worker.schedule.due()
            waits = worker.schedule.ask(kid, done, now)
            if worker.schedule.due() < before:
                worker.wake.notify_all()
            return waits

    def _employ(self, issuer: Issuer) -> _Worker:
        refresh_s = self._options.refresh_s
        if issuer.jwks_file is not None:
            refresh_s = min(refresh_s, self._options.file_poll_s)
        worker = _Worker(issuer, Schedule(self._options, refresh_s=refresh_s, jitter=self._jitter), self._lock)
        if self._running:
            self._launch(worker)
        return worker

    def _launch(self, worker: _Worker) -> None:
        if worker.thread is None:
            name = f"keys-{worker.issuer.name}"
            worker.thread = Background(self._run, args=(worker,), name=name)
            worker.thread.start()

    def _retire(self, worker: _Worker) -> None:
        worker.stopping = True
        worker.wake.notify_all()
        self._retired = [thread for thread in self._retired if thread.is_alive()]
        if worker.thread is not None:
            self._retired.append(worker.thread)

    def _run(self, worker: _Worker) -> None:
        """The thread of one issuer."""
        while self._wait(worker):
            self._attempt(worker)
        with self._lock:
            left = worker.schedule.abandon()
        self._tell(left)

    def _wait(self, worker: _Worker) -> bool:
        """Wait until a fetch is due; False when the thread must end."""
        with self._lock:
            while not worker.stopping:
                left = worker.schedule.due() - self._clock.monotonic()
                if left <= 0:
                    return True
                self._clock.wait(worker.wake, left)
            return False

    def _attempt(self, worker: _Worker) -> None:
        """One fetch, and what follows from it."""
        with self._lock:
            hurried = worker.schedule.start(self._clock.monotonic())
        previous = worker.state.keyset
        try:
            fetched = self._fetcher.fetch(worker.issuer, hurried=hurried)
            digest = sha256(fetched.data).digest()
            if previous is not None and digest == worker.digest:
                keyset = previous
            else:
                keyset = jwks.parse(fetched.data, previous)
        except KeysUnavailableError as error:
            self._failed(worker, _placed(worker.issuer, error.detail))
        except Exception as error:
            # The thread's outermost handler: a bug in a fetch must not end the refreshing of this issuer for good.
            log.exception("fetching the keys of issuer %s", worker.issuer.name)
            self._failed(worker, f"internal error ({type(error).__name__})")
        else:
            if fetched.error:
                self._restored(worker, fetched, keyset)
            else:
                worker.digest = digest
                self._succeeded(worker, fetched, keyset, previous)

    def _succeeded(self, worker: _Worker, fetched: Fetched, keyset: KeySet, previous: KeySet | None) -> None:
        name = worker.issuer.name
        with self._lock:
            now = self._clock.monotonic()
            fetched_at = now - fetched.age
            state = KeyState(
                issuer=worker.issuer.issuer,
                keyset=keyset,
                fetched_at=fetched_at,
                stale_at=fetched_at + self._options.max_stale_s,
            )
            before, worker.state = worker.state, state
            self._renew_view()
            done = worker.schedule.succeeded(now, kids=keyset.keys, max_age=fetched.max_age, age=fetched.age)
        changed = previous is None or keyset.digest != previous.digest
        if changed or before.last_error:
            level = logging.DEBUG if previous is None and not before.last_error else logging.INFO  # a start is quiet
            log.log(level, "issuer %s: %d keys%s", name, len(keyset), ", again" if before.last_error else "")
        if keyset is not previous:
            for ignored in keyset.ignored:
                log.warning("issuer %s: left out %s", name, ignored)
        if changed or worker.issuer.jwks_file is None:
            self._events(name, CHANGED if changed else UNCHANGED)
        self._tell(done)

    def _restored(self, worker: _Worker, fetched: Fetched, keyset: KeySet) -> None:
        """The fetch failed, and there are keys from before the restart: they are used until they are `max_stale` old.

        Keys that this process has fetched are as good, and stay.
        """
        if worker.state.keyset is not None:
            self._failed(worker, fetched.error)
            return
        with self._lock:
            fetched_at = self._clock.monotonic() - fetched.age
            worker.state = KeyState(
                issuer=worker.issuer.issuer,
                keyset=keyset,
                fetched_at=fetched_at,
                stale_at=fetched_at + self._options.max_stale_s,
                restored=fetched.since,
            )
        log.warning(
            "issuer %s: %d keys from %s, kept from before the restart", worker.issuer.name, len(keyset), fetched.since
        )
        self._failed(worker, fetched.error)

    def _failed(self, worker: _Worker, text: str) -> None:
        name = worker.issuer.name
        with self._lock:
            now = self._clock.monotonic()
            before = worker.state
            worker.state = replace(before, last_error=text)
            self._renew_view()
            done = worker.schedule.failed(now, usable=before.usable(now) is not None)
        if text != before.last_error:
            log.warning("issuer %s: %s: %s", name, "no new keys" if before.keyset else "no keys", text)
        self._events(name, FAILED)
        self._tell(done)

    def _renew_view(self) -> None:
        """Swap the view; a worker that was removed meanwhile is not in it, whatever it still fetches."""
        if self._stopped:
            return
        self._view = MappingProxyType({name: worker.state for name, worker in self._workers.items()})

    @staticmethod
    def _tell(waiting: list[Done]) -> None:
        for done in waiting:
            try:
                done()
            except Exception:
                # The thread's outermost handler: the next waiter must be notified too, and the thread must go on.
                log.exception("notifying a waiting check of a key")


def _source(issuer: Issuer) -> tuple[object, ...]:
    """What identifies the source of an issuer's keys."""
    return (issuer.issuer, issuer.discovery, issuer.jwks_uri, issuer.jwks_file, issuer.insecure_http)


def _placed(issuer: Issuer, detail: str) -> str:
    """A failure with the name of its key file; a failure about a URL names the URL already."""
    file = issuer.jwks_file
    return detail if file is None or detail.startswith(file) else f"{file}: {detail}"
