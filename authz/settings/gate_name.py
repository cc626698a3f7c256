"""The name of a gate, which tells its records from those of others.

Law: plain characters only, so that it can be a part of a path, a key's name and a metric's label.
"""

import re
import socket
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from authz.core.addresses import shown
from authz.core.documents.wording import Mistake

_LONGEST: Final = 63
_NAME: Final = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_OTHERS: Final = re.compile("[^A-Za-z0-9._-]+")


def _name(text: str) -> str:
    if text and not re.fullmatch(_NAME, text):
        raise Mistake(
            f"{shown(text)}: not a name for a gate", "write letters, digits, `.`, `_` and `-`, at most 63 characters"
        )
    return text


GateName = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^(?:{_NAME})?$"})]


def of_this_host(host: str | None = None) -> str:
    """The host's name, with `-` for what a gate's name may not hold; tests say which name the host has."""
    name = socket.gethostname() if host is None else host
    return _OTHERS.sub("-", name)[:_LONGEST].strip("._-") or "gate"
