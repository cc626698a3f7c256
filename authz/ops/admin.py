"""The operator's port: `/metrics`, `/healthz`, `/readyz`, `/jwks.json`, `/grants`, `/grants/…`.

Law: the pages are read-only, without credentials, and say nothing about an individual caller (a grant of DAGs has
patterns of the policy, and is found by its digest alone). Only requests about temporary access, which
`authz.sessions.grants_port` answers, carry a token and change something. The port listens on loopback unless the
settings say otherwise.
A client cannot hang it: a connection serves one request, has one deadline for all of it, and at most `connections` are
open at a time (the next is closed at once). Requests about temporary access take half of them at most: `/readyz` and
`/metrics` are answered however many people ask, or do not finish asking. See `authz.ops.http_server`.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol

from authz.ops.http_server import Asked, Page, SmallServer

log = logging.getLogger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
GRANTS: Final = "/grants/"
_ACCESS: Final = "/grants"  # temporary access
MOST_BODY: Final = 8 * 1024
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url


class Metrics(Protocol):
    """What `/metrics` shows."""

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scrape and its content type."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the service can answer checks, why not, and other notes for the operator."""

    ready: bool
    reasons: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


class Routes:
    """What the port shows: a request in, a page out. No sockets."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        readiness: Callable[[], Readiness],
        jwks: Callable[[], Mapping[str, object]],
        grants: Callable[[str], bytes | None],
        access: Callable[[Asked], Page],
    ) -> None:
        self._grants = grants
        self._access = access
        self._metrics = metrics
        self._readiness = readiness
        self._jwks = jwks
        self._routes: Mapping[str, Callable[[str], Page]] = {
            "/metrics": self._show_metrics,
            "/healthz": lambda _accept: Page(HTTPStatus.OK, _TEXT, b"ok\n"),
            "/readyz": lambda _accept: self._show_readiness(),
            "/jwks.json": lambda _accept: self._show_jwks(),
        }

    def answer(self, asked: Asked) -> Page:
        """The page for a request; an error inside is a 500 without details."""
        path = asked.target.partition("?")[0]
        show = self._routes.get(path) or self._grant_at(path)
        if show is None:
            if _is_access(path):
                return self._access(asked)
            return Page(HTTPStatus.NOT_FOUND, _TEXT, b"not found\n")
        if asked.method not in {"GET", "HEAD"}:
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n", (("Allow", "GET, HEAD"),))
        try:
            return show(asked.accept)
        except Exception:
            # The port's door: a bug in one page must not end the thread without an answer.
            log.exception("showing %s", path)
            return Page(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"internal error\n")

    def _show_metrics(self, accept: str) -> Page:
        body, content_type = self._metrics.exposition(accept)
        return Page(HTTPStatus.OK, content_type, body)

    def _show_readiness(self) -> Page:
        state = self._readiness()
        shown = {"ready": state.ready, "reasons": list(state.reasons), **state.details}
        status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(status, _JSON, _json(shown))

    def _show_jwks(self) -> Page:
        return Page(HTTPStatus.OK, _JSON, _json(self._jwks()), (("Cache-Control", "public, max-age=60"),))

    def _grant_at(self, path: str) -> Callable[[str], Page] | None:
        if not _is_grant(path):
            return None
        return lambda _accept: self._show_grant(path.removeprefix(GRANTS))

    def _show_grant(self, reference: str) -> Page:
        found = self._grants(reference)
        if found is None:
            return Page(HTTPStatus.NOT_FOUND, _TEXT, b"no such grant\n")
        return Page(HTTPStatus.OK, _JSON, found)


def _is_grant(path: str) -> bool:
    """Whether it is that of a grant of DAGs."""
    return path.startswith(GRANTS) and _REFERENCE.fullmatch(path, len(GRANTS)) is not None


def _is_access(target: str) -> bool:
    """Whether it is about temporary access: read with its body, decided under the lock of a file, perhaps forwarded."""
    path = target.partition("?")[0]
    return path == _ACCESS or (path.startswith(GRANTS) and not _is_grant(path))


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, default=str) + "\n").encode()


class AdminServer(SmallServer):
    """Serves the operator's port on one address.

    Args:
        listen: `host:port`, `[v6]:port` or `unix:/path`; port 0 picks a free one.
        metrics: shown on `/metrics`.
        readiness: asked for every `/readyz`.
        jwks: asked for every `/jwks.json`.
        grants: asked for every `/grants/…` with the reference of a grant of DAGs.
        access: answers every other request for `/grants` and below; must not raise.
        limits: those of `SmallServer`.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        listen: str,
        metrics: Metrics,
        readiness: Callable[[], Readiness],
        jwks: Callable[[], Mapping[str, object]],
        *,
        grants: Callable[[str], bytes | None],
        access: Callable[[Asked], Page],
        **limits: Any,
    ) -> None:
        routes = Routes(metrics=metrics, readiness=readiness, jwks=jwks, grants=grants, access=access)
        super().__init__(listen, routes.answer, most_body=MOST_BODY, is_slow=_is_access, **limits)
