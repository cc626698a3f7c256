"""`authz who-can`, `authz what-can` and `authz matrix`: who may do what under the policy."""

import csv
import html
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from authz.cli.diff import name_of, what, who
from authz.cli.options import gate_option, json_option, policy_option
from authz.cli.served import served
from authz.core.documents.wording import near
from authz.core.model import Plane
from authz.core.policy import Policy
from authz.core.proof.access import Cell, all_callers, calls, cells, roles, title
from authz.core.proof.callers import Caller, Kind, Membership

_NARROWEST: Final = 40  # columns of a terminal


def cell_text(cell: Cell) -> str:
    """The DAGs of a cell; `yes` where the operation concerns none."""
    if not cell.grants:
        return "yes"
    dags = "all DAGs" if "*" in cell.dags else ", ".join(cell.dags)
    return dags + (f", not {', '.join(cell.excepted)}" if cell.excepted else "")


@click.command("who-can", short_help="Who may do an operation, or call a destination?")
@click.argument("operation", default="")
@click.option("--dag", "dag_id", default="", help="For this DAG.")
@click.option("--destination", default="", help="Who may call this destination, in place of an operation.")
@policy_option
@gate_option
@json_option
def who_can(
    operation: str,
    dag_id: str,
    destination: str,
    policy_path: Path | None,
    settings_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Who may do OPERATION? Each line names callers by one thing that their token says, and the rules that allow it.

    Exit status 1 if no one may. A caller with several groups may be kept from it by a deny rule about another one.

    \b
    authz who-can connections:delete
    authz who-can dag_runs:create --dag sales_daily
    authz who-can --destination orders
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    policy = served(policy_path, settings_path).policy
    if bool(operation) == bool(destination):
        raise click.UsageError("name an operation, or a --destination")
    if operation and operation not in policy.catalogue.operations:
        hint = near(operation, policy.catalogue.operations) or "see `authz operations`"
        raise click.UsageError(f"there is no operation {operation} ({hint})")
    found = [*_callers_of(policy, destination)] if destination else [*_doers_of(policy, operation, dag_id)]
    if as_json:
        rows = [{"who": names, "what": text, "rules": sorted(rules)} for names, text, rules in found]
        click.echo(orjson.dumps(rows).decode())
    else:
        for names, text, rules in found:
            click.echo(f"{', '.join(names)}: {text}  (rule {', '.join(sorted(rules))})")
        if not found:
            click.echo("no one")
    click.get_current_context().exit(0 if found else 1)


_Found = tuple[list[str], str, set[str]]


def _doers_of(policy: Policy, operation: str, dag_id: str) -> Iterator[_Found]:
    """Callers with equal rights together."""
    together: dict[tuple[str, frozenset[str]], list[Caller]] = {}
    for caller, row in cells(policy, all_callers(policy, Plane.INBOUND)).items():
        cell = row.get(operation)
        if cell is not None and (not dag_id or cell.about(dag_id)):
            together.setdefault((cell_text(cell), frozenset(cell.rules)), []).append(caller)
    for (text, rules), callers in together.items():
        yield [name for caller in callers for name in _names(caller)], text, set(rules)


def _names(caller: Caller) -> Iterator[str]:
    yield name_of(caller)
    yield from (f"{other.kind} `{other.value}`" for other in caller.alike)


def _callers_of(policy: Policy, destination: str) -> Iterator[_Found]:
    for right in calls(policy, all_callers(policy, Plane.EGRESS)):
        if destination in right.destinations or not (right.destinations or right.hosts):
            yield [who(right)], what(right), {right.rule}


@click.command("what-can", short_help="What may a caller do?")
@click.option("--group", "groups", multiple=True, help="A group of the token. May be repeated.")
@click.option("--client", default="", help="The client id of the token.")
@click.option("--as", "subject", default="", help="The subject of the token.")
@click.option("--role", default="", help="A role of the policy, in place of what a token says.")
@click.option("--issuer", default="", help="Name of the issuer in the policy. Default: the first.")
@policy_option
@gate_option
@json_option
def what_can(
    groups: tuple[str, ...], *, client: str, subject: str, role: str, issuer: str, as_json: bool, **files: Path | None
) -> None:
    """What may a caller do? Without options: a caller with a valid token and no membership that counts.

    \b
    authz what-can --group data-readers
    authz what-can --client sales-etl
    authz what-can --role op
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    policy = served(files["policy_path"], files["settings_path"]).policy
    if role and (groups or client or subject):
        raise click.UsageError("--role stands for a caller, however they came by it: give it alone")
    if role and role not in policy.roles:
        raise click.UsageError(f"the policy has no role {role} ({near(role, policy.roles) or 'see its `roles`'})")
    names = [one.name for one in policy.issuers.values()]
    if issuer and issuer not in names:
        raise click.UsageError(f"the policy has no issuer named {issuer}; it has {', '.join(names)}")
    held = [*(Membership(Kind.GROUP, group) for group in groups)]
    held += [Membership(kind, value) for kind, value in ((Kind.CLIENT, client), (Kind.SUBJECT, subject)) if value]
    caller = Caller(issuer or names[0], tuple(held), role=role)
    inbound = cells(policy, [caller])[caller]
    outbound = [what(right) for right in calls(policy, [caller]) if caller in right.callers]
    if as_json:
        rows = {name: _as_dict(cell) for name, cell in sorted(inbound.items())}
        click.echo(orjson.dumps({"operations": rows, "calls": outbound}).decode())
        return
    for name, cell in sorted(inbound.items()):
        click.echo(f"{name:26} {cell_text(cell)}")
    for text in outbound:
        click.echo(f"call {text}")
    if not (inbound or outbound):
        click.echo("nothing")


def _as_dict(cell: Cell) -> dict[str, list[str]]:
    return {"dags": cell.dags, "not": cell.excepted, "rules": sorted(cell.rules)}


@click.command(short_help="Who may do what, as a table of roles.")
@click.option(
    "--plane",
    type=click.Choice(["inbound", "egress"]),
    default="inbound",
    help="Which side of Airflow. Default: inbound.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "csv", "markdown", "html"]), default="text", help="Default: text."
)
@click.option("--role", "only", multiple=True, help="Only this role. May be repeated.")
@policy_option
@gate_option
def matrix(plane: str, form: str, only: tuple[str, ...], policy_path: Path | None, settings_path: Path | None) -> None:
    """A row per operation, or per outbound call, and a column per role, with patterns of DAGs in the cells.

    What no one may do has no row.
    """
    policy = served(policy_path, settings_path).policy
    if unknown := sorted(set(only) - policy.roles.keys()):
        raise click.UsageError(f"the policy has no role {unknown[0]}")
    chosen = [one for one in roles(policy, Plane(plane)) if not only or one.role in only]
    table = (_operations if plane == Plane.INBOUND else _calls)(policy, chosen)
    click.echo(_FORMS[form](table), nl=False)


_Table = list[list[str]]


def _operations(policy: Policy, chosen: Sequence[Caller]) -> _Table:
    found = cells(policy, chosen)
    named = sorted({name for row in found.values() for name in row})
    rows = [[name, *(cell_text(found[one][name]) if name in found[one] else "" for one in chosen)] for name in named]
    return [["operation", *map(title, chosen)], *rows]


def _calls(policy: Policy, chosen: Sequence[Caller]) -> _Table:
    rows: dict[str, list[str]] = {}
    for right in calls(policy, chosen):
        text = what(right)
        row = rows.setdefault(text, [text, *[""] * (len(chosen) + 1)])
        for caller in right.callers:
            row[chosen.index(caller) + 1 if caller in chosen else -1] = "yes"
    return [["call", *map(title, chosen), "a run"], *(rows[text] for text in sorted(rows))]


def _text(table: _Table) -> str:
    """Columns, where they fit into the terminal; else a block for each row."""
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    if sum(widths) + 2 * len(widths) <= max(shutil.get_terminal_size().columns, _NARROWEST):
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        )
        return "".join(f"{line}\n" for line in lines)
    return "".join(_block(table[0], row) for row in table[1:])


def _block(titles: Iterable[str], row: Sequence[str]) -> str:
    cells_of = list(zip(titles, row, strict=True))[1:]
    return "".join([f"{row[0]}\n", *(f"  {name}: {cell}\n" for name, cell in cells_of if cell)])


def _csv(table: _Table) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(table)
    return out.getvalue()


def _markdown(table: _Table) -> str:
    rows = [[cell.replace("|", r"\|").replace("*", r"\*") for cell in row] for row in table]
    rows.insert(1, ["---"] * len(table[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _html(table: _Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    body = "".join(
        f"<tr><th>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row[1:])}</tr>\n"
        for row in table[1:]
    )
    return _PAGE.format(head=head, body=body)


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Who may do what</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
thead th {{ position: sticky; top: 0; background: #f4f4f4; }}
tbody th {{ font-weight: 600; white-space: nowrap; }}
</style></head>
<body><h1>Who may do what</h1>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table></body></html>
"""
_FORMS: Final[dict[str, Callable[[_Table], str]]] = {
    "text": _text,
    "csv": _csv,
    "markdown": _markdown,
    "html": _html,
}
