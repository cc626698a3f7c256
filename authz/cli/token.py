"""`authz token`: one's own token, and everything that is wrong with one, for a person who gets a 401."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import orjson

from authz.cli.keys import keysets_for
from authz.cli.login import name_option
from authz.cli.options import (
    gate_option,
    json_option,
    jwks_option,
    plane_option,
    policy_option,
    read_token,
    token_file_option,
)
from authz.cli.policy_files import PolicyFile
from authz.cli.served import Served, served
from authz.core import tokens
from authz.core.characters import one_line
from authz.core.errors import DeniedError, KeysUnavailableError
from authz.core.jose.jwks import KeySet
from authz.core.jose.primitives import shown
from authz.core.model import Identity, Issuer, Plane
from authz.core.policy import AUTHENTICATED, Policy
from authz.core.runs import run_token
from authz.core.runs.task_token import AUDIENCE
from authz.core.tokens import Inspection, Outcome

_MOST_NOTES: Final = 5
_MARKS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.OK: ("ok", "green"),
    Outcome.FAILED: ("FAILED", "red"),
    Outcome.SKIPPED: ("skipped", "yellow"),
}


@click.group()
def token() -> None:
    """Print your own token, or inspect one."""


@token.command(name="print")
@name_option
def print_(name: str) -> None:
    """Print the access token of `authz login`, renewed if it is near its end; for `$(…)` in another command.

    Anyone who reads the output has your rights until the token ends.
    """
    from authz.login import session  # noqa: PLC0415 an HTTP client costs start-up time that others need not pay
    from authz.login.store import Store  # noqa: PLC0415 see above

    click.echo(session.access_token(Store(name)))


@token.command()
@policy_option
@gate_option
@plane_option
@token_file_option
@jwks_option
@click.option("--offline", is_flag=True, help="Ask no issuer; without --jwks the signature is not checked.")
@json_option
@click.argument("misplaced", nargs=-1, metavar="")
def inspect(
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    *,
    plane: str,
    token_file: Any,
    jwks_file: Path | None,
    misplaced: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Report every check of a token at once: signature, issuer, audience, lifetimes, kind, roles, routes.

    The token is read from --token-file, $AUTHZ_TOKEN or standard input, and never printed. Exit status 0 when the gate
    would accept it on the plane.
    """
    if misplaced:  # click's own message would print it
        raise click.UsageError(
            "give the token on standard input, with --token-file or in $AUTHZ_TOKEN:"
            " as an argument it is in your shell's history and in every process list by now"
        )
    gate = served(policy_path, settings_path)
    policy = gate.policy
    text = read_token(token_file)
    keysets, key_error = _keysets(text, policy, jwks_file, offline=offline)
    report = tokens.inspect(text, policy.issuers, keysets, Plane(plane), time.time())
    identity = policy.identify(report.claims) if report.claims is not None else None
    opens = _opens(identity, Plane(plane), policy) if identity is not None else ()
    notes = [*_strange(identity, gate), *filter(None, [_note(text)])]
    if as_json:
        click.echo(orjson.dumps({**_as_dict(report, identity, opens, key_error), "notes": notes}).decode())
    else:
        _print(report, identity, opens, key_error)
        for note in notes:
            click.echo(f"note     {one_line(note)}")
    click.get_current_context().exit(0 if report.ok else 1)


def _keysets(text: str, policy: Policy, jwks_file: Path | None, *, offline: bool) -> tuple[Mapping[str, KeySet], str]:
    """The key set of the token's issuer, or why it is missing."""
    issuers = _issuer_of(text, policy)
    if not issuers or (offline and jwks_file is None):
        return {}, "offline: the signature was not checked" if issuers else ""
    try:
        return keysets_for(issuers, jwks_file), ""
    except KeysUnavailableError as error:
        return {}, error.detail


def _opens(identity: Identity, plane: Plane, policy: Policy) -> tuple[str, ...]:
    """What the plane's rules say about the identity's roles, one line per rule; conditions are in the policy."""
    roles = identity.roles | {AUTHENTICATED}
    lines = []
    for rule in policy.rules.values():
        if plane in rule.planes and (not rule.roles or roles & set(rule.roles)):
            conditions = {
                "operations": rule.operations,
                "methods": rule.methods,
                "hosts": tuple(host.text for host in rule.hosts),
                "paths": tuple(path.text for path in rule.paths),
                "dags": tuple(dag.text for dag in rule.dags),
            }
            said = "; ".join(f"{name} {', '.join(values)}" for name, values in conditions.items() if values)
            lines.append(f"{rule.effect.value:6} {rule.id}: {said or 'everything'}")
    return tuple(lines)


