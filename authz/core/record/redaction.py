"""What `log.privacy` does to the fields that name people: left out, or hashed.

Law: a hash is SHA-256 of the subject's salt and the value, so without the salt it says nothing, and two subjects with
the same group have different hashes. An empty value stays empty: that a caller is anonymous is no secret. Where the
salt is not known, the fields that would be hashed are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from authz.core.reasons import ANSWERS, Reason
from authz.core.record.encoding import valid
from authz.core.record.fields import HASHED

PEOPLE: Final = ("subject", "user", "client", "groups", "source")
"""Fields that can be left out or hashed."""
PATH: Final = "path"
"""A field that can be left out."""

_CLAIMS: Final = frozenset({"subject", "user", "client", "groups"})
_QUOTES: Final = frozenset({302, 401})  # a refused token's claims may be quoted, also in the answer to a sign-out


@dataclass(frozen=True, slots=True)
class Redactor:
    """Redacts the fields of one subject. `salt` is "" if it is not known."""

    drop: frozenset[str]
    hashed: frozenset[str]
    salt: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out because the salt is not known."""
        return bool(self.salt) or not self.hashed

    def text(self, name: str, value: str) -> str | None:
        """The value of a field as it is written; None if it is left out."""
        if name in self.drop:
            return None
        if name not in self.hashed or not value:
            return value
        if not self.salt:
            return None
        return HASHED + sha256((self.salt + valid(value)).encode()).hexdigest()

    def fields(self, found: Mapping[str, object]) -> dict[str, object]:
        """The fields as they are written, in their order."""
        written = dict(found)
        for name in self.drop | self.hashed:
            value = written.get(name)
            shown: object = value
            if isinstance(value, str):
                shown = self.text(name, value)
            elif isinstance(value, tuple):
                shown = self._texts(name, value)
            if shown is not None:
                written[name] = shown
            elif value is not None:
                del written[name]
        return written

    def _texts(self, name: str, values: tuple[str, ...]) -> tuple[str, ...] | None:
        shown = [text for value in values if (text := self.text(name, value)) is not None]
        lost = name in self.drop or len(shown) < len(values)
        return None if lost else tuple(sorted(shown))

    def detail(self, reason: Reason, detail: str) -> str:
        """The detail of a denial; "" where it may quote claims of a refused token, and these are not for the log."""
        hides = not _CLAIMS.isdisjoint(self.drop | self.hashed)
        return "" if hides and ANSWERS[reason].http in _QUOTES else detail
