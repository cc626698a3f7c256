"""The message to a task that the gate denies: one sentence for the reader of the task's log.

Law: it names the run, the rule and what to look at, because the reader of a task's log is the author of the DAG; it
never shows a token, a key or the text of a rule. For a refused token it gives no cause, so that it
is no oracle about keys and subjects: the decision log has it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from authz.core.model import EXECUTION, Deny, HttpRequest, Run
from authz.core.reasons import Reason

_LONGEST: Final = 120  # characters of one name


def message(deny: Deny, run: Run | None, http: HttpRequest) -> str:
    """The sentence; "" if the usual one is enough."""
    make = _MESSAGES.get(deny.reason)
    return make(deny, run, http) if make is not None else ""


def _caller(run: Run | None) -> str:
    return f"task {_cut(run.task_id)} of DAG {_cut(run.dag_id)}" if run is not None else "this service account"


def _call(http: HttpRequest) -> str:
    """The call as rules name it: without its query and the path prefix of a base URL.

    If Envoy chose the destination, its name says more than the address does.
    """
    where = http.destination or http.host or http.authority
    path = http.target.partition("?")[0]
    if path.startswith(f"{http.base}/"):
        path = path.removeprefix(http.base)
    return f"{_cut(http.method)} {_cut(path)} at {_cut(where)}"


def _cut(text: str) -> str:
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _no_rule(_: Deny, run: Run | None, http: HttpRequest) -> str:
    return f"No egress rule allows {_call(http)} for {_caller(run)}. Ask your platform team for one."


def _no_role(_: Deny, __: Run | None, http: HttpRequest) -> str:
    return f"No egress rule allows {_call(http)} for this service account: it has no role."


def _deny_rule(deny: Deny, run: Run | None, http: HttpRequest) -> str:
    unsure = "" if run is None or not deny.detail else f" Its run is known as `{run.level}` only."
    return f"The rule `{deny.rule}` forbids {_call(http)} for {_caller(run)}.{unsure}"


def _too_weak(deny: Deny, run: Run | None, http: HttpRequest) -> str:
    known = run.level.value if run is not None else "unknown"
    why = f" ({deny.detail})" if deny.detail else ""
    return f"A rule would allow {_call(http)}, but the calling run is only `{known}`{why}. See docs/run-identity.md."


def _mismatch(_: Deny, __: Run | None, ___: HttpRequest) -> str:
    return "The task token is not that of the DAG run, task and map index that are claimed: no identity was issued."


def _other_try(deny: Deny, _: Run | None, __: HttpRequest) -> str:
    return f"The task token is that of another try of this task: no identity was issued. {_say(deny)}".rstrip()


def _other_map_index(_: Deny, __: Run | None, ___: HttpRequest) -> str:
    return "The task token is that of another map index of this task: no identity was issued."


def _ended(deny: Deny, run: Run | None, _: HttpRequest) -> str:
    who = f"The {_caller(run)}" if run is not None else "The task"
    return f"{who} is not running any more: it has ended, or was cleared. {_say(deny)}".rstrip()


def _say(deny: Deny) -> str:
    return f"Airflow says: {deny.detail}." if deny.detail else ""


def _unavailable(_: Deny, __: Run | None, ___: HttpRequest) -> str:
    return "The gate cannot ask Airflow whether the task is running, so nothing was let through. Try again shortly."


def _busy(_: Deny, __: Run | None, ___: HttpRequest) -> str:
    return (
        "Too many calls already wait for Airflow to say whether their tasks run, so nothing was let through. Try again"
        " shortly."
    )


def _anonymous(_: Deny, __: Run | None, http: HttpRequest) -> str:
    if http.plane == EXECUTION:
        return ""
    return (
        "This call does not say which task makes it. Use a connection of the type `authz-http` (HTTP through the gate);"
        " docs/tasks.md has the other ways."
    )


_MESSAGES: Final[Mapping[Reason, Callable[[Deny, Run | None, HttpRequest], str]]] = MappingProxyType(
    {
        Reason.NO_TOKEN: _anonymous,
        Reason.NO_RULE: _no_rule,
        Reason.NO_ROLE: _no_role,
        Reason.UNKNOWN_ROUTE: _no_rule,
        Reason.DENY_RULE: _deny_rule,
        Reason.IDENTITY_TOO_WEAK: _too_weak,
        Reason.RUN_MISMATCH: _mismatch,
        Reason.RUN_OTHER_TRY: _other_try,
        Reason.RUN_OTHER_MAP_INDEX: _other_map_index,
        Reason.RUN_ENDED: _ended,
        Reason.AIRFLOW_UNAVAILABLE: _unavailable,
        Reason.TASKS_WAIT_FOR_AIRFLOW: _busy,
    }
)
