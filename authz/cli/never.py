"""`authz prove never`: whether a policy keeps what `never` says, its own entries or one from the command line.

Law: exit status 0 if every entry holds, 1 if one does not, 2 if the policy or the entry has a mistake.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
import orjson

from authz.cli.diff import prove
from authz.cli.options import json_option
from authz.cli.policy_files import POLICY, PolicyFile
from authz.cli.safe_text import command
from authz.cli.terminal import show, verdict
from authz.core import cases
from authz.core.cases.invariants import SHOWN, Proof, over_time, reasons
from authz.core.characters import one_line
from authz.core.documents.moments import moment_text
from authz.core.policy import NEVER, Policy

if TYPE_CHECKING:
    from authz.core.lint.review import Finding

_LISTS: Final = ("roles", "except", "operations", "dags", "destinations", "hosts", "paths", "methods", "tasks")
_OUTBOUND: Final = frozenset({"destinations", "tasks"})
_ENTRY: Final = "the entry of the command line"


@prove.command(short_help="May no one do this?")
@click.argument("policy", type=POLICY)
@click.option("--roles", multiple=True, help="Holders of one of these roles, and anonymous callers. Default: everyone.")
@click.option("--except", "excepted", multiple=True, help="But not holders of these roles; `anonymous` is a word too.")
@click.option("--operations", multiple=True, help="Operations, as in a rule.")
@click.option("--dags", multiple=True, help="Patterns of DAG ids.")
@click.option("--destinations", multiple=True, help="Destinations of outbound calls.")
@click.option("--hosts", multiple=True, help="Hosts.")
@click.option("--paths", multiple=True, help="Patterns of paths.")
@click.option("--methods", multiple=True, help="HTTP methods.")
@click.option("--tasks", multiple=True, help="Patterns of task ids of the runs that call.")
@click.option("--plane", type=click.Choice(["inbound", "egress"]), help="Default: both; egress with --destinations.")
@json_option
def never(
    policy: PolicyFile, *, plane: str | None, excepted: tuple[str, ...], as_json: bool, **lists: tuple[str, ...]
) -> None:
    """PASS if POLICY allows this to no one, else FAIL with who, what and a request to try.

    It is so of the policy as it is written, and after each end in it (`until`).

    An option may be repeated, or have several values with commas between. Together they are an entry as under `never`
    in a policy. Without them, the policy's own entries are proven. POLICY is a file, or git:REVISION:PATH.

    \b
    authz prove never policy.yaml --roles contractor --operations 'variables:*,connections:*'
    authz prove never policy.yaml --except airflow.admin --operations 'connections:*' --plane inbound
    authz prove never git:main:policy.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    from authz.core.cases import remarks, report  # noqa: PLC0415 only this command needs lint

    bundle = policy.bundle()
    given = {**lists, "except": excepted}
    entry: dict[str, object] = {key: _values(given[key]) for key in _LISTS if given[key]}
    if plane or not _OUTBOUND.isdisjoint(entry):
        entry["plane"] = plane or "egress"
    suite = cases.read_with(bundle, orjson.dumps({"never": [entry]}), _ENTRY) if entry else cases.read(bundle)
    if not suite.never:
        raise click.UsageError(f"{policy} has no `never`: say what no one may, such as --operations 'variables:*'")
    found = over_time(suite.policy, suite.never)
    said = remarks.of_never(suite.policy, suite.never)
    failed = any(proof.violations for proof in found)
    if as_json:
        made: dict[str, object] = {
            "result": "FAIL" if failed else "PASS",
            "never": [report.proof_json(proof) for proof in found],
        }
        made["remarks"] = [{"severity": one.severity.value, **asdict(one.problem)} for one in said]
        click.echo(orjson.dumps(made).decode())
    else:
        show([verdict(good=not failed), *_lines(found, suite.policy), *map(_remark, said)])
    click.get_current_context().exit(1 if failed else 0)


def _remark(said: "Finding") -> str:
    """What an entry names that no rule does: it holds whatever the rules are."""
    problem = said.problem
    return f"{said.severity.value}: " + (
        one_line(f"{problem.message} ({problem.hint})") if problem.file == _ENTRY else str(problem)
    )


def _values(texts: Iterable[str]) -> list[str]:
    return [value for text in texts for value in text.split(",")]


def _lines(found: Iterable[Proof], policy: Policy) -> Iterator[str]:
    for proof in found:
        if proof.violations:
            one = proof.invariant
            place = "" if one.file == _ENTRY else f"{one.file}:{one.line}:{one.column}: "
            yield place + one_line(one.name)
        for (why, _), violation in zip(reasons(proof, policy), proof.violations, strict=True):
            yield f"    {one_line(why)}"
            if violation.witness is not None:
                at = ("--at", moment_text(proof.since)) if proof.since > -NEVER else ()
                shows = f"   shows {one_line(violation.witness.shows)}" if violation.witness.shows else ""
                yield f"    try: authz check {command((*violation.witness.words, *at))}{shows}"
        if len(proof.violations) == SHOWN:
            yield "    there may be more"
