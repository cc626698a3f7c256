"""What a task says to be, and what Airflow says of that.

Law: data only, as in `authz.core.model`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from authz.core.reasons import Reason


class Claim(NamedTuple):
    """A task instance by its id, and what is said to be its place. `try_number` is None where nobody says."""

    instance: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int | None


class Found(NamedTuple):
    """What Airflow says of a claim: None where it is true and the task runs, else why not.

    `try_number` is Airflow's.
    """

    reason: Reason | None
    try_number: int = 0
    detail: str = ""


@dataclass(slots=True, eq=False)
class Attempt:
    """One question, and what became of it. `found` is None until there is an answer, or a refusal to ask."""

    claim: Claim
    found: Found | None = None
