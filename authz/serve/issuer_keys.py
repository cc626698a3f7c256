"""How the issuers' keys are fetched and kept, from the settings: one place for every process that does so."""

from pathlib import Path

from authz.keys import Clock, Fetcher, KeyFetcher, KeyOptions, Limits
from authz.keys.kept_keys import KeepingFetcher
from authz.settings import Settings
from authz.system.state_folder import StateFolder


def state_of(settings: Settings) -> StateFolder | None:
    """The state folder, if the settings name one."""
    return StateFolder(Path(settings.state)) if settings.state else None


def fetcher_of(settings: Settings, state: StateFolder | None, clock: Clock) -> Fetcher:
    """The network fetcher, which keeps what it fetched in the state folder."""
    keys = settings.keys
    fetcher = KeyFetcher(limits=Limits(max_bytes=keys.max_bytes, timeout_s=keys.timeout))
    if state is None:
        return fetcher
    return KeepingFetcher(fetcher, state, clock, max_stale_s=keys.max_stale, max_bytes=keys.max_bytes)


def options_of(settings: Settings) -> KeyOptions:
    """How often keys are fetched, and how long they are kept."""
    keys = settings.keys
    return KeyOptions(refresh_s=keys.refresh, min_interval_s=keys.min_interval, max_stale_s=keys.max_stale)
