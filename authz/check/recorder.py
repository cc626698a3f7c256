"""From a check to its lines in the decision log.

Law 1: a record follows from the check alone, and what many records share is encoded once.
Law 2: an identity entry is in the same log file as the decisions that name it, before them: it is handed to the sink in
one piece with the first of them, and again when a new file has begun. So a decision with its entry can be evaluated
again (`authz.core.replay`).
Law 3: the groups of a large token are not kept with its session; an entry that has to be written again reads them from
the request's token, which is the one that was verified.
"""

from collections.abc import Mapping, Sized
from typing import Final, Protocol, cast

from authz.authn.asked import AskedSession
from authz.authn.sessions import Session, groups_in
from authz.authn.token_headers import shown_token
from authz.check.check_record import CheckRecord
from authz.check.decision_cache import Verdict
from authz.core.documents.moments import moment_text
from authz.core.model import EXECUTION, NO_CLAIMS, Claims, Decision, Deny, HeldGrant, HttpRequest, Identity, Plane
from authz.core.reasons import word_of
from authz.core.record import (
    DecisionLine,
    GrantFields,
    IdentityLine,
    Memberships,
    OutboundFields,
    RunFields,
    end_of_line,
    identity_id,
    written,
)
from authz.core.runs.run_claim import claim_of
from authz.core.traceparent import trace_of

_LONGEST_RAW: Final = 256
_OF_RUNS: Final = frozenset({Plane.EGRESS.value, EXECUTION})
_MOST_KNOWN: Final = 2048  # ids of identity entries; a full table is cleared


class Sink(Protocol):
    """Takes lines (implemented by `authz.ops.decision_log` and `authz.audit.spool_sink`)."""

    @property
    def file(self) -> int:
        """The number of the file, from 1, that the next lines go to. Only `turn` changes it."""
        ...

    @property
    def offers(self) -> Sized:
        """Whether the next file is open; `turn` takes it."""
        ...

    def turn(self) -> None:
        """Take the next file, if it is still offered."""
        ...

    def put(self, lines: bytes) -> bool:
        """Accept lines that belong together; False if they are dropped.

        Raises:
            AuditUnavailableError: they are refused.
        """
        ...


