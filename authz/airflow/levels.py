"""Which of Airflow's roles may do what: the levels of FAB's default roles (provider 3.10.2), as data.

Law: a role has the rights of every weaker role. What is not listed is for `admin` alone, so that something new
in Airflow is closed until it is listed. A caller without a role, or with an unknown one, has no rights.
"""

from collections.abc import Mapping
from types import MappingProxyType

from authz.airflow.verifier import AIRFLOW_ROLES

_RANK: Mapping[str, int] = MappingProxyType({role: rank for rank, role in enumerate(AIRFLOW_ROLES)})


def _methods(get: str, change: str = "admin", *, create: str = "") -> Mapping[str, str]:
    return MappingProxyType({"GET": get, "POST": create or change, "PUT": change, "DELETE": change})


RESOURCES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "asset": _methods("viewer", "op", create="user"),
        "asset_alias": _methods("viewer"),
        "configuration": _methods("op"),
        "connection": _methods("op", "op"),
        "dag": _methods("viewer", "user", create="admin"),
        "pool": _methods("viewer", "op"),
        "variable": _methods("op", "op"),
    }
)

DAG_ENTITIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "AUDIT_LOG": _methods("admin"),
        "CODE": _methods("viewer"),
        "DEPENDENCIES": _methods("viewer"),
        "HITL_DETAIL": MappingProxyType({"GET": "viewer", "PUT": "user"}),
        "RUN": _methods("viewer", "user"),
        "TASK": _methods("viewer", "user"),
        "TASK_INSTANCE": _methods("viewer", "user"),
        "TASK_LOGS": _methods("viewer"),
        "VERSION": _methods("viewer"),
        "WARNING": _methods("viewer"),
        "XCOM": _methods("viewer", "op"),
    }
)

VIEWS: Mapping[str, str] = MappingProxyType(
    {
        "CLUSTER_ACTIVITY": "viewer",
        "DOCS": "viewer",
        "IMPORT_ERRORS": "viewer",
        "JOBS": "viewer",
        "PLUGINS": "op",
        "PROVIDERS": "op",
        "TRIGGERS": "admin",
        "WEBSITE": "viewer",
    }
)


def reaches(role: str, needed: str) -> bool:
    """Return whether `role` is `needed` or stronger."""
    return _RANK.get(role, -1) >= _RANK[needed]


def may(role: str, method: str, resource: str) -> bool:
    """Return whether `role` may do `method` on a kind of resource."""
    return reaches(role, RESOURCES[resource].get(method, "admin"))


def may_dag(role: str, method: str, entity: str | None) -> bool:
    """Return whether `role` may do `method` on a DAG or on something that belongs to DAGs.

    Changing what belongs to a DAG needs the right to change the DAG too, as in FAB.
    """
    if entity is None:
        return may(role, method, "dag")
    if not reaches(role, DAG_ENTITIES.get(entity, {}).get(method, "admin")):
        return False
    return may(role, "GET" if method == "GET" else "PUT", "dag")


def may_view(role: str, view: str) -> bool:
    """Return whether `role` may see one of Airflow's read-only views."""
    return reaches(role, VIEWS.get(view, "admin"))
