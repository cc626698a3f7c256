"""An ext_authz server for tests whose answers are a function of the test.

It exists to show what *Envoy* does with an answer, also with one that the real server never gives.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Self

import grpc

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz._generated.grpc.health.v1 import health_pb2

Answer = Callable[[pb.CheckRequest], pb.CheckResponse | bytes]


def allow(
    *_: pb.CheckRequest,
    headers: Mapping[str, str] | None = None,
    remove: tuple[str, ...] = (),
    response_headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> pb.CheckResponse:
    response = pb.CheckResponse()
    response.ok_response.SetInParent()
    for name, value in (headers or {}).items():
        option = response.ok_response.headers.add()
        option.header.key, option.header.value = name, value
    for name, value in (response_headers or {}).items():
        option = response.ok_response.response_headers_to_add.add()
        option.header.key, option.header.value = name, value
    response.ok_response.headers_to_remove.extend(remove)
    return _with(response, metadata)


def deny(
    *_: pb.CheckRequest,
    status: int = 403,
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> pb.CheckResponse:
    response = pb.CheckResponse()
    response.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
    response.denied_response.status.code = status
    response.denied_response.body = "denied by script"
    for name, value in (headers or {}).items():
        option = response.denied_response.headers.add()
        option.header.key, option.header.value = name, value
    return _with(response, metadata)


def _with(response: pb.CheckResponse, metadata: Mapping[str, str] | None) -> pb.CheckResponse:
    for name, value in (metadata or {}).items():
        response.dynamic_metadata.fields[name].string_value = value
    return response


def _serialised(response: pb.CheckResponse | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


class GrpcError(Exception):
    """Raised by an answer: the call ends with this gRPC status instead of a response."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code)
        self.code = code


class ScriptedAuthz:
    """Listens on a free loopback port, or on the Unix socket given. `checks` is what Envoy asked."""

    def __init__(self, unix: str = "", credentials: grpc.ServerCredentials | None = None) -> None:
        self.answer: Answer = allow
        self.checks: list[pb.CheckRequest] = []
        self.released = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "envoy.service.auth.v3.Authorization",
                    {
                        "Check": grpc.unary_unary_rpc_method_handler(
                            self._check, pb.CheckRequest.FromString, _serialised
                        )
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "grpc.health.v1.Health",
                    {
                        "Check": grpc.unary_unary_rpc_method_handler(
                            self._healthy,
                            health_pb2.HealthCheckRequest.FromString,
                            health_pb2.HealthCheckResponse.SerializeToString,
                        )
                    },
                ),
            )
        )
        address = unix or "127.0.0.1:0"
        if credentials:
            port = self._server.add_secure_port(address, credentials)
        else:
            port = self._server.add_insecure_port(address)
        self.endpoint = unix or f"127.0.0.1:{port}"
        self._server.start()

    @property
    def only(self) -> pb.CheckRequest:
        assert len(self.checks) == 1, f"{len(self.checks)} checks were asked"
        return self.checks[0]

    def reset(self) -> None:
        self.answer = allow
        self.checks.clear()
        self.released.clear()

    def hang(self, _: pb.CheckRequest) -> pb.CheckResponse:
        """An answer that comes only when the test sets `released`."""
        self.released.wait(30)
        return allow()

    def close(self) -> None:
        self.released.set()
        self._server.stop(grace=0).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, request: pb.CheckRequest, context: grpc.ServicerContext) -> pb.CheckResponse | bytes:
        self.checks.append(request)
        try:
            return self.answer(request)
        except GrpcError as error:
            context.abort(error.code, "scripted")

    def _healthy(self, _: object, __: grpc.ServicerContext) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
