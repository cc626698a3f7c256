"""The keys that sign assertions, from the files that the settings name.

Law: a missing first key is made, for us alone to read and whole or not at all; any other that is missing is a mistake.
Where several processes serve, one of them loads the keys before the others start.
"""

import logging
import os
from pathlib import Path
from typing import Final

from authz import assertion
from authz.errors import ConfigError, Problem
from authz.regular_file import read_secret
from authz.settings import Settings

log = logging.getLogger(__name__)

_KEY_MODE: Final = 0o600


def load_keys(settings: Settings) -> tuple[assertion.SigningKey, ...]:
    """The signing keys of the settings, newest first; none where they have no section for assertions.

    Raises:
        ConfigError: a key cannot be read, or the first cannot be made.
    """
    if settings.assertion is None:
        return ()
    keys, problems = [], []
    for position, name in enumerate(settings.assertion.keys):
        path = Path(name)
        try:
            if position == 0 and not path.exists():
                _make_key(path)
            keys.append(assertion.load_signing_key(read_secret(path)))
        except OSError as error:
            problems.append(Problem(name, 0, 0, f"the assertion key cannot be used: {error.strerror}"))
        except ValueError as error:
            problems.append(
                Problem(name, 0, 0, str(error), "make one: openssl ecparam -genkey -name prime256v1 -noout")
            )
    if problems:
        raise ConfigError(problems)
    return tuple(keys)


def _make_key(path: Path) -> None:
    """A new key that only we may read; there whole or not at all, and never in a folder that a typing mistake names."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(assertion.generate_pem())
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # unlike a rename, this leaves a key alone that somebody else has just made
    finally:
        unfinished.unlink()
    log.info("made a new assertion key: %s", path)
