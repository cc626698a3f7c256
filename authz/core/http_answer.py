"""Makes the gate's own HTTP answers: status, headers and body of a denial, or of a task's token.

Law: pure, and only HTTP: `authz.check.wire` encodes an answer for Envoy's ext_authz. A denial never has status 200;
the only answer with status 200 gives a task the token that it asked for.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from authz.core.edge import DECISION, HOST_ONLY, LOGOUT, SIGN_OUT_MARKER
from authz.core.messages import pages, tasks
from authz.core.messages.page_frame import NO_BRANDING, POLICY, Branding
from authz.core.model import EXECUTION, Deny, HttpRequest, Identity, Plane, Run, made_per_request
from authz.core.reasons import ANSWERS, GrpcCode, Reason
from authz.core.request.cookies import read as read_cookies
from authz.core.request.return_path import return_path

_MARKER_S: Final = 20
_OF_TASKS: Final = frozenset({Plane.EGRESS.value, EXECUTION})
_OK: Final = 200
_FOUND: Final = 302  # RFC 9110 §15.4.3
_RETRY_AFTER_S: Final = "2"  # RFC 9110 §10.2.3; programs know it, and tasks are programs
_FORBIDDEN: Final = 403
_REALM: Final = "airflow"  # of the challenge (RFC 6750 §3)
_UNAVAILABLE: Final = 503


@made_per_request
class HttpAnswer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def refusal(
    deny: Deny,
    *,
    decision_id: str,
    identity: Identity | None,
    http: HttpRequest | None,
    run: Run | None = None,
    at: float = 0.0,
    branding: Branding = NO_BRANDING,
) -> HttpAnswer:
    """The answer to a denied caller. `run` is the one that a task's token names, verified or not.

    `http` is the request, None if it could not be read. A page shows the time `at` (seconds since the epoch) and the
    `branding`. A browser whose session is over is redirected to where Envoy clears its cookies, if Envoy has a login.

    Raises:
        ValueError: the reason is not that of a denial, or of a sign-out without a target. This is a bug in the caller;
            the service answers 503 for it.
    """
    answer = ANSWERS[deny.reason]
    if answer.grpc == GrpcCode.OK or answer.http == _OK:
        raise ValueError(f"{deny.reason} is no reason to deny")
    html = http is not None and http.browser
    headers = {
        "content-type": "text/html; charset=utf-8" if html else "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        DECISION: decision_id,
    }
    status = _status(answer.http, http)
    if status == _UNAVAILABLE and http is not None and http.plane != Plane.INBOUND:
        headers["retry-after"] = _RETRY_AFTER_S
    if deny.reason is Reason.SIGNED_OUT or (deny.reason is Reason.REVOKED and html):
        leaving = _way_out(http)
        headers.update(leaving)
        status = _FOUND if leaving else status
    if deny.reason is Reason.SIGNED_IN and http is not None:
        headers["location"] = _way_back(http)
    if status == _FOUND and "location" not in headers:
        raise ValueError("a redirect that leads nowhere")
    if html:
        headers["content-security-policy"] = POLICY
    if status == 401:  # noqa: PLR2004 RFC 9110 §15.5.2 demands a challenge with 401
        error = f', error="{answer.error}"' if answer.error else ""
        headers["www-authenticate"] = f'Bearer realm="{_REALM}"{error}'
    body = _body(deny, identity, decision_id, http, run, at=at, branding=branding)
    return HttpAnswer(status=status, headers=headers, body=body)


def for_task(body: bytes, *, decision_id: str) -> HttpAnswer:
    """The answer that gives a task what it asked the gate for."""
    headers = {"content-type": "application/json", "cache-control": "no-store", DECISION: decision_id}
    return HttpAnswer(status=ANSWERS[Reason.RUN_TOKEN_ISSUED].http, headers=headers, body=body)


def _status(status: int, http: HttpRequest | None) -> int:
    """The HTTP status. Airflow's client asks elsewhere after a 404, and reads a 401 as its own token's end."""
    if http is not None and http.plane == EXECUTION and status != _UNAVAILABLE:
        return _FORBIDDEN
    return status


def _body(
    deny: Deny,
    identity: Identity | None,
    decision_id: str,
    http: HttpRequest | None,
    run: Run | None,
    *,
    at: float,
    branding: Branding,
) -> bytes:
    """The body: for a browser a page, with a link to sign out if there is a session to end; for a task its sentence."""
    if http is not None and http.browser:
        with_session = http.signout and (identity is not None or read_cookies(http.cookies).session)
        return pages.as_html(
            deny,
            identity,
            decision_id,
            start=http.base + "/",
            sign_out=http.base + LOGOUT if with_session else "",
            login=bool(http.signout),
            at=at,
            branding=branding,
        )
    outward = http is not None and http.plane in _OF_TASKS
    said = tasks.message(deny, run, http) if outward and http is not None else ""
    return pages.as_json(deny, identity, decision_id, said=said)


def _way_back(http: HttpRequest) -> str:
    """Where a browser with a session goes from Airflow's login route: Airflow's login is a dead end here."""
    scheme = "https" if http.secure else "http"
    return return_path(http.target, f"{scheme}://{http.authority}", http.base + "/")


def _way_out(http: HttpRequest | None) -> dict[str, str]:
    """The headers that redirect a browser to where Envoy ends its session, with the mark that it was here first.

    Envoy ends a session only with the mark, so the gate revokes it first. A browser keeps `__Host-` over TLS only.
    """
    if http is None or not http.signout:
        return {}
    where = f"{HOST_ONLY}{SIGN_OUT_MARKER}=1; Path=/;" if http.secure else f"{SIGN_OUT_MARKER}=1; Path={http.signout};"
    secure = " Secure;" if http.secure else ""
    cookie = f"{where} Max-Age={_MARKER_S}; HttpOnly;{secure} SameSite=Lax"
    return {"location": http.signout, "set-cookie": cookie}
