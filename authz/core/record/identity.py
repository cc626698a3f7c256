"""Identity entries: all memberships of a caller, once, under an id that decisions name.

Law: the id is a digest of the memberships exactly as they are written, so it tells nothing that they do not, and the
same caller has the same id in every worker and every file. The digest is of the end of the line, from its `"issuer"`
on, with a `{` before it and without the newline.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import orjson

from authz.core.record.encoding import replaced

_ID_DIGITS: Final = 24  # 96 bits, as a decision's id has


def written(memberships: Mapping[str, object]) -> bytes:
    """The memberships as they stand in the entry. Nothing is cut: a policy may name each of them."""
    try:
        return orjson.dumps(memberships)
    except TypeError:  # a lone surrogate
        return orjson.dumps({name: replaced(value) for name, value in memberships.items()})


def identity_id(body: bytes) -> str:
    """The id of the entry with these memberships, which `written` made."""
    return sha256(body).hexdigest()[:_ID_DIGITS]


class IdentityLine:
    """Makes the lines of one worker's identity entries."""

    __slots__ = ("_end",)

    def __init__(self, gate: str, worker: int) -> None:
        self._end = orjson.dumps({"gate": gate, "worker": worker}).decode()[1:-1]

    def __call__(self, name: str, body: bytes, time: str) -> bytes:
        """The line of the entry with this id and these memberships, written at `time`, with its newline."""
        own = f'{{"v":1,"type":"identity","id":"{name}","time":"{time}",{self._end},'
        return own.encode() + body[1:] + b"\n"
