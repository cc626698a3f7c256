"""The claim `airflow`: which try of which task instance a token or a proof is about.

Law 1: a name has one spelling. It is refused if Airflow or its database may take it for another: a space at either end
(databases that pad text ignore it), a control character, a line separator, more than Airflow has room for.
Law 2: exactly the five members, each of its type; `true` is not 1. Failures are ValueErrors that repeat no value.
"""

import re
from typing import Any, Final

from authz.core.model import Level, Run

CLAIM: Final = "airflow"
MAX_NAME: Final = 250  # characters of a DAG's, a run's and a task's id in Airflow
NOT_MAPPED: Final = -1
_MAX_NUMBER: Final = 2**31 - 1  # Airflow's columns are 32 bits wide
_MEMBERS: Final = frozenset({"dag_id", "run_id", "task_id", "map_index", "try_number"})
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read_run(value: object, level: Level) -> Run:
    """The run that the claim names, known at `level`; ValueError when it is not exactly one."""
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise ValueError(f"{CLAIM} is not an object of exactly {', '.join(sorted(_MEMBERS))}")
    return Run(
        name("dag_id", value["dag_id"]),
        name("run_id", value["run_id"]),
        name("task_id", value["task_id"]),
        map_index("map_index", value["map_index"]),
        try_number("try_number", value["try_number"]),
        level,
    )


def claim_of(run: Run) -> dict[str, Any]:
    """The claim that names the run. It omits the level: each reader of a token determines that again."""
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": run.task_id,
        "map_index": run.map_index,
        "try_number": run.try_number,
    }


def name(member: str, value: object) -> str:
    """An Airflow id."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"{member} is not a string of 1 to {MAX_NAME} characters")
    if value != value.strip() or (not value.isprintable() and _CONTROL.search(value)):
        raise ValueError(f"{member} begins or ends with a space, or holds a control character")
    return value


def map_index(member: str, value: object) -> int:
    """A map index; -1 where the task is not mapped."""
    return _number(member, value, NOT_MAPPED)


def try_number(member: str, value: object) -> int:
    """The number of a try, which counts from 1."""
    return _number(member, value, 1)


def _number(member: str, value: object, least: int) -> int:
    if type(value) is not int or not least <= value <= _MAX_NUMBER:  # a boolean is an int to isinstance
        raise ValueError(f"{member} is not a whole number of at least {least}")
    return value
