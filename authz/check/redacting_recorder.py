"""A recorder that leaves out or hashes the fields that name people (`log.privacy`).

Law: a field that is hidden stands nowhere in a line: neither in the id of an identity entry, which is made of what is
written, nor in a detail that quotes a refused token. A record whose hashes are not to be had names no identity entry.
"""

from authz.authn.sessions import Session
from authz.check.check_record import CheckRecord
from authz.check.privacy import Privacy
from authz.check.recorder import Recorder, Sink, memberships, trace_of
from authz.core.model import Decision
from authz.core.record import Redactor, end_of_line, written


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
        self._forgotten = 0

    def record(self, check: CheckRecord, decision: Decision, now: float) -> None:
        """See `Recorder.record`."""
        sink, redactor = self._sink, self._redactor(check)
        sink.turn()
        account, verdict = check.account if redactor.is_whole else None, check.verdict
        place = sink.file + self._forgotten
        entry = None if account is None or account.entered == place else self._entry(check, account)
        if verdict is None or verdict.decision is not decision:
            end = end_of_line(self._fields(check, decision))
        else:
            end = verdict.record = verdict.record or end_of_line(self._fields(check, decision))
        http = check.http
        source, upstream, trace = (http.source, http.audience, trace_of(http)) if http is not None else ("", "", "")
        latency = int((now - check.started) * 1e6)
        line = self._line(check.id, check.time, latency, trace, redactor.text("source", source), upstream, end)
        if entry is None:
            sink.put(line)
        elif sink.put(entry + line) and account is not None:
            account.entered = place

    def forget(self) -> None:
        """Write the entry of each session again, with the hashes of today: a salt has gone.

        The number of the file and this one only grow, so their sum is never the same again.
        """
        super().forget()
        self._forgotten += 1

    def _redactor(self, check: CheckRecord) -> Redactor:
        return check.redactor or self._privacy.without_subject

    def _fields(self, check: CheckRecord, decision: Decision) -> dict[str, object]:
        redactor = self._redactor(check)
        fields = redactor.fields(self._shared(check, decision))
        if check.identity is None:
            fields["detail"] = redactor.detail(decision.reason, str(fields["detail"]))
        if not redactor.is_whole and check.account is not None:
            del fields["identity"]
        return fields

    def _id(self, check: CheckRecord, account: Session) -> str:
        return super()._id(check, account) if self._redactor(check).is_whole else ""

    def _body(self, check: CheckRecord, account: Session) -> bytes:
        return written(self._redactor(check).fields(memberships(check, account)))
