"""Which fields of a check's record are left out or hashed, and with whose salt.

Law: the serving thread never waits for a salt: a check of a subject whose salt this process does not know is parked,
and evaluated again. If there is no salt then, the check is denied, or the fields that would be hashed are left out of
its record, as `audit.on_failure` says. So no record names a person whose name is to be hidden. What is made with salts
is kept in bounded tables, which are emptied when a salt has gone.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from authz.authn.sessions import Session
from authz.core.parked import Begin, Done
from authz.core.record import Redactor


class Salts(Protocol):
    """The salts of subjects (implemented by `authz.ops.salts`)."""

    required: bool
    """A check is denied whose caller has no salt."""
    common: str
    """The salt of those that have no subject."""
    erased: int
    """How often salts that were in use have gone."""

    def of(self, issuer: str, subject: str) -> str | None:
        """The subject's salt; None if it is not known here."""
        ...

    def make(self, issuer: str, subject: str, done: Done) -> bool:
        """Find or make the subject's salt; see `authz.core.parked.Begin`."""
        ...

    def why(self) -> str:
        """Why the last salt could not be made."""
        ...


_MOST_KEPT: Final = 4096  # of a table; a full one is cleared


class Privacy:
    """How the records of one process are redacted.

    Args:
        drop: fields that are left out.
        hashed: fields that are hashed.
        salts: the salts; None if nothing is hashed.
    """

    def __init__(self, drop: Iterable[str], hashed: Iterable[str], salts: Salts | None) -> None:
        self._bare = Redactor(frozenset(drop), frozenset(hashed))
        self._salts = salts
        self._erased = salts.erased if salts is not None else 0
        # Each check needs a redactor, and most of them the address of the same few proxies or people.
        self._redactors: dict[str, Redactor] = {}
        self._sources: dict[tuple[str, str], str | None] = {}

    @property
    def without_subject(self) -> Redactor:
        """For anonymous callers, refused tokens, and runs, whose token is the gate's."""
        return self._bare if self._salts is None else self._with(self._salts.common)

    @property
    def without_salt(self) -> Redactor:
        """For a caller whose salt is not to be had: what would be hashed is left out."""
        return self._bare

    def of(self, account: Session | None) -> Redactor | None:
        """For the caller with this session; None if its salt is not known here."""
        if account is None or self._salts is None:
            return self.without_subject
        salt = self._salts.of(account.claims.issuer, account.claims.subject)
        return None if salt is None else self._with(salt)

    def _with(self, salt: str) -> Redactor:
        redactor = self._redactors.get(salt)
        if redactor is None:
            if len(self._redactors) >= _MOST_KEPT:
                self._redactors.clear()
            redactor = self._redactors[salt] = replace(self._bare, salt=salt)
        return redactor

    def source(self, redactor: Redactor, source: str) -> str | None:
        """The address of a check as it is written; None if it is left out."""
        key = redactor.salt, source
        if key not in self._sources:
            if len(self._sources) >= _MOST_KEPT:
                self._sources.clear()
            self._sources[key] = redactor.text("source", source)
        return self._sources[key]

    def wait_for(self, account: Session) -> Begin:
        """What finds or makes the salt of this session's subject."""
        if self._salts is None:
            raise ValueError("nothing is hashed")
        return partial(self._salts.make, account.claims.issuer, account.claims.subject)

    def refusal(self) -> str | None:
        """Why a check without a salt is denied; None if it goes on."""
        if self._salts is None or not self._salts.required:
            return None
        return self._salts.why() or "the salt of the caller was not stored in time"

    def someone_was_erased(self) -> bool:
        """Whether salts in use have gone since the last call: what was made with them must not be used again."""
        if self._salts is None or self._salts.erased == self._erased:
            return False
        self._erased = self._salts.erased
        self._redactors.clear()
        self._sources.clear()
        return True
