"""The listener that gives a task its proxy variables, where `[authz] egress_proxy` is set.

Law: it acts only in the process of a task, so that neither the supervisor's calls to Airflow nor the scheduler's go
through the gate. It never fails a task, unless `[authz] egress_required` says that a task must not start without its
token.
"""

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)


class RunIdentityListener:
    """Sets the variables when a task starts and restores them when it ends."""

    def __init__(self) -> None:
        self._variables: Any = None

    @hookimpl
    def on_task_instance_running(self, task_instance: Any) -> None:
        """A task starts."""
        if not _in_task_process(task_instance):
            return
        from authz.airflow.egress import settings  # noqa: PLC0415 only tasks pay for it

        self._end()
        found = settings.from_airflow()
        if found.proxy:
            self._start(found, task_instance)

    @hookimpl
    def on_task_instance_success(self) -> None:
        """A task is over."""
        self._end()

    @hookimpl
    def on_task_instance_failed(self) -> None:
        """A task is over."""
        self._end()

    def _start(self, found: Any, task_instance: Any) -> None:
        from authz.airflow.egress.errors import EgressError  # noqa: PLC0415 see above
        from authz.airflow.egress.identity import RunIdentity  # noqa: PLC0415
        from authz.airflow.egress.proxy_variables import ProxyVariables  # noqa: PLC0415
        from authz.airflow.egress.task_sdk import task_of  # noqa: PLC0415

        self._variables = ProxyVariables(RunIdentity.of(task_of(task_instance)), found)
        try:
            self._variables.start()
        except EgressError as error:
            if found.required:  # Airflow logs and forgets exceptions of listeners
                sys.exit(f"[authz] egress_required: the task does not start without its identity. {error}")
            log.warning("The gate will deny calls by proxy variables until there is a token: %s", error)

    def _end(self) -> None:
        if self._variables is not None:
            self._variables.end()
            self._variables = None


def _in_task_process(task_instance: Any) -> bool:
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return runner is not None and isinstance(task_instance, runner.RuntimeTaskInstance)


class RunIdentityPlugin(AirflowPlugin):
    """The plugin under the name that Airflow lists."""

    name = "authz_run_identity"
    listeners = [RunIdentityListener()]  # noqa: RUF012 Airflow's own form
