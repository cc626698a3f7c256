"""Compares the decisions of checks with those of a candidate policy, and counts how they compare.

Law 1: the candidate changes no answer. It is asked after the answer is made, and what it says goes to the check's
record and the metrics only. An exception in it is counted and logged by its class and place; the check goes on.
Law 2: the caller's roles follow from the same verified claims, all of them, by the candidate's roles, and from the same
grants, of which those count that the candidate permits. A caller whose issuer the candidate has another entry for, or
none, is counted and not evaluated.
Law 3: this remembers only what pure functions returned: a caller under the candidate by the claims, the grants and the
issuer; a comparison beside the prepared record that it is part of, and by the decision and the caller's roles under
both; that of an anonymous caller by the decision's rule and reason and the request. All are dropped with the candidate.
Bounded. Used by one thread.

It comes before the record, because no answer is given without its record, and the record holds both verdicts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from authz.authn.sessions import Session, groups_in
from authz.authn.token_headers import shown_token
from authz.check.check_record import CheckRecord
from authz.core.decision.decide import evaluate
from authz.core.model import Claims, Decision, HeldGrant, HttpRequest, Identity, Issuer, Request
from authz.core.policy import Policy
from authz.core.shadow import Changes, Comparison, Side, agreed, compare, unknown
from authz.core.shadow.comparison import EVALUATED

log = logging.getLogger(__name__)

_MOST_KNOWN: Final = 2048  # callers, and as many comparisons of each kind; a full table is cleared
_LONGEST_KEPT: Final = 512  # characters of an anonymous caller's path
_NOTHING: Final = agreed("")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A candidate, and where it differs from `beside`; without `changes` it is asked about every check."""

    policy: Policy
    beside: Policy | None = None
    changes: Changes | None = None


class Counts(Protocol):
    """Counts comparisons (implemented by `authz.ops.metrics`)."""

    def compared(self, rule: str, outcome: str) -> None:
        """Count a check by the rule in force that decided it, "" if none did."""
        ...

    def not_compared(self, why: str) -> None:
        """Count a check on which the candidate's verdict is not known."""
        ...


