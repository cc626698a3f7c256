"""A decision to the bytes of a CheckResponse.

Law: this is the only file that builds a `CheckResponse`, and it has two builders. `allowed()` says OK; `denied()`
refuses a reason whose gRPC code is zero, because Envoy reads an all-default response as ALLOW. `authz.core.http_answer`
makes the answer that the caller gets; this file encodes it.
Source: `envoy.service.auth.v3`, see `protos/`.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.check.wire.headers import NEVER_FORWARDED
from authz.core.edge import DECISION, IDENTITY_HEADERS, META_DECISION
from authz.core.http_answer import HttpAnswer
from authz.core.reasons import ANSWERS, GrpcCode, Reason

_MARK: Final = os.urandom(12).hex()
_CODE: Final = b"\x0a\x02\x08"  # field 1, two bytes long; in it field 1, a number below 128
_PLACES: Final = 3  # the caller's header, the metadata, and the upstream's header or the body


def _describe(response: pb.CheckResponse, metadata: Mapping[str, str]) -> None:
    """Dynamic metadata for Envoy's access log (namespace `envoy.filters.http.ext_authz`)."""
    fields = response.dynamic_metadata.fields
    for name, value in metadata.items():
        fields[name].string_value = value


def allowed(
    *,
    decision_id: str,
    headers: Mapping[str, str],
    cookies: str | None,
    metadata: Mapping[str, str],
    keep: bool = False,
) -> bytes:
    """The request may go on, with exactly these identity headers; all others that we know are removed.

    Args:
        decision_id: sent to the upstream and, in the response, to the caller.
        headers: what `identity_headers` made, or nothing for an anonymous caller.
        cookies: the new Cookie header; "" removes it, None leaves it unchanged.
        metadata: `decision_id, reason, rule, revision, subject` for the access log.
        keep: the Authorization header is the destination's: no credential of ours is in it.
    """
    response = pb.CheckResponse.FromString(_removing((keep, *headers)))
    ok = response.ok_response
    for name, value in headers.items():
        option = ok.headers.add()
        option.header.key = name
        option.header.value = value
    option = ok.headers.add()
    option.header.key = DECISION
    option.header.value = decision_id
    if cookies:
        option = ok.headers.add()
        option.header.key = "cookie"
        option.header.value = cookies
    elif cookies is not None:
        ok.headers_to_remove.append("cookie")
    shown = ok.response_headers_to_add.add()
    shown.header.key = DECISION
    shown.header.value = decision_id
    shown.append_action = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    _describe(response, metadata)
    return response.SerializeToString()


def is_denial(response: bytes) -> bool:
    """Whether these bytes of ours refuse the request: they begin with a status whose code is not 0."""
    return response[: len(_CODE)] == _CODE and response[len(_CODE) : len(_CODE) + 1] != b"\0"


@lru_cache(maxsize=64)
def _removing(kept: tuple[bool | str, ...]) -> bytes:
    """An allow that only removes headers: `kept` is whether Authorization stays, and the headers that are set.

    It is parsed again for each allow. Joining the bytes of two messages would be faster and is wrong: `ok_response` is
    in a `oneof`, and the second one can replace the first.
    """
    response = pb.CheckResponse()
    response.status.code = GrpcCode.OK
    remove = response.ok_response.headers_to_remove
    remove.extend(NEVER_FORWARDED[1:] if kept[0] else NEVER_FORWARDED)
    remove.extend(name for name in IDENTITY_HEADERS if name not in kept)
    return response.SerializeToString()


class _Prepared:
    """A response whose bytes differ between decisions only in the decision's id.

    It is built once, with a mark in the id's place; `render` puts the id there. The mark is random, so that no claim
    can contain it, and as long as an id, so that the lengths in the message stay correct.
    """

    __slots__ = ("_parts",)

    def __init__(self, made: bytes) -> None:
        self._parts = made.split(_MARK.encode())
        if len(self._parts) != _PLACES + 1:
            raise ValueError("the decision's id does not stand where it should")

    def render(self, decision_id: str) -> bytes:
        """The response for one decision.

        Raises:
            ValueError: the id is not as long as the mark.
        """
        if len(decision_id) != len(_MARK):
            raise ValueError(f"a decision's id has {len(_MARK)} characters")
        return decision_id.encode().join(self._parts)


class PreparedAllow(_Prepared):
    """An allow without its decision's id; the arguments are those of `allowed`."""

    __slots__ = ()

    def __init__(
        self, *, headers: Mapping[str, str], cookies: str | None, metadata: Mapping[str, str], keep: bool = False
    ) -> None:
        metadata = {**metadata, META_DECISION: _MARK}
        super().__init__(allowed(decision_id=_MARK, headers=headers, cookies=cookies, metadata=metadata, keep=keep))


class PreparedDeny(_Prepared):
    """A denial without its decision's id; `answer` makes the caller's answer from the id."""

    __slots__ = ()

    def __init__(self, answer: Callable[[str], HttpAnswer], *, reason: Reason, metadata: Mapping[str, str]) -> None:
        super().__init__(denied(answer(_MARK), reason=reason, metadata={**metadata, META_DECISION: _MARK}))


def denied(answer: HttpAnswer, *, reason: Reason, metadata: Mapping[str, str]) -> bytes:
    """The caller gets `answer`, and Envoy forwards nothing.

    Raises:
        ValueError: Envoy would read it as an allow. This is a bug in the caller; the service answers 503 for it.
    """
    code = ANSWERS[reason].grpc
    if code == GrpcCode.OK:
        raise ValueError(f"{reason} is no reason to deny")
    response = pb.CheckResponse()
    response.status.code = code
    response.denied_response.status.code = answer.status
    response.denied_response.body = answer.body.decode()
    for name, value in answer.headers.items():
        option = response.denied_response.headers.add()
        option.header.key = name
        option.header.value = value
    _describe(response, metadata)
    return response.SerializeToString()
