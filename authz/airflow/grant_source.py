"""Fetch and cache the DAGs that an assertion names by a digest because they are too many to fit in it.

Law: only an answer with that digest is accepted, so it does not matter who answers, and what is cached never changes.
If no gate answers, the request gets 503: never all DAGs, and never an empty list, which would look like an answer. Only
a verified assertion causes a fetch. One fetch per digest at a time, bounded in number, bytes and time; a failure is not
cached. Nothing here blocks the event loop.
"""

import base64
import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from authz.airflow.dag_grant import DagGrant
from authz.airflow.jwks_client import FetchError, fetch_url

MAX_GRANT_BYTES = 32 * 1024 * 1024  # more than the DAGs of the largest policy
MAX_KEPT = 256
MAX_KEPT_BYTES = 64 * 1024 * 1024  # of all kept answers together
FETCHES = 4  # at a time

FetchPage = Callable[[str], bytes]
log = logging.getLogger(__name__)


class GrantError(Exception):
    """The answer is not the grant that was requested."""


def parse_grant(data: bytes, reference: str) -> DagGrant:
    """Read the grant with this digest."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    if digest != reference:
        raise GrantError("the answer has a different digest")
    try:
        document = json.loads(data)
        allowed, denied = document["allowed"], document["denied"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise GrantError("the answer is not a grant") from error
    if not (_patterns(allowed) and _patterns(denied)):
        raise GrantError("the answer is not a grant")
    return DagGrant(tuple(allowed), tuple(denied))


def _patterns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def fetch_page(url: str) -> bytes:
    """Fetch one page of a gate."""
    return fetch_url(url, max_bytes=MAX_GRANT_BYTES)()


class GrantSource:
    """The grants that gates have handed out recently. Thread-safe.

    `bases` are the gates' URLs for them, each with a slash at its end; they are asked one after the other.
    """

    def __init__(self, bases: Sequence[str], fetch: FetchPage = fetch_page) -> None:
        self._bases = tuple(bases)
        self._fetch = fetch
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[DagGrant, int]] = OrderedDict()
        self._bytes = 0
        self._flights: dict[str, Future[DagGrant | None]] = {}
        self._threads = ThreadPoolExecutor(FETCHES, thread_name_prefix="authz-grants")

    def get(self, reference: str) -> DagGrant | None:
        """Return the grant, if it is known already."""
        with self._lock:
            known = self._kept.get(reference)
            if known is None:
                return None
            self._kept.move_to_end(reference)
            return known[0]

    def ask(self, reference: str) -> Future[DagGrant | None]:
        """Return the fetch of a grant. Its result is None when no gate has the grant; the log says why."""
        with self._lock:
            flight = self._flights.get(reference)
            if flight is None:
                flight = self._flights[reference] = self._threads.submit(self._load, reference)
            return flight

    def _load(self, reference: str) -> DagGrant | None:
        failures = []
        try:
            for base in self._bases:
                try:
                    data = self._fetch(base + reference)
                    grant = parse_grant(data, reference)
                except (FetchError, GrantError) as error:
                    failures.append(str(error))
                    continue
                self._keep(reference, grant, len(data))
                return grant
        finally:
            with self._lock:
                del self._flights[reference]
        why = "; ".join(failures) or "[authz] has no jwks_url and no grants_url to ask"
        log.warning("The DAGs of an assertion could not be fetched, the request gets 503: %s", why)
        return None

    def _keep(self, reference: str, grant: DagGrant, size: int) -> None:
        with self._lock:
            _, before = self._kept.pop(reference, (grant, 0))
            self._kept[reference] = grant, size
            self._bytes += size - before
            while len(self._kept) > 1 and (len(self._kept) > MAX_KEPT or self._bytes > MAX_KEPT_BYTES):
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone
