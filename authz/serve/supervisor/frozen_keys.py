"""The signing keys as they were when the supervisor started, for every worker, including later ones.

Law: the signing keys are those that `/jwks.json` publishes. A replaced key file takes effect at the gate's next start.
The copies live in memory that the workers inherit (memfd_create(2)), never in a second file.
"""

import os
from collections.abc import Sequence

from authz.serve.signing_keys import load_keys
from authz.settings import Settings
from authz.system.regular_file import read_secret


def freeze(settings: Settings) -> tuple[int, ...]:
    """Descriptors of the copies, in the order of `assertion.keys`; none without that section. A missing key is made.

    Raises:
        ConfigError: a key cannot be used.
        OSError: a key's file disappeared meanwhile, or there is no memory for a copy.
    """
    if not load_keys(settings) or settings.assertion is None:
        return ()
    return tuple(_copy(read_secret(name)) for name in settings.assertion.keys)


def frozen(settings: Settings, descriptors: Sequence[int]) -> Settings:
    """The settings with the copies in place of the files."""
    if settings.assertion is None:
        return settings
    names = tuple(f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
    return settings.model_copy(update={"assertion": settings.assertion.model_copy(update={"keys": names})})


def _copy(data: bytes) -> int:
    descriptor = os.memfd_create("authz-assertion-key", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor
