"""Asks a running Envoy for its configuration, and for its time.

Law: GETs of `/config_dump` at the admin port that an operator names; nothing is changed.
"""

from collections.abc import Callable
from typing import Final

from authz.core.doctor import clocks
from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import MAX_BYTES
from authz.core.errors import ConfigError, FetchError, Problem
from authz.core.urls import Url
from authz.fetching.download import Downloader, Reach, default_tls
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits

_ALL_S: Final = 30.0
_OK: Final = 200
# Without `include_eds` there are no addresses by EDS; `allow_paths` may allow only the path without it.
_DUMPS: Final = ("/config_dump?include_eds", "/config_dump")


def ask(url: Url, wall: Callable[[], float]) -> tuple[bytes, list[Finding]]:
    """The bytes of `/config_dump`, and what is wrong with Envoy's clock; `wall` is the time of day here.

    Raises:
        ConfigError: Envoy does not answer, or does not show its configuration.
    """
    downloader = Downloader(limits=Limits(max_bytes=MAX_BYTES), tls=default_tls(), resolver=system_resolver)
    reach = Reach(insecure_http=True, loopback=True)
    deadline = Deadline(_ALL_S)
    try:
        answers = (downloader.ask(url.below(path), reach=reach, deadline=deadline) for path in _DUMPS)
        answer = next((one for one in answers if one.status == _OK), None)
    except FetchError as error:
        raise _error(url, error.detail, "is Envoy running, and is this the address of its `admin`?") from None
    if answer is None:
        hint = "add it to `allow_paths` of Envoy's `admin`, or give the file that Envoy was started with: --proxy"
        raise _error(url, "does not show /config_dump", hint)
    clock = clocks.finding(str(url), "Envoy", clocks.of_date(answer.headers.get("date", "")), wall())
    return answer.data, [clock] if clock is not None else []


def _error(url: Url, text: str, hint: str) -> ConfigError:
    return ConfigError([Problem(str(url), 0, 0, text, hint)])
