"""The section `audit`: the signed log, and what happens when a decision cannot be recorded.

Law: a log has one folder, one writer and keys of its own. Nothing here has an effect without that folder, but for
`on_failure`.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from authz.core.documents.quantities import Duration, Size
from authz.core.documents.wording import Mistake
from authz.core.errors import AuditBrokenError
from authz.settings.named_files import Folder, FollowedFile, SecretFile
from authz.settings.sections import Disagreement, Section, duplicates
from authz.settings.urls import UrlPrefix

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder below it is made, and used only if it is our own
_SPOOL: Final = "spool"
_DIGITS: Final = 16
_MOST_WITNESSES: Final = 16


def _witness_key(text: str) -> str:
    """A witness's verifier key."""
    from authz.core.audit.keys import SignatureType, VerifierKey  # noqa: PLC0415 cryptography costs start-up time

    hint = "write what its operator publishes: name+key id+base64, with an Ed25519 key of the type 0x04"
    try:
        key = VerifierKey.parse(text)
    except AuditBrokenError as error:
        raise Mistake(f"this is no key of a witness: {error}", hint) from None
    if key.type is not SignatureType.COSIGNATURE:
        raise Mistake("this is no key of a witness: it is that of a log, of the type 0x01", hint)
    return text


class Witness(Section):
    """A witness: it cosigns the log's checkpoints."""

    key: Annotated[str, AfterValidator(_witness_key)] = Field(
        description="its verifier key: `name+key id+base64`, of the type 0x04 (Ed25519 cosignatures)"
    )
    url: UrlPrefix = Field(description="its submission prefix, to which `/add-checkpoint` is added")

    @property
    def name(self) -> str:
        """The name in its key."""
        return self.key.partition("+")[0]

    @property
    def public(self) -> str:
        """Its public key, in base64."""
        return self.key.split("+", 2)[2]


class Checkpoints(Section):
    """How often the log is signed."""

    records: int = Field(10_000, ge=1, le=1_000_000, description="most records without a checkpoint")
    every: Duration = Field(5.0, ge=0.1, description="longest time without one, if there are new records")


class Files(Section):
    """When a file of the log is closed and compressed, and when it is removed."""

    max_bytes: Size = Field(256 * 1024 * 1024, ge=64 * 1024, description="size at which a file is closed")
    max_age: Duration = Field(86400.0, ge=60, description="age at which it is closed")
    keep_bytes: Size | None = Field(
        None, description="size of all closed files above which the oldest is removed; default: none is"
    )
    keep: Duration | None = Field(None, ge=60, description="age above which a closed file is removed; default: none is")

    def disagreements(self) -> Iterator[Disagreement]:
        """A closed file must fit into what is kept, or each would be removed at once."""
        if self.keep_bytes is not None and self.keep_bytes < self.max_bytes:
            text = "`keep_bytes` is less than `max_bytes`: each file would be removed as soon as it is closed"
            yield Disagreement(("keep_bytes",), text, "keep several files", without=(("max_bytes",),))


class Audit(Section):
    """The signed log, and what happens when a decision cannot be recorded."""

    on_failure: Literal["deny", "allow"] = Field(
        "deny", description="`deny` answers 503; `allow` goes on and counts the gap"
    )
    durability: Literal["process", "machine"] = Field(
        "process",
        description="what a record survives whose answer has left: the end of any process; or that of the machine, "
        "so that answers wait for the disk",
    )
    log: Folder = Field(
        "", description="folder of the signed log, in place of `log.decisions`; made when it is missing"
    )
    keys: tuple[SecretFile, ...] = Field(
        (), description="Ed25519 keys that sign it, PEM, newest first; a missing first one is created"
    )
    spool: Folder = Field(
        "",
        description="private folder where workers hand records over; default: one in `/dev/shm`, or with `durability: "
        "machine` the folder `spool` in that of the log",
    )
    access_logs: tuple[FollowedFile, ...] = Field(
        (),
        description="access logs of the Envoys that `authz envoy` configures, where the gate can read them: what came"
        " of each decision, and what tasks read in Airflow, is logged too. They are followed, also when renamed, and"
        " never changed",
    )
    witnesses: tuple[Witness, ...] = Field(
        (), max_length=_MOST_WITNESSES, description="witnesses (C2SP tlog-witness) that cosign the log's checkpoints"
    )
    quorum: int = Field(
        0, ge=0, description="how many of the witnesses must have cosigned a checkpoint; needed where there are any"
    )
    checkpoints: Checkpoints = Field(Checkpoints(), description="how often the log is signed")
    files: Files = Field(Files(), description="when a file is closed, and when it is removed")

    def disagreements(self) -> Iterator[Disagreement]:
        """A log needs keys; and without a log the other keys have no effect."""
        if self.log and not self.keys:
            hint = "name a file: `keys: [audit-key.pem]`, and it is created"
            yield Disagreement(("log",), "`log` needs `keys` that sign it", hint, without=(("keys",),))
        for name in ("durability", "keys", "spool", "access_logs", "witnesses", "quorum", "checkpoints", "files"):
            if not self.log and name in self.model_fields_set:
                text = f"`{name}` has no effect without `log`"
                yield Disagreement((name,), text, "name the folder of the log, or remove it", without=(("log",),))
        yield from self._of_witnesses()

    def _of_witnesses(self) -> Iterator[Disagreement]:
        """Names tell witnesses apart in metrics; a key is one witness; and a quorum is of those that there are."""
        yield from duplicates(
            ((("witnesses", at, "key"), one.name) for at, one in enumerate(self.witnesses)), "name of a witness"
        )
        yield from duplicates(
            ((("witnesses", at, "key"), one.public) for at, one in enumerate(self.witnesses)), "public key of a witness"
        )
        if self.witnesses and not self.quorum:
            hint = f"say how many must cosign: `quorum: {len(self.witnesses) // 2 + 1}`"
            yield Disagreement(("witnesses",), "`witnesses` need a `quorum`", hint, without=(("quorum",),))
        if self.quorum > len(self.witnesses):
            text = f"the quorum is {self.quorum}, and there are {len(self.witnesses)} witnesses"
            yield Disagreement(("quorum",), text, "name more witnesses, or ask for fewer", without=(("witnesses",),))


def default_spool(log: str, *, on_disk: bool) -> str:
    """A folder in memory with a name of this log's own; one in the log's folder where there is no such memory."""
    if on_disk or not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)):
        return str(Path(log) / _SPOOL)
    name = hashlib.sha256(os.fsencode(os.path.realpath(log))).hexdigest()[:_DIGITS]
    return str(_MEMORY / f"authz-{name}")
