"""How long the certificates that the settings name remain valid: for metrics, `/readyz`, lint and `authz envoy`.

Law: nothing here decides whether the gate is ready. A changed file is read again; this is checked every few seconds,
never on the serving thread. In a chain the first certificate to expire counts, in a CA bundle the last: it may hold the
old one beside the new. Files that are not on this machine are skipped: Envoy may be elsewhere.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from authz.settings.named_files import Named, Use
from authz.system.regular_file import MOST_SECRET_BYTES, read_regular

WARN_S: Final = 14 * 86400.0
_DAY_S: Final = 86400.0
_LOOK_S: Final = 5.0

_Mark = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """When the certificate that a key names expires (seconds since 1970), or what is wrong with its file."""

    key: str
    path: str
    at: float = 0.0
    problem: str = ""

    def warning(self, now: float) -> str:
        """Note for the operator at this moment; "" if all is well."""
        left = self.at - now
        if self.problem:
            return f"`{self.key}`: {self.path}: {self.problem}"
        if left <= 0:
            return f"`{self.key}`: the certificate in {self.path} expired {_days(-left)} ago: replace it"
        if left < WARN_S:
            return f"`{self.key}`: the certificate in {self.path} expires in {_days(left)}: renew it"
        return ""

    def is_over(self, now: float) -> bool:
        """Whether it cannot be used now."""
        return bool(self.problem) or self.at <= now


def expiries(files: Iterable[Named]) -> Iterator[Expiry]:
    """The content of each file that holds certificates; nothing for a file that is not here."""
    for file in files:
        if file.use in {Use.CERTIFICATE, Use.AUTHORITY}:
            found = _read(file)
            if found is not None:
                yield found


class Certificates:
    """The certificates of the settings, as they are on disk."""

    def __init__(self, files: Iterable[Named]) -> None:
        self._files = tuple(file for file in files if file.use in {Use.CERTIFICATE, Use.AUTHORITY})
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._known: dict[Named, tuple[_Mark, Expiry | None]] = {}

    def look(self, now: float) -> tuple[Expiry, ...]:
        """The known state, refreshed if old; `now` is the monotonic clock's. Any thread but the serving one."""
        with self._lock:
            if now - self._looked >= _LOOK_S:
                self._looked = now
                for file in self._files:
                    mark = _mark(file.path)
                    known = self._known.get(file)
                    if known is None or known[0] != mark:
                        self._known[file] = mark, _read(file)
            return tuple(found for _mark, found in self._known.values() if found is not None)

    def ends(self, now: float) -> Mapping[str, float]:
        """When each one expires, by its key, for the metric."""
        return {found.key: found.at for found in self.look(now) if not found.problem}

    def warnings(self, now: float, wall: float) -> list[str]:
        """Notes for the operator."""
        return [text for found in self.look(now) if (text := found.warning(wall))]


def _mark(path: str) -> _Mark:
    """A value that changes when a file is written or replaced; None if there is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(file: Named) -> Expiry | None:
    try:
        data = read_regular(file.path, MOST_SECRET_BYTES)
        ends = [one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(data)]
    except FileNotFoundError:
        return None
    except OSError as error:
        return Expiry(key=file.key, path=file.path, problem=f"cannot be read: {error.strerror}")
    except ValueError:
        return Expiry(key=file.key, path=file.path, problem="there is no certificate in it (PEM)")
    return Expiry(key=file.key, path=file.path, at=max(ends) if file.use is Use.AUTHORITY else min(ends))


def _days(seconds: float) -> str:
    days = int(seconds // _DAY_S)
    if days == 0:
        return "less than a day"
    return f"{days} day{'' if days == 1 else 's'}"
