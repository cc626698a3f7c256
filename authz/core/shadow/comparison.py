"""Compares the verdicts of two policies on one check.

Law: pure. Only a check that the policy in force decided is compared; what cannot be known about the candidate's verdict
has a word, and is never guessed. The words are plain texts: hashing a member of an enumeration runs Python code, and
each check is counted.
"""

from typing import Final, Literal, NamedTuple

from authz.core.decision.rights import airflow_role
from authz.core.model import Allow, Decision, Identity, Request
from authz.core.reasons import ALLOWED_BY_POLICY, DENIED_BY_POLICY, word_of
from authz.core.record import ShadowFields

Outcome = Literal["agree", "gain", "loss", "rights"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("agree", "gain", "loss", "rights")
"""`gain`: only the candidate allows. `loss`: only the policy in force does. `rights`: both allow, and the assertion
would name other DAGs of a narrowed request, or another Airflow role."""

Unknown = Literal["issuer", "token", "error"]
UNKNOWN: Final[tuple[Unknown, ...]] = ("issuer", "token", "error")
"""`issuer`: the candidate has another entry for the issuer of the caller's token, or none. `token`: a token that was
refused, or could not be checked yet, came to a public route. `error`: an exception in the evaluation."""

EVALUATED: Final = (*ALLOWED_BY_POLICY, *DENIED_BY_POLICY)
"""Reasons of checks that are compared."""

_REVISION_LENGTH: Final = 12


class Comparison(NamedTuple):
    """How the verdicts compare, or why the candidate's is not known, and what the record says about it."""

    outcome: Outcome | None
    unknown: Unknown | None
    fields: ShadowFields


class Side(NamedTuple):
    """One policy's view of a check: the caller, None if anonymous, and the decision."""

    identity: Identity | None
    decision: Decision


def agreed(revision: str) -> Comparison:
    """Both verdicts are the same, and so are their reasons and rules; `revision` is the candidate's."""
    return Comparison("agree", None, {"revision": revision[:_REVISION_LENGTH]})


def unknown(why: Unknown, revision: str) -> Comparison:
    """For a check on which the candidate's verdict is not known."""
    return Comparison(None, why, {"revision": revision[:_REVISION_LENGTH], "unknown": why})


def compare(request: Request, in_force: Side, candidate: Side, same: Comparison) -> Comparison:
    """Both verdicts on a request; `same` is what `agreed` returned for the candidate."""
    ours, theirs = in_force.decision, candidate.decision
    widened = isinstance(theirs, Allow)
    differs = isinstance(ours, Allow) is not widened
    other_rights = not differs and _rights_differ(request, in_force, candidate)
    if ours.reason is theirs.reason and ours.rule == theirs.rule and not other_rights:
        return same
    fields: ShadowFields = {**same.fields}
    if ours.reason is not theirs.reason or ours.rule != theirs.rule:
        fields |= {"decision": word_of(theirs.reason), "reason": theirs.reason.value, "rule": theirs.rule}
    if other_rights:
        fields["rights"] = True
        return Comparison("rights", None, fields)
    return Comparison(("gain" if widened else "loss") if differs else "agree", None, fields)


def _rights_differ(request: Request, in_force: Side, candidate: Side) -> bool:
    """Whether the assertion would say something else. Not its menu: that follows from other checks' verdicts."""
    (us, ours), (them, theirs) = in_force, candidate
    if us is None or them is None or not isinstance(ours, Allow) or not isinstance(theirs, Allow):
        return False
    if us.agent is not them.agent:
        return True
    if request.narrowed and ours.dags != theirs.dags:
        return True
    if us.airflow_role == them.airflow_role and ours.level == theirs.level:
        return False
    return airflow_role(us, ours) != airflow_role(them, theirs)
