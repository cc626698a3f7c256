"""The keys that sign a log's checkpoints, and the checkpoint's file.

Law 1: the first key is the newest. All keys sign, so that a reader who knows any of them can verify: a new key is put
in front, and the old one is removed when no one needs it any more.
Law 2: a missing first key is made, readable by us alone, whole or not at all; any other missing key is an error.
Law 3: a private key is never shown, not even by `repr`.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from authz.core.audit import note
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.keys import MOST_NAME_BYTES, Sign, SignatureType, VerifierKey
from authz.core.errors import AuditBrokenError, ConfigError, Problem
from authz.core.urls import Url
from authz.system.regular_file import read_secret, why
from authz.system.whole_file import write_whole

log = logging.getLogger(__name__)

_HINT: Final = "make one: openssl genpkey -algorithm ed25519"


class OtherLogError(AuditBrokenError):
    """A checkpoint is of a log of another name than the keys are."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key that signs: its public half, and the function that signs with the private one."""

    public: VerifierKey
    make: Sign = field(repr=False, compare=False)


def origin_of(issuer: str, gate: str) -> str:
    """The name of a gate's log: the host of the assertions' issuer, `/audit/`, the gate's name.

    Raises:
        ValueError: the issuer is no URL.
    """
    return f"{Url.parse(issuer).host}/audit/{gate}"


def load_keys(paths: Sequence[Path], origin: str) -> tuple[LogKey, ...]:
    """The keys in these files, Ed25519 in PEM, newest first, for the log of this name.

    Raises:
        ConfigError: a key cannot be read, the first cannot be made, or two are the same.
    """
    keys: list[LogKey] = []
    problems: list[Problem] = []
    for position, path in enumerate(paths):
        try:
            if position == 0 and not path.exists() and write_whole(path, _generated()):
                log.info("made a new key for the log: %s", path)
            keys.append(_loaded(read_secret(path), origin))
        except OSError as error:
            problems.append(Problem(str(path), 0, 0, f"the log's key cannot be used: {why(error)}"))
        except ValueError as error:
            problems.append(Problem(str(path), 0, 0, str(error), _HINT))
        if keys[-1:] and keys[-1] in keys[:-1]:
            problems.append(Problem(str(path), 0, 0, "this key is there already", "name each key once"))
    if problems:
        raise ConfigError(problems)
    return tuple(keys)


def signed(head: Checkpoint, keys: Iterable[LogKey]) -> bytes:
    """The checkpoint as a note that all the keys have signed."""
    return note.write(head.text, [note.sign(head.text, key.public, key.make) for key in keys])


def read_signed(data: bytes, keys: Iterable[VerifierKey]) -> tuple[Checkpoint, frozenset[VerifierKey]]:
    """The checkpoint in a note, and which of these keys have signed it: one at least.

    Raises:
        OtherLogError: none of the keys has the name of the log.
        AuditBrokenError: it is malformed, none of the keys has signed it, or one of them wrongly.
    """
    known = tuple(keys)
    read = note.parse(data)
    head = Checkpoint.parse(read.text)
    names = sorted({key.name for key in known})
    if names and head.origin not in names:
        raise OtherLogError(
            f"the log is of {head.origin[:MOST_NAME_BYTES]}, and the {_of(known)} of {', '.join(names)}"
        )
    by = note.verify(read, known)
    if any(key.name != head.origin or key.type is not SignatureType.ED25519 for key in by):
        raise AuditBrokenError("the checkpoint is of another log")
    return head, frozenset(by)


def _of(keys: Sequence[VerifierKey]) -> str:
    return "key is" if len(keys) == 1 else "keys are"


def _generated() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _loaded(pem: bytes, origin: str) -> LogKey:
    """Raises ValueError, without any of the file's content, if it is no Ed25519 key."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not an unencrypted private key in PEM") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 private key")  # noqa: TRY004 the file is wrong, not the caller
    public = private.public_key().public_bytes_raw()
    return LogKey(VerifierKey(origin, SignatureType.ED25519, public), private.sign)