class Recorder:
    """Makes the lines of checks and hands them to the sink. Used by one thread.

    Args:
        sink: takes the lines.
        gate: the gate's name.
        worker: the number of this process among its workers.
    """

    def __init__(self, sink: Sink, *, gate: str, worker: int) -> None:
        self._sink = sink
        self._line = DecisionLine(gate, worker)
        self._entry_line = IdentityLine(gate, worker)
        self._forgotten = 0
        # By identity of the claims, and the salt: computing the id again takes as long as a whole check.
        self._known: dict[tuple[int, str], tuple[Claims, str]] = {}

    def record(self, check: CheckRecord, decision: Decision, now: float) -> None:
        """Hand the check's lines to the sink; `now` is the monotonic time of the answer.

        Raises:
            AuditUnavailableError: the sink refuses them.
        """
        sink, account, verdict, http = self._sink, check.account, check.verdict, check.http
        if sink.offers:
            sink.turn()
        place = sink.file + self._forgotten
        # First the entry: the decision names the id that is computed for it.
        name, entry = ("", b"") if account is None or account.entered == place else self._entry(check, account)
        # What is the same for all decisions of a verdict is encoded once.
        if verdict is None or verdict.decision is not decision:
            end = end_of_line(self._fields(check, decision, name))
        else:
            end = verdict.record or self._prepare(check, verdict, name)
        source, upstream, trace = ("", "", "") if http is None else (http.source, http.audience, http.traceparent)
        shown = self._source(check, source) if self._hides else source
        latency = int((now - check.started) * 1e6)
        line = self._line(check.id, check.time, latency, trace_of(trace) if trace else "", shown, upstream, end)
        if not entry:
            sink.put(line)
        elif sink.put(entry + line) and account is not None:
            account.entered = place

    def _prepare(self, check: CheckRecord, verdict: Verdict, name: str) -> bytes:
        verdict.record = end_of_line(self._fields(check, verdict.decision, name))
        return verdict.record

    def forget(self) -> None:
        """Forget the ids of identity entries, and write the entry of each session again.

        The number of the file and this one only grow, so their sum is never the same again.
        """
        self._known.clear()
        self._forgotten += 1

    # --- what a private log writes otherwise

    _hides = False
    """Whether `_source` may say something else than the source."""

    def _source(self, _check: CheckRecord, source: str) -> str | None:
        """The address; None if it is left out."""
        return source

    def _fields(self, check: CheckRecord, decision: Decision, name: str) -> Mapping[str, object]:
        """The fields of the check's line that other decisions share.

        `name` is the id of the caller's entry, "" if it is not known yet.
        """
        return self._shared(check, decision, name)

    def _memberships(self, check: CheckRecord, account: Session) -> Mapping[str, object]:
        """The memberships as they are written."""
        return memberships(check, account)

    def _shared(self, check: CheckRecord, decision: Decision, name: str) -> OutboundFields:
        """The fields of a record that every decision like this one shares."""
        identity, http = check.identity, check.http
        claims = identity.claims if identity is not None else NO_CLAIMS
        request = check.request
        if request is not None:
            plane, method, host, path = str(request.plane), request.method, request.host, request.whole_path
        else:
            plane, method, host, path = _as_sent(http)
        shared: OutboundFields = {
            "plane": plane,
            "method": method,
            "host": host,
            "path": path,
            "identity": name or (self._id(check, check.account) if check.account is not None else ""),
            "subject": claims.subject,
            "client": claims.client_id,
            "roles": tuple(sorted(identity.roles)) if identity is not None else (),
            "operation": decision.operation,
            "dag": decision.dag_id,
            "decision": word_of(decision.reason),
            "reason": str(decision.reason),
            "rule": decision.rule,
            "revision": check.revision,
            "detail": decision.detail if isinstance(decision, Deny) else "",
        }
        if request is not None:
            if request.port is not None:
                shared["port"] = request.port
            if request.base:
                shared["base"] = request.base
            if request.narrowed:
                shared["narrowed"] = True
        if identity is not None and identity.held:
            _add_grants(shared, identity)
        if claims.break_glass:
            shared["break_glass"] = claims.break_glass
        if isinstance(check.account, AskedSession):
            shared["stated_by"] = check.account.stated_by
        if check.policy is not None and check.policy.ended_in_part:
            shared["since"] = moment_text(check.policy.since)
        if check.shadow is not None:
            shared["shadow"] = check.shadow.fields
        if http is not None and http.plane in _OF_RUNS:
            run = check.caller_run
            shared["destination"] = http.destination
            shared["run"] = cast("RunFields", claim_of(run)) if run is not None else None
            shared["level"] = str(run.level) if run is not None else ""
        return shared

    # --- identity entries

    def _id(self, check: CheckRecord, account: Session) -> str:
        """The id of the caller's entry."""
        known = self._known.get(_key(check, account))
        if known is not None and known[0] is account.claims:
            return known[1]
        name = identity_id(written(self._memberships(check, account)))
        self._keep(check, account, name)
        return name

    def _entry(self, check: CheckRecord, account: Session) -> tuple[str, bytes]:
        """The caller's entry with its id; ("", b"") where there is to be none."""
        body = written(self._memberships(check, account))
        name = identity_id(body)
        if account.used or not account.whole:  # as for verdicts: most tokens that come once do not come again
            self._keep(check, account, name)
        return name, self._entry_line(name, body, self._line.stamp(check.time))

    def _keep(self, check: CheckRecord, account: Session, name: str) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[_key(check, account)] = account.claims, name


def _add_grants(shared: OutboundFields, identity: Identity) -> None:
    """Add the grants that the caller holds: those that count, and those that the policy does not permit now."""
    counting = identity.grants
    if counting:
        shared["grants"] = tuple(map(_grant, counting))
    if len(counting) < len(identity.held):
        shared["suspended"] = tuple(_grant(grant) for grant in identity.held if grant not in counting)


def _grant(grant: HeldGrant) -> GrantFields:
    found: GrantFields = {"entry": grant.entry, "id": grant.id, "seconds": grant.seconds}
    if not grant.is_approved:
        found["open"] = True
    return found


def _key(check: CheckRecord, account: Session) -> tuple[int, str]:
    """What the id of a caller's entry follows from."""
    return id(account.claims), check.redactor.salt if check.redactor is not None else ""


def memberships(check: CheckRecord, account: Session) -> Memberships:
    """All memberships of the check's caller."""
    if check.http is None:
        raise ValueError("a session of no request")
    claims = account.claims
    groups = claims.groups if account.whole else groups_in(shown_token(check.http), account)
    return {
        "issuer": claims.issuer,
        "subject": claims.subject,
        "client": claims.client_id,
        "user": claims.username,
        "groups": tuple(sorted(groups)),
    }


def _as_sent(http: HttpRequest | None) -> tuple[str, str, str, str]:
    """Plane, method, host and path of a request that has no canonical form: cut, and without query and fragment."""
    if http is None:
        return "", "", "", ""
    path = http.target.partition("?")[0].partition("#")[0]
    host = http.authority.rpartition("@")[2]  # a Host has no userinfo, and who writes one writes a secret
    return http.plane[:16], http.method[:16], host[:_LONGEST_RAW], path[:_LONGEST_RAW]
