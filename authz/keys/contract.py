"""The result of a key fetch, and the protocol of fetchers.

Law: a shape and a protocol; nothing is done here.
"""

from dataclasses import dataclass, field
from typing import Protocol

from authz.core.model import Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bytes of a key set. `max_age` is how long the server calls it fresh.

    `age` is 0 for a fetch made for this question; if it was made for another caller, the seconds since it began.

    `error` says why the fetch failed, if it did; then `data` was kept from an earlier process, and `since` is its time.
    """

    data: bytes = field(repr=False)
    max_age: int | None = None
    age: float = 0.0
    error: str = ""
    since: str = ""


class Fetcher(Protocol):
    """Fetches key sets; `KeyFetcher` for real, a simulator in tests."""

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:
        """The bytes of the issuer's key set, from the place that its discovery document names now.

        `hurried` says that a key is missing: an older result is of no use.

        Raises:
            KeysUnavailableError: there are none; the message is fit for a log.
        """
        ...
