"""How each route is asked: a request that means something, so that no 404 or 422 stands before a 403.

Law: everyone has a world of their own (`world.py`), and what one request of theirs takes away no other one needs. Ids
that Airflow chose come in as `ids`. A route that is not here is asked with nothing but its path's parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from authz.core.catalogue import Catalogue

PEOPLE = ("nobody", "stranger", "viewer", "user", "op", "admin")
"""`nobody` has no token; `stranger` is known and has no role."""

DAG = "/api/v2/dags/{dag_id}"
RUN = DAG + "/dagRuns/{dag_run_id}"
TASK = RUN + "/taskInstances/{task_id}"
MAPPED = TASK + "/{map_index}"
GROUP = RUN + "/taskGroupInstances/{group_id}"
XCOM = TASK + "/xcomEntries/{xcom_key:path}"
EXECUTION = "/execution/{path:path}"
ASSET = "/api/v2/assets/{asset_id}"
DAYS = {"from_date": "2026-03-01T00:00:00Z", "to_date": "2026-03-02T00:00:00Z"}


@dataclass(frozen=True)
class Person:
    """One person and the ids of what was made for them."""

    name: str
    ids: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """One request. `url` is encoded, `body` None where there is none."""

    method: str
    url: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Made = Callable[[Person], Any]


def fixed(value: Any) -> Made:
    """The same for everyone."""
    return lambda _person: value


def dag(name: str) -> Made:
    return lambda person: f"parity_{person.name}_{name}"


def asset(name: str) -> Made:
    return lambda person: person.ids[f"asset_{name}"]


def credentials(person: Person) -> dict[str, str]:
    """Everyone's password is their name, and nobody has none."""
    return {"username": person.name, "password": person.name}


def connection(person: Person, name: str) -> dict[str, Any]:
    return {"connection_id": f"{person.name}_{name}", "conn_type": "http", "host": "127.0.0.1"}


def pool(person: Person, name: str) -> dict[str, Any]:
    return {"name": f"{person.name}_{name}", "slots": 1, "include_deferred": False}


def variable(person: Person, name: str) -> dict[str, Any]:
    return {"key": f"{person.name}_{name}", "value": "2"}


def bulk(made: Callable[[Person, str], dict[str, Any]], key: str) -> Made:
    """A body that creates, changes and deletes one thing each."""

    def body(person: Person) -> dict[str, Any]:
        return {
            "actions": [
                {"action": "create", "entities": [made(person, "new_by_bulk")]},
                {"action": "update", "entities": [made(person, "there")]},
                {"action": "delete", "entities": [made(person, "bulk")[key]]},
            ]
        }

    return body


PARAMETERS: Mapping[str, Made] = {
    "dag_id": lambda person: f"parity_{person.name}",
    "dag_run_id": fixed("run"),
    "run_id": fixed("run"),
    "task_id": fixed("only"),
    "map_index": fixed("-1"),
    "group_id": fixed("group"),
    "try_number": fixed("1"),
    "task_try_number": fixed("1"),
    "version_number": fixed("1"),
    "xcom_key": fixed("there"),
    "key": fixed("there"),
    "asset_id": lambda person: person.ids["asset_there"],
    "asset_alias_id": lambda person: person.ids["alias"],
    "backfill_id": lambda person: person.ids["backfill"],
    "import_error_id": lambda person: person.ids["import_error"],
    "event_log_id": lambda person: person.ids["event_log"],
    "file_token": lambda person: person.ids["file_token"],
    "connection_id": lambda person: f"{person.name}_there",
    "variable_key": lambda person: f"{person.name}_there",
    "pool_name": lambda person: f"{person.name}_there",
    "section": fixed("core"),
    "option": fixed("parallelism"),
    "rest": fixed("x"),
    "path": fixed("x"),
}

