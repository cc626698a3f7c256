"""`authz who-can` and `authz what-can`: who may do what under the policy.

Law: the answer is complete. A name that neither policy nor settings have is an error, never an empty answer.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click
import orjson

from authz.cli.callers import check_granted
from authz.cli.naming import Names, callers_json, say_unknown
from authz.cli.options import at_option, gate_option, json_option, policy_option, running_option
from authz.cli.served import Served, served
from authz.cli.terminal import show
from authz.core.characters import one_line
from authz.core.documents.quantities import duration_text
from authz.core.documents.wording import near
from authz.core.lint.egress_map import overlap
from authz.core.model import Plane
from authz.core.policy import AIRFLOW_ROLES, Grantable, Policy
from authz.core.proof.access import Cell, all_callers, calls, cells, roles
from authz.core.proof.callers import Caller, Kind, Membership
from authz.core.proof.diff import Change


def cell_text(cell: Cell) -> str:
    """The DAGs of a cell; `yes` where the operation concerns none. Then how far that goes."""
    dags = ("all DAGs" if "*" in cell.dags else ", ".join(cell.dags)) if cell.grants else "yes"
    text = dags + (f", not {', '.join(cell.excepted)}" if cell.excepted else "")
    parts = [name for name in ("hosts", "methods", "paths") if getattr(cell.limits, name)]
    text += f", some {' and '.join(parts)}" if parts else ""
    return text + (f", except {', '.join(cell.excepted_places)}" if cell.excepted_places else "")


def _cell_json(cell: Cell) -> dict[str, list[str]]:
    limits = cell.limits
    return {
        "dags": cell.dags,
        "not": cell.excepted,
        "hosts": [*limits.hosts],
        "methods": [*limits.methods],
        "paths": [*limits.paths],
        "except": [*cell.excepted_places],
        "rules": sorted(cell.rules),
    }


def _call_json(right: Change, names: Names) -> dict[str, object]:
    return {
        "what": names.what(right),
        "destinations": [*right.destinations],
        "hosts": [*right.hosts],
        "methods": [*right.methods],
        "paths": [*right.paths],
        "levels": [*right.levels],
        "dags": [*right.dags],
        "tasks": [*right.tasks],
        "except": [*right.excepted],
        "rules": [right.rule],
    }


@click.command("who-can", short_help="Who may do an operation, or call a destination?")
@click.argument("operation", default="")
@click.option("--dag", "dag_id", default="", help="For this DAG.")
@click.option("--destination", default="", help="Who may call this destination, in place of an operation.")
@policy_option
@gate_option
@at_option
@running_option
@json_option
def who_can(
    operation: str, dag_id: str, destination: str, *, gate: str, at: float | None, as_json: bool, **files: Any
) -> None:
    """Who may do OPERATION? Each line names callers by one thing that their token says, and the rules that allow it.

    Exit status 1 if no one may. A caller with several groups may be kept from it by a deny rule about another one.

    \b
    authz who-can connections:delete
    authz who-can dag_runs:create --dag sales_daily
    authz who-can --destination orders
    authz who-can dag_runs:create --at 2026-12-31T18:00Z
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    asked = served(files["policy_path"], files["settings_path"], gate, at=at)
    policy = asked.policy
    if bool(operation) == bool(destination):
        raise click.UsageError("name an operation, or a --destination")
    if operation and operation not in policy.catalogue.operations:
        hint = near(operation, policy.catalogue.operations) or "see `authz operations`"
        raise click.UsageError(one_line(f"there is no operation {operation} ({hint})"))
    found = _callers_of(asked, destination) if destination else _doers_of(policy, operation, dag_id)
    if as_json:
        click.echo(orjson.dumps([row for _, row in found]).decode())
    else:
        texts = [f"{text}  (rule {', '.join(map(one_line, row['rules']))})" for text, row in found]
        show(texts or ["no one"])
    click.get_current_context().exit(0 if found else 1)


