"""`authz`: the group of commands, and how it reports their failures."""

import contextlib
import sys
from collections.abc import Iterator

import click

from authz import __version__
from authz.cli.access import matrix, what_can, who_can
from authz.cli.ask import check, explain
from authz.cli.audit import audit
from authz.cli.completion import completion
from authz.cli.diff import diff, prove
from authz.cli.doctor import doctor
from authz.cli.files import envoy, lint, schema
from authz.cli.grant import grant
from authz.cli.init import init
from authz.cli.never import never
from authz.cli.operations import operations
from authz.cli.replay import replay
from authz.cli.revoke import revoke
from authz.cli.run import serve
from authz.cli.shadow import shadow
from authz.cli.task_keys import task_keys
from authz.cli.testing import run_tests
from authz.cli.token import token
from authz.cli.unused import unused
from authz.core.errors import AuthzError, ConfigError, PolicyError


class _Commands(click.Group):
    """Turns our exceptions into text on stderr and an exit status."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
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
        ctx.exit(2)


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
      authz serve --settings authz.yaml          answer Envoy's checks
      authz token inspect < token.txt            everything that is wrong with a token
      authz revoke --issuer corp --sid 8a1f…     end a session now
      authz grant request sales-oncall --for 3h --reason "incident 4711"   ask for temporary access
      authz audit verify /var/log/authz/audit    was anything in the signed log changed?
      authz doctor --airflow http://127.0.0.1:8080   does Airflow accept what the gate sends?

    \b
    Exit status: 0 yes, 1 a negative answer (denied, errors found), 2 usage or configuration.
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped


_COMMANDS = (
    serve, check, explain, who_can, what_can, matrix, diff, prove, replay, unused, shadow, lint, run_tests, operations,
    schema, init, token, revoke, grant, audit, task_keys, envoy, doctor, completion,
)  # fmt: skip
prove.add_command(never)
for command in _COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
