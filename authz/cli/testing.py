"""`authz test`: runs the tests that live in the policy, proves its entries of `never`, and says what tests cover."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import orjson

from authz.cli.options import gate_option, json_option
from authz.cli.policy_files import POLICY, PolicyFile
from authz.cli.served import load_settings, policy_of
from authz.cli.terminal import show, verdict
from authz.core.errors import PolicyError

if TYPE_CHECKING:
    from authz.core.cases.case import Case
    from authz.core.cases.report import Outcome
    from authz.settings import Settings

_MANY: Final = 20_000  # cases


@click.command(name="test", short_help="Run the policy's own tests.")
@click.argument("files", nargs=-1, type=POLICY)
@gate_option
@click.option("--coverage", is_flag=True, help="Report which rules and conditions no request of the tests covers.")
@click.option(
    "--fail-under",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Fail if fewer of the rules, or of the conditions, are covered. Implies --coverage.",
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit's XML to this file too.")
@click.option("--verbose", "-v", is_flag=True, help="List every case.")
@json_option
def run_tests(
    files: tuple[PolicyFile, ...],
    settings_path: Path | None,
    *,
    coverage: bool,
    fail_under: float | None,
    junit: Path | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run the `tests` of policy FILES with the server's engine, and prove their entries of `never`.

    Each of FILES is a file, or git:REVISION:PATH for the one of a Git revision. Default: the policy of --settings, else
    policy.yaml.

    A gate does the same at every load, and refuses a policy that fails one of them.

    A rule is covered if it applied to some request of the tests, whichever rule decided; a condition of it is covered
    if some request of the tests fails it alone, so that the rule would apply without it. That no test passes without
    it is not measured: another rule may give the same answer.

    Exit status 0: all pass; 1: one fails, or less is covered than asked for; 2: the policy has mistakes, or
    neither tests nor `never`.
    """
    settings = load_settings(settings_path)
    meant = [policy_of(file, settings_path, settings) for file in files or (None,)]
    measured = coverage or fail_under is not None
    outcomes = [_outcome(file, settings, str(settings_path), measured=measured) for file in dict.fromkeys(meant)]
    low = [one for one in outcomes if one.coverage is not None and one.coverage.percent < (fail_under or 0.0)]
    good = not low and not any(one.failed or one.broken for one in outcomes)
    _print(outcomes, good=good, verbose=verbose, as_json=as_json)
    if junit is not None:
        from authz.core.cases import report  # noqa: PLC0415 only this command needs it

        junit.write_text(report.junit(outcomes), encoding="utf-8")
    for one in low:
        click.echo(f"{one.suite.policy.file}: less than {fail_under:g} % is covered", err=True)
    click.get_current_context().exit(0 if good else 1)


def _outcome(file: PolicyFile, settings: "Settings | None", settings_name: str, *, measured: bool) -> "Outcome":
    """The outcome of one policy's tests."""
    from authz.core import cases  # noqa: PLC0415 only this command needs it
    from authz.core.cases import coverage, invariants, judge, report  # noqa: PLC0415 only this command needs it

    suite, by_settings = cases.read(file.bundle()), False
    if settings is not None:
        from authz.serve import agreement  # noqa: PLC0415 only with settings

        by_settings = agreement.has_ways_out(settings)
        if refused := agreement.mistakes(suite.policy, settings, settings_name, suite.never):
            raise PolicyError(refused)
    if not suite.cases and not suite.never:
        raise click.UsageError(f"{file} has no tests: add `tests` or `never`, or name such files under `test_files`")
    judging = judge.Judge(suite.policy)
    results, seconds = [], []
    with _progress(suite.cases, str(file)) as each:
        for case in each:
            began = time.perf_counter()
            results.append(judging.run(case))
            seconds.append(time.perf_counter() - began)
    found = coverage.coverage(suite, judging) if measured else None
    began = time.perf_counter()
    proven = invariants.over_time(suite.policy, suite.never)
    each_took = (time.perf_counter() - began) / max(len(proven), 1)
    never = [(proof, each_took) for proof in proven]
    return report.outcome(suite, judging, results, seconds, measured=found, never=never, by_settings=by_settings)


@contextlib.contextmanager
def _progress(cases: "Sequence[Case]", label: str) -> "Iterator[Iterator[Case]]":
    """The cases, with a bar on a terminal where they take a second or more."""
    if len(cases) < _MANY or not sys.stderr.isatty():
        yield iter(cases)
        return
    with click.progressbar(cases, label=label, file=sys.stderr) as bar:
        yield iter(bar)


def _print(outcomes: "Sequence[Outcome]", *, good: bool, verbose: bool, as_json: bool) -> None:
    from authz.core.cases import report  # noqa: PLC0415 only this command needs it

    passed, failed = (sum(counted) for counted in zip(*(one.counts for one in outcomes), strict=True))
    if as_json:
        data = {"passed": passed, "failed": failed, "policies": [report.as_json(one) for one in outcomes]}
        click.echo(orjson.dumps(data).decode())
        return
    for one in outcomes:
        show(report.lines(one, verbose=verbose))
    took = sum(sum(one.seconds) + sum(taken for _, taken in one.never) for one in outcomes)
    click.echo(f"\n{verdict(good=good)} {passed} passed, {failed} failed in {took:.2f} s")
