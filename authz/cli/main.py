"""`authz`: the group of commands, and how it reports their failures."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import click

from authz.core.errors import AuthzError, ConfigError, PolicyError
from authz.core.version import __version__

_COMMANDS: Final[Mapping[str, str]] = {
    "serve": "run:serve",
    "check": "ask:check",
    "explain": "ask:explain",
    "who-can": "access:who_can",
    "what-can": "access:what_can",
    "matrix": "matrix:matrix",
    "diff": "diff:diff",
    "prove": "never:prove",  # the module that adds the last of its commands
    "replay": "replay:replay",
    "unused": "unused:unused",
    "shadow": "shadow:shadow",
    "lint": "files:lint",
    "test": "testing:run_tests",
    "operations": "operations:operations",
    "schema": "files:schema",
    "init": "init:init",
    "login": "login:login",
    "logout": "login:logout",
    "token": "token:token",
    "revoke": "revoke:revoke",
    "break-glass": "break_glass:break_glass",
    "grant": "grant:grant",
    "audit": "audit:audit",
    "task-keys": "task_keys:task_keys",
    "envoy": "files:envoy",
    "front": "front:front",
    "doctor": "doctor:doctor",
    "completion": "completion:completion",
}
"""The module of each command, and its name there: the modules of all of them take as long as loading 4,000 rules."""


class _Commands(click.Group):
    """Imports the command that is asked for, and turns our exceptions into text on stderr and an exit status."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = {name: click.Command(name) for name in _COMMANDS}  # their names, for click to list

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if super().get_command(ctx, cmd_name) is None:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(import_module(f"authz.cli.{module}"), name)
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if os.environ.get("NO_COLOR"):  # https://no-color.org
            ctx.color = False
        with _reported(ctx):  # `--help` and `--version` are answered here
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with _reported(ctx):
            return super().invoke(ctx)


@contextlib.contextmanager
def _reported(ctx: click.Context) -> Iterator[None]:
    """Print an error as text, and exit with status 2."""
    try:
        yield
    except (ConfigError, PolicyError) as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        ctx.exit(2)
    except AuthzError as error:
        click.echo(f"error: {error}", err=True)
        ctx.exit(2)
    except BrokenPipeError:
        raise  # click ends quietly: the reader of our output has left
    except OSError as error:
        click.echo(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        _give_up_output()
        ctx.exit(2)


def _give_up_output() -> None:
    """Do not write again at the end what could not be written: Python would end with status 120 and a second error."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="airflow-envoy-authz")
def main() -> None:
    """Guard Apache Airflow with Envoy: one policy file says who may do what.

    \b
    First steps:
      authz init                                 a policy, settings and tests to begin with
      authz lint policy.yaml                     every mistake at once, with its place
      authz test policy.yaml                     the tests that the policy must pass to come into force
      authz check GET /api/v2/dags --group data-readers
      authz explain POST /api/v2/dags/sales_daily/dagRuns --client sales-etl
      authz envoy --settings authz.yaml          the Envoy configuration to run
      authz front nginx --settings authz.yaml    that of another front
      authz serve --settings authz.yaml          answer Envoy's checks
      authz login --issuer URL --client ID       a token of your own; `authz token print` has it for curl
      authz token inspect < token.txt            everything that is wrong with a token
      authz revoke --issuer corp --sid 8a1f…     end a session now
      authz grant request sales-oncall --for 3h --reason "incident 4711"   ask for temporary access
      authz doctor --proxy envoy.yaml --airflow-cfg airflow.cfg   is there a way around the gate?

    \b
    Exit status: 0 yes, 1 a negative answer (denied, errors found), 2 usage or configuration.
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped


if __name__ == "__main__":
    sys.exit(main())
