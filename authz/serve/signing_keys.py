"""The keys that sign assertions, from the files that the settings name.

Law: a missing first key is made, readable by us alone, whole or not at all; any other missing key is an error. If
several processes serve, one of them loads the keys before the others start.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from authz.check.assertions import AssertionMinter
from authz.core import assertion
from authz.core.errors import ConfigError, Problem
from authz.settings import Settings
from authz.system.regular_file import read_secret
from authz.system.whole_file import write_whole

log = logging.getLogger(__name__)


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


def minter_of(settings: Settings, keys: Sequence[assertion.SigningKey]) -> AssertionMinter:
    """What signs assertions with these keys."""
    made = settings.assertion
    return AssertionMinter(keys, issuer=made.issuer if made else "", lifetime=int(made.lifetime) if made else 0)


def _make_key(path: Path) -> None:
    """A new key that only we may read, never in a folder that a typing mistake names."""
    if write_whole(path, assertion.generate_pem()):
        log.info("made a new assertion key: %s", path)
