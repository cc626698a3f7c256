"""What is known of one check so far: enough to record it, and to describe it to Envoy, wherever it ends.

Law: everything reported about a check comes from here, so that the record, Envoy's access log and the answer agree. It
never reports the query, a fragment or a header's value.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

from authz.check.decision_cache import Verdict
from authz.core.edge import META_DECISION, META_REASON, META_REVISION, META_RULE, META_SUBJECT
from authz.core.model import EXECUTION, Decision, Deny, HttpRequest, Identity, Plane, Request, Run
from authz.core.policy import Policy
from authz.core.reasons import word_of
from authz.core.record import OutboundFields, OutboundRecord, OwnFields, PreparedRecord, encode
from authz.core.request.cookies import Cookies
from authz.core.request.cookies import read as read_cookies
from authz.core.runs.run_claim import claim_of
from authz.core.runs.task_lookup import PendingLookup

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_LONGEST_RAW: Final = 256
_OF_RUNS: Final = frozenset({Plane.EGRESS.value, EXECUTION})


@dataclass(slots=True)
class CheckRecord:
    """What is known of a check so far: enough to record it wherever it ends."""

    id: str
    started: float = 0.0  # monotonic
    asked: float = 0.0  # monotonic: the same, or when it was begun that had to wait since
    time: float = 0.0  # since the epoch
    http: HttpRequest | None = None
    request: Request | None = None
    identity: Identity | None = None
    policy: Policy | None = None
    verdict: Verdict | None = None
    jar: Cookies | None = None
    looked: PendingLookup | None = None  # what was asked of Airflow while this waited
    run: Run | None = None  # as soon as a verified token names it, whether it then gets anything or not

    def cookies(self) -> Cookies:
        """The request's cookies, read on first use."""
        if self.jar is None:
            self.jar = read_cookies(self.http.cookies if self.http is not None else ())
        return self.jar

    @property
    def caller_run(self) -> Run | None:
        """The run that the caller is, or that its token names."""
        return self.identity.run if self.identity is not None else self.run

    @property
    def revision(self) -> str:
        """The revision of the policy in force; "" before there is one."""
        return self.policy.revision if self.policy is not None else ""

    def line(self, decision: Decision, now: float) -> bytes:
        """The record's line; if the verdict was recorded before, only new fields are encoded. `now` is monotonic."""
        http, verdict = self.http, self.verdict
        trace = _TRACEPARENT.fullmatch(http.traceparent) if http is not None and http.traceparent else None
        own: OwnFields = {
            "id": self.id,
            "time": self.time,
            "latency_us": int((now - self.started) * 1e6),
            "trace": trace.group(1) if trace is not None else "",
            "source": http.source if http is not None else "",
        }
        if verdict is None or verdict.decision is not decision:
            record: OutboundRecord = {**own, **self._shared(decision)}
            return encode(record)
        if verdict.record is None:
            verdict.record = PreparedRecord(self._shared(decision))
        return verdict.record.line(own)

    def metadata(self, decision: Decision) -> dict[str, str]:
        """What Envoy's access log says about the decision."""
        subject = self.identity.claims.subject if self.identity is not None else ""
        told = {
            META_DECISION: self.id,
            META_REASON: decision.reason.value,
            META_RULE: decision.rule,
            META_REVISION: self.revision,
            META_SUBJECT: subject.encode("utf-8", "replace").decode(),
        }
        run = self.caller_run
        if run is not None:
            names = {"dag": run.dag_id, "run": run.run_id, "task": run.task_id, "level": run.level.value}
            told |= {name: value.encode("utf-8", "replace").decode() for name, value in names.items()}
        return told

    def _shared(self, decision: Decision) -> OutboundFields:
        """The fields of a record that every decision like this one shares."""
        request, identity, http = self.request, self.identity, self.http
        claims = identity.claims if identity is not None else None
        if request is not None:
            plane, method, host, path = request.plane.value, request.method, request.host, request.whole_path
        else:
            plane, method, host, path = _as_sent(http)
        shared: OutboundFields = {
            "plane": plane,
            "method": method,
            "host": host,
            "path": path,
            "subject": claims.subject if claims is not None else "",
            "client": claims.client_id if claims is not None else "",
            "issuer": claims.issuer if claims is not None else "",
            "roles": tuple(sorted(identity.roles)) if identity is not None else (),
            "operation": decision.operation,
            "dag": decision.dag_id,
            "decision": word_of(decision.reason),
            "reason": decision.reason.value,
            "rule": decision.rule,
            "revision": self.revision,
            "detail": decision.detail if isinstance(decision, Deny) else "",
        }
        if http is not None and http.plane in _OF_RUNS:
            run = self.caller_run
            shared["destination"] = http.destination
            shared["run"] = claim_of(run) if run is not None else None
            shared["level"] = run.level.value if run is not None else ""
        return shared


def _as_sent(http: HttpRequest | None) -> tuple[str, str, str, str]:
    """Plane, method, host and path of a request that has no canonical form: cut, and without query and fragment."""
    if http is None:
        return "", "", "", ""
    path = http.target.partition("?")[0].partition("#")[0]
    host = http.authority.rpartition("@")[2]  # a Host has no userinfo, and who writes one writes a secret
    return http.plane[:16], http.method[:16], host[:_LONGEST_RAW], path[:_LONGEST_RAW]


class _Ids:
    """Decision ids: 96 random bits in hex, read from the system many at a time."""

    def __init__(self) -> None:
        self._spare: list[str] = []

    def __call__(self) -> str:
        if not self._spare:
            text = os.urandom(12 * 256).hex()
            self._spare = [text[at : at + 24] for at in range(0, len(text), 24)]
        return self._spare.pop()


new_id = _Ids()
