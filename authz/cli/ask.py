"""`authz check` and `authz explain`: what would the gate answer, and why?"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import orjson

from authz import decide
from authz.cli.callers import OPTIONS, Caller, identity_of
from authz.cli.options import json_option, load_policy, plane_option, policy_option
from authz.errors import DeniedError
from authz.explain import explain as explain_decision
from authz.model import Allow, Decision, Deny, HttpRequest, Identity, Level, Plane, Request
from authz.path import CONNECT
from authz.policy import Policy
from authz.reasons import ANSWERS
from authz.rights import dags_json, dags_text
from authz.ways_out import Lead, WaysOut, lead


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """Everything that `check` and `explain` take from the command line."""

    method: str
    url: str
    plane: str
    host: str
    destination: str
    narrowed: bool | None
    settings_path: Path | None
    caller: Caller


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of both commands."""
    decorators = [
        click.argument("method"),
        click.argument("url"),
        policy_option,
        plane_option,
        click.option("--host", default="localhost", show_default=True, help="Host, where URL is only a path."),
        click.option(
            "--destination", default="", help="Egress: name of the destination. Default: what --settings says."
        ),
        *OPTIONS,
        click.option(
            "--narrowed/--not-narrowed",
            default=None,
            help="Behind the gate is an Airflow that keeps lists to permitted DAGs, or not."
            " Default: what --settings says of the host, else not.",
        ),
        click.option(
            "--settings",
            "settings_path",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The settings file: where the host leads, as Envoy finds it, and how sure runs are.",
        ),
        json_option,
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _question(options: dict[str, Any]) -> _Question:
    of_caller = {field.name: options.pop(field.name) for field in fields(Caller)}
    return _Question(**options, caller=Caller(**of_caller))


def _request_of(question: _Question, ways: WaysOut | None) -> tuple[Request, Lead]:
    """The request as the server makes it canonical, and where it leads."""
    from authz.verdicts import canonical  # noqa: PLC0415 it takes a while to import

    authority, target = _parts(question)
    http = HttpRequest(
        plane=question.plane, audience="", method=question.method.upper(), authority=authority, target=target
    )
    request = canonical(http)
    if question.plane == Plane.INBOUND:
        return replace(request, narrowed=_narrowed(question, request.host)), Lead()
    leads = Lead(question.destination)
    if ways is not None and not question.destination:
        leads = lead(ways, method=request.method, host=request.host, port=request.port, path=request.path)
    told = replace(http, destination=leads.destination, host=leads.host, base=leads.base)
    return canonical(told), leads


def _parts(question: _Question) -> tuple[str, str]:
    """Authority and target of the request; a tunnel's URL is the authority."""
    if question.method.upper() == CONNECT:
        return question.url, question.url
    for scheme in ("https://", "http://"):
        if question.url.startswith(scheme):
            authority, slash, rest = question.url.removeprefix(scheme).partition("/")
            return authority, slash + rest or "/"
    return question.host, question.url


def _narrowed(question: _Question, host: str) -> bool:
    """Whether the Airflow that the host leads to keeps to permitted DAGs; no, where nothing says so."""
    if question.narrowed is not None or question.settings_path is None:
        return bool(question.narrowed)
    from authz import settings  # noqa: PLC0415 only this option needs it

    envoy = settings.load(question.settings_path).envoy
    upstreams = envoy.inbound.upstreams if envoy is not None and envoy.inbound is not None else ()
    # As Envoy chooses: the host itself, then the longest suffix, then `*`.
    fitting = [
        (name == host, len(name), upstream.narrows_dags)
        for upstream in upstreams
        for name in upstream.hosts
        if name in {host, "*"} or (name.startswith("*.") and host.endswith(name[1:]))
    ]
    return max(fitting, default=(False, 0, False))[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The server's own decision, and what the settings add to it; a refusal before the rules is a decision too."""

    decision: Decision
    request: Request | None = None
    identity: Identity | None = None
    notes: tuple[str, ...] = ()


def _decide(question: _Question, policy: Policy) -> _Answer:
    ways = _ways_out(question)
    surest = ways.surest if ways is not None else Level.VERIFIED
    try:
        request, leads = _request_of(question, ways)
        identity = identity_of(question.caller, policy, request.plane, surest or Level.VERIFIED)
    except DeniedError as error:
        return _Answer(decision=Deny(reason=error.reason, detail=error.detail))
    notes = []
    if not leads.somewhere:
        notes.append("Envoy leads this nowhere, whatever the rules say: no destination of the settings serves it")
    if identity is not None and identity.run is not None and surest is not Level.VERIFIED:
        at_most = "no call comes from a run" if surest is None else f"a run is `{surest}` at most"
        notes.append(f"with these settings {at_most}: see `run_identity`")
    decision = decide.evaluate(request, identity, policy)
    return _Answer(decision=decision, request=request, identity=identity, notes=tuple(notes))


def _ways_out(question: _Question) -> WaysOut | None:
    if question.settings_path is None or question.plane == Plane.INBOUND:
        return None
    from authz.cli.ways import ways_out  # noqa: PLC0415 only this option needs it

    return ways_out(question.settings_path)


def _advice(answer: _Answer, policy: Policy) -> str:
    """What the settings add, and what a denial would be behind an Airflow that narrows, if that is something else."""
    notes = "".join(f"\n  {note}" for note in answer.notes)
    request = answer.request
    if isinstance(answer.decision, Allow) or request is None or request.narrowed or request.plane is Plane.EGRESS:
        return notes
    other = decide.evaluate(replace(request, narrowed=True), answer.identity, policy)
    if not isinstance(other, Allow):
        return notes
    told = f": {dags_text(other)}" if dags_text(other) else ""
    return f"\n  allowed where Airflow keeps lists to permitted DAGs (--narrowed, `narrows_dags`){told}"


def _exit(decision: Decision) -> None:
    click.get_current_context().exit(0 if isinstance(decision, Allow) else 1)


def _summary(decision: Decision) -> str:
    verdict = click.style("allow", fg="green") if isinstance(decision, Allow) else click.style("deny", fg="red")
    rule = f" rule={decision.rule}" if decision.rule else ""
    operation = f" operation={decision.operation}" if decision.operation else ""
    dag = f" dag={decision.dag_id}" if decision.dag_id else ""
    detail = f"\n  {decision.detail}" if isinstance(decision, Deny) and decision.detail else ""
    dags = f"\n  {dags_text(decision)}" if dags_text(decision) else ""
    answer = ANSWERS[decision.reason]
    return f"{verdict} {answer.http} reason={decision.reason}{rule}{operation}{dag}\n  {answer.help}{detail}{dags}"


def _as_dict(answer: _Answer) -> dict[str, object]:
    decision = answer.decision
    return {
        "decision": "allow" if isinstance(decision, Allow) else "deny",
        "status": ANSWERS[decision.reason].http,
        "reason": decision.reason.value,
        "rule": decision.rule,
        "operation": decision.operation,
        "dag": decision.dag_id,
        "dags": dags_json(decision),
        "detail": decision.detail if isinstance(decision, Deny) else "",
        "notes": list(answer.notes),
    }


@click.command(short_help="Would the gate allow a request?")
@_asks
def check(policy_path: Path, *, as_json: bool, **question: Any) -> None:
    """Would the gate allow METHOD URL? Exit status 0 for allow, 1 for deny.

    \b
    authz check GET /api/v2/dags                                  as nobody
    authz check GET /api/v2/dags --group data-readers             as somebody with a group
    authz check POST /api/v2/dags/sales_daily/dagRuns --client sales-etl
    authz check GET http://orders.internal/v1/orders --plane egress --client sales-etl
    authz check GET /v1/orders --plane egress --destination orders --dag sales_daily --task extract
    authz check CONNECT db.internal:5432 --plane egress --dag sales_daily --identity verified-bearer
    authz check GET /api/v2/dags --token-file token.txt           with a real token, verified
    authz check GET /api/v2/dags --client sales-etl --narrowed    and which DAGs Airflow would show
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    policy = load_policy(policy_path)
    answer = _decide(_question(question), policy)
    text = _summary(answer.decision) + _advice(answer, policy)
    click.echo(orjson.dumps(_as_dict(answer)).decode() if as_json else text)
    _exit(answer.decision)


@click.command(short_help="Why would it answer so? Rule by rule.")
@_asks
def explain(policy_path: Path, *, as_json: bool, **question: Any) -> None:
    """Why would the gate answer METHOD URL as it does? Lists every rule and the nearest one that would have allowed.

    Takes what `authz check` takes.
    """
    policy = load_policy(policy_path)
    answer = _decide(_question(question), policy)
    if answer.request is None:
        click.echo(orjson.dumps(_as_dict(answer)).decode() if as_json else _summary(answer.decision))
    else:
        explanation = explain_decision(answer.request, answer.identity, policy)
        if as_json:
            click.echo(orjson.dumps({**_as_dict(answer), "explanation": explanation.as_json()}).decode())
        else:
            click.echo("\n".join(explanation.lines()) + _advice(answer, policy))
    _exit(answer.decision)
