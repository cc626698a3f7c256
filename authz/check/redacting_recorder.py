"""A recorder that leaves out or hashes the fields that name people (`log.privacy`).

Law: a field that is hidden stands nowhere in a line: neither in the id of an identity entry, which is made of what is
written, nor in a detail that quotes a refused token. A record whose hashes are not to be had names no identity entry.
"""

from authz.authn.sessions import Session
from authz.check.check_record import CheckRecord
from authz.check.privacy import Privacy
from authz.check.recorder import Recorder, Sink, memberships
from authz.core.model import Decision
from authz.core.record import Redactor


class RedactingRecorder(Recorder):
    """See `Recorder`.

    Args:
        sink: takes the lines.
        gate: the gate's name.
        worker: the number of this process among its workers.
        privacy: what is hidden.
    """

    def __init__(self, sink: Sink, *, gate: str, worker: int, privacy: Privacy) -> None:
        super().__init__(sink, gate=gate, worker=worker)
        self._privacy = privacy

    _hides = True

    def _source(self, check: CheckRecord, source: str) -> str | None:
        return self._privacy.source(self._redactor(check), source)

    def _redactor(self, check: CheckRecord) -> Redactor:
        return check.redactor or self._privacy.without_subject

    def _fields(self, check: CheckRecord, decision: Decision, name: str) -> dict[str, object]:
        redactor = self._redactor(check)
        fields = redactor.fields(self._shared(check, decision, name))
        if check.identity is None:
            fields["detail"] = redactor.detail(decision.reason, str(fields["detail"]))
        if not redactor.is_whole and check.account is not None:
            del fields["identity"]
        return fields

    def _entry(self, check: CheckRecord, account: Session) -> tuple[str, bytes]:
        return super()._entry(check, account) if self._redactor(check).is_whole else ("", b"")

    def _id(self, check: CheckRecord, account: Session) -> str:
        return super()._id(check, account) if self._redactor(check).is_whole else ""

    def _memberships(self, check: CheckRecord, account: Session) -> dict[str, object]:
        return self._redactor(check).fields(memberships(check, account))
