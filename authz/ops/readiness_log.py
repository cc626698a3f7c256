"""Logs the changes between ready and not ready, with their reasons.

Law: a healthy start is one line, at its end. What is not ready yet is logged only when a start has taken `START_S`, and
then every change is. Pure except for the log: time is an argument. Used by one thread.
"""

import logging
from typing import Final

from authz.ops.admin import Readiness

log = logging.getLogger(__name__)

START_S: Final = 5.0
"""How long a start may take before its reasons are logged."""
_SHOWN: Final = 12  # characters of a revision


class ReadinessLog:
    """What was logged last.

    Args:
        ready: what is logged when all is well.
        level: the level of a first "ready" that followed a start without trouble.
    """

    def __init__(self, ready: str, *, level: int = logging.INFO) -> None:
        self._text = ready
        self._level = level
        self._last: bool | None = None

    def look(self, now: Readiness, *, since_start: float) -> None:
        """Log what has changed since the last look. `since_start` is in seconds."""
        if now.ready == self._last or (self._last is None and not now.ready and since_start < START_S):
            return
        first, self._last = self._last is None, now.ready
        revision = str(now.details.get("revision", ""))[:_SHOWN]
        text = f"{self._text}, policy {revision or 'none'}" if now.ready else "not ready"
        level = self._level if first and now.ready and not now.reasons else logging.INFO
        log.log(level, "%s%s", text, "".join(f"\n  {reason}" for reason in now.reasons))
