"""Looking a task instance up in Airflow: what a task claims to be, Airflow's answer, and a pending lookup.

Law: data only, as in `authz.core.model`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from authz.core.reasons import Reason


class TaskRef(NamedTuple):
    """A task instance by its id, and its claimed place. `try_number` is None if it is not claimed."""

    instance: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int | None


class TaskStatus(NamedTuple):
    """Airflow's answer to a claim. `reason` is None if the claim is true and the task runs, else why not.

    `try_number` is Airflow's.
    """

    reason: Reason | None
    try_number: int = 0
    detail: str = ""


@dataclass(slots=True, eq=False)
class PendingLookup:
    """One lookup and its outcome. `found` is None until there is an answer, or a refusal to ask."""

    claim: TaskRef
    found: TaskStatus | None = None
