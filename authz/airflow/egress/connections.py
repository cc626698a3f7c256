"""Connections that carry the run's identity themselves, for code that builds its own hook: `HttpSensor`, `HttpHook(…)`.

Law: only a connection whose extras say `"authz_run_identity": true` gets a token, only while a task runs, and only the
token of the proxy form, in the header `Proxy-Authorization`, which HTTP libraries never forward to another host. If
there is no token, the connection is returned without one, and the gate denies its calls.
"""

import asyncio
import copy
import importlib
import json
import logging
from typing import Any

from authz.airflow.egress.airflow_versions import BaseSecretsBackend
from authz.airflow.egress.errors import EgressError, NoRunError
from authz.airflow.egress.identity import RunIdentity

FLAG = "authz_run_identity"
HEADER = "Proxy-Authorization"
log = logging.getLogger(__name__)


class RunConnections(BaseSecretsBackend):
    """Airflow's `[workers] secrets_backend`. It asks the other backends, and adds the identity where it is wanted.

    Args:
        backend: the class of the secrets backend that was configured before, if any.
        backend_kwargs: its arguments.
    """

    def __init__(self, backend: str = "", backend_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._own: Any = None
        if backend:
            module, _dot, name = backend.rpartition(".")
            self._own = getattr(importlib.import_module(module), name)(**(backend_kwargs or {}))

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:  # noqa: ARG002 Airflow's signature
        """The connection, with the identity of the run where it wants it."""
        for backend in self._others():
            found = backend.get_connection(conn_id=conn_id)
            if found:
                return _with(found, self._token(conn_id) if _wants(found) else "")
        return None

    async def aget_connection(self, conn_id: str) -> Any:
        """The same, for coroutines: nothing is sent on the thread of an event loop."""
        for backend in self._others():
            ask = getattr(backend, "aget_connection", None)
            found = await ask(conn_id) if ask is not None else await asyncio.to_thread(backend.get_connection, conn_id)
            if found:
                return _with(found, await self._atoken(conn_id) if _wants(found) else "")
        return None

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:  # noqa: ARG002 see above
        """The answer of the wrapped backend; Airflow asks the others."""
        return None if self._own is None else self._own.get_variable(key)

    def get_config(self, key: str) -> str | None:
        """The answer of the wrapped backend."""
        return None if self._own is None else self._own.get_config(key)

    def _others(self) -> list[Any]:
        """The wrapped backend, and those that Airflow asks after us."""
        from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded  # noqa: PLC0415 imports us

        found = [backend for backend in ensure_secrets_backend_loaded() if not isinstance(backend, RunConnections)]
        return found if self._own is None else [self._own, *found]

    def _token(self, conn_id: str) -> str:
        try:
            return RunIdentity.current().proxy().token
        except EgressError as error:
            return _without(conn_id, error)

    async def _atoken(self, conn_id: str) -> str:
        try:
            return (await RunIdentity.current().aproxy()).token
        except EgressError as error:
            return _without(conn_id, error)


def _wants(connection: Any) -> bool:
    return str(connection.extra_dejson.get(FLAG)).lower() == "true"


def _with(connection: Any, token: str) -> Any:
    """The connection without the flag, which `HttpHook` would take for a header, and with the token if there is one."""
    extra = dict(connection.extra_dejson)
    if extra.pop(FLAG, None) is None:
        return connection
    if token:
        extra[HEADER] = f"Bearer {token}"
    made = copy.copy(connection)
    made.extra = json.dumps(extra)
    return made


def _without(conn_id: str, error: EgressError) -> str:
    if not isinstance(error, NoRunError):  # connections are also read outside tasks: nothing to report
        log.error("The gate will deny calls by the connection %s: %s", conn_id, error)
    return ""
