"""Limits of one fetch: apart from `download`, whose HTTP client costs start-up time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a fetch: seconds in total, bytes of each document, redirects of each document."""

    timeout_s: float = 3.0
    max_bytes: int = 256 * 1024
    max_redirects: int = 3
