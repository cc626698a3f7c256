"""`authz task-keys`: the public halves of the keys that Airflow signs its task tokens with."""

import json
from pathlib import Path

import click

from authz.core.errors import ConfigError, Problem


@click.command("task-keys", short_help="Print the public half of Airflow's task key.")
@click.argument("keys", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
def task_keys(keys: tuple[Path, ...]) -> None:
    """Print the key set for `run_identity.jwks_file`: the public halves of the private KEYS.

    KEYS are Ed25519 keys in PEM, as Airflow's jwt_private_key_path names them; the first may be new and the others old
    ones, whose tokens are still in use.
    """
    from authz.core.runs.task_keys import HINT, public_jwk  # noqa: PLC0415 cryptography costs start-up time that --help need not pay
    from authz.system.regular_file import read_secret  # noqa: PLC0415 see below

    found, problems = [], []
    for path in keys:
        try:
            found.append(public_jwk(read_secret(path)))
        except OSError as error:
            problems.append(Problem(str(path), 0, 0, f"the key cannot be read: {error.strerror}", HINT))
        except ValueError as error:
            problems.append(Problem(str(path), 0, 0, str(error), HINT))
    if problems:
        raise ConfigError(problems)
    click.echo(json.dumps({"keys": found}, indent=2))
