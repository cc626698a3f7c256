"""The `grpc.aio` engine: one event loop in the calling thread, checks answered inline.

Law: the loop only ever waits for the network. A check that needs a key is parked in a future; while it waits, every
other check goes on. Bytes are passed through undecoded, so that the service denies a malformed CheckRequest.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from authz._generated.grpc.health.v1 import health_pb2
from authz.core.traceparent import traced
from authz.engine.binding import credentials
from authz.engine.contract import (
    HEALTH_SERVICES,
    EngineOptions,
    Handler,
    Load,
    TlsFiles,
    channel_arguments,
    traceparent_of,
)
from authz.engine.waiting_checks import WaitingChecks
from authz.system.listening import clear_the_way, why_not

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_MARGIN = 0.05  # seconds of a deadline kept for the way back to Envoy


class AioEngine:
    """`grpc.aio` behind the engine's contract."""

    def __init__(
        self,
        handler: Handler,
        options: EngineOptions,
        *,
        load: Load,
    ) -> None:
        self._handler = handler
        self._options = options
        self._waiting = WaitingChecks(handler, options, load)
        self._serving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._closed = False
        self._stop = asyncio.Event()
        self._health_changed = asyncio.Condition()

    def run(self, started: Callable[[Sequence[str]], None]) -> None:
        """See `Engine.run`."""
        asyncio.run(self._run(started))

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True
        self._wake(self._stop.set)

    def set_serving(self, *, serving: bool) -> None:
        """See `Engine.set_serving`."""
        self._serving = serving
        self._wake(self._announce)

    def _wake(self, callback: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: no one is left to notify
                self._loop.call_soon_threadsafe(callback)

    def _announce(self) -> None:
        async def notify() -> None:
            async with self._health_changed:
                self._health_changed.notify_all()

        task = asyncio.ensure_future(notify())
        task.add_done_callback(lambda _done: None)

    async def _run(self, started: Callable[[Sequence[str]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=channel_arguments(self._options))
        server.add_generic_rpc_handlers(self._handlers())
        bound = [_bind(server, address, self._options.tls) for address in self._options.listen]
        await server.start()
        if self._stopping:
            self._stop.set()
        started(bound)
        await self._stop.wait()
        self.set_serving(serving=False)
        await asyncio.sleep(self._options.drain_delay)
        self._closed = True  # ends the health watches: they would hold up the stop for the whole grace period
        self._announce()
        await server.stop(self._options.drain_grace)

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._health_check,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._health_watch,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
        }
        check = grpc.unary_unary_rpc_method_handler(self._traced_check if self._options.traced else self._check)
        return (
            grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": check}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        )

    async def _traced_check(self, message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await self._check(traced(message, traceparent_of(context.invocation_metadata() or ())), context)

    async def _check(self, message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        answer = self._handler.check(message)
        if isinstance(answer, bytes):
            return answer
        remaining = context.time_remaining()
        return await self._waiting.answer(answer, math.inf if remaining is None else remaining - _MARGIN)

    def _status(self, service: str) -> health_pb2.HealthCheckResponse | None:
        if service not in HEALTH_SERVICES:
            return None
        return health_pb2.HealthCheckResponse(status=_SERVING if self._serving else _NOT_SERVING)

    async def _health_check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")  # raises
            raise AssertionError("abort returned")
        return status

    async def _health_watch(
        self, request: health_pb2.HealthCheckRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        unknown = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        sent = None
        while True:
            status = self._status(request.service) or unknown
            if status != sent:
                sent = status
                yield status
                continue  # a change in the meantime is sent too, even when the engine is stopping
            if self._closed:
                return
            async with self._health_changed:
                await self._health_changed.wait_for(
                    lambda: self._closed or (self._status(request.service) or unknown) != sent  # noqa: B023 waited for here
                )


def _bind(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> str:
    """Bind one address and return it with its real port.

    Raises:
        OSError: it cannot be bound, with the address in the text.
    """
    clear_the_way(address)
    try:
        port = server.add_secure_port(address, credentials(tls)) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}{why_not(address) or f': {error}'}") from None
    if address.startswith("unix:"):
        return address
    if not port:
        raise OSError(f"cannot listen on {address}{why_not(address)}")
    return f"{address.rpartition(':')[0]}:{port}"
