"""Makes each use of a break-glass token loud: a count of checks for the alert, a line in the gate's own log.

Law: the line names the issuer, the token's reason and a decision's id. Who it is stands in the record of that decision,
where `log.privacy` decides what is written.
"""

import logging
from collections.abc import Callable

from authz.authn.sessions import Session
from authz.check.check_record import CheckRecord
from authz.core.jose.primitives import shown
from authz.core.model import Claims

log = logging.getLogger(__name__)


class Alarm:
    """Used by one thread. `count` counts a check."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self._last: Session | None = None

    def __call__(self, check: CheckRecord, claims: Claims) -> None:
        """A caller with a break-glass token asks; of a token that asks again only the first check is in the log."""
        self._count()
        if self._last is not check.account:
            self._last = check.account
            text = "break-glass: a token of issuer %s is in use for %s; see decision %s"
            log.warning(text, claims.issuer_name, shown(claims.break_glass), check.id)
