"""One connection of a front that asks as FastCGI servers ask an authorizer (FastCGI 1.0 §6.3).

Law: one request at a time; a second one is refused, not mixed in (§5.5 CANT_MPX_CONN). A question has no body.
No END_REQUEST goes out without a status of ours before it, whatever the protocol status in it: lighttpd 1.4 takes a
request that ended without a status for an allow. What is not FastCGI ends the connection without one.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol

from authz.core.http_answer import HttpAnswer
from authz.engine import fastcgi_records as fcgi
from authz.engine.fastcgi_records import ProtocolStatus, Record, RecordError, Role, Type
from authz.engine.front_connection import UNAVAILABLE, FrontConnection, Shared

_VALUES: Final = {b"FCGI_MAX_CONNS": b"1024", b"FCGI_MAX_REQS": b"1024", b"FCGI_MPXS_CONNS": b"0"}  # §4.1


class ParamsRoute(Protocol):
    """What the requests at one address are about; `authz.check.wire.over_fastcgi.ParamsRoute`."""

    def message(self, params: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The CheckRequest; None if the request is none that can be evaluated."""
        ...

    def answer(self, response: bytes) -> HttpAnswer:
        """The answer to the front: status 200 and `Variable-…` headers, or what the caller gets."""
        ...


class FastCgiConnection(FrontConnection):
    """See the module's docstring."""

    def __init__(self, shared: Shared, route: ParamsRoute) -> None:
        super().__init__(shared)
        self._route = route
        self._records = fcgi.Records()
        self._request, self._lasts, self._asked = 0, False, False  # the request that is being answered; 0: none
        self._params = bytearray()

    def data_received(self, data: bytes) -> None:
        """Take the records that are complete."""
        try:
            for one in self._records.feed(data):
                if self._refused:
                    return
                self._take(one)
        except RecordError:
            self._close()
        comes = (self._request and not self._asked) or len(self._records)
        self._started = (self._started or self._loop.time()) if comes else 0.0

    def _take(self, one: Record) -> None:
        if not one.request:
            self._manage(one)
        elif one.type == Type.BEGIN_REQUEST:
            self._begin(one)
        elif one.request != self._request:
            return  # §3.3: records of a request that is over, or never began
        elif one.type == Type.PARAMS and not self._asked:
            self._param(one.content)
        elif one.type == Type.ABORT_REQUEST:
            self._finish(UNAVAILABLE)
        elif one.type not in {Type.STDIN, Type.DATA}:
            raise RecordError
        elif one.content:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _manage(self, one: Record) -> None:
        """Answer a management record (§4)."""
        if one.type != Type.GET_VALUES:
            self._transport.write(fcgi.unknown(one.type))
            return
        asked = dict.fromkeys(name for name, _ in fcgi.pairs(one.content))
        known = {name: _VALUES[name] for name in asked if name in _VALUES}
        self._transport.write(fcgi.record(Type.GET_VALUES_RESULT, 0, fcgi.encoded(known)))

    def _begin(self, one: Record) -> None:
        role, flags = fcgi.begin(one.content)
        if one.request == self._request:
            raise RecordError
        if self._request:
            self._send(one.request, UNAVAILABLE, ProtocolStatus.CANT_MPX_CONN)
            return
        self._request, self._lasts = one.request, bool(flags & fcgi.KEEP_CONN)
        if role != Role.AUTHORIZER:
            self._finish(UNAVAILABLE, ProtocolStatus.UNKNOWN_ROLE)

    def _param(self, content: bytes) -> None:
        """Take a part of the variables; after the last, empty one: ask."""
        self._params += content
        if len(self._params) > self._shared.most_head:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        if content:
            return
        try:
            message = self._route.message([*fcgi.pairs(bytes(self._params))])
        except RecordError:
            message = None
        self._params.clear()
        if message is None:
            self._finish(HttpAnswer(HTTPStatus.BAD_REQUEST, {}, b""))
            return
        self._asked = True
        self._check(message, lambda answer: self._finish(self._made(self._route.answer, answer)))

    def _finish(self, answer: HttpAnswer, status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE) -> None:
        """Answer the request, and wait for the next one if the front keeps the connection."""
        if self._ended:
            return
        request, self._request, self._asked = self._request, 0, False
        self._params.clear()
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None
        self._send(request, answer, status)
        self._silent_since = self._loop.time()
        if not self._lasts or self._shared.ending():
            self._close()

    def _send(self, request: int, answer: HttpAnswer, status: ProtocolStatus) -> None:
        lines = [f"Status: {int(answer.status)}\r\n", *(f"{name}: {text}\r\n" for name, text in answer.headers.items())]
        said = "".join([*lines, "\r\n"]).encode("latin-1") + answer.body
        self._transport.write(fcgi.stream(Type.STDOUT, request, said) + fcgi.end(request, status))

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer the request, if one has begun, and end."""
        self._lasts = False
        if self._request:
            self._finish(HttpAnswer(status, {}, b""))
        else:
            self._close()
