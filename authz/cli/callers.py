"""Caller of `authz check` and `authz explain`: a real token, an account given by options, a run, or anonymous."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.keys import keysets_for
from authz.cli.options import jwks_option, read_token
from authz.core import tokens
from authz.core.cases import callers
from authz.core.characters import one_line
from authz.core.documents.wording import near
from authz.core.errors import TokenError
from authz.core.grants import Granted
from authz.core.model import Claims, Identity, Level, Plane, Request, Run
from authz.core.policy import Policy
from authz.core.policy.outbound import SATISFIED
from authz.core.policy.rules import held
from authz.core.reasons import Reason
from authz.core.revocation import Revoked

OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--as", "subject", default="", help="Ask for this subject (no token needed)."),
    click.option("--group", "groups", multiple=True, help="A group that the subject has. May be repeated."),
    click.option("--client", default="", help="The client id of the token, for service accounts."),
    click.option("--grant", "grants", multiple=True, help="A grant of this entry of `grantable`. May be repeated."),
    click.option(
        "--issuer",
        default="",
        help="Name of the issuer in the policy. Default: the first with an audience on the plane.",
    ),
    click.option("--dag", default="", help="Egress: ask for a run of this DAG (no client needed)."),
    click.option("--task", default="", help="Egress: the task of that run."),
    click.option(
        "--identity",
        "level",
        type=click.Choice([level.value for level in Level]),
        help="Egress: assurance level of that run. Default: verified, or the highest that --settings allows.",
    ),
)
TOKEN_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--token-file", type=click.File("r"), help="Ask with a real token from this file (- is stdin)."),
    jwks_option,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What the options say about the caller."""

    issuer: str
    subject: str
    client: str
    groups: tuple[str, ...]
    grants: tuple[str, ...]
    dag: str
    task: str
    level: str | None
    token_file: Any
    jwks_file: Path | None

    @property
    def account(self) -> bool:
        """Whether the options describe a token."""
        return bool(self.subject or self.groups or self.client or self.grants)


def identity_of(
    caller: Caller,
    policy: Policy,
    request: Request,
    surest: Level,
    *,
    now: float,
    token_bytes: int,
    revoked: Revoked | None = None,
    granted: Granted | None = None,
) -> Identity | None:
    """The caller of a request: a real token's claims, or what the options say; None if anonymous.

    `surest` limits a run's level. `now` is the time at which a token must be valid.

    Raises:
        DeniedError: the token is refused, or every token that the options describe would be.
    """
    plane = request.plane
    run = _run(caller, plane, surest)
    check_granted(caller.grants, policy)
    if caller.token_file is not None:
        if run is not None:
            raise click.UsageError("--dag asks for a run, --token-file for the holder of the token: give one of them")
        claims = _verified(caller, policy, plane, now, token_bytes, revoked)
        now_held = granted.held(claims.issuer, claims.subject, now) if granted is not None else ()
        return policy.identify(claims, (*now_held, *held(caller.grants)))
    known = [issuer.name for issuer in policy.issuers.values()]
    if caller.account and caller.issuer and caller.issuer not in known:
        raise click.UsageError(f"the policy has no issuer named {caller.issuer}; it has {', '.join(known)}")
    named = callers.Caller(
        token=caller.account,
        issuer=caller.issuer,
        subject=caller.subject,
        client=caller.client,
        groups=caller.groups,
        grants=caller.grants,
        run=run,
    )
    return callers.identity_of(callers.asking(named, request), policy, plane)


def check_granted(entries: Iterable[str], policy: Policy) -> None:
    """Check that the policy has entries of these names.

    Raises:
        UsageError: it has not.
    """
    for name in entries:
        if name not in policy.grantable:
            hint = near(name, policy.grantable) or f"it has {', '.join(policy.grantable) or 'none'}"
            raise click.UsageError(one_line(f"the policy has no entry {name} of `grantable` ({hint})"))


def _run(caller: Caller, plane: Plane, surest: Level) -> Run | None:
    """The run that the options name. A service account can only assert which one it is."""
    if not caller.dag:
        if caller.task or caller.level:
            raise click.UsageError("--task and --identity are about a run: say which DAG's with --dag")
        return None
    if plane is not Plane.EGRESS:
        raise click.UsageError("--dag is about calls of a run: add --plane egress")
    if caller.account and caller.level not in {None, Level.ASSERTED.value}:
        raise click.UsageError("a service account can only assert which run it is: leave it out, or --identity")
    wanted = Level.ASSERTED if caller.account else Level(caller.level or surest)
    level = wanted if wanted in SATISFIED[surest] else surest
    return callers.run_of(caller.dag, caller.task, level)


def _verified(  # noqa: PLR0917 each is one thing that a token is checked against
    caller: Caller, policy: Policy, plane: Plane, now: float, token_bytes: int, revoked: Revoked | None
) -> Claims:
    parsed = tokens.parse(read_token(caller.token_file), max_bytes=token_bytes)
    issuer = tokens.find_issuer(parsed, policy.issuers)
    keyset = keysets_for([issuer], caller.jwks_file)[issuer.name]
    tokens.verify(parsed, tokens.find_key(parsed, issuer, keyset))
    claims = tokens.read_claims(parsed, issuer)
    tokens.check_claims(claims, issuer, plane, now)
    if revoked is not None and revoked.covers(revoked.marks(parsed, issuer), claims, issuer.clock_skew):
        raise TokenError(Reason.REVOKED, "the token or its session was revoked")
    return claims
