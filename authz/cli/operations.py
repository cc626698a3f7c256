"""`authz operations`: the operations that rules may name, and the routes behind them."""

from typing import Final

import click
import orjson

from authz.cli.options import json_option
from authz.core import catalogue
from authz.core.catalogue import ANY_DAG, ONE_DAG, Operation, OperationRoute
from authz.core.catalogue.routes import CHANGE
from authz.core.policy import BUILT_IN
from authz.core.policy.operations import expand
from authz.core.policy.synonyms import OperationHints

_SETS: Final = (*BUILT_IN, "*", f"*{CHANGE}")
_WORDS: Final = {"": "none", ONE_DAG: "one", ANY_DAG: "any"}


@click.command(short_help="List the operations that rules may name.")
@click.argument("area", default="")
@click.option("--airflow", "version", type=click.Choice(catalogue.versions()), help="Default: the newest.")
@click.option(
    "--set",
    "chosen_set",
    metavar="WORD",
    shell_complete=lambda _context, _option, begun: [word for word in _SETS if word.startswith(begun)],
    help="Only what this word of an allow rule stands for: a set, a wildcard or a name.",
)
@click.option("--routes", is_flag=True, help="Show the routes of each operation too.")
@json_option
def operations(area: str, version: str | None, chosen_set: str | None, *, routes: bool, as_json: bool) -> None:
    """List the operations that rules may name, all or those of one AREA.

    \b
    authz operations                   every operation
    authz operations dag_runs          those of DAG runs
    authz operations --routes pools    with methods and routes, and which DAGs each is about
    authz operations --set airflow.op  what `operations: [airflow.op]` allows
    authz operations --set '*:change'  everything that is not a read

    --set takes each word that a rule takes: `*`, `*:read`, `pools:*`, `pools:change` and names too.

    The second column is the weakest of Airflow's own roles that may do it. A rule that allows airflow.viewer,
    airflow.user, airflow.op or airflow.admin allows everything up to that role.

    With --routes: `one DAG` is the one that the path names, as a rule's `dags` compares it. A route to `any DAG` needs
    a rule for all DAGs, unless it is `narrowed`: there an Airflow with `narrows_dags` keeps to those of the caller, and
    so it does with a `~` in the path. A test names a DAG beside an operation for the routes to one DAG, and none for
    the others.
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    table = catalogue.load(version or catalogue.versions()[-1])
    known = table.operations
    within = known.keys() if chosen_set is None else expand(chosen_set, table, never=False)
    if not within:
        hint = OperationHints(table).for_unknown(chosen_set or "", never=False)
        raise click.UsageError(f"no operation set {chosen_set!r} of allow rules (Airflow {table.version}): {hint}")
    of_area = [known[name] for name in sorted(known) if not area or name.partition(":")[0] == area]
    chosen = [operation for operation in of_area if operation.name in within]
    if not of_area:
        areas = ", ".join(sorted({name.partition(":")[0] for name in known}))
        raise click.UsageError(f"there is no area {area}; the areas are {areas}")
    if as_json:
        click.echo(orjson.dumps([_as_dict(operation) for operation in chosen]).decode())
        return
    for operation in chosen:
        click.echo(f"{operation.name:26} {operation.airflow_role:7} {operation.help}")
        for route in operation.routes if routes else ():
            click.echo(f"    {route.method:7} {_reach(route):19} {route.template}")


def _as_dict(operation: Operation) -> dict[str, object]:
    return {
        "name": operation.name,
        "airflow_role": operation.airflow_role,
        "help": operation.help,
        "named_only": operation.never,
        "changes": operation.changes,
        "routes": [f"{route.method} {route.template}" for route in operation.routes],
        "dags": [{"dag": _WORDS[route.dag], "narrowed": route.narrowed} for route in operation.routes],
    }


def _reach(route: OperationRoute) -> str:
    """Which DAGs it is about; "" for none. One that is narrowed is so where its path says `~`."""
    if route.dag == ONE_DAG:
        return "one DAG, ~ narrowed" if route.narrowed else "one DAG"
    return ("any DAG, narrowed" if route.narrowed else "any DAG") if route.dag else ""