class Shadow:
    """Compares checks with the candidate.

    Args:
        candidate: the candidate of this moment; None if there is none.
        counts: counts the comparisons.
    """

    def __init__(self, candidate: Callable[[], Candidate | None], counts: Counts) -> None:
        self._newest = candidate
        self._counts = counts
        self._candidate: Candidate | None = None
        self._number = 0  # of the candidate
        self._same = _NOTHING
        # By identity of the claims, which are kept with it.
        self._known: dict[int, tuple[Claims, Issuer, tuple[HeldGrant, ...], Identity | None]] = {}
        self._issuer: tuple[Issuer | None, bool] = None, False  # the last one, and whether the candidate has it
        # By identity of the decision, which is kept with it: what it depends on is what the decision does.
        self._of_callers: dict[tuple[object, ...], tuple[Decision, Comparison]] = {}
        self._of_anonymous: dict[tuple[object, ...], Comparison] = {}
        self._failed_at = ""

    def compare(self, check: CheckRecord, decision: Decision) -> None:
        """Set what the record says about the candidate; `decision` is that of the policy in force."""
        try:
            candidate = self._newest()
            if candidate is not None and check.time >= candidate.policy.valid_until:  # something in it has ended
                candidate = None
            if candidate is not self._candidate:
                self._turn(candidate)
            verdict = check.verdict
            if verdict is None or verdict.decision is not decision:
                found = self._compared(check, decision, candidate)
            else:
                if verdict.compared_with != self._number:
                    verdict.record = b""
                    verdict.compared = self._compared(check, decision, candidate)
                    verdict.compared_with = self._number
                found = verdict.compared
            check.shadow = found
            if found is None:
                return
            if found.outcome is not None:
                self._counts.compared(decision.rule, found.outcome)
            elif found.unknown is not None:
                self._counts.not_compared(found.unknown)
        except Exception as error:  # noqa: BLE001 the candidate's door: a bug that it brings out must not reach the check
            self._failed(check, error)

    def _turn(self, candidate: Candidate | None) -> None:
        """Another candidate, or none, from here on."""
        self._candidate = candidate
        self._number += 1
        self._same = agreed(candidate.policy.revision) if candidate is not None else _NOTHING
        self._issuer = None, False
        for table in (self._known, self._of_callers, self._of_anonymous):
            table.clear()

    def _compared(self, check: CheckRecord, decision: Decision, candidate: Candidate | None) -> Comparison | None:
        """None if there is nothing to compare."""
        request, http = check.request, check.http
        if candidate is None or decision.reason not in EVALUATED or request is None or http is None:
            return None
        # All that was found out about the difference from another policy says nothing here.
        changes = candidate.changes if candidate.beside is check.policy else None
        identity = check.identity
        if identity is None:
            # Under the candidate the route may not be public, and the caller of this token someone.
            if http.authorization or http.run_identity or http.proxy_authorization:
                return unknown("token", candidate.policy.revision)
            return self._for_anonymous(request, decision, candidate.policy, changes)
        if check.account is None:
            theirs: Identity | None = identity  # a run with a token of the gate has no memberships
        elif changes is not None and changes.same_callers:
            theirs = identity if self._has(candidate.policy, check.account.issuer) else None
        else:
            theirs = self._caller(http, check.account, identity.held, candidate.policy)
            if theirs is not None and identity.run is not None:
                theirs = replace(theirs, run=identity.run)
        if theirs is None:
            return unknown("issuer", candidate.policy.revision)
        key = id(decision), identity.agent, identity.airflow_role, theirs.roles, theirs.agent, theirs.airflow_role
        known = self._of_callers.get(key)
        if known is None or known[0] is not decision:
            other = decision
            if changes is None or changes.may_differ(request, identity, theirs, decision):
                other = evaluate(request, theirs, candidate.policy)
            known = decision, compare(request, Side(identity, decision), Side(theirs, other), self._same)
            _keep(self._of_callers, key, known)
        return known[1]

    def _for_anonymous(
        self, request: Request, decision: Decision, candidate: Policy, changes: Changes | None
    ) -> Comparison:
        if changes is not None and not changes.concern_anonymous(decision):
            return self._same
        key = (
            *(request.plane, request.method, request.host, request.path, request.outside, request.destination),
            *(decision.reason, decision.rule),
        )
        found = self._of_anonymous.get(key)
        if found is None:
            other = decision
            if changes is None or changes.may_differ(request, None, None, decision):
                other = evaluate(request, None, candidate)
            found = compare(request, Side(None, decision), Side(None, other), self._same)
            if len(request.path) <= _LONGEST_KEPT:
                _keep(self._of_anonymous, key, found)
        return found

    def _has(self, candidate: Policy, issuer: Issuer) -> bool:
        """Whether the candidate has the same entry for the issuer."""
        if self._issuer[0] is not issuer:
            self._issuer = issuer, candidate.issuers.get(issuer.issuer) == issuer
        return self._issuer[1]

    def _caller(
        self, http: HttpRequest, account: Session, grants: tuple[HeldGrant, ...], candidate: Policy
    ) -> Identity | None:
        """The caller under the candidate; None if it has another entry for the issuer, or none.

        `grants` are those that the caller holds.
        """
        claims, issuer = account.claims, account.issuer
        known = self._known.get(id(claims))
        if known is not None and known[0] is claims and known[1] is issuer and known[2] == grants:
            return known[3]
        found = None
        if self._has(candidate, issuer):
            if account.whole:
                found = candidate.identify(claims, grants)
            else:
                whole = replace(claims, groups=groups_in(shown_token(http), account))
                found = replace(candidate.identify(whole, grants), claims=claims)
        _keep(self._known, id(claims), (claims, issuer, grants, found))
        return found

    def _failed(self, check: CheckRecord, error: Exception) -> None:
        """Count and name the exception, once in a row: not its text or arguments, which could quote the request."""
        revision = self._candidate.policy.revision if self._candidate is not None else ""
        check.shadow = unknown("error", revision)
        if check.verdict is not None:
            check.verdict.record, check.verdict.compared_with = b"", -1  # what was prepared has another comparison
        self._counts.not_compared("error")
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
        named = f"{revision[:12]}: {type(error).__name__} at {place}"
        if named != self._failed_at:
            self._failed_at = named
            log.error("internal error in the evaluation of the candidate %s; no answer is affected", named)


def _keep(table: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(table) >= _MOST_KNOWN:
        table.clear()
    table[key] = value
