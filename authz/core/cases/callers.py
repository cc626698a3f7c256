"""A caller as people describe one, by what a token would show or by a run, and the identity that the policy gives it.

Law: roles come from the policy alone, as for a verified token. A service account can only assert which run it is.
"""

from dataclasses import dataclass, replace

from authz.core.errors import TokenError
from authz.core.model import NO_CLAIMS, SOMEONE, Claims, Identity, Issuer, Level, Plane, Request, Run
from authz.core.policy import Policy
from authz.core.policy.outbound import in_tunnel
from authz.core.policy.rules import held
from authz.core.reasons import Reason
from authz.core.request.path import CONNECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `token`: with a valid token, of the issuer with this name or, where it is "", of the first that fits.

    `grants` are entries of `grantable` of which they hold a grant. A caller with neither a token nor a run is
    anonymous.
    """

    token: bool = False
    issuer: str = ""
    subject: str = ""
    client: str = ""
    groups: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    run: Run | None = None


def run_of(dag_id: str, task_id: str, level: Level) -> Run:
    """Some run of a task."""
    return Run(dag_id, "some-run", task_id, -1, 1, level)


def asking(caller: Caller, request: Request) -> Caller:
    """The caller as the gate can know one by this request. A tunnel has no proof, in which an account names its run."""
    if caller.run is None or request.method != CONNECT:
        return caller
    level = in_tunnel(caller.run.level)
    return replace(caller, run=None if caller.token or level is None else caller.run._replace(level=level))


def identity_of(caller: Caller, policy: Policy, plane: Plane) -> Identity | None:
    """The caller's identity under the policy; None if anonymous.

    Raises:
        TokenError: no issuer that is meant has an audience on the plane, so that every such token would be refused.
    """
    if not caller.token:
        run = caller.run
        return None if run is None else Identity(claims=_claims_of(run), roles=frozenset(), run=run)
    named = (issuer for issuer in policy.issuers.values() if caller.issuer in {"", issuer.name})
    accepted = next((issuer for issuer in named if plane in issuer.audiences), None)
    if accepted is None:
        text = f"no token is accepted on the plane {plane}: add audiences: {{{plane}: [...]}} to an issuer"
        raise TokenError(Reason.AUDIENCE, text)
    return replace(policy.identify(_claimed(caller, accepted), held(caller.grants)), run=caller.run)


def _claimed(caller: Caller, issuer: Issuer) -> Claims:
    subject = caller.subject or caller.client or SOMEONE
    return replace(
        NO_CLAIMS,
        issuer_name=issuer.name,
        issuer=issuer.issuer,
        subject=subject,
        client_id=caller.client,
        username=subject,
        groups=frozenset(caller.groups),
    )


def _claims_of(run: Run) -> Claims:
    """The claims of a token that the gate gives a run."""
    subject = ".".join(filter(None, (run.dag_id, run.task_id)))
    return replace(NO_CLAIMS, issuer_name="the gate", subject=subject, username=subject)