def _issuer_of(text: str, policy: Policy) -> list[Issuer]:
    try:
        parsed = tokens.parse(text, max_bytes=tokens.MAX_TOKEN_BYTES)
        return [tokens.find_issuer(parsed, policy.issuers)]
    except DeniedError:
        return []


def _strange(identity: Identity | None, gate: Served) -> list[str]:
    """Of a caller without a role, which memberships are nearly those of a role, or that no role has any; a few."""
    if identity is None or identity.roles:
        return []
    claims = identity.claims
    found = gate.known.memberships(sorted(claims.groups), claims.client_id, claims.subject)
    return ([note for note in found if "did you mean" in note] or found)[:_MOST_NOTES]


def _note(text: str) -> str:
    """For a token of none of the policy's issuers: whose it is, and where it goes. Nothing in it is verified here."""
    try:
        parsed = tokens.parse(text, max_bytes=tokens.MAX_TOKEN_BYTES)
    except DeniedError:
        return ""
    if parsed.typ == run_token.TYP:
        bound = "cnf" in parsed.payload
        form = "X-Run-Identity, with a proof" if bound else "Proxy-Authorization"
        return f"a run identity token of a gate; it goes into {form}, for some minutes: docs/run-identity.md"
    if parsed.payload.get("aud") == AUDIENCE:
        return (
            f"an Airflow task token, scope {shown(parsed.payload.get('scope'))}: the gate takes one of scope"
            " `execution` in exchange for a run identity token, and for nothing else: docs/run-identity.md"
        )
    return ""


def _verdict(report: Inspection) -> str:
    if report.ok:
        return "the gate accepts this token"
    if any(check.outcome is Outcome.FAILED for check in report.checks):
        return "the gate refuses this token"
    return "not decided: a check was skipped"


def _no_groups(report: Inspection) -> str:
    """Why there are no roles: the claims that the policy names, and what the token has instead."""
    if report.issuer is None or not report.issuer.groups:
        return "- (the issuer's entry names no group claims)"
    wanted = ", ".join(".".join(path) for path in report.issuer.groups)
    return f"- (none in {wanted}; the token has {', '.join(report.members)})"


def _as_dict(
    report: Inspection, identity: Identity | None, opens: tuple[str, ...], key_error: str
) -> dict[str, object]:
    return {
        "ok": report.ok,
        "checks": [
            {
                "name": check.name,
                "outcome": check.outcome.value,
                "text": check.text,
                "reason": check.reason.value if check.reason else "",
            }
            for check in report.checks
        ],
        "keys": key_error,
        "subject": identity.claims.subject if identity else "",
        "client": identity.claims.client_id if identity else "",
        "groups": sorted(identity.claims.groups) if identity else [],
        "roles": sorted(identity.roles) if identity else [],
        "rules": list(opens),
    }


def _print(report: Inspection, identity: Identity | None, opens: tuple[str, ...], key_error: str) -> None:
    for check in report.checks:
        mark, colour = _MARKS[check.outcome]
        why = f" ({key_error})" if key_error and check.outcome is Outcome.SKIPPED else ""
        click.echo(f"{click.style(f'{mark:8}', fg=colour)} {check.name:10} {one_line(f'{check.text}{why}')}")
    click.echo(f"\nverdict  {one_line(_verdict(report))}")
    if identity is not None:
        believed = "" if report.ok else " (if the token were accepted)"
        click.echo(one_line(f"subject  {identity.claims.subject}"))
        click.echo(one_line(f"client   {identity.claims.client_id or '-'}"))
        click.echo(one_line(f"groups   {', '.join(sorted(identity.claims.groups)) or _no_groups(report)}"))
        click.echo(f"roles    {', '.join(sorted(identity.roles)) or '-'}{believed}")
        click.echo(f"Airflow  {identity.airflow_role or '-'}")
        click.echo("opens    " + ("\n         ".join(map(one_line, opens)) or "nothing"))
