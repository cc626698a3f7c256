"""Limits of one destination, and when it counts as broken: a part of `authz.settings.plan.egress`.

Law: data and its checks only. Every default is explained where people write it: in
`authz.settings.destinations`.
"""

from dataclasses import dataclass
from typing import Final

MOST_RETRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one destination. Times are in seconds; a size of 0 is no limit."""

    connections: int = 64
    pending: int = 64
    retries: int = 1
    failures: int = 5
    pause: float = 2.0
    connect_timeout: float = 2.0
    idle_timeout: float = 60.0
    request_bytes: int = 4 * 1024 * 1024
    response_bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.connections, self.pending, self.failures) < 1:
            raise ValueError("limits: connections, pending and failures are at least 1")
        if min(self.pause, self.connect_timeout, self.idle_timeout) <= 0:
            raise ValueError("limits: pause, connect_timeout and idle_timeout are more than 0")
        if not 0 <= self.retries <= MOST_RETRIES:
            raise ValueError(f"limits: retries is 0 to {MOST_RETRIES}")
        if min(self.request_bytes, self.response_bytes) < 0:
            raise ValueError("limits: a size cannot be negative")
