"""What is known of one check so far: enough to record it, and to describe it to Envoy, wherever it ends.

Law: everything reported about a check comes from here, so that the record, Envoy's access log and the answer agree. It
never reports the query, a fragment or a header's value.
"""

import os
from dataclasses import dataclass
from math import inf
from typing import Final

from authz.authn.sessions import Session
from authz.check.decision_cache import Verdict
from authz.core.edge import META_DECISION, META_REASON, META_REVISION, META_RULE, META_SUBJECT
from authz.core.model import Decision, HttpRequest, Identity, Request, Run
from authz.core.policy import Policy
from authz.core.record import Redactor, valid
from authz.core.request.cookies import Cookies
from authz.core.request.cookies import read as read_cookies
from authz.core.runs.task_lookup import PendingLookup
from authz.core.shadow import Comparison


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
    account: Session | None = None  # whose token identifies the caller; None if it is anonymous, or the gate's own
    policy: Policy | None = None
    verdict: Verdict | None = None
    shadow: Comparison | None = None  # what the record says about the candidate policy
    jar: Cookies | None = None
    looked: PendingLookup | None = None  # what was asked of Airflow while this waited
    redactor: Redactor | None = None  # of the caller's record; None where there is no caller, or nothing is hidden
    salted: bool = False  # it has waited for the caller's salt
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
    def ends(self) -> float:
        """The time from which on what was decided must not be used: something in the policy, or a grant, ends then."""
        ends = self.policy.valid_until if self.policy is not None else inf
        if self.identity is not None:
            for grant in self.identity.grants:  # a loop: most have none, and every check asks
                ends = min(ends, grant.until)
        return ends

    @property
    def revision(self) -> str:
        """The revision of the policy in force; "" before there is one."""
        return self.policy.revision if self.policy is not None else ""

    @property
    def edition(self) -> str:
        """The edition of the policy in force; "" before there is one."""
        return self.policy.edition if self.policy is not None else ""

    def metadata(self, decision: Decision) -> dict[str, str]:
        """What Envoy's access log says about the decision."""
        subject = self.identity.claims.subject if self.identity is not None else ""
        if self.redactor is not None:
            subject = self.redactor.text("subject", subject) or ""
        metadata = {
            META_DECISION: self.id,
            META_REASON: str(decision.reason),
            META_RULE: decision.rule,
            META_REVISION: self.revision,
            META_SUBJECT: valid(subject),
        }
        run = self.caller_run
        if run is not None:
            names = {"dag": run.dag_id, "run": run.run_id, "task": run.task_id, "level": str(run.level)}
            metadata |= {name: valid(value) for name, value in names.items()}
        return metadata


_ID_BYTES: Final = 12


class _Ids:
    """Decision ids: 96 random bits in hex, read from the system many at a time."""

    def __init__(self) -> None:
        self._spare: list[str] = []

    def __call__(self) -> str:
        if not self._spare:
            self._spare = os.urandom(_ID_BYTES * 256).hex(" ", _ID_BYTES).split()
        return self._spare.pop()


new_id = _Ids()


def place_of(error: BaseException) -> str:
    """Where an exception was raised, without its text, which could quote the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
