"""Compares the verdicts of two policies on one check.

Law: pure. Only a check that the policy in force decided is compared; what cannot be known about the candidate's verdict
has a word, and is never guessed. The words are plain texts: hashing a member of an enumeration runs Python code, and
each check is counted.
"""

from typing import Final, Literal, NamedTuple

from authz.core.decision.rights import airflow_role
from authz.core.model import Allow, DagGrant, Decision, Identity, Request
from authz.core.reasons import ALLOWED_BY_POLICY, DENIED_BY_POLICY, word_of
from authz.core.record import DagsFields, RightsFields, ShadowFields

Outcome = Literal["agree", "gain", "loss", "rights"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("agree", "gain", "loss", "rights")
"""`gain`: only the candidate allows. `loss`: only the policy in force does. `rights`: both allow, and the assertion
would name other DAGs of a narrowed request, another Airflow role, or an agent where it named none."""

Unknown = Literal["issuer", "token", "error"]
UNKNOWN: Final[tuple[Unknown, ...]] = ("issuer", "token", "error")
"""`issuer`: the candidate has another entry for the issuer of the caller's token, or none. `token`: a token that was
refused, or could not be checked yet, came to a public route. `error`: an exception in the evaluation."""

EVALUATED: Final = (*ALLOWED_BY_POLICY, *DENIED_BY_POLICY)
"""Reasons of checks that are compared."""

_REVISION_LENGTH: Final = 12
_LISTED: Final = 3  # patterns of one kind, so that a record stays short
_MOST_COMPARED: Final = 1_000  # patterns in all: a check must not wait for more


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
    rights = _other_rights(request, in_force, candidate)
    if ours.reason is theirs.reason and ours.rule == theirs.rule and not rights:
        return same
    fields: ShadowFields = {**same.fields}
    if ours.reason is not theirs.reason or ours.rule != theirs.rule:
        fields |= {"decision": word_of(theirs.reason), "reason": theirs.reason.value, "rule": theirs.rule}
    if rights:
        fields["rights"] = rights
        return Comparison("rights", None, fields)
    return Comparison(("gain" if widened else "loss") if differs else "agree", None, fields)


def _other_rights(request: Request, in_force: Side, candidate: Side) -> RightsFields:
    """What the assertion would say otherwise. Not its menu: that follows from other checks' verdicts."""
    (us, ours), (them, theirs) = in_force, candidate
    found: RightsFields = {}
    if us is None or them is None or not isinstance(ours, Allow) or not isinstance(theirs, Allow):
        return found
    if us.airflow_role != them.airflow_role or ours.level != theirs.level:
        roles = airflow_role(us, ours), airflow_role(them, theirs)
        if roles[0] != roles[1]:
            found["airflow"] = roles
    if us.agent is not them.agent:
        found["agent"] = them.agent
    before, after = ours.dags, theirs.dags  # there are such, because neither caller is anonymous
    if request.narrowed and before and after and before != after:
        found["dags"] = _other_dags(before, after)
    return found


def _other_dags(ours: DagGrant, theirs: DagGrant) -> DagsFields:
    """How two grants differ, by their patterns: another pattern may mean the same DAGs."""
    patterns = len(ours.allowed) + len(ours.denied) + len(theirs.allowed) + len(theirs.denied)
    if patterns > _MOST_COMPARED:
        return {"left_out": patterns}
    lost, gained = _apart(ours.allowed, theirs.allowed)
    denied_before, denied = _apart(ours.denied, theirs.denied)
    left_out = sum(max(len(one) - _LISTED, 0) for one in (lost, gained, denied, denied_before))
    found: DagsFields = {}
    if lost:
        found["lost"] = lost[:_LISTED]
    if gained:
        found["gained"] = gained[:_LISTED]
    if denied:
        found["denied"] = denied[:_LISTED]
    if denied_before:
        found["denied_before"] = denied_before[:_LISTED]
    if left_out:
        found["left_out"] = left_out
    return found


def _apart(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patterns that only one of the two has, in their order."""
    us, them = frozenset(ours), frozenset(theirs)
    return tuple(one for one in ours if one not in them), tuple(one for one in theirs if one not in us)
