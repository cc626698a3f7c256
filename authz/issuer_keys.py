"""How the issuers' keys are fetched, from the settings: one place for every process that fetches or keeps them."""

from authz.keys import KeyFetcher, KeyOptions, Limits
from authz.settings import Settings


def fetcher_of(settings: Settings) -> KeyFetcher:
    """The fetcher that goes over the network."""
    return KeyFetcher(limits=Limits(max_bytes=settings.keys.max_bytes, timeout_s=settings.keys.timeout))


def options_of(settings: Settings) -> KeyOptions:
    """How often keys are fetched, and how long they are kept."""
    keys = settings.keys
    return KeyOptions(refresh_s=keys.refresh, min_interval_s=keys.min_interval, max_stale_s=keys.max_stale)
