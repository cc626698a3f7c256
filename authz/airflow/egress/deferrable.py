"""`HttpOperator` whose deferred calls name their run: `GateHttpOperator`, with the same arguments.

A deferred call is made by the triggerer, which has no task token: its level is `asserted`.

Law: the identity goes only to the connection's host. The gate's refusals are reported in its words, and a 403 fails the
task permanently.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NoReturn

import aiohttp
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.triggers.http import HttpResponseSerializer, HttpTrigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

from authz.airflow.egress.asserted import AssertedIdentity
from authz.airflow.egress.errors import EgressError
from authz.airflow.egress.for_aiohttp import RunMiddleware
from authz.airflow.egress.gate_answers import FORBIDDEN, refusal
from authz.airflow.egress.task_sdk import task_of

_HERE = "authz.airflow.egress.deferrable.GateHttpTrigger"


class GateHttpTrigger(HttpTrigger):
    """`HttpTrigger` whose call names its run."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the triggerer finds this class, and its arguments."""
        return _HERE, super().serialize()[1]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Make the call and report its outcome."""
        final = False
        try:
            response = await self._get_response(self._get_async_hook())
            refused = None if response.ok else refusal(response.status_code, response.headers, response.content)
            if refused is None and (response.ok or not self._checked()):
                yield _event(status="success", response=HttpResponseSerializer.serialize(response))
                return
            message = f"{response.status_code}: {refused or response.reason}"
            final = refused is not None and refused.status == FORBIDDEN
        except (EgressError, aiohttp.ClientError, OSError, ValueError) as error:
            message = f"{type(error).__name__}: {error}"
        yield _event(status="error", message=message, final=final)

    async def _get_response(self, hook: Any) -> Any:
        base_url = (await hook.config()).base_url
        identity = AssertedIdentity(task_of(self.task_instance))
        async with aiohttp.ClientSession(middlewares=[RunMiddleware(base_url, identity=identity)]) as session:
            answer = await hook.run(
                session=session,
                endpoint=self.endpoint,
                data=self.data,
                headers=self.headers,
                extra_options={**(self.extra_options or {}), "check_response": False},
            )
            return await self._convert_response(answer)

    def _checked(self) -> bool:
        return bool((self.extra_options or {}).get("check_response", True))


def _event(**payload: Any) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call] # as in Airflow's own triggers


class GateHttpOperator(HttpOperator):
    """`HttpOperator` for connections to the gate, deferrable or not."""

    def defer(
        self,
        *,
        trigger: BaseTrigger,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:
        """Defer, with a trigger that identifies its call."""
        if type(trigger) is HttpTrigger:
            trigger = GateHttpTrigger(**trigger.serialize()[1])
        super().defer(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout)

    def execute_complete(self, context: Any, event: dict[str, Any], paginated_responses: Any = None) -> Any:
        """Resume with the answer."""
        if event.get("final"):
            raise AirflowFailException(event["message"])
        return super().execute_complete(context, event, paginated_responses)
