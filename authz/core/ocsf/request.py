"""Who asked for what, as values of OCSF's attributes.

Law: a caller and a source are required by OCSF, and so is a name or an id of each. Where the log has none, the name is
`unknown`, and the user's type says so too. A hashed source is an id, never an address.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from authz.core.catalogue import ANY_DAG
from authz.core.model import Plane
from authz.core.ocsf.fields import address
from authz.core.record import HASHED, number_in, text_in
from authz.core.traffic.story import Recorded, run_of

UNKNOWN: Final = "unknown"
"""The name of a caller or of a source that is not on record."""
OTHER: Final = 99
"""OCSF's number for what has no number of its own."""
ACTIVITIES: Final[Mapping[int, str]] = {0: "Unknown", 1: "Create", 2: "Read", 3: "Update", 4: "Delete", OTHER: "Other"}
"""The names of `activity_id`."""

_OF_VERB: Final[Mapping[str, int]] = {"create": 1, "read": 2, "update": 3, "delete": 4}
_OF_METHOD: Final[Mapping[str, int]] = {
    "POST": 1, "GET": 2, "HEAD": 2, "OPTIONS": 2, "PATCH": 3, "PUT": 3, "DELETE": 4,
}  # fmt: skip
_METHODS: Final = frozenset({*_OF_METHOD, "CONNECT", "TRACE"})
_MOST_PORTS: Final = 0xFFFF
_TARGET: Final[Mapping[str, Any]] = {"role_id": 1, "role": "Target"}
_AFFECTED: Final[Mapping[str, Any]] = {"role_id": 3, "role": "Affected"}


# --- what was asked for


def activity(one: Recorded) -> int:
    """`activity_id`: by the last word of the operation, or else by the method."""
    name, method = text_in(one.record, "operation"), text_in(one.record, "method")
    if name:
        return _OF_VERB.get(name.rpartition(":")[2], OTHER)
    return _OF_METHOD.get(method, OTHER if method else 0)


def activity_name(one: Recorded) -> str:
    """Its name; what has none is called by its operation."""
    number = activity(one)
    return operation(one) if number == OTHER else ACTIVITIES[number]


def type_name(one: Recorded) -> str:
    """The name of class and activity."""
    return f"API Activity: {ACTIVITIES[activity(one)]}"


def operation(one: Recorded) -> str:
    """The operation of Airflow's catalogue, or else the method."""
    return text_in(one.record, "operation") or text_in(one.record, "method") or UNKNOWN


def method(one: Recorded) -> str:
    """The method, if OCSF knows it."""
    found = text_in(one.record, "method")
    return found if found in _METHODS else ""


def service(one: Recorded) -> str:
    """The destination of a task's call, or else the upstream."""
    return text_in(one.record, "destination") or text_in(one.record, "upstream")


def of_url(name: str) -> Callable[[Recorded], str]:
    """What reads a part of the URL. OCSF has no URL without its path, and `log.privacy` may leave that out."""
    return lambda one: text_in(one.record, name) if text_in(one.record, "path") else ""


def port_of_url(one: Recorded) -> int | None:
    """The port of the URL."""
    return _port(one) if text_in(one.record, "path") else None


def port_of_host(one: Recorded) -> int | None:
    """The port of the host; None without a host."""
    return _port(one) if text_in(one.record, "host") else None


def _port(one: Recorded) -> int | None:
    port = number_in(one.record, "port")
    return port if port is not None and 0 <= port <= _MOST_PORTS else None


def upstream_address(one: Recorded) -> str:
    """The address that Envoy asked."""
    return address(text_in(one.outcome, "upstream_host").rpartition(":")[0].strip("[]"))


def dag(one: Recorded) -> str:
    """The one DAG that a request to Airflow is about; "" if there is none, or if there may be several."""
    name = text_in(one.record, "dag") if one.record.get("plane") == Plane.INBOUND else ""
    return "" if name == ANY_DAG else name


def resources(one: Recorded) -> list[Mapping[str, Any]]:
    """The DAG that a request to Airflow is about, and the run that it made."""
    name, run = dag(one), text_in(one.outcome, "run")
    found: list[Mapping[str, Any]] = [{"type": "DAG", "name": name, **_TARGET}] if name else []
    return [*found, {"type": "DAG run", "uid": run, **_AFFECTED}] if run else found


# --- who asked


def calling_dag(one: Recorded) -> str:
    """The DAG of the run that called."""
    return text_in(run_of(one.record), "dag_id")


def run(one: Recorded) -> str:
    """The run that called, or that the request made; with its DAG, as other DAGs may have a run of the same name."""
    calling = run_of(one.record)
    name, of_dag = text_in(calling, "run_id"), text_in(calling, "dag_id")
    if not name:
        name, of_dag = text_in(one.outcome, "run"), text_in(one.record, "dag")
    return f"{of_dag}/{name}" if of_dag and name else ""


def user_name(one: Recorded) -> str:
    """The user's name; `unknown` for a caller of which neither this nor the subject nor a run is on record."""
    name = text_in(one.entry, "user")
    if name or text_in(one.record, "subject"):
        return name
    return "" if calling_dag(one) and not groups(one) else UNKNOWN


def user_type(one: Recorded) -> int | None:
    """0 for a caller that is not on record."""
    known = text_in(one.entry, "user") or text_in(one.record, "subject")
    return 0 if not known and user_name(one) else None


def user_type_name(one: Recorded) -> str:
    """Its name."""
    return "" if user_type(one) is None else "Unknown"


def groups(one: Recorded) -> list[Mapping[str, Any]]:
    """All groups of the caller."""
    found = (one.entry or {}).get("groups")
    return [{"name": name} for name in found if isinstance(name, str) and name] if isinstance(found, list) else []


def source_address(one: Recorded) -> str:
    """The source, if it is an address."""
    return address(text_in(one.record, "source"))


def source_hash(one: Recorded) -> str:
    """The source, if it is hashed."""
    source = text_in(one.record, "source")
    return source if source.startswith(HASHED) else ""


def source_name(one: Recorded) -> str:
    """The source, if it is neither."""
    return "" if source_address(one) or source_hash(one) else text_in(one.record, "source") or UNKNOWN
