"""`authz break-glass`: a way in for an admin while the provider is down, prepared beforehand, bounded and on record."""

import time
from pathlib import Path

import click

_ENTRY = """\
  - name: break-glass
    issuer: {issuer}
    audiences: {{inbound: [{audience}]}}
    algorithms: [EdDSA]
    jwks_file: {jwks}
    max_lifetime: {minutes}m
    break_glass: true
"""


@click.group(name="break-glass")
def break_glass() -> None:
    """Let an admin in while the provider is down: with a key from the safe, for minutes, and loudly."""


@break_glass.command()
@click.option(
    "--key",
    "key_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("break-glass.pem"),
    show_default=True,
    help="The private key that is made, encrypted. It belongs into a safe, away from the gate.",
)
@click.option(
    "--jwks",
    "jwks_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("break-glass.jwks.json"),
    show_default=True,
    help="The public half that is made. It belongs beside the policy.",
)
@click.option("--audience", default="airflow", show_default=True, help="`aud` of the tokens.")
def init(key_path: Path, jwks_path: Path, audience: str) -> None:
    """Make a key pair, and print what belongs into the policy. Asks for a passphrase.

    The passphrase and the key file go into different hands: each alone is of no use. Nothing is overwritten.
    """
    from authz.login import break_glass as keys  # noqa: PLC0415 cryptography costs start-up time that --help need not pay
    from authz.system.whole_file import write_whole  # noqa: PLC0415 see above

    for path in (key_path, jwks_path):
        if path.exists():
            raise click.UsageError(f"{path} exists: move it away first, or name another file")
    passphrase = click.prompt("Passphrase for the key", hide_input=True, confirmation_prompt=True, err=True)
    pem, jwks = keys.make_key(passphrase)
    if not (write_whole(key_path, pem) and write_whole(jwks_path, jwks, mode=0o644)):
        raise click.UsageError("a file of that name was just made by someone else: nothing was overwritten")
    click.echo(
        f"made {key_path} (for the safe) and {jwks_path} (beside the policy). Add to the policy, below `issuers`:"
    )
    click.echo(
        _ENTRY.format(issuer=keys.ISSUER, audience=audience, jwks=jwks_path.name, minutes=keys.MOST_MINUTES), nl=False
    )
    click.echo(
        "and below `roles`:\n  break-glass: {clients: [break-glass], issuers: [break-glass], includes: [airflow.admin]}"
    )


@break_glass.command()
@click.option(
    "--key",
    "key_path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The private key from the safe.",
)
@click.option("--name", required=True, help="Who you are, as the log is to have it.")
@click.option("--reason", required=True, help="Why, as the log is to have it.")
@click.option("--minutes", type=click.IntRange(1, 60), default=30, show_default=True, help="How long it is valid.")
@click.option("--audience", default="airflow", show_default=True, help="`aud`, as the policy's issuer has it.")
def token(key_path: Path, name: str, reason: str, minutes: int, audience: str) -> None:
    """Print a token that lets its bearer in until it ends. Asks for the key's passphrase; needs no network.

    Each use is on record with name and reason, and raises the alert AuthzBreakGlassUsed.
    """
    from authz.login import break_glass as keys  # noqa: PLC0415 see above
    from authz.system.regular_file import read_secret  # noqa: PLC0415 see above

    pem = read_secret(key_path)
    passphrase = click.prompt("Passphrase of the key", hide_input=True, err=True)
    click.echo(
        keys.sign(
            pem,
            passphrase,
            name=name,
            reason=reason,
            seconds=minutes * 60,
            audience=audience,
            issuer=keys.ISSUER,
            now=int(time.time()),
        )
    )
