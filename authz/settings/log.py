"""The section `log`: where decisions and messages go, and which fields of decisions are left out or hashed.

Law: the fields are those of the decision log that name people; `authz.core.record.redaction` says what happens to them.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from authz.settings.named_files import File, Use, WrittenFile
from authz.settings.sections import Disagreement, Section

_STDOUT: Final = "stdout"
_DEVICES: Final = "/dev/"
_SUFFIX: Final = ".salts"

SALTS: Final = ("log", "privacy", "salts")
"""The key that names the file of the salts."""


class Privacy(Section):
    """Fields of the decision log that name people, left out or hashed."""

    drop: tuple[Literal["subject", "user", "client", "groups", "source", "path"], ...] = Field(
        (), description="fields that are left out"
    )
    hash: tuple[Literal["subject", "user", "client", "groups", "source"], ...] = Field(
        (), description="fields that are hashed with a salt of the subject's own"
    )
    salts: WrittenFile = Field(
        "", description="file of the salts; default: beside the log (`decisions.jsonl.salts`), or else in `state`"
    )

    def disagreements(self) -> Iterator[Disagreement]:
        """A field is left out or hashed, not both; and salts are for hashes."""
        for at, name in enumerate(self.drop):
            if name in self.hash:
                yield Disagreement(("drop", at), f"`{name}` is in `hash` too", "take it out of one of them")
        if self.salts and not self.hash:
            yield Disagreement(
                ("salts",), "`salts` has no effect without `hash`", "name fields in `hash`, or remove it", (("hash",),)
            )


class Log(Section):
    """Where decisions and messages go."""

    decisions: Annotated[str, File(Use.WRITTEN, but=_STDOUT)] = Field(
        _STDOUT, description="`stdout` or a file; one JSON line per decision, and who the callers are"
    )
    queue: int = Field(10_000, ge=1, description="records that may wait to be written")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="level of the messages on stderr")
    privacy: Privacy = Field(Privacy(), description="fields that name people")

    def salts(self, state: str, signed_log: str = "") -> str:
        """The file of the salts; "" where nothing is hashed, or where there is no place for them."""
        if not self.privacy.hash or self.privacy.salts:
            return self.privacy.salts
        if signed_log:
            return signed_log + _SUFFIX
        if self.decisions != _STDOUT and not self.decisions.startswith(_DEVICES):
            return self.decisions + _SUFFIX
        return f"{state}/salts" if state else ""