INSTEAD: Mapping[tuple[str, str], Mapping[str, Made]] = {
    ("DELETE", DAG): {"dag_id": dag("gone")},
    ("POST", DAG + "/dagRuns/list"): {"dag_id": fixed("~")},
    ("POST", RUN + "/taskInstances/list"): {"dag_id": fixed("~"), "dag_run_id": fixed("~")},
    ("DELETE", TASK + "/state-store"): {"dag_run_id": fixed("emptied")},
    ("DELETE", TASK + "/state-store/{key:path}"): {"key": fixed("gone")},
    ("DELETE", ASSET + "/state-store"): {"asset_id": asset("gone")},
    ("DELETE", ASSET + "/state-store/{key:path}"): {"key": fixed("gone")},
    ("DELETE", ASSET + "/queuedEvents"): {"asset_id": asset("gone")},
    ("GET", DAG + "/assets/queuedEvents"): {"dag_id": dag("waits")},
    ("GET", DAG + "/assets/{asset_id}/queuedEvents"): {"dag_id": dag("waits")},
    ("DELETE", DAG + "/assets/queuedEvents"): {"dag_id": dag("waits_too")},
    ("DELETE", DAG + "/assets/{asset_id}/queuedEvents"): {"dag_id": dag("waits"), "asset_id": asset("waited")},
    ("GET", "/static/{path:path}"): {"path": fixed("pin_32.png")},
    ("POST", "/auth/token/{path:path}"): {"path": fixed("cli")},
    ("GET", EXECUTION): {"path": fixed("variables/x")},
    ("POST", EXECUTION): {"path": fixed("xcoms/d/r/t/k")},
    ("PUT", EXECUTION): {"path": fixed("variables/x")},
    ("PATCH", EXECUTION): {"path": fixed("task-instances/00000000-0000-0000-0000-000000000000/run")},
    ("DELETE", EXECUTION): {"path": fixed("xcoms/d/r/t/k")},
    ("DELETE", RUN): {"dag_run_id": fixed("gone")},
    ("GET", RUN + "/wait"): {"dag_run_id": fixed("over")},  # others are cleared, and to wait for these takes for ever
    ("DELETE", TASK): {"dag_run_id": fixed("cleared")},
    ("DELETE", XCOM): {"xcom_key": fixed("gone")},
    ("GET", TASK + "/listMapped"): {"task_id": fixed("mapped")},
    ("DELETE", "/api/v2/connections/{connection_id}"): {"connection_id": lambda person: f"{person.name}_gone"},
    ("DELETE", "/api/v2/variables/{variable_key:path}"): {"variable_key": lambda person: f"{person.name}_gone"},
    ("DELETE", "/api/v2/pools/{pool_name:path}"): {"pool_name": lambda person: f"{person.name}_gone"},
}
"""Parameters of single routes that take something away, or are about something special."""

QUERIES: Mapping[tuple[str, str], Made] = {
    ("GET", "/api/v2/backfills"): lambda person: f"dag_id=parity_{person.name}",
    ("GET", RUN + "/wait"): fixed("interval=1"),
    ("GET", "/ui/structure/structure_data"): lambda person: f"dag_id=parity_{person.name}",
    ("GET", "/ui/dashboard/historical_metrics_data"): fixed("start_date=2026-01-01T00:00:00Z"),
    ("GET", "/ui/calendar/{dag_id}"): fixed(
        "logical_date_gte=2026-01-01T00:00:00Z&logical_date_lte=2026-01-31T00:00:00Z"
    ),
    ("GET", "/ui/pending_partitioned_dag_run/{dag_id}"): fixed("partition_key=x"),
    ("GET", "/ui/partitioned_dag_runs"): lambda person: f"dag_id=parity_{person.name}",
}

HEADERS: Mapping[tuple[str, str], Made] = {
    ("GET", "/api/v2/connections/enqueue-test"): lambda person: {
        "Airflow-Connection-Test-Token": person.ids["connection_test"]
    },
}

