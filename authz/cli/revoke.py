"""`authz revoke`: ends a session, a token, or all tokens issued to an account so far, at a running gate."""

import math
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from authz.cli.options import settings_option
from authz.cli.policy_files import PolicyFile
from authz.core import cases
from authz.core.errors import ConfigError, Problem
from authz.core.model import Issuer
from authz.core.revocation import Kind, Revocation


@click.command(short_help="End a session or a token at a gate that runs.")
@settings_option
@click.option("--issuer", required=True, help="The issuer: its name in the policy, or its `iss`.")
@click.option("--sid", help="The session to end, with all its tokens.")
@click.option("--jti", help="The one token to revoke.")
@click.option("--subject", help="Whose tokens to revoke: all that were issued up to now.")
@click.option("--until", metavar="TIME", help="How long to remember it, like 2027-01-31T12:00:00Z.")
def revoke(settings_path: Path, issuer: str, until: str | None, **named: str | None) -> None:
    """End a session, a token, or all tokens issued to an account so far, at a running gate.

    Writes into `revocation.file`, which every worker follows: it is in force well within a second, and after a restart.
    A user who signs in again is let in (for --subject once the issuer's clock_skew has passed), unless the issuer kept
    its own session and gives the new tokens the same sid: end it there too, or revoke with --jti.
    """
    from authz import settings as files  # noqa: PLC0415 pydantic costs start-up time that --help need not pay
    from authz.sessions.revocation_file import RevocationFile  # noqa: PLC0415 see above

    given = [(Kind(kind), value) for kind, value in named.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --sid, --jti and --subject")
    [(kind, value)] = given
    for option, text in ((kind.value, value), ("issuer", issuer)):
        if not text or not text.isprintable():
            raise click.UsageError(f"--{option} is empty or holds invisible characters")
    settings = files.load(settings_path)
    if not settings.revocation.file:
        text = "`revocation.file` is not set: running workers cannot be reached"
        raise ConfigError([Problem(str(settings_path), 0, 0, text, "set it and restart the gate")])
    now = time.time()
    iss, longest = _issuer(issuer, Path(settings.policy))
    kept = _until(until, now) if until is not None else now + max(settings.revocation.keep, longest)
    revocation = Revocation(
        issuer=iss,
        kind=kind,
        value=value,
        until=math.ceil(kept),
        before=int(now) if kind is Kind.SUBJECT else 0,
        note=f"authz revoke, {_shown(now)}",
    )
    RevocationFile(Path(settings.revocation.file)).append([revocation])
    click.echo(f"revoked: {kind} {value} of {iss}, remembered until {_shown(revocation.until)}")


def _issuer(name: str, policy: Path) -> tuple[str, float]:
    """The `iss` of an issuer, and how long its tokens may remain valid from now on.

    An `iss` is taken as it is, so that revoking does not depend on a policy that loads.
    """
    if "://" in name:
        return name, 0.0
    issuers = {issuer.name: issuer for issuer in cases.read(PolicyFile(policy).bundle()).policy.issuers.values()}
    found: Issuer | None = issuers.get(name)
    if found is None:
        raise click.UsageError(f"no issuer {name} in {policy}; there is {', '.join(sorted(issuers))}")
    return found.issuer, found.max_lifetime + 2 * found.clock_skew


def _until(text: str, now: float) -> float:
    try:
        moment = datetime.fromisoformat(text)
        moment.astimezone(UTC)  # the last year has moments that no one can write in UTC
    except (ValueError, OverflowError):
        raise click.UsageError(f"--until {text!r} is no time like 2027-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise click.UsageError("--until needs a time zone: Z or +01:00 at its end")
    if moment.timestamp() <= now:
        raise click.UsageError("--until is in the past")
    return moment.timestamp()


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
