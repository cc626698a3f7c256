"""Which engine serves: the fast one where it is known to work, `grpc.aio` everywhere else.

Law: `cq` depends on a part of grpcio that may change without notice. It is chosen only with a grpcio version that it
was tested with and after it has answered a real Check over a real socket in this process. Otherwise the fall-back
serves, and the log and the metric `authz_engine_info` say so.
"""

import contextlib
import logging
import tempfile
import threading
from pathlib import Path
from typing import Final

import grpc

from authz._generated.grpc.health.v1 import health_pb2
from authz.core.parked import Parked
from authz.engine.aio import AioEngine
from authz.engine.contract import CHECK, Engine, EngineOptions, Handler, Load
from authz.system.threads import Background

log = logging.getLogger(__name__)

TESTED_GRPCIO: Final = ((1, 80), (1, 86))  # from, and up to but not including
_PATIENCE_S: Final = 5.0
# How a change in grpcio's private interface shows.
_DIFFERENT: Final = (ImportError, AttributeError, TypeError, ValueError, OSError, RuntimeError, grpc.RpcError)


def choose(wanted: str, handler: Handler, options: EngineOptions, *, load: Load) -> tuple[str, Engine]:
    """The engine and its name, which differs from the wanted one after a fall-back."""
    if wanted == "cq":
        reason = why_not_cq()
        if not reason:
            from authz.engine.cq import CqEngine  # noqa: PLC0415 not even imported where it may not be used

            return "cq", CqEngine(handler, options, load=load)
        log.warning("the cq engine cannot be used, grpc.aio serves instead: %s", reason)
    return "aio", AioEngine(handler, options, load=load)


def why_not_cq(version: str = grpc.__version__) -> str:
    """Why the completion-queue engine cannot be used here; "" when it can."""
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not TESTED_GRPCIO[0] <= release < TESTED_GRPCIO[1]:
        return f"grpcio {version} was not tested with it"
    try:
        return _try()
    except _DIFFERENT as error:
        return f"the self-check failed: {type(error).__name__}: {error}"


class _Echo:
    """The handler of the self-check."""

    parked = 0

    def check(self, message: bytes) -> bytes | Parked:
        return b"echo:" + message

    def overloaded(self) -> bytes:
        return b"overloaded"


def _try() -> str:
    """Serve for real on a socket of our own: one Check, one health check, one unknown method, one drain."""
    from authz.engine.cq import CqEngine  # noqa: PLC0415 the import is part of what is tried

    echo, ready, failures = _Echo(), threading.Event(), []
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:
        address = f"unix:{Path(folder) / 'self-check.sock'}"
        options = EngineOptions(listen=[address], drain_delay=0.0, drain_grace=1.0)
        engine = CqEngine(echo, options, load=echo)
        engine.set_serving(serving=True)

        def serve() -> None:
            try:
                engine.run(lambda _addresses: ready.set())
            except _DIFFERENT as error:
                failures.append(error)
                ready.set()

        thread = Background(serve, name="engine-self-check")
        thread.start()
        try:
            if not ready.wait(_PATIENCE_S):
                return "it did not start"
            if failures:
                raise failures[0]
            with grpc.insecure_channel(address) as channel:
                verdict = _ask(channel)
                engine.stop()
                _nudge(channel)
                return verdict
        finally:
            engine.stop()
            thread.join(_PATIENCE_S)


def _ask(channel: grpc.Channel) -> str:
    if channel.unary_unary(CHECK)(b"hello", timeout=_PATIENCE_S) != b"echo:hello":
        return "it answered a Check wrongly"
    health = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=_PATIENCE_S)
    if health_pb2.HealthCheckResponse.FromString(health).status != health_pb2.HealthCheckResponse.SERVING:
        return "it answered a health check wrongly"
    try:
        channel.unary_unary("/no.such/Method")(b"", timeout=_PATIENCE_S)
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else None
        return "" if code is grpc.StatusCode.UNIMPLEMENTED else "it answered an unknown method wrongly"
    return "it answered an unknown method"


def _nudge(channel: grpc.Channel) -> None:
    """Make one more call, so that the loop sees now, and not at the end of its pause, that it must stop."""
    with contextlib.suppress(grpc.RpcError):
        channel.unary_unary("/no.such/Method")(b"", timeout=_PATIENCE_S)