_NOTE = fixed({"note": "x"})
BODIES: Mapping[tuple[str, str], Made] = {
    ("POST", "/ui/auth/token"): fixed({"token_type": "api"}),
    ("POST", "/auth/token"): credentials,
    ("POST", "/auth/token/{path:path}"): credentials,
    ("POST", "/api/v2/assets/events"): lambda person: {"asset_id": person.ids["asset_there"]},
    ("POST", ASSET + "/materialize"): fixed({"logical_date": None}),
    ("POST", "/api/v2/backfills"): lambda person: {"dag_id": dag("spare")(person), **DAYS},
    ("POST", "/api/v2/backfills/dry_run"): lambda person: {"dag_id": f"parity_{person.name}", **DAYS},
    ("POST", "/api/v2/connections"): lambda person: connection(person, "new"),
    ("PATCH", "/api/v2/connections"): bulk(connection, "connection_id"),
    ("PATCH", "/api/v2/connections/{connection_id}"): lambda person: connection(person, "there"),
    ("POST", "/api/v2/connections/test"): lambda person: connection(person, "there"),
    ("POST", "/api/v2/connections/enqueue-test"): lambda person: connection(person, "there"),
    ("POST", "/api/v2/pools"): lambda person: pool(person, "new"),
    ("PATCH", "/api/v2/pools"): bulk(pool, "name"),
    ("PATCH", "/api/v2/pools/{pool_name:path}"): lambda person: {
        "slots": 2,
        "pool": f"{person.name}_there",
        "include_deferred": False,
    },
    ("POST", "/api/v2/variables"): lambda person: variable(person, "new"),
    ("PATCH", "/api/v2/variables"): bulk(variable, "key"),
    ("PATCH", "/api/v2/variables/{variable_key:path}"): lambda person: variable(person, "there"),
    ("PATCH", "/api/v2/dags"): fixed({"is_paused": False}),
    ("PATCH", DAG): fixed({"is_paused": False}),
    ("POST", DAG + "/dagRuns"): fixed({"logical_date": None}),
    ("PATCH", DAG + "/dagRuns"): fixed(
        {"actions": [{"action": "update", "entities": [{"dag_run_id": "run", "note": "x"}]}]}
    ),
    ("POST", DAG + "/dagRuns/list"): fixed({}),
    ("POST", DAG + "/clearDagRuns"): fixed({"dry_run": False, "dag_runs": [{"dag_run_id": "cleared"}]}),
    ("POST", DAG + "/clearPartitions"): fixed({"partition_key": "x", "dry_run": True}),
    ("PATCH", RUN): _NOTE,
    ("POST", RUN + "/clear"): fixed({"dry_run": False}),
    ("POST", DAG + "/clearTaskInstances"): fixed({"dry_run": False, "task_ids": ["only"], "dag_run_id": "cleared"}),
    ("POST", RUN + "/taskInstances/list"): fixed({}),
    ("PATCH", RUN + "/taskInstances"): fixed(
        {"actions": [{"action": "update", "entities": [{"task_id": "only", "note": "x"}]}]}
    ),
    ("PATCH", TASK): _NOTE,
    ("PATCH", TASK + "/dry_run"): fixed({"new_state": "failed"}),
    ("PATCH", MAPPED): _NOTE,
    ("PATCH", MAPPED + "/dry_run"): fixed({"new_state": "failed"}),
    ("PATCH", GROUP): fixed({"new_state": "failed"}),
    ("PATCH", GROUP + "/dry_run"): fixed({"new_state": "failed"}),
    ("PATCH", MAPPED + "/hitlDetails"): fixed({"chosen_options": ["yes"], "params_input": {}}),
    ("POST", TASK + "/xcomEntries"): fixed({"key": "new", "value": 1}),
    ("PATCH", XCOM): fixed({"value": 2}),
    ("PUT", TASK + "/state-store/{key:path}"): fixed({"value": 1}),
    ("PATCH", TASK + "/state-store/{key:path}"): fixed({"value": 2}),
    ("PUT", ASSET + "/state-store/{key:path}"): fixed({"value": 1}),
}

APART = frozenset({("GET", "/api/v2/auth/logout")})
"""What is asked with a login of its own, because the login ends with it."""


def asked_routes(catalogue: Catalogue) -> Mapping[tuple[str, str], str]:
    """The routes that are compared, in the catalogue's order, and the operation of each.

    Left out: FAB's own pages and API for its users and roles, which are not there behind our auth manager, and pages of
    plugins for Airflow 2, which are the plugins' own.
    """
    return {
        (route.method, route.template): operation.name
        for operation in catalogue.operations.values()
        for route in operation.routes
        if not route.template.startswith(("/auth/", "/pluginsv2/")) or route.template.startswith("/auth/token")
    }


def ask(method: str, template: str, person: Person) -> Ask:
    """The request of one person. Raises KeyError for a parameter that nobody has thought of."""
    instead = INSTEAD.get((method, template), {})
    segments = []
    for segment in template.split("/"):
        name = segment.strip("{}").removesuffix(":path") if segment.startswith("{") else ""
        value = (instead.get(name) or PARAMETERS[name])(person) if name else segment
        segments.append(quote(str(value), safe="/" if segment.endswith(":path}") else ""))
    query = QUERIES.get((method, template), fixed(""))(person)
    made = BODIES.get((method, template))
    url = "/".join(segments) + (f"?{query}" if query else "")
    headers = HEADERS.get((method, template), fixed({}))(person)
    return Ask(method, url, made(person) if made else None, headers)
