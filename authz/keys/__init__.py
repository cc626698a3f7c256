"""Key sets: fetched in the background, bounded in every way, read as one immutable view.

Law: nothing here runs on the serving thread except `KeyStore.view` and `KeyStore.request`, which never wait.
"""

from authz.fetching.limits import Limits
from authz.keys.contract import Fetched, Fetcher
from authz.keys.fetch import KeyFetcher
from authz.keys.schedule import KeyOptions
from authz.keys.state import KeyState
from authz.keys.store import KeyEvents, KeyStore
from authz.system.clock import Clock, SystemClock

__all__ = [
    "Clock",
    "Fetched",
    "Fetcher",
    "KeyEvents",
    "KeyFetcher",
    "KeyOptions",
    "KeyState",
    "KeyStore",
    "Limits",
    "SystemClock",
]
