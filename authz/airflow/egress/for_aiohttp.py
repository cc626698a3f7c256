"""Identity for `aiohttp` (3.12 or later): `ClientSession(middlewares=[RunMiddleware("http://127.0.0.1:9101")])`.

Law: that of `for_requests`. The middleware sees every request of a redirect and refuses one that leads elsewhere.
Nothing blocks the event loop: a coroutine awaits the token.
"""

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, payload

from authz.airflow.egress.addresses import origin, origins_of
from authz.airflow.egress.asserted import current
from authz.airflow.egress.errors import ForeignOriginError
from authz.airflow.egress.gate_answers import may_be_refusal, refusal
from authz.airflow.egress.identity import HEADERS, Identity, token_of


class RunMiddleware:
    """The identity of the running task, for calls to these origins.

    Args:
        origins: base URLs at the gate; only their scheme, host and port matter.
        identity: where it comes from; the running task's by default. It is looked up when a request is made.
    """

    def __init__(self, *origins: str, identity: Identity | None = None) -> None:
        self._origins = origins_of(origins, "RunMiddleware")
        self._identity = identity

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Put a new proof on the request, and once more after the gate's 401."""
        refused = await self._prove(request)
        response = await handler(request)
        if may_be_refusal(response.status, response.headers) and _replayable(request):
            body = await response.read()
            if refusal(response.status, response.headers, body) is not None:
                await self._prove(request, refused)
                response = await handler(request)
        for name in HEADERS:  # `response.request_info` shows them too
            request.headers.pop(name, None)
        return response

    async def _prove(self, request: ClientRequest, refused: str = "") -> str:
        url = str(request.url)
        if origin(url) not in self._origins:
            allowed = ", ".join(sorted(self._origins))
            raise ForeignOriginError(
                f"The run's identity is for {allowed}. A call or redirect to {origin(url)} was refused."
            )
        identity = self._identity or current()
        made = await identity.aheaders(request.method, url, refused=refused)
        request.headers.update(made)
        return token_of(made)


def _replayable(request: ClientRequest) -> bool:
    return isinstance(request.body, payload.BytesPayload) or not request.body
