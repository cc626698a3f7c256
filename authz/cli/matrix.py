"""`authz matrix`: who may do what, as a table of roles.

Law: the answer is complete, and the same as that of `authz who-can` and `what-can`. A name that the policy does not
have is an error, never an empty table.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from authz.cli.access import cell_text, in_airflow
from authz.cli.grid import Table
from authz.cli.naming import Names
from authz.cli.options import at_option, gate_option, policy_option, running_option
from authz.cli.safe_text import RAW
from authz.cli.served import served
from authz.cli.tables import FORMS
from authz.core.characters import one_line
from authz.core.documents.wording import near
from authz.core.model import Plane
from authz.core.policy import Policy
from authz.core.proof.access import calls, cells, roles, titles
from authz.core.proof.callers import Caller


@click.command(short_help="Who may do what, as a table of roles.")
@click.option(
    "--plane",
    type=click.Choice(["inbound", "egress"]),
    default="inbound",
    help="Which side of Airflow. Default: inbound.",
)
@click.option("--format", "form", type=click.Choice([*FORMS]), default="text", help="Default: text.")
@click.option("--role", "only", multiple=True, help="Only this role. May be repeated.")
@click.option("--team", "teams", multiple=True, help="Only the roles of this team. May be repeated.")
@policy_option
@gate_option
@at_option
@running_option
def matrix(
    plane: str, form: str, only: tuple[str, ...], teams: tuple[str, ...], *, gate: str, at: float | None, **files: Any
) -> None:
    """A row per operation, or per outbound call, and a column per role, with patterns of DAGs in the cells.

    What no one may do has no row. Roles that may do the same share a column, and operations that the same roles may do
    share a row; with --format csv each has its own. The line `in Airflow` says which of Airflow's roles each role gets.
    """
    policy = served(files["policy_path"], files["settings_path"], gate, at=at).policy
    if unknown := sorted(set(only) - policy.roles.keys()):
        hint = near(unknown[0], policy.roles) or "see its `roles`"
        raise click.UsageError(one_line(f"the policy has no role {unknown[0]} ({hint})"))
    wanted = {*only, *_of_teams(policy, teams)}
    chosen = [one for one in roles(policy, Plane(plane)) if not wanted or one.role in wanted]
    table = (_operations if plane == Plane.INBOUND else _calls)(policy, chosen)
    click.echo(FORMS[form](table), nl=False)


def _of_teams(policy: Policy, teams: Iterable[str]) -> Iterator[str]:
    """The roles of these teams."""
    for team in teams:
        found = [role.name for role in policy.roles.values() if role.team == team]
        if not found:
            known = {role.team for role in policy.roles.values()} - {""}
            hint = near(team, known) or "see its `teams`"
            raise click.UsageError(one_line(f"the policy has no roles of a team {team} ({hint})"))
        yield from found


def _operations(policy: Policy, chosen: Sequence[Caller]) -> Table:
    found = cells(policy, chosen)
    named = sorted({name for row in found.values() for name in row})
    rows = [[name, *(cell_text(found[one][name]) if name in found[one] else "" for one in chosen)] for name in named]
    return Table([["operation", *titles(chosen)], *rows], [in_airflow(policy, one) for one in chosen])


def _calls(policy: Policy, chosen: Sequence[Caller]) -> Table:
    names = Names([policy], RAW)
    rows: dict[str, list[str]] = {}
    for right in calls(policy, chosen):
        text = names.what(right)
        row = rows.setdefault(text, [text, *[""] * (len(chosen) + 1)])
        for caller in right.callers:
            row[chosen.index(caller) + 1 if caller in chosen else -1] = "yes"
    return Table([["call", *titles(chosen), "a run"], *(rows[text] for text in sorted(rows))], [])
