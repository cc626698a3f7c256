"""The section `audit`: the signed log, and what happens when a decision cannot be recorded.

Law: a log has one folder, one writer and keys of its own. Nothing here has an effect without that folder, but for
`on_failure`.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from authz.core.documents.quantities import Duration, Size
from authz.settings.named_files import Folder, FollowedFile, SecretFile
from authz.settings.sections import Disagreement, Section

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder below it is made, and used only if it is our own
_SPOOL: Final = "spool"
_DIGITS: Final = 16


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
    checkpoints: Checkpoints = Field(Checkpoints(), description="how often the log is signed")
    files: Files = Field(Files(), description="when a file is closed, and when it is removed")

    def disagreements(self) -> Iterator[Disagreement]:
        """A log needs keys; and without a log the other keys have no effect."""
        if self.log and not self.keys:
            hint = "name a file: `keys: [audit-key.pem]`, and it is created"
            yield Disagreement(("log",), "`log` needs `keys` that sign it", hint, without=(("keys",),))
        for name in ("durability", "keys", "spool", "access_logs", "checkpoints", "files"):
            if not self.log and name in self.model_fields_set:
                text = f"`{name}` has no effect without `log`"
                yield Disagreement((name,), text, "name the folder of the log, or remove it", without=(("log",),))


def default_spool(log: str, *, on_disk: bool) -> str:
    """A folder in memory with a name of this log's own; one in the log's folder where there is no such memory."""
    if on_disk or not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)):
        return str(Path(log) / _SPOOL)
    name = hashlib.sha256(os.fsencode(os.path.realpath(log))).hexdigest()[:_DIGITS]
    return str(_MEMORY / f"authz-{name}")
