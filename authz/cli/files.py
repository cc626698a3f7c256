"""`authz lint`, `authz schema`, `authz envoy`: checks the files and generates others from them."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import orjson

from authz.cli.options import gate_option, json_option, settings_option, workers_option
from authz.cli.policy_files import HELP, POLICY, PolicyFile
from authz.cli.served import load_settings, policy_of
from authz.cli.terminal import show
from authz.core import cases
from authz.core.errors import ConfigError, PolicyError, Problem, in_order
from authz.core.policy import Bundle

if TYPE_CHECKING:
    from authz.settings import Settings


@click.command(short_help="Check policy files: every mistake, with its place.")
@click.argument("files", nargs=-1, type=POLICY)
@click.option(
    "--policy",
    "named",
    multiple=True,
    type=POLICY,
    help=f"Another one, named as the other commands name it: {HELP}.",
)
@gate_option
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@json_option
def lint(
    files: tuple[PolicyFile, ...],
    named: tuple[PolicyFile, ...],
    settings_path: Path | None,
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Check policies with the server's own loader. Default: the policy of --settings, else policy.yaml.

    Each of FILES is a file, or git:REVISION:PATH for the one of a Git revision.

    With --settings the rules are also checked against the destinations and the run-identity level of these settings.
    Prints every mistake at once as file:line:column, and warnings about what is allowed but probably not meant. A test
    of the policy that fails is an error, because the server refuses the policy for it. Exit status 1 when there is an
    error.
    """
    settings = load_settings(settings_path)
    meant = [policy_of(file, settings_path, settings) for file in (*files, *named) or (None,)]
    found: list[tuple[str, Problem]] = []
    for file in dict.fromkeys(meant):
        found += _findings(file, settings, str(settings_path))
    if settings is not None:
        from authz.serve import candidate_review, file_review  # noqa: PLC0415 only this command needs it

        about_files = file_review.findings(settings, str(settings_path), time.time())
        candidate = candidate_review.findings(settings, str(settings_path))
        found += [(one.severity.value, one.problem) for one in (*about_files, *candidate)]
    if as_json:
        click.echo(orjson.dumps([{"severity": severity, **asdict(problem)} for severity, problem in found]).decode())
    else:
        show([f"{severity}: {problem}" for severity, problem in found] or ["no findings"])
    worst = {severity for severity, _problem in found}
    click.get_current_context().exit(1 if "error" in worst or (strict and "warning" in worst) else 0)


def _findings(file: PolicyFile, settings: "Settings | None", settings_name: str) -> list[tuple[str, Problem]]:
    """The errors of one file or, if there are none, lint's findings."""
    from authz.core.cases import remarks  # noqa: PLC0415 only this command needs it
    from authz.core.lint import review  # noqa: PLC0415 only this command needs it
    from authz.core.lint.ends import about_ends  # noqa: PLC0415 only this command needs it
    from authz.serve import agreement  # noqa: PLC0415 only this command needs it

    try:
        bundle = file.bundle()
    except (ConfigError, PolicyError) as error:
        return [("error", problem) for problem in error.problems]
    try:
        suite = cases.load(bundle)
    except PolicyError as error:
        behind = _disagreement(bundle, settings, settings_name)
        return [("error", problem) for problem in sorted({*error.problems, *behind}, key=in_order)]
    findings = sorted([*review.lint(suite.policy), *about_ends(suite.policy, time.time())])
    if settings is not None:
        findings = sorted([*findings, *agreement.findings(suite.policy, settings, settings_name, suite.never)])
    findings += remarks.findings(suite, by_settings=settings is not None and agreement.has_ways_out(settings))
    return [(finding.severity.value, finding.problem) for finding in findings]


def _disagreement(bundle: Bundle, settings: "Settings | None", settings_name: str) -> list[Problem]:
    """Why the settings do not fit a policy that is refused, where its rules can be read: a test may fail for that."""
    from authz.serve import agreement  # noqa: PLC0415 only this command needs it

    if settings is None:
        return []
    try:
        policy = cases.read_rules(bundle).policy
    except PolicyError:
        return []
    try:
        never = cases.read(bundle).never
    except PolicyError:  # mistakes in the tests, which are reported already
        never = ()
    return agreement.mistakes(policy, settings, settings_name, never)


@click.command(short_help="Print the JSON Schema of a file, for editors.")
@click.argument("which", type=click.Choice(["policy", "settings", "tests", "team"]), default="policy")
def schema(which: str) -> None:
    """Print the JSON Schema of the policy, the settings, a test file or a team's file, for editors.

    \b
    In VS Code, first line of policy.yaml:
      # yaml-language-server: $schema=./policy.schema.json
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz.core import policy  # noqa: PLC0415 only this command needs it
    from authz.settings import Settings  # noqa: PLC0415 only this command needs it

    made = {
        "policy": policy.json_schema,
        "settings": Settings.model_json_schema,
        "tests": policy.case_file_schema,
        "team": policy.included_file_schema,
    }[which]()
    click.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())


@click.command(short_help="Print the Envoy configuration for the settings.")
@settings_option
@workers_option
@click.option(
    "--format", "kind", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Of the output."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing.")
def envoy(settings_path: Path, workers: int | Literal["auto"] | None, kind: str, output: Path | None) -> None:
    """Print the complete Envoy configuration for the settings: both planes, hardened, one endpoint per worker.

    Also writes, into the folder `envoy.sds`, the files that name Envoy's certificate and secret files, and makes a key
    for session cookies if a login has none yet.

    If Envoy's machine has a different number of CPUs from this one, set `workers` to a number in the settings.

    \b
    authz envoy --settings authz.yaml --output envoy.yaml
    envoy --mode validate -c envoy.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz import settings as files  # noqa: PLC0415 only this command needs it
    from authz.envoy_config.files import make_cookie_secret, warnings, write_sds  # noqa: PLC0415 see above
    from authz.envoy_config.provider import complete  # noqa: PLC0415 see above
    from authz.envoy_config.render import render, render_sds, to_yaml  # noqa: PLC0415 envoy-data-plane takes half a second
    from authz.serve import file_review  # noqa: PLC0415 only this command needs it

    settings = complete(files.load(settings_path, workers=workers), str(settings_path))
    made = render(settings)
    if settings.edge.inbound and settings.edge.inbound.login:
        make_cookie_secret(settings.edge.inbound.login.cookie_secret_file)
    for warning in warnings(settings):
        click.echo(f"warning: {warning}", err=True)
    for finding in file_review.findings(settings, str(settings_path), time.time()):
        click.echo(f"{finding.severity.value}: {finding.problem}", err=True)
    write_sds({path: to_yaml(content) for path, content in render_sds(settings).items()})
    text = to_yaml(made) if kind == "yaml" else orjson.dumps(made, option=orjson.OPT_INDENT_2).decode() + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
