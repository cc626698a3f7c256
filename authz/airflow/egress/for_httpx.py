"""Identity for `httpx`: `httpx.Client(auth=RunAuth("http://127.0.0.1:9101"))`, and the same for `AsyncClient`.

Law: that of `for_requests`. httpx follows redirects without asking its auth, so a listener on the transport's own
events aborts a request to elsewhere before its headers are written. Only httpx's own transports have that event; with
another transport, a redirect that was followed is reported afterwards.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import httpx

from authz.airflow.egress.addresses import origin, origins_of
from authz.airflow.egress.asserted import current
from authz.airflow.egress.errors import ForeignOriginError
from authz.airflow.egress.gate_answers import may_be_refusal, refusal
from authz.airflow.egress.identity import HEADERS, Identity, token_of

_BEFORE_HEADERS = ".send_request_headers.started"
_MOST = 2


class RunAuth(httpx.Auth):
    """The identity of the running task, for calls to these origins.

    Args:
        origins: base URLs at the gate; only their scheme, host and port matter.
        identity: where it comes from; the running task's by default. It is looked up when a request is made.
    """

    def __init__(self, *origins: str, identity: Identity | None = None) -> None:
        self._origins = origins_of(origins, "RunAuth")
        self._identity = identity

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put a new proof on the request, and again if the gate requires another."""
        request.extensions = {**request.extensions, "trace": self._watch(request.extensions.get("trace"))}
        proofs = _Proofs()
        while True:
            self._only(str(request.url), "This call")
            made = self._who().headers(request.method, str(request.url), refused=proofs.refused)
            proofs.put(request, made)
            response = yield request
            self._followed(response)
            _forget(request, response)
            if not proofs.may_help(response):
                return
            response.read()
            if not proofs.help(response):
                return
            request = response.request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The same, for coroutines."""
        request.extensions = {**request.extensions, "trace": self._awatch(request.extensions.get("trace"))}
        proofs = _Proofs()
        while True:
            self._only(str(request.url), "This call")
            made = await self._who().aheaders(request.method, str(request.url), refused=proofs.refused)
            proofs.put(request, made)
            response = yield request
            self._followed(response)
            _forget(request, response)
            if not proofs.may_help(response):
                return
            await response.aread()
            if not proofs.help(response):
                return
            request = response.request

    def _who(self) -> Identity:
        return self._identity or current()

    def _followed(self, response: httpx.Response) -> None:
        if response.history:
            self._only(str(response.request.url), "A redirect")

    def _only(self, url: str, what: str) -> None:
        if origin(url) not in self._origins:
            allowed = ", ".join(sorted(self._origins))
            raise ForeignOriginError(f"The run's identity is for {allowed}. {what} to {origin(url)} was refused.")

    def _watch(self, also: Callable[[str, dict[str, Any]], None] | None) -> Callable[[str, dict[str, Any]], None]:
        def trace(event: str, info: dict[str, Any]) -> None:
            self._seen(event, info)
            if also is not None:
                also(event, info)

        return trace

    def _awatch(self, also: Callable[[str, dict[str, Any]], Any] | None) -> Callable[[str, dict[str, Any]], Any]:
        async def trace(event: str, info: dict[str, Any]) -> None:
            self._seen(event, info)
            if also is not None:
                await also(event, info)

        return trace

    def _seen(self, event: str, info: dict[str, Any]) -> None:
        if not event.endswith(_BEFORE_HEADERS):
            return
        request = info["request"]
        if request.method == b"CONNECT":  # to a proxy; requests inside the tunnel are seen here too
            return
        target = request.url.target.decode("latin-1")
        authority = request.url.host.decode("latin-1")
        port = f":{request.url.port}" if request.url.port else ""
        absolute = not target.startswith("/")  # the form for proxies (RFC 9112 §3.2.2)
        self._only(target if absolute else f"{request.url.scheme.decode()}://{authority}{port}/", "A redirect")


class _Proofs:
    """The proofs of one call. When httpx follows a redirect by itself, it sends the previous request's proof.

    `refused` is the token that the gate has refused, "" where only the proof was for another URL.
    """

    def __init__(self) -> None:
        self.refused = ""
        self._token = ""
        self._tried: Counter[tuple[str, str]] = Counter()

    def put(self, request: httpx.Request, made: dict[str, str]) -> None:
        self._token = token_of(made)
        self._tried[request.method, str(request.url)] += 1
        request.headers.update(made)

    def may_help(self, response: httpx.Response) -> bool:
        """Whether it is worth reading the body: each URL is tried twice at most."""
        request = response.request
        return (
            may_be_refusal(response.status_code, response.headers)
            and isinstance(request.stream, httpx.ByteStream)
            and self._tried[request.method, str(request.url)] < _MOST
        )

    def help(self, response: httpx.Response) -> bool:
        """Whether the gate requires another proof."""
        request = response.request
        self.refused = self._token if self._tried[request.method, str(request.url)] else ""
        return refusal(response.status_code, response.headers, response.content) is not None


def _forget(request: httpx.Request, response: httpx.Response) -> None:
    """Remove the token, so that none is kept with an answer."""
    kept = [request, response.request, *(earlier.request for earlier in response.history)]
    if response.next_request is not None:
        kept.append(response.next_request)
    for sent in kept:
        for name in HEADERS:
            sent.headers.pop(name, None)
