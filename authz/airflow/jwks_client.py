"""Hold the gate's public keys: fetched in one background thread, cached, and kept when a fetch fails.

Laws: never more than one fetch at a time, and never two within `min_interval_s`, whatever callers send.
A fetch requested too early is made as soon as it is allowed, so that a key whose use begins right after a fetch is
found. A failed fetch keeps the last good keys for `max_stale_s`. A fetch is bounded in bytes and in time,
follows no redirect, uses no proxy and sends no credential. Nothing here blocks its caller.
"""

import logging
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any

from authz.airflow.verifier import Keys, KeySetError, parse_keys

MAX_JWKS_BYTES = 256 * 1024
FETCH_TIMEOUT_S = 3.0
NO_KEYS: Keys = MappingProxyType({})

Fetch = Callable[[], bytes]
log = logging.getLogger(__name__)


class FetchError(Exception):
    """The key set could not be read. The message names the source and what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to fetch, in seconds."""

    refresh_s: float = 300.0
    min_interval_s: float = 2.0
    max_stale_s: float = 86400.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_redirect: Any) -> None:
        """Follow no redirect: the redirect itself stays the answer, which is an error."""


def fetch_url(
    url: str,
    *,
    timeout_s: float = FETCH_TIMEOUT_S,
    clock_skew_s: float = 5.0,
    max_bytes: int = MAX_JWKS_BYTES,
) -> Fetch:
    """Fetch one of the gate's pages over HTTP(S): the key set, or a grant of DAGs.

    A clock there that differs by more than `clock_skew_s` is logged.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    request = urllib.request.Request(url, headers={"accept": "application/json"})  # noqa: S310 - scheme checked by options

    def fetch() -> bytes:
        deadline = time.monotonic() + timeout_s
        try:
            with opener.open(request, timeout=timeout_s) as response:
                _compare_clocks(url, response.headers.get("date"), clock_skew_s)
                return _read_bounded(response, deadline, max_bytes)
        except (OSError, HTTPException, ValueError) as error:
            raise FetchError(f"{url}: {error}") from error

    return fetch


def _compare_clocks(url: str, date: str | None, clock_skew_s: float) -> None:
    """Log a difference: assertions would be refused as expired or not yet valid. `Date` has whole seconds."""
    try:
        ahead = parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return
    if abs(ahead) > clock_skew_s + 1:
        log.warning(
            "The gate's clock (%s) is %d s %s this machine's: its assertions will be refused. Set the clocks right.",
            url,
            abs(ahead),
            "ahead of" if ahead > 0 else "behind",
        )


def _read_bounded(response: Any, deadline: float, max_bytes: int) -> bytes:
    data = bytearray()
    while chunk := response.read1(65536):
        data += chunk
        if len(data) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer took too long")
    return bytes(data)


def fetch_file(path: Path) -> Fetch:
    """Read the key set from a file."""

    def fetch() -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_JWKS_BYTES + 1)
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror}") from error
        if len(data) > MAX_JWKS_BYTES:
            raise FetchError(f"{path}: more than {MAX_JWKS_BYTES} bytes")
        return data

    return fetch


class KeySource:
    """The keys as they are now. Thread-safe; the keys are swapped as a whole."""

    def __init__(
        self,
        fetch: Fetch,
        pace: Pace,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fetch = fetch
        self._pace = pace
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._keys = NO_KEYS
        self._fetched_at = 0.0
        self._attempted_at: float | None = None
        self._flight: Future[None] | None = None

    def load(self) -> None:
        """Fetch now, in the caller's thread. Raises `FetchError` or `KeySetError`: for start-up checks."""
        with self._lock:
            self._attempted_at = self._monotonic()
        self._accept(parse_keys(self._fetch()))

    def keys(self) -> Keys:
        """Return the keys to verify with; starts a refresh in the background when one is due."""
        now = self._monotonic()
        with self._lock:
            age = now - self._fetched_at
            keys = self._keys if age <= self._pace.max_stale_s else NO_KEYS
        if not keys or age >= self._pace.refresh_s:
            self.refresh()
        return keys

    def refresh(self) -> Future[None]:
        """Return the fetch that is under way or waits for its turn; starts one if there is none."""
        now = self._monotonic()
        with self._lock:
            if self._flight is not None:
                return self._flight
            early = 0.0 if self._attempted_at is None else self._attempted_at + self._pace.min_interval_s - now
            self._attempted_at = now + max(early, 0.0)
            flight: Future[None] = Future()
            self._flight = flight
        threading.Thread(target=self._run, args=(flight, early), name="authz-jwks", daemon=True).start()
        return flight

    def _run(self, flight: Future[None], early: float) -> None:
        try:
            if early > 0:
                self._sleep(early)
            self._accept(parse_keys(self._fetch()))
        except (FetchError, KeySetError) as error:
            log.warning("The gate's keys could not be refreshed, keeping the last good ones: %s", error)
        finally:
            with self._lock:
                self._flight = None
            flight.set_result(None)

    def _accept(self, keys: Keys) -> None:
        now = self._monotonic()
        with self._lock:
            if keys.keys() != self._keys.keys():
                log.info("The gate's keys are now: %s", ", ".join(sorted(keys)))
            self._keys = keys
            self._fetched_at = now