_Found = list[tuple[str, dict[str, Any]]]
"""For each line its text, without the rules, and its data."""


def _doers_of(policy: Policy, operation: str, dag_id: str) -> _Found:
    """Callers with equal rights together."""
    names = Names([policy])
    together: dict[tuple[str, frozenset[str]], list[tuple[Caller, Cell]]] = {}
    for caller, row in cells(policy, all_callers(policy, Plane.INBOUND)).items():
        cell = row.get(operation)
        if cell is not None and (not dag_id or cell.about(dag_id)):
            together.setdefault((cell_text(cell), frozenset(cell.rules)), []).append((caller, cell))
    found = []
    for (text, _), alike in together.items():
        callers = [caller for caller, _ in alike]
        said = f"{', '.join(names.together(callers, Plane.INBOUND))}: {one_line(text)}"
        found.append((said, {"who": names.each(callers), "what": text, **_cell_json(alike[0][1])}))
    return found


def _callers_of(gate: Served, destination: str) -> _Found:
    """The callers of each rule about the destination, or about its hosts."""
    names = Names([gate.policy])
    hosts = _hosts_of(gate, destination)
    found = []
    for right in calls(gate.policy, all_callers(gate.policy, Plane.EGRESS)):
        if right.destinations and destination not in right.destinations:
            continue
        fitting = tuple(host for host in right.hosts if hosts is None or any(overlap(host, one) for one in hosts))
        if right.hosts and not fitting:
            continue
        one = replace(right, destinations=(destination,) if right.destinations else (), hosts=fitting)
        row = {"who": names.all(one), "callers": callers_json(one), **_call_json(one, names)}
        found.append((f"{names.who(one)}: {names.what(one)}", row))
    return found


