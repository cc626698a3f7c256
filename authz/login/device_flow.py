"""The device flow (RFC 8628): a person confirms a login with a browser on another machine.

Law: it asks no more often than the provider says, five seconds more after each `slow_down`, and ends with the codes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.characters import one_line
from authz.login.provider import LoginError, Metadata, Provider, RefusedError
from authz.login.tokens import Client, Tokens, read_answer

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_S: Final = 5  # RFC 8628 §3.5
_LONGEST_S: Final = 1800
_ENDS: Final[Mapping[str, str]] = {
    "expired_token": "the code has expired; begin again",
    "access_denied": "the login was refused at the provider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the person needs: a page and a code; and what we need: how long, and how often to ask (seconds)."""

    page: str
    code: str
    secret: str = field(repr=False)
    lasts_s: int
    every_s: int


def log_in(
    provider: Provider,
    client: Client,
    *,
    show: Callable[[Device], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Tokens:
    """Have a person log in on another machine.

    Args:
        provider: where.
        client: what is asked for.
        show: shows page and code to the person.
        sleep: waits so many seconds.
        clock: seconds, monotonic.

    Raises:
        LoginError: no tokens came of it.
    """
    metadata = provider.metadata()
    device = _begin(provider, metadata, client)
    show(device)
    form = {"grant_type": _GRANT, "device_code": device.secret, "client_id": client.client_id}
    if client.resource:
        form["resource"] = client.resource
    every, ends = device.every_s, clock() + device.lasts_s
    while clock() + every < ends:
        sleep(every)
        try:
            answer = provider.post(metadata.token, form, "token endpoint")
        except RefusedError as error:
            if error.code == "slow_down":
                every += _SLOWER_S
            elif error.code != "authorization_pending":
                raise LoginError(_ENDS.get(error.code, str(error))) from None
        else:
            return read_answer(answer, metadata, client, now=time.time())
    raise LoginError(_ENDS["expired_token"])


def _begin(provider: Provider, metadata: Metadata, client: Client) -> Device:
    """The device authorization response (RFC 8628 §3.2)."""
    found = provider.post(metadata.device, client.asks, "device authorization endpoint")
    page = found.get("verification_uri_complete", found.get("verification_uri"))
    code, secret = found.get("user_code"), found.get("device_code")
    if not (isinstance(page, str) and isinstance(code, str) and isinstance(secret, str) and code and secret):
        raise LoginError("the device authorization endpoint gives no page and codes")
    return Device(
        page=provider.checked(page, "page for the code"),
        code=one_line(code),
        secret=secret,
        lasts_s=_seconds(found, "expires_in", _LONGEST_S),
        every_s=_seconds(found, "interval", _SLOWER_S),
    )


def _seconds(found: Mapping[str, Any], name: str, default: int) -> int:
    value = found.get(name, default)
    return value if type(value) is int and 0 < value <= _LONGEST_S else default
