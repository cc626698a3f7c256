"""How a grant, and what may be asked for, are shown as JSON.

Law: names and reasons come from people; they are as they were given, and what prints them escapes them.
"""

from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.grants.events import Actor
from authz.core.grants.ledger import Grant, State
from authz.core.policy import Grantable, Policy

SUSPENDED: Final = "suspended"
"""The state of a grant that is active and that the policy in force does not permit."""


def view(grant: Grant, policy: Policy) -> dict[str, object]:
    """The grant under this policy. A member is there when it has a value."""
    asked, approved, ended = grant.request, grant.approved, grant.ended
    state = grant.state
    is_suspended = state is State.ACTIVE and not policy.permits(grant.holding().held)
    found: dict[str, object] = {
        "id": asked.id,
        "state": SUSPENDED if is_suspended else state.value,
        "entry": asked.entry,
        "requester": _who(asked.holder),
        "seconds": asked.seconds,
        "reason": asked.reason,
        "requested_at": moment_text(asked.at),
    }
    if asked.local:
        found["requested_by"] = _who(Actor(local=asked.local))
    if approved is not None:
        found |= {"approved_at": moment_text(approved.at), "approved_by": _who(approved.by)}
    if grant.over_at is not None:
        found["ended_at"] = moment_text(grant.over_at)
        if ended is not None and ended.by is not None:
            found["ended_by"] = _who(ended.by)
    else:
        found["until"] = moment_text(grant.until)
    return found


def described(entry: Grantable) -> dict[str, object]:
    """An entry that the caller may ask for."""
    return {
        "entry": entry.id,
        "description": entry.description,
        "longest_seconds": int(entry.longest),
        "approvers": sorted(entry.approvers),
    }


def _who(actor: Actor) -> dict[str, str]:
    if actor.local:
        return {"local": actor.local}
    return {"issuer": actor.issuer, "subject": actor.subject, "name": actor.name}