def _hosts_of(gate: Served, destination: str) -> tuple[str, ...] | None:
    """The hosts that the settings give a destination; None without settings.

    Raises:
        UsageError: there is no such destination.
    """
    if gate.ways is not None:
        known = {way.name: way.hosts for way in gate.ways.destinations}
        if destination not in known:
            raise click.UsageError(_unknown("the settings have no destination", destination, known))
        return known[destination]
    named = {name for rule in gate.policy.rules.values() for name in rule.destinations}
    if destination not in named:
        text = _unknown("no rule names the destination", destination, named)
        raise click.UsageError(f"{text}; with --settings, rules about its hosts count too")
    return None


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    hint = near(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
    return one_line(f"{what} {name} ({hint})")


@click.command("what-can", short_help="What may a caller do?")
@click.option("--group", "groups", multiple=True, help="A group of the token. May be repeated.")
@click.option("--client", default="", help="The client id of the token.")
@click.option("--as", "subject", default="", help="The subject of the token.")
@click.option("--grant", "grants", multiple=True, help="A grant of this entry of `grantable`. May be repeated.")
@click.option("--role", default="", help="A role of the policy, in place of what a token says.")
@click.option("--issuer", default="", help="Name of the issuer in the policy. Default: the first.")
@policy_option
@gate_option
@at_option
@running_option
@json_option
def what_can(
    groups: tuple[str, ...],
    grants: tuple[str, ...],
    *,
    client: str,
    subject: str,
    role: str,
    issuer: str,
    as_json: bool,
    gate: str,
    at: float | None,
    **files: Any,
) -> None:
    """What may a caller do? Without options: a caller with a valid token and no membership that counts.

    \b
    authz what-can --group data-readers
    authz what-can --client sales-etl
    authz what-can --grant sales-oncall
    authz what-can --role op
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    asked = served(files["policy_path"], files["settings_path"], gate, at=at)
    policy = asked.policy
    if role and (groups or client or subject or grants):
        raise click.UsageError("--role stands for a caller, however they came by it: give it alone")
    if role and role not in policy.roles:
        hint = near(role, policy.roles) or "see its `roles`"
        raise click.UsageError(one_line(f"the policy has no role {role} ({hint})"))
    check_granted(grants, policy)
    names = [one.name for one in policy.issuers.values()]
    if issuer and issuer not in names:
        raise click.UsageError(one_line(f"the policy has no issuer named {issuer}; it has {', '.join(names)}"))
    held = [*(Membership(Kind.GROUP, group) for group in groups)]
    held += [Membership(Kind.GRANT, entry) for entry in grants]
    held += [Membership(kind, value) for kind, value in ((Kind.CLIENT, client), (Kind.SUBJECT, subject)) if value]
    caller = Caller(issuer or names[0], tuple(held))
    asking = {plane: one for plane in Plane if (one := _as_role(policy, plane, role) if role else caller) is not None}
    if not role:
        accepted = next(one for one in policy.issuers.values() if one.name == caller.issuer).audiences
        asking = {plane: one for plane, one in asking.items() if plane in accepted}
    say_unknown(asked.known.memberships(groups, client, subject))
    _print_rights(policy, asking, caller.issuer if not role else "", as_json=as_json)


def in_airflow(policy: Policy, caller: Caller | None) -> str:
    """The caller's role in Airflow itself, whatever a request needs; "" if there is none."""
    held = caller.held(policy) if caller is not None else ()
    return max((policy.airflow_roles.get(role, "") for role in held), key=("", *AIRFLOW_ROLES).index, default="")


def _as_role(policy: Policy, plane: Plane, role: str) -> Caller | None:
    """A caller of the plane with a role; None if no issuer of the plane gives it."""
    return next((one for one in roles(policy, plane) if one.role == role), None)


def _print_rights(policy: Policy, asking: dict[Plane, Caller], issuer: str, *, as_json: bool) -> None:
    """What a caller may do on each plane that accepts them."""
    names = Names([policy])
    airflow = in_airflow(policy, asking.get(Plane.INBOUND))
    one = asking.get(Plane.INBOUND)
    inbound = sorted(cells(policy, [one])[one].items()) if one is not None else []
    one = asking.get(Plane.EGRESS)
    outbound = [right for right in calls(policy, [one]) if one in right.callers] if one is not None else []
    may_ask = _may_ask_for(policy, asking.get(Plane.INBOUND))
    if as_json:
        rows = {name: _cell_json(cell) for name, cell in inbound}
        listed = [_call_json(right, names) for right in outbound]
        answer = {"issuer": issuer, "operations": rows, "calls": listed, "airflow_role": airflow}
        answer["may_ask_for"] = [entry.id for entry in may_ask]
        click.echo(orjson.dumps(answer).decode())
        return
    texts = []
    if issuer and len(policy.issuers) > 1:
        planes = " and ".join(plane.value for plane in asking)
        texts.append(one_line(f"a caller of {issuer}, whose tokens are for {planes}; --issuer asks about another"))
    texts += [one_line(f"{name:26} {cell_text(cell)}") for name, cell in inbound]
    texts += [f"call {names.what(right)}" for right in outbound]
    if not (inbound or outbound):
        texts.append("nothing")
    elif inbound and airflow:
        texts.append(f"in Airflow itself: {airflow}")
    for entry in may_ask:
        approved = f", which {' or '.join(sorted(entry.approvers))} approves" if entry.approvers else ""
        longest = duration_text(entry.longest)
        texts.append(one_line(f"may ask for a grant of `{entry.id}`, for {longest} at most{approved}"))
    show(texts)


def _may_ask_for(policy: Policy, caller: Caller | None) -> list[Grantable]:
    """The entries of `grantable` that an inbound caller may ask for, without those whose grant they hold."""
    roles_held = caller.held(policy) if caller is not None else frozenset()
    granted = {one.value for one in caller.memberships if one.kind is Kind.GRANT} if caller is not None else ()
    entries = sorted(policy.grantable.values(), key=lambda entry: entry.id)
    return [entry for entry in entries if entry.id not in granted and not roles_held.isdisjoint(entry.requesters)]
