"""Which grants a denied caller could ask for, so that this very request would be allowed.

Law: nothing here decides. Who may ask is asked as at the grants port (`authz.core.grants`). Whether the grant would be
enough is the decision of the serving functions for the same caller with it.
"""

import shlex
from collections.abc import Iterator
from dataclasses import replace

from authz.core.decision.decide import evaluate
from authz.core.documents.quantities import duration_text
from authz.core.grants import Actor, Caller, Ledger, visible
from authz.core.model import Allow, Identity, Plane, Request
from authz.core.policy import AUTHENTICATED, Grantable, Policy
from authz.core.policy.rules import held


def askable(request: Request, identity: Identity | None, policy: Policy) -> Iterator[str]:
    """A note for each entry of `grantable` that would do, in the order of their names. The request is denied."""
    if identity is None:
        return
    for entry in sorted(_requestable(identity, policy), key=lambda one: one.id):
        holder = policy.identify(identity.claims, (*identity.held, *held([entry.id])))
        if isinstance(evaluate(request, replace(holder, run=identity.run), policy), Allow):
            words = shlex.join(["authz", "grant", "request", entry.id, "--for", duration_text(entry.longest)])
            approval = f"approved by {' or '.join(sorted(entry.approvers))}" if entry.approvers else "without approval"
            yield f"could be asked for: {words} --reason REASON ({approval})"


def _requestable(identity: Identity, policy: Policy) -> list[Grantable]:
    """What the gate would let the caller ask for: with a token for the inbound plane, and by roles without grants."""
    claims = identity.claims
    issuer = policy.issuers.get(claims.issuer)
    if issuer is None or Plane.INBOUND not in issuer.audiences:
        return []
    actor = Actor(issuer=claims.issuer, subject=claims.subject)
    asking = Caller(actor=actor, roles=policy.identify(claims).roles | {AUTHENTICATED})
    return visible(Ledger(), policy, asking)[1]
