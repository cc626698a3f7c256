"""Identity for `requests`: `session.auth = RunAuth("http://127.0.0.1:9101")`.

Law: the identity goes to the named origins and nowhere else: any other call is refused before it is sent, and so is a
redirect to elsewhere when it is followed. Every request has its own proof: a retry, and a redirect within the origin,
get new ones. What was sent is removed from `response.request`, so that no token is kept with an answer.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Self, cast
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.sessions import SessionRedirectMixin
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from authz.airflow.egress.addresses import origin, origins_of
from authz.airflow.egress.asserted import current
from authz.airflow.egress.errors import ForeignOriginError
from authz.airflow.egress.gate_answers import may_be_refusal, refusal
from authz.airflow.egress.identity import HEADERS, IDENTITY, Identity, token_of

_control = re.compile("[\x00-\x1f\x7f]").search


class RunAuth(AuthBase):
    """The identity of the running task, for calls to these origins.

    Args:
        origins: base URLs at the gate; only their scheme, host and port matter.
        identity: where it comes from; the running task's by default. It is looked up when a request is made.
        also: an auth that is applied first, for a destination that sees the task's own `Authorization`.
    """

    def __init__(
        self,
        *origins: str,
        identity: Identity | None = None,
        also: Callable[[PreparedRequest], PreparedRequest] | None = None,
    ) -> None:
        self._origins = origins_of(origins, "RunAuth")
        self._identity = identity
        self._also = also

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put a new proof on the request."""
        if self._also is not None:
            request = self._also(request)
        self._prove(request)
        request.register_hook("response", self._answered)
        return request

    def again(self, request: PreparedRequest, refused: str = "") -> PreparedRequest | None:
        """A copy of the request with a proof of its own, or None where its body cannot be sent twice."""
        copy = request.copy()
        if not _rewound(copy):
            return None
        self._prove(copy, refused)
        return copy

    def _prove(self, request: PreparedRequest, refused: str = "") -> None:
        url, method = request.url or "", request.method or ""
        if origin(url) not in self._origins:
            raise ForeignOriginError(
                f"The run's identity is for {', '.join(sorted(self._origins))}; this call goes to {origin(url)}."
            )
        identity = self._identity or current()
        request.headers.update(identity.headers(method, url, refused=refused))

    def _answered(self, response: Response, **sending: Any) -> Response:
        asked = response.request
        if may_be_refusal(response.status_code, response.headers):
            response = self._once_more(response, sending)
        for request in (asked, response.request):
            _forget(request)
        if response.is_redirect:
            self._redirected(asked, response)
        return response

    def _once_more(self, response: Response, sending: dict[str, Any]) -> Response:
        """Try once with a new token and a new proof; the answer to that is final."""
        if refusal(response.status_code, response.headers, response.content) is None:
            return response
        refused = token_of(cast("Mapping[str, str]", response.request.headers))
        again = self.again(response.request, refused)
        if again is None:
            return response
        response.close()
        answer: Response = response.connection.send(again, **sending)
        answer.history.append(response)
        return answer

    def _redirected(self, asked: PreparedRequest, response: Response) -> None:
        """Lend this request the headers that `requests` copies into the next one if it follows the redirect."""
        follow = asked.copy()
        SessionRedirectMixin().rebuild_method(follow, response)
        try:
            follow.url = _next_url(response)
            self._prove(follow)
            lent = {name: str(follow.headers[name]) for name in HEADERS}
        except ForeignOriginError as error:
            lent = {IDENTITY: _NeverSent(error)}
        asked.headers = _Lending(asked.headers, lent)


class _Lending(CaseInsensitiveDict[str | bytes]):
    """Headers that add `lent` to each copy. The copy goes into the next request; the original stays with its answer."""

    def __init__(self, own: Mapping[str, str | bytes], lent: dict[str, str]) -> None:
        super().__init__(own)
        self._lent = lent

    def copy(self) -> CaseInsensitiveDict[str | bytes]:
        """The headers, with what was lent."""
        return CaseInsensitiveDict[str | bytes]({**dict(self.items()), **self._lent})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the headers without what was lent."""
        return CaseInsensitiveDict, (dict(self.items()),)


class _NeverSent(str):
    """A header value that raises when it is about to be written to a socket, and not before.

    `requests` prepares the next request even if it does not follow the redirect; only sending it would be wrong.
    """

    __slots__ = ("_error",)
    _error: ForeignOriginError

    def __new__(cls, error: ForeignOriginError) -> Self:
        made = super().__new__(cls, "refused")
        made._error = error
        return made

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002 that of `str`
        raise ForeignOriginError(f"Redirect refused. {self._error}") from None


def _next_url(response: Response) -> str:
    """The URL that `requests` fetches next; ForeignOriginError if that cannot be determined.

    `requests` removes control characters before it looks for a host; `urljoin` of a quoted Location does not.
    """
    target = SessionRedirectMixin().get_redirect_target(response) or ""
    if _control(target):
        raise ForeignOriginError("Its Location contains a control character.")
    return urljoin(response.url, requote_uri(target))


def _forget(request: PreparedRequest) -> None:
    for name in HEADERS:
        request.headers.pop(name, None)


def _rewound(request: PreparedRequest) -> bool:
    """Rewind the body to its start; False if it cannot be sent again."""
    body = request.body
    if body is None or isinstance(body, bytes | str):
        return True
    position = getattr(request, "_body_position", None)
    seek = getattr(body, "seek", None)
    if seek is None or not isinstance(position, int):
        return False
    seek(position)
    return True
