"""`authz check` and `authz explain`: what would the gate answer, and why?"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from authz import decide, tokens
from authz.cli.keys import keysets_for
from authz.cli.options import json_option, jwks_option, load_policy, plane_option, policy_option, read_token
from authz.errors import DeniedError
from authz.explain import explain as explain_decision
from authz.model import Allow, Claims, Decision, Deny, Identity, Plane, Request
from authz.path import canonical_host, canonical_method, canonicalise
from authz.policy import Policy
from authz.reasons import ANSWERS
from authz.rights import dags_json, dags_text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """Everything that `check` and `explain` take from the command line."""

    method: str
    url: str
    plane: str
    host: str
    issuer: str
    subject: str
    client: str
    groups: tuple[str, ...]
    token_file: Any
    jwks_file: Path | None
    narrowed: bool | None
    settings_path: Path | None


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of both commands."""
    decorators = [
        click.argument("method"),
        click.argument("url"),
        policy_option,
        plane_option,
        click.option("--host", default="localhost", show_default=True, help="Host, where URL is only a path."),
        click.option("--as", "subject", default="", help="Ask for this subject (no token needed)."),
        click.option("--group", "groups", multiple=True, help="A group that the subject has. May be repeated."),
        click.option("--client", default="", help="The client id of the token, for service accounts."),
        click.option("--issuer", default="", help="Name of the issuer in the policy. Default: the first."),
        click.option("--token-file", type=click.File("r"), help="Ask with a real token from this file (- is stdin)."),
        jwks_option,
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
            help="The settings file, for `narrows_dags` of the upstream that the host leads to.",
        ),
        json_option,
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _request_of(question: _Question) -> Request:
    authority, target = question.host, question.url
    for scheme in ("https://", "http://"):
        if question.url.startswith(scheme):
            authority, slash, rest = question.url.removeprefix(scheme).partition("/")
            target = slash + rest or "/"
    host, port = canonical_host(authority)
    path = canonicalise(target)
    return Request(
        plane=Plane(question.plane),
        method=canonical_method(question.method.upper()),
        host=host,
        port=port,
        path=path.path,
        segments=path.segments,
        narrowed=_narrowed(question, host),
    )


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


def _identity_of(question: _Question, policy: Policy) -> Identity | None:
    """Who asks: a real token's claims, or what the options say; None for nobody."""
    if question.token_file is not None:
        parsed = tokens.parse(read_token(question.token_file), max_bytes=tokens.MAX_TOKEN_BYTES)
        issuer = tokens.find_issuer(parsed, policy.issuers)
        keyset = keysets_for([issuer], question.jwks_file)[issuer.name]
        tokens.verify(parsed, tokens.find_key(parsed, issuer, keyset))
        claims = tokens.read_claims(parsed, issuer)
        tokens.check_claims(claims, issuer, Plane(question.plane), time.time())
        return policy.identify(claims)
    if not (question.subject or question.groups or question.client):
        return None
    named = [issuer for issuer in policy.issuers.values() if issuer.name == question.issuer or not question.issuer]
    if not named:
        known = ", ".join(issuer.name for issuer in policy.issuers.values())
        raise click.UsageError(f"the policy has no issuer named {question.issuer}; it has {known}")
    subject = question.subject or question.client or "somebody"
    return policy.identify(
        Claims(
            issuer_name=named[0].name,
            issuer=named[0].issuer,
            subject=subject,
            client_id=question.client,
            username=subject,
            full_name="",
            groups=frozenset(question.groups),
            audiences=frozenset(),
            expires_at=0,
            issued_at=None,
            not_before=None,
        )
    )


def _decide(question: _Question, policy: Policy) -> tuple[Decision, Request | None, Identity | None]:
    """The server's own decision; a refusal before the rules is a decision too."""
    try:
        request = _request_of(question)
        identity = _identity_of(question, policy)
    except DeniedError as error:
        return Deny(reason=error.reason, detail=error.detail), None, None
    return decide.evaluate(request, identity, policy), request, identity


def _advice(decision: Decision, request: Request | None, identity: Identity | None, policy: Policy) -> str:
    """What a denial would be behind an Airflow that narrows, where that is something else."""
    if isinstance(decision, Allow) or request is None or request.narrowed:
        return ""
    other = decide.evaluate(replace(request, narrowed=True), identity, policy)
    if not isinstance(other, Allow):
        return ""
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


def _as_dict(decision: Decision) -> dict[str, object]:
    return {
        "decision": "allow" if isinstance(decision, Allow) else "deny",
        "status": ANSWERS[decision.reason].http,
        "reason": decision.reason.value,
        "rule": decision.rule,
        "operation": decision.operation,
        "dag": decision.dag_id,
        "dags": dags_json(decision),
        "detail": decision.detail if isinstance(decision, Deny) else "",
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
    authz check GET /api/v2/dags --token-file token.txt           with a real token, verified
    authz check GET /api/v2/dags --client sales-etl --narrowed    and which DAGs Airflow would show
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    policy = load_policy(policy_path)
    decision, request, identity = _decide(_Question(**question), policy)
    text = _summary(decision) + _advice(decision, request, identity, policy)
    click.echo(orjson.dumps(_as_dict(decision)).decode() if as_json else text)
    _exit(decision)


@click.command(short_help="Why would it answer so? Rule by rule.")
@_asks
def explain(policy_path: Path, *, as_json: bool, **question: Any) -> None:
    """Why would the gate answer METHOD URL as it does? Lists every rule and the nearest one that would have allowed.

    Takes what `authz check` takes.
    """
    policy = load_policy(policy_path)
    decision, request, identity = _decide(_Question(**question), policy)
    if request is None:
        click.echo(orjson.dumps(_as_dict(decision)).decode() if as_json else _summary(decision))
    else:
        explanation = explain_decision(request, identity, policy)
        if as_json:
            click.echo(orjson.dumps({**_as_dict(decision), "explanation": explanation.as_json()}).decode())
        else:
            click.echo("\n".join(explanation.lines()) + _advice(decision, request, identity, policy))
    _exit(decision)
