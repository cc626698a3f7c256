"""`authz check` and `authz explain`: what would the gate answer, and why?"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import orjson

from authz.cli import batch
from authz.cli.asking import Answer, Question, answer
from authz.cli.callers import OPTIONS, TOKEN_OPTIONS, Caller
from authz.cli.options import airflow_option, at_option, gate_option, json_option, plane_option, policy_option
from authz.cli.policy_files import PolicyFile
from authz.cli.served import Served, served
from authz.core.characters import one_line
from authz.core.decision.explain import explain as explain_decision
from authz.core.decision.rights import dags_json, dags_text
from authz.core.model import Allow, Decision, Deny
from authz.core.reasons import ANSWERS

_Decorators = tuple[Callable[[Any], Any], ...]
_REQUEST: Final[_Decorators] = (
    plane_option,
    click.option("--host", default="", help="Host, where URL is only a path. Default: that of --settings, localhost."),
    click.option("--destination", default="", help="Egress: name of the destination. Default: what --settings says."),
    click.option(
        "--narrowed/--not-narrowed",
        default=None,
        help="Behind the gate is an Airflow that keeps lists to permitted DAGs, or not."
        " Default: what --settings says of the host, else not.",
    ),
    *OPTIONS,
)
"""What a request and its caller are, on the command line and in a line of `--requests`."""


def _asks(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The arguments and options of both commands."""
    arguments = (click.argument("method", required=required), click.argument("url", required=required))
    return lambda command: _with(
        command,
        (*arguments, policy_option, gate_option, at_option, airflow_option, *_REQUEST, *TOKEN_OPTIONS, json_option),
    )


def _with(command: Callable[..., None], decorators: _Decorators) -> Callable[..., None]:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _question(options: dict[str, Any]) -> Question:
    of_caller = {field.name: options.pop(field.name) for field in fields(Caller)}
    return Question(**options, caller=Caller(**of_caller))


def _exit(*decisions: Decision) -> None:
    click.get_current_context().exit(0 if all(isinstance(decision, Allow) for decision in decisions) else 1)


def _headline(decision: Decision) -> str:
    verdict = click.style("allow", fg="green") if isinstance(decision, Allow) else click.style("deny", fg="red")
    rule = f" rule={decision.rule}" if decision.rule else ""
    operation = f" operation={decision.operation}" if decision.operation else ""
    dag = f" dag={decision.dag_id}" if decision.dag_id else ""
    return f"{verdict} {ANSWERS[decision.reason].http} {one_line(f'reason={decision.reason}{rule}{operation}{dag}')}"


def _notes(found: Answer) -> str:
    return "".join(f"\n  {one_line(note)}" for note in found.notes)


def _summary(found: Answer) -> str:
    decision = found.decision
    detail = f"\n  {one_line(decision.detail)}" if isinstance(decision, Deny) and decision.detail else ""
    dags = f"\n  {one_line(dags_text(decision))}" if dags_text(decision) else ""
    return f"{_headline(decision)}\n  {ANSWERS[decision.reason].help}{detail}{dags}{_notes(found)}"


def _as_dict(found: Answer) -> dict[str, object]:
    decision = found.decision
    return {
        "decision": "allow" if isinstance(decision, Allow) else "deny",
        "status": ANSWERS[decision.reason].http,
        "reason": decision.reason.value,
        "help": ANSWERS[decision.reason].help,
        "rule": decision.rule,
        "operation": decision.operation,
        "dag": decision.dag_id,
        "dags": dags_json(decision),
        "detail": decision.detail if isinstance(decision, Deny) else "",
        "notes": list(found.notes),
    }


@click.command(short_help="Would the gate allow a request?")
@_asks(required=False)
@click.option("--requests", "requests_file", type=click.File("r"), help=batch.HELP)
def check(
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    *,
    at: float | None,
    airflow: str,
    as_json: bool,
    requests_file: Any,
    **options: Any,
) -> None:
    """Would the gate allow METHOD URL? Exit status 0 for allow, 1 for deny.

    \b
    authz check GET /api/v2/dags                                  anonymous
    authz check GET /api/v2/dags --group data-readers             as a caller with a group
    authz check POST /api/v2/dags/sales_daily/dagRuns --client sales-etl
    authz check GET http://orders.internal/v1/orders --plane egress --client sales-etl
    authz check GET /v1/orders --plane egress --destination orders --dag sales_daily --task extract
    authz check CONNECT db.internal:5432 --plane egress --dag sales_daily --identity verified-bearer
    authz check GET /api/v2/dags --token-file token.txt           with a real token, verified
    authz check GET /api/v2/dags --client sales-etl --narrowed    and which DAGs Airflow would show
    authz check GET /api/v2/dags --settings authz.yaml            as the gate with these settings answers
    authz check GET /api/v2/dags --group x --at 2026-12-31T18:00Z as it answers then
    authz check --requests requests.txt                           a request per line, an answer to each
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    named = [options["method"], options["url"]]
    if requests_file is not None:
        _usage(None not in named or options["token_file"], "give METHOD and URL, or --requests without a token")
        _check_all(requests_file, options, served(policy_path, settings_path, at=at, airflow=airflow), as_json=as_json)
        return
    _usage(None in named, "give METHOD and URL, or --requests")
    found = answer(_question(options), served(policy_path, settings_path, at=at, airflow=airflow))
    click.echo(orjson.dumps(_as_dict(found)).decode() if as_json else _summary(found))
    _exit(found.decision)


def _usage(wrong: object, text: str) -> None:
    if wrong:
        raise click.UsageError(text)


def _check_all(file: Any, options: dict[str, Any], gate: Served, *, as_json: bool) -> None:
    """A line of output for each request, and its notes below it, indented; with `as_json` an object for each.

    Options on the command line apply to lines that do not override them.
    """
    given = click.get_current_context().get_parameter_source
    defaults = {name: value for name, value in options.items() if given(name) is click.core.ParameterSource.COMMANDLINE}
    in_a_line = [parameter for parameter in check.params if parameter.name in batch.NAMES]
    lines = batch.lines_of(file)
    found = batch.answers(lines, file.name, in_a_line, defaults, gate)
    for line, one in zip(lines, found, strict=True):
        if as_json:
            click.echo(orjson.dumps({"line": line.number, "request": line.text, **_as_dict(one)}).decode())
        else:
            click.echo(f"{_headline(one.decision)}  {one_line(line.text)}{_notes(one)}")
    _exit(*(one.decision for one in found))


@click.command(short_help="Why would it answer so? Rule by rule.")
@_asks(required=True)
def explain(
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    *,
    at: float | None,
    airflow: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Why would the gate answer METHOD URL as it does? Lists every rule and the nearest one that would have allowed.

    Takes the same arguments as `authz check`.
    """
    gate = served(policy_path, settings_path, at=at, airflow=airflow)
    found = answer(_question(options), gate)
    if found.request is None:
        click.echo(orjson.dumps(_as_dict(found)).decode() if as_json else _summary(found))
    else:
        explanation = explain_decision(found.request, found.identity, gate.policy)
        if as_json:
            click.echo(orjson.dumps({**_as_dict(found), "explanation": explanation.as_json()}).decode())
        else:
            click.echo("\n".join(explanation.lines()) + _notes(found))
    _exit(found.decision)
