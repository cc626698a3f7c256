"""What one fetch of keys may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a fetch may cost: seconds for all of it, bytes of each document, redirects of each document."""

    timeout_s: float = 3.0
    max_bytes: int = 256 * 1024
    max_redirects: int = 3
