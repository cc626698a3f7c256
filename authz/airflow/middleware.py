"""The ASGI middleware in front of the whole of Airflow's API server: a caller has an assertion or is anonymous.

Laws: a request never reaches Airflow with its own credential (`Authorization`, the `_token` cookie), with a header of
ours, or as a GET with a body (Airflow 3.3 lists the backfills of the DAG that the query names after it has checked the
DAG that such a body names). The only identity is the one in a verified assertion. A request without an assertion is
passed on as anonymous, so Airflow answers 401 wherever it needs a user. A request with a bad one ends here; a person's
browser gets a page. The task execution API keeps its `Authorization`: running tasks call it with their own tokens,
which open nothing else, and it sees no user.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import replace
from typing import Any

from authz.airflow import pages, refusals
from authz.airflow.grant_source import GrantSource
from authz.airflow.jwks_client import KeySource
from authz.airflow.made_run import makes_run, naming_run
from authz.airflow.refusals import DECISION_HEADER
from authz.airflow.verifier import ASSERTION_HEADER, Asserted, Expected, Refusal, verify

TASK_API = "/execution/"
SESSION_COOKIE = "_token"
FETCHES_TO_WAIT_FOR = 2  # the first may have started before the key was published
SCHEME = "Authz-Assertion"  # in `WWW-Authenticate`
REFUSED = {
    "detail": "Airflow does not accept the assertion of the gate in front of it. This is not about your sign-in or your"
    " token: the settings, keys or clocks of the gate and of Airflow differ. Airflow's log says which."
}
NO_KEYS = {"detail": "Airflow does not have the keys of the gate in front of it. Try again shortly."}
NO_GRANT = {"detail": "Airflow could not learn from the gate which DAGs the request is for. Try again shortly."}
UNAVAILABLE = {Refusal.NO_KEYS: (pages.NO_KEYS, NO_KEYS), Refusal.NO_GRANT: (pages.NO_GRANT, NO_GRANT)}
JSON = {"content-type": "application/json"}

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
log = logging.getLogger(__name__)


class AssertionMiddleware:
    """Verify the assertion of each request. `mark` puts an identity into the request's state as Airflow expects it.

    If `mark_blocks` (it queries a database) it runs in a thread: requests that hold what it waits for need the loop.
    `grants` has the DAGs that an assertion only names; None where they are not needed.
    """

    def __init__(
        self,
        app: Application,
        *,
        source: KeySource,
        grants: GrantSource | None = None,
        expected: Expected,
        mark: Callable[[Asserted], dict[str, Any]],
        mark_blocks: bool = False,
        branding: pages.Branding = pages.NO_BRANDING,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._source = source
        self._grants = grants
        self._expected = expected
        self._mark = mark
        self._mark_blocks = mark_blocks
        self._branding = branding
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
                await self._refuse(verdict, assertions, scope, send)
                return
            marked = await asyncio.to_thread(self._mark, verdict) if self._mark_blocks else self._mark(verdict)
            clean["state"] = {**scope.get("state", {}), **marked}
        if scope["type"] == "http" and makes_run(scope["method"], route_path(scope)):
            send = naming_run(send)
        bodiless = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"} and not task_api
        await self._app(clean, without_body(receive) if bodiless else receive, send)

    async def _verify(self, assertions: list[bytes]) -> Asserted | Refusal:
        if len(assertions) != 1:
            return Refusal.MALFORMED
        token = assertions[0].decode("latin-1")
        verdict = verify(token, self._source.keys(), self._expected, self._wall())
        for _ in range(FETCHES_TO_WAIT_FOR):
            if verdict not in {Refusal.UNKNOWN_KEY, Refusal.NO_KEYS}:
                break
            await asyncio.shield(asyncio.wrap_future(self._source.refresh()))
            verdict = verify(token, self._source.keys(), self._expected, self._wall())
        if isinstance(verdict, Asserted) and verdict.dags_ref and self._grants is not None:
            return await _with_dags(verdict, self._grants)
        return verdict

    async def _refuse(self, refusal: Refusal, assertions: list[bytes], scope: Scope, send: Send) -> None:
        token = assertions[0].decode("latin-1") if len(assertions) == 1 else ""
        decision = refusals.decision_id([value for name, value in scope["headers"] if name == DECISION_HEADER])
        why = refusals.sentence(token, refusal, self._source.keys(), self._expected, self._wall())
        log.warning("Assertion refused: %s: %s (decision %s)", refusal, why, decision or "unknown")
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if refusal in UNAVAILABLE:
            page, body = UNAVAILABLE[refusal]
            status, headers = 503, {"retry-after": "2"}
        else:
            page, body = pages.REFUSED, REFUSED | refusals.facts(token, refusal, self._expected, self._wall())
            status, headers = 401, {"www-authenticate": SCHEME}
        if wants_page(scope):
            await _answer(send, status, page.html(decision, self._branding, at=self._wall()), headers)
        else:
            await _answer(send, status, {**body, "decision_id": decision}, headers)


async def _with_dags(asserted: Asserted, grants: GrantSource) -> Asserted | Refusal:
    """The caller with the DAGs that the assertion names; a refusal if they are not available."""
    known = grants.get(asserted.dags_ref)
    if known is None:
        known = await asyncio.shield(asyncio.wrap_future(grants.ask(asserted.dags_ref)))
    return Refusal.NO_GRANT if known is None else replace(asserted, dags=known)


async def _answer(send: Send, status: int, body: str | dict[str, Any], headers: dict[str, str]) -> None:
    """Answer with a page (text) or with JSON."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = {"content-type": "text/html; charset=utf-8", **pages.HEADERS} if isinstance(body, str) else JSON
    fields = {**kind, "content-length": str(len(data)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": data})


def without_body(receive: Receive) -> Receive:
    """Return a `receive` that reports an empty body, and then only the connection's other events."""
    reported = False

    async def receive_no_body() -> Message:
        nonlocal reported
        if not reported:
            reported = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receive_no_body


def wants_page(scope: Scope) -> bool:
    """Whether a person navigates: the browser says so, or asks for HTML and is too old to say so."""
    sent = {name.lower(): value for name, value in scope["headers"]}
    mode = sent.get(b"sec-fetch-mode")
    navigates = mode == b"navigate" if mode is not None else b"text/html" in sent.get(b"accept", b"")
    return navigates and scope["method"] in {"GET", "HEAD"}


def route_path(scope: Scope) -> str:
    """Return the path that Airflow routes: the decoded path without the root path it is served under."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def split_headers(headers: Iterable[tuple[bytes, bytes]], *, keep_authorization: bool) -> tuple[list[bytes], Headers]:
    """Return the values of the assertion header, and the headers that Airflow may see.

    `_` counts as `-` in names because WSGI code (Airflow's Flask plugins) cannot distinguish them; an assertion is
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
