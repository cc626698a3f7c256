"""A fetcher that remembers the last good key set of every issuer across restarts.

Law 1: only a set that has usable keys is kept; it is checked like every fetched one, when it is kept and when it is
used.
Law 2: a kept set is only for the issuer and the source that it was fetched for.
Law 3: it is returned only if a fetch has failed, with that error, and only within `max_stale`. Its age is the larger
of two: by wall time, and, within one boot of the machine, by the time since boot, which cannot be set back. A set from
the future is not used.
"""

import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from authz.core.errors import KeysUnavailableError
from authz.core.jose import jwks
from authz.core.model import Issuer
from authz.keys.boot import Boot, this_boot
from authz.keys.contract import Fetched, Fetcher
from authz.system.clock import Clock
from authz.system.state_folder import Item, StateFolder, shown

_REWRITE_S: Final = 60.0  # an unchanged set is written again to renew its time, at most this often
_AHEAD_S: Final = 30.0  # tolerated difference of clocks


class KeepingFetcher:
    """Keeps what another fetcher returns.

    Args:
        fetcher: goes over the network.
        state: where sets are kept.
        clock: its wall time is stored with a set.
        max_stale_s: the maximum age of a set that is returned.
        max_bytes: the largest set.
        boot: the current boot, which is stored with a set too.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        state: StateFolder,
        clock: Clock,
        *,
        max_stale_s: float,
        max_bytes: int,
        boot: Callable[[], Boot] = this_boot,
    ) -> None:
        self._boot = boot
        self._fetcher = fetcher
        self._state = state
        self._clock = clock
        self._max_stale_s = max_stale_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._written: dict[str, tuple[bytes, float]] = {}

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:
        """See `Fetcher.fetch`; with `error`, what was kept.

        Raises:
            KeysUnavailableError: the fetch failed, and there is no usable kept set.
        """
        if issuer.jwks_file is not None:
            return self._fetcher.fetch(issuer, hurried=hurried)
        try:
            fetched = self._fetcher.fetch(issuer, hurried=hurried)
            jwks.parse(fetched.data)
        except KeysUnavailableError as error:
            kept = self._kept(issuer, error.detail)
            if kept is None:
                raise
            return kept
        self._keep(issuer, fetched)
        return fetched

    def _keep(self, issuer: Issuer, fetched: Fetched) -> None:
        name, now, digest = _name(issuer), self._clock.wall(), sha256(fetched.data).digest()
        with self._lock:
            before, at = self._written.get(name, (b"", float("-inf")))
            if digest == before and now - at < _REWRITE_S:
                return
            self._written[name] = digest, now
        boot = self._boot()
        about = {"source": _source(issuer), "fetched_at": now, "boot": boot.id, "boot_s": boot.seconds}
        self._state.keep(name, Item(about=about, data=fetched.data))

    def _kept(self, issuer: Issuer, error: str) -> Fetched | None:
        name = _name(issuer)
        item = self._state.read(name, self._max_bytes)
        if item is None:
            return None
        at = item.about.get("fetched_at")
        if item.about.get("source") != _source(issuer) or not isinstance(at, int | float):
            self._state.refuse(name, "it belongs to another issuer")
            return None
        by_wall, by_boot = self._clock.wall() - at, self._age_by_boot(item.about)
        age = max(by_wall, by_boot)
        if by_wall < -_AHEAD_S or age >= self._max_stale_s:
            # Without the age, which grows: a text that stays the same is logged once.
            more = "" if by_boot <= by_wall else " and older than that by the time since the machine started"
            self._state.refuse(name, f"it is from {shown(at)}{more}, and `keys.max_stale` is {self._max_stale_s:g} s")
            return None
        try:
            jwks.parse(item.data)
        except KeysUnavailableError as failure:
            self._state.refuse(name, failure.detail)
            return None
        return Fetched(data=item.data, age=max(0.0, age), error=error, since=shown(at))

    def _age_by_boot(self, about: Mapping[str, Any]) -> float:
        """The age by the time since boot, which cannot be set back; minus infinity for a set from another boot."""
        boot, at = self._boot(), about.get("boot_s")
        if not boot.id or about.get("boot") != boot.id or not isinstance(at, int | float):
            return float("-inf")
        return boot.seconds - at


def _source(issuer: Issuer) -> list[object]:
    """What identifies the source of an issuer's keys, in a form for JSON."""
    return [issuer.issuer, issuer.discovery, issuer.jwks_uri, issuer.insecure_http]


def _name(issuer: Issuer) -> str:
    return f"keys-{sha256(repr(_source(issuer)).encode()).hexdigest()[:32]}"
