"""The files beside Envoy's configuration: which files hold its secrets, and the key of the session cookies.

Law: a file is replaced whole or not at all, so that a running Envoy sees the old one or the new one. Only the cookie
key is ever made; a secret that someone else provides is checked for the mistakes that Envoy would not report.
"""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem
from authz.settings import Settings
from authz.system.regular_file import MOST_SECRET_BYTES, read_regular, read_secret
from authz.system.whole_file import write_whole

_SDS_MODE: Final = 0o666  # less the umask: Envoy may run as another account, and they hold names of files only
_KEY_BYTES: Final = 32


def write_sds(texts: Mapping[str, str]) -> None:
    """Write the files that are missing or differ.

    Raises:
        ConfigError: one cannot be written.
    """
    for name, text in texts.items():
        path = Path(name)
        try:
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or read_secret(path) != text.encode():
                write_whole(path, text.encode(), mode=_SDS_MODE, replace=True)
        except OSError as error:
            raise ConfigError(
                [Problem(name, 0, 0, f"cannot be written: {error.strerror}", "see `envoy.sds`")]
            ) from None


def make_cookie_secret(name: str) -> None:
    """Make the key of the session cookies, readable by us alone, unless there is one.

    Raises:
        ConfigError: it cannot be made.
    """
    path = Path(name)
    try:
        if not path.exists():
            write_whole(path, secrets.token_urlsafe(_KEY_BYTES).encode())
    except OSError as error:
        raise ConfigError([Problem(name, 0, 0, f"the cookie secret cannot be made: {error.strerror}")]) from None


def warnings(settings: Settings) -> Iterator[str]:
    """How Envoy would misread the secrets. They may be on another machine: then this reports only that."""
    inbound, egress = settings.edge.inbound, settings.edge.egress
    if inbound and inbound.login:
        for name in (inbound.login.client_secret_file, inbound.login.cookie_secret_file):
            yield from _about(name, "to clients without a bearer token")
    for destination in egress.destinations if egress else ():
        if destination.credential:
            yield from _about(destination.credential.secret, f"to every call of the destination {destination.name}")


def _about(name: str, refused: str) -> Iterator[str]:
    path = Path(name)
    try:
        secret = read_regular(path, MOST_SECRET_BYTES)
    except FileNotFoundError:
        yield f"{name} is not here; without it Envoy answers 503 {refused}"
        return
    except OSError as error:
        yield f"{name}: {error.strerror}"
        return
    if not secret.strip():
        yield f"{name} is empty; Envoy would answer 503 {refused}"
    elif secret != secret.strip():
        yield f"{name} begins or ends with white space, which Envoy takes for a part of the secret"
