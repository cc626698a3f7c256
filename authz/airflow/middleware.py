"""The ASGI middleware in front of the whole of Airflow's API server: an assertion, or nobody.

Laws: no request reaches Airflow with a credential of Airflow's own (`Authorization`, the `_token` cookie) or with a
header of ours; the only identity is the one in a verified assertion. A request without an assertion goes on as nobody,
so Airflow answers 401 wherever it wants a user. A request with a bad one ends here. The task execution API keeps its
`Authorization`: it is where running tasks come with their own tokens, which open nothing else, and it sees no user.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from authz.airflow.jwks_client import KeySource
from authz.airflow.verifier import ASSERTION_HEADER, Asserted, Expected, Refusal, verify

TASK_API = "/execution/"
SESSION_COOKIE = "_token"
REFUSED = {"detail": "The assertion of the gate was not accepted."}
NO_KEYS = {"detail": "The gate's keys are not available."}

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
log = logging.getLogger(__name__)


class AssertionMiddleware:
    """Verify the assertion of each request. `mark` puts an identity into the request's state as Airflow wants it."""

    def __init__(
        self,
        app: Application,
        *,
        source: KeySource,
        expected: Expected,
        mark: Callable[[Asserted], dict[str, Any]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._source = source
        self._expected = expected
        self._mark = mark
        self._wall = wall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        task_api = route_path(scope).startswith(TASK_API)
        assertions, headers = split_headers(scope["headers"], keep_authorization=task_api)
        clean = {**scope, "headers": headers}
        if assertions and not task_api:
            verdict = await self._verify(assertions)
            if isinstance(verdict, Refusal):
                await self._refuse(verdict, scope, send)
                return
            clean["state"] = {**scope.get("state", {}), **self._mark(verdict)}
        await self._app(clean, receive, send)

    async def _verify(self, assertions: list[bytes]) -> Asserted | Refusal:
        if len(assertions) != 1:
            return Refusal.MALFORMED
        token = assertions[0].decode("latin-1")
        keys = self._source.keys()
        verdict = verify(token, keys, self._expected, self._wall())
        if verdict is not Refusal.UNKNOWN_KEY:
            return verdict
        if (flight := self._source.refresh()) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        newer = self._source.keys()  # a refresh may also have ended since `keys` was read
        return verdict if newer is keys else verify(token, newer, self._expected, self._wall())

    async def _refuse(self, refusal: Refusal, scope: Scope, send: Send) -> None:
        log.warning("Assertion refused: %s", refusal)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if refusal is Refusal.UNKNOWN_KEY and not self._source.keys():
            await _answer(send, 503, NO_KEYS, [(b"retry-after", b"2")])
            return
        await _answer(send, 401, REFUSED, [(b"www-authenticate", b"Authz-Assertion")])


async def _answer(send: Send, status: int, body: dict[str, str], headers: Headers) -> None:
    data = json.dumps(body).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": data})


def route_path(scope: Scope) -> str:
    """Return the path that Airflow routes: the decoded path without the root path it is served under."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def split_headers(headers: Iterable[tuple[bytes, bytes]], *, keep_authorization: bool) -> tuple[list[bytes], Headers]:
    """Return the values of the assertion header, and the headers that Airflow may see.

    `_` counts as `-` in names because WSGI code (Airflow's Flask plugins) cannot tell them apart; an assertion is
    only read from the one exact name.
    """
    assertions: list[bytes] = []
    kept: Headers = []
    for raw_name, value in headers:
        name = raw_name.decode("latin-1").lower()
        if name == ASSERTION_HEADER:
            assertions.append(value)
        elif name.replace("_", "-").startswith("x-authz-"):
            continue
        elif name == "cookie":
            if cookies := without_session(value):
                kept.append((raw_name, cookies))
        elif name != "authorization" or keep_authorization:
            kept.append((raw_name, value))
    return assertions, kept


def without_session(cookie: bytes) -> bytes:
    """Return a Cookie header's value without Airflow's session token, read as Starlette reads it."""
    chunks = cookie.decode("latin-1").split(";")
    kept = [chunk for chunk in chunks if chunk.partition("=")[0].strip() != SESSION_COOKIE]
    return ";".join(kept).strip().encode("latin-1")
