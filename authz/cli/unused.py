"""`authz unused`: which rights the traffic of a decision log used, which no one used, and a policy without those.

Law: a right that no one used in a log may be needed at the end of the month: the span of the log is always printed.
A proposal that the policy's own tests contradict is printed, with a warning for each of them on standard error.
Exit status 0; 2 for a mistake, or a log of which too little can be evaluated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from authz.cli.access import cell_text
from authz.cli.options import gate_option, json_option, policy_option
from authz.cli.policy_files import PolicyFile
from authz.cli.proposals import refusals
from authz.cli.terminal import show
from authz.cli.traffic import (
    Read,
    evaluated_option,
    logs_of,
    policy_and_settings,
    read,
    span_of,
    span_text,
    tally_json,
    too_few,
    unread_json,
    unread_lines,
)
from authz.core import policy as policies
from authz.core.characters import one_line
from authz.core.documents import yaml_document
from authz.core.errors import PolicyError, Problem
from authz.core.policy import Policy
from authz.core.traffic.evaluating import Traffic
from authz.core.traffic.narrowing import proposal
from authz.core.traffic.tally import total
from authz.core.traffic.usage import Use, rights_unused, rights_used, rules_unused, use

_FEW: Final = 8  # DAGs in a line
_LISTED: Final = 100  # tests that do not fit


@click.command(short_help="Which rights did the traffic of a log use, and which did no one use?")
@click.argument("logs", nargs=-1, metavar="[LOG]...")
@policy_option
@gate_option
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the policy with no more rights than were used.")
@evaluated_option
@json_option
def unused(
    logs: tuple[str, ...],
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    *,
    as_yaml: bool,
    least: float,
    as_json: bool,
) -> None:
    """Which rights of the policy did the traffic of decision logs use, and which did no one use?

    LOG is as for `authz replay`. What the policy allows now counts, whatever was decided then. Tests of the policy that
    do not fit the proposal of --yaml are listed on standard error: a gate refuses it until you edit them.

    \b
    authz unused /var/log/authz
    authz unused /var/log/authz --yaml > proposal.yaml
    authz prove no-new-access policy.yaml proposal.yaml
    authz replay /var/log/authz --policy proposal.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    if as_yaml and as_json:
        raise click.UsageError("--yaml or --json: give one of them")
    policy, bundle, settings = policy_and_settings(policy_path, settings_path)
    traffic = Traffic(policy, use)
    files = read(logs_of(logs, settings), traffic)
    error = too_few(traffic, total(traffic.found.values()).count, least)
    if not traffic.found:
        click.echo("\n".join([span_text(files, span_of(traffic)), *unread_lines(files, traffic), error]), err=True)
        click.get_current_context().exit(2)
    if as_yaml:
        text = _proposed(files, traffic, policy, bundle)
        click.echo(text, nl=False)
        _warn_of(refusals(text, bundle))
    elif as_json:
        click.echo(orjson.dumps(_as_json(files, traffic, policy)).decode())
    else:
        show(_lines(files, traffic, policy))
    if error:
        click.echo(error, err=True)
        click.get_current_context().exit(2)


def _lines(files: Read, traffic: Traffic[Use], policy: Policy) -> Iterator[str]:
    """The report for a terminal."""
    yield span_text(files, span_of(traffic))
    unknown = total(traffic.unknown.values()).count
    if unknown:
        yield f"{unknown:,} cannot be evaluated again: what they used is not known"
    yield from unread_lines(files, traffic)
    left = {one.role: one.cells for one in rights_unused(policy, traffic.found)}
    by_role: dict[str, list[str]] = {}
    for right in rights_used(policy, traffic.found):
        more = f" and {len(right.dags) - _FEW:,} more" if len(right.dags) > _FEW else ""
        dags = f", DAG {', '.join(right.dags[:_FEW])}{more}" if right.dags else ""
        text = f"  used {right.tally.count:,} of {right.target}{dags}  (rule {right.rule}, last {right.tally.last})"
        by_role.setdefault(right.role, []).append(one_line(text))
    for role in dict.fromkeys([*by_role, *left]):
        yield click.style(role, bold=True)
        yield from by_role.get(role, ())
        alike: dict[str, list[str]] = {}
        for name, cell in left.get(role, {}).items():
            alike.setdefault(f", DAG {cell_text(cell)}" if cell.grants else "", []).append(name)
        yield from (one_line(f"  not used {', '.join(names)}{dags}") for dags, names in alike.items())
    never = rules_unused(policy, traffic.found)
    if never:
        yield f"rules that decided nothing: {', '.join(never)}"


def _as_json(files: Read, traffic: Traffic[Use], policy: Policy) -> dict[str, object]:
    span = span_of(traffic)
    return {
        "policy": policy.revision,
        "files": [str(path) for path in files.paths],
        "decisions": span.count,
        "first": span.first,
        "last": span.last,
        **unread_json(files, traffic),
        "used": [
            {
                "role": right.role,
                "target": right.target,
                "rule": right.rule,
                "dags": right.dags,
                **tally_json(right.tally),
            }
            for right in rights_used(policy, traffic.found)
        ],
        "unused": [
            {"role": one.role, "operation": name, "dags": cell.dags, "not": cell.excepted, "rules": sorted(cell.rules)}
            for one in rights_unused(policy, traffic.found)
            for name, cell in one.cells.items()
        ],
        "rules": rules_unused(policy, traffic.found),
    }


def _warn_of(found: Sequence[Problem]) -> None:
    """Say on standard error why a gate would refuse the proposal."""
    if not found:
        return
    what = f"tests that do not fit: {len(found):,} (edit them, or put back what they need)"
    click.echo(f"warning: a gate refuses this proposal: {what}", err=True)
    for problem in found[:_LISTED]:
        click.echo(f"  {problem}", err=True)
    if len(found) > _LISTED:
        click.echo(f"  and {len(found) - _LISTED:,} more", err=True)


def _proposed(files: Read, traffic: Traffic[Use], policy: Policy, bundle: policies.Bundle) -> str:
    """The text of the proposal, with a remark about what it follows from.

    Raises:
        UsageError: the rules of the file cannot be replaced.
    """
    text = bundle.data.decode()
    made = proposal(yaml_document.parse(bundle.data, policy.file), text, policy, traffic.found)
    hint = f"{policy.file} needs `rules:` at the beginning of a line, and its rules below it as a list of lines"
    if made is None:
        raise click.UsageError(hint)
    try:
        policies.load(policies.Bundle(made.encode(), policy.file, bundle.parts))
    except PolicyError as error:
        raise click.UsageError(f"{hint} ({error.problems[0]})") from None
    unknown = total(traffic.unknown.values()).count
    left_out = f"; {unknown:,} decisions could not be evaluated" if unknown else ""
    return f"# From {span_text(files, span_of(traffic))}{left_out}.\n{made}"
