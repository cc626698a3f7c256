"""Asks a running Envoy for its configuration, and for its time.

Law: one GET of `/config_dump` at the admin port that an operator names; nothing is changed.
"""

import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore

from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import MAX_BYTES
from authz.core.errors import ConfigError, Problem
from authz.fetching.guard import Deadline, GuardedBackend, system_resolver

_ALL_S: Final = 30.0
_OK: Final = 200
_SKEW_S: Final = 5.0


def ask(url: str, wall: Callable[[], float]) -> tuple[bytes, list[Finding]]:
    """The bytes of `/config_dump`, and what is wrong with Envoy's clock; `wall` is the time of day here.

    Raises:
        ConfigError: Envoy does not answer, or does not show its configuration.
    """
    backend = GuardedBackend(deadline=Deadline(_ALL_S), loopback=True, resolver=system_resolver)
    with httpcore.ConnectionPool(ssl_context=ssl.create_default_context(), network_backend=backend) as pool:
        try:
            with pool.stream("GET", f"{url.rstrip('/')}/config_dump") as response:
                data = b""
                for chunk in response.iter_stream():
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise _error(url, f"more than {MAX_BYTES} bytes", "save it to a file: --proxy")
                here = wall()
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            text = str(error) or type(error).__name__
            raise _error(url, text, "is Envoy running, and is this the address of its `admin`?") from None
    if response.status != _OK:
        hint = "add it to `allow_paths` of Envoy's `admin`, or give the file that Envoy was started with: --proxy"
        raise _error(url, f"/config_dump is answered with {response.status}", hint)
    dates = [value.decode("latin-1") for name, value in response.headers if name.lower() == b"date"]
    return data, [*_clock(url, dates, here)] if dates else []


def _clock(url: str, dates: list[str], here: float) -> list[Finding]:
    try:
        apart = abs(parsedate_to_datetime(dates[0]).timestamp() - here)
    except ValueError:
        return []
    if apart <= _SKEW_S + 1:  # a Date is in whole seconds
        return []
    return [Finding(id="clock", where=url, text=f"Envoy's clock is {apart:.0f} s away from this machine's")]


def _error(url: str, text: str, hint: str) -> ConfigError:
    return ConfigError([Problem(url, 0, 0, text, hint)])
