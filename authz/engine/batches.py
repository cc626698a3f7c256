"""Operations on a `cygrpc` call, one batch at a time.

Law: an operation holds the C structures of the one batch that it is part of: each batch gets a new one, never shared.
"""

from typing import Any, Final

from grpc._cython import cygrpc

_NO_FLAGS: Final = 0


def nothing(_event: Any) -> None:
    """The tag of a batch whose end is ignored."""


def receive() -> tuple[Any]:
    """Wait for the call's one message."""
    return (cygrpc.ReceiveMessageOperation(_NO_FLAGS),)


def closed() -> tuple[Any]:
    """Wait for the end of the call, however it comes."""
    return (cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),)


def initial() -> Any:
    """Send the initial metadata, which is empty."""
    return cygrpc.SendInitialMetadataOperation((), _NO_FLAGS)


def status(code: Any, details: bytes = b"") -> Any:
    """End the call with a gRPC status."""
    return cygrpc.SendStatusFromServerOperation((), code, details, _NO_FLAGS)


def refuse(call: Any, code: Any, details: bytes) -> None:
    """End a call with a gRPC error."""
    call.start_server_batch((initial(), status(code, details)), nothing)


def message(data: bytes) -> Any:
    """Send one message."""
    return cygrpc.SendMessageOperation(data, _NO_FLAGS)


def reply(call: Any, answer: bytes) -> None:
    """The whole answer in one batch."""
    call.start_server_batch((initial(), message(answer), status(cygrpc.StatusCode.ok)), nothing)
