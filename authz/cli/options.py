"""Options and inputs that several commands share."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.policy_files import HELP, POLICY
from authz.core import catalogue
from authz.core.documents.moments import parse_moment
from authz.core.documents.wording import Mistake

TOKEN_VARIABLE: Final = "AUTHZ_TOKEN"  # noqa: S105 the name of a variable

_MOST_WORKERS: Final = 256


def _workers(_context: click.Context, _option: click.Parameter, value: str | None) -> int | str | None:
    """A number of processes, or `auto`; None if the option is not given."""
    if value is None or value == "auto":
        return value
    if re.fullmatch("[0-9]{1,3}", value) and 1 <= int(value) <= _MOST_WORKERS:
        return int(value)
    raise click.BadParameter(f"{value!r} is not a number from 1 to {_MOST_WORKERS}, nor auto")


def _airflow(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
    """The versions of catalogues that versions of Airflow have; "" if the option is not given."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return tuple(_airflow(_context, _option, one) for one in value)
    found = catalogue.version_of(value)
    if not found:
        raise click.BadParameter(
            f"there is no catalogue for Airflow {value!r}: known are {', '.join(catalogue.versions())}"
        )
    return found


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """A time, in seconds since the epoch; None if the option is not given."""
    try:
        return None if value is None else parse_moment(value)
    except Mistake as error:
        raise click.BadParameter(f"{error.message} ({error.hint})") from None


policy_option: Callable[[Any], Any] = click.option(
    "--policy",
    "policy_path",
    type=POLICY,
    help=f"The policy: {HELP}. Default: the one that --settings names, else policy.yaml.",
)
gate_option: Callable[[Any], Any] = click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Answer as the gate with this settings file would: its policy, its destinations and Airflows, its limits.",
)
running_option: Callable[[Any], Any] = click.option(
    "--gate",
    metavar="URL",
    default="",
    help="Answer only if the gate with this operators' port serves this very policy: http://127.0.0.1:9180.",
)
settings_option: Callable[[Any], Any] = click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("authz.yaml"),
    show_default=True,
    help="The settings file.",
)
workers_option: Callable[[Any], Any] = click.option(
    "--workers",
    metavar="NUMBER",
    callback=_workers,
    help="Processes that serve: a number, or auto for the CPUs that may be used. Default: what the settings say.",
)
engine_option: Callable[[Any], Any] = click.option(
    "--engine",
    type=click.Choice(["cq", "aio"]),
    help="Serving engine; cq falls back to aio where it cannot run. Default: what the settings say.",
)
json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for another program."
)
plane_option: Callable[[Any], Any] = click.option(
    "--plane",
    type=click.Choice(["inbound", "egress"]),
    default="inbound",
    show_default=True,
    help="Which side of Airflow the request is on.",
)
at_option: Callable[[Any], Any] = click.option(
    "--at",
    metavar="TIME",
    callback=_moment,
    help="Answer as at this time, as 2026-12-31T18:00Z: without what has ended by then (`until`). Default: now.",
)
airflow_option: Callable[[Any], Any] = click.option(
    "--airflow",
    metavar="VERSION",
    callback=_airflow,
    help="As with this version of Airflow, as 3.2.2. Default: the one that the policy names.",
)
upgrade_option: Callable[[Any], Any] = click.option(
    "--airflow",
    nargs=2,
    metavar="OLD NEW",
    callback=_airflow,
    help="Compare these versions of Airflow, as 3.2.2 3.3.2, under one policy, or each under its own.",
)
token_file_option: Callable[[Any], Any] = click.option(
    "--token-file",
    type=click.File("r"),
    help=f"A file with the token, or - for standard input. Default: ${TOKEN_VARIABLE}, else standard input.",
)
jwks_option: Callable[[Any], Any] = click.option(
    "--jwks",
    "jwks_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify with this key set instead of asking the issuer.",
)


def read_token(file: Any) -> str:
    """The token from the file, the environment or standard input, without the white space around it."""
    if file is not None:
        text = file.read()
    elif os.environ.get(TOKEN_VARIABLE):
        text = os.environ[TOKEN_VARIABLE]
    else:
        if sys.stdin.isatty():
            click.echo("Paste the token and press Ctrl-D:", err=True)
        text = sys.stdin.read()
    words = str(text).split()
    if words and words[0].lower() == "bearer":
        words = words[1:]
    if len(words) != 1:
        raise click.UsageError("expected exactly one token; give --token-file, $AUTHZ_TOKEN or standard input")
    return words[0]
