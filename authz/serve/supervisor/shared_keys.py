"""One fetch for all: the fetcher that the workers share.

Law 1: at most one fetch of an issuer's keys is under way, and at most one begins per `min_interval`, whichever worker
asks and however often: a flood of unknown key ids at every worker is one GET.
Law 2: an answer says how old it is. A worker gets a result even if it is older than its question; its schedule knows
that this settles nothing and asks again when the interval is over.
Law 3: a background refresh accepts a result with half of its lifetime left, so that workers whose refreshes come one
after the other make one GET. Failures are passed on unchanged and kept for `min_interval` only.
"""

import threading
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.errors import KeysUnavailableError
from authz.core.model import Issuer
from authz.keys import Clock, Fetched, Fetcher, KeyOptions
from authz.keys.schedule import freshness

_MOST_ISSUERS: Final = 256  # sources remembered; a policy edit may bring new ones, the oldest make room

Source = tuple[object, ...]


@dataclass(slots=True)
class _Flight:
    """One source: whether a fetch is under way, when the last began, and its result."""

    landed: threading.Condition
    busy: bool = False
    begun: float = float("-inf")
    result: Fetched | KeysUnavailableError | None = field(default=None, repr=False)


class SharedFetcher:
    """A fetcher that answers many callers from one fetch.

    Args:
        fetcher: goes over the network.
        clock: for the age of results.
        options: the intervals; the workers' schedules have the same.
    """

    def __init__(self, fetcher: Fetcher, clock: Clock, options: KeyOptions) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._options = options
        self._lock = threading.Lock()
        self._flights: dict[Source, _Flight] = {}

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:
        """The bytes of the issuer's key set, from an earlier fetch or a new one; see `Fetcher.fetch`.

        Raises:
            KeysUnavailableError: there are none.
        """
        flight = self._flight(source_of(issuer))
        with flight.landed:
            while flight.busy:
                flight.landed.wait()
            if self._serves(flight, hurried=hurried):
                return self._answer(flight.result, flight.begun)
            flight.busy, flight.begun = True, self._clock.monotonic()
            begun = flight.begun
        result: Fetched | KeysUnavailableError = KeysUnavailableError("internal error")  # unless something better comes
        try:
            result = self._fetcher.fetch(issuer, hurried=hurried)
        except KeysUnavailableError as error:
            result = error
        finally:
            with flight.landed:
                flight.busy, flight.result = False, result
                flight.landed.notify_all()
        return self._answer(result, begun)

    def _flight(self, source: Source) -> _Flight:
        with self._lock:
            flight = self._flights.get(source)
            if flight is None:
                if len(self._flights) >= _MOST_ISSUERS:
                    del self._flights[next(iter(self._flights))]
                flight = self._flights[source] = _Flight(threading.Condition())
            return flight

    def _serves(self, flight: _Flight, *, hurried: bool) -> bool:
        """Whether the last result can answer a question that is asked now."""
        age = self._clock.monotonic() - flight.begun
        if flight.result is None:
            return False
        if age < min(self._options.min_interval_s, self._options.refresh_s):
            return True
        if hurried or isinstance(flight.result, KeysUnavailableError) or flight.result.error:
            return False
        return age < freshness(self._options, self._options.refresh_s, flight.result.max_age) / 2

    def _answer(self, result: Fetched | KeysUnavailableError | None, begun: float) -> Fetched:
        if isinstance(result, Fetched):
            return replace(result, age=result.age + self._clock.monotonic() - begun)
        raise KeysUnavailableError(result.detail if result else "")


def source_of(issuer: Issuer) -> Source:
    """What identifies the source of an issuer's keys."""
    return (issuer.issuer, issuer.discovery, issuer.jwks_uri, issuer.insecure_http)
