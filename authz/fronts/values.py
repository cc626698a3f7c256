"""Which values of the settings may stand in a front's configuration.

Law: refuse, never escape. What is left has no character that means something in the configuration of nginx, Caddy,
lighttpd or Apache: no space, quote, bracket of a block, `$`, `%`, `;`, `#`, backslash or control character.
"""

import re
from typing import Final

from authz.core.errors import ConfigError, Problem

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@+,=~\[\]-]{1,1024}")


def plain(value: str, key: str, file: str) -> str:
    """The value, if it is one plain word; `key` is where it stands in the settings `file`.

    Raises:
        ConfigError: it is not.
    """
    if not _PLAIN.fullmatch(value):
        text = f"{key}: {value!r} cannot stand in a front's configuration"
        raise ConfigError([Problem(file, 0, 0, text, "use letters, digits and . _ - / : @ + , = ~ only")])
    return value
