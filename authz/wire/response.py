"""A decision to the bytes of a CheckResponse.

Law: this is the only file that builds a `CheckResponse`, and it has three builders. `allowed()` says OK; `denied()`
refuses to be built from a reason whose gRPC code is zero, because Envoy reads an all-default response as ALLOW, and
from one that says yes; `answered()` gives a task what it asked us for, as a denial to Envoy: nothing is forwarded.
Source: `envoy.service.auth.v3`, see `protos/`.
"""

import os
from collections.abc import Mapping
from typing import Final

from authz import pages, task_messages
from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.cookies import read as read_cookies
from authz.edge import DECISION, HOST_ONLY, IDENTITY_HEADERS, LOGOUT, SIGN_OUT_MARKER
from authz.model import EXECUTION, Deny, HttpRequest, Identity, Plane, Run
from authz.page_frame import NO_BRANDING, POLICY, Branding
from authz.reasons import ANSWERS, GrpcCode, Reason
from authz.return_path import return_path
from authz.wire.headers import NEVER_FORWARDED

_MARK: Final = os.urandom(12).hex()
_MARKER_S: Final = 20
_OF_TASKS: Final = frozenset({Plane.EGRESS.value, EXECUTION})
_OK: Final = 200
_FOUND: Final = 302  # RFC 9110 §15.4.3
_RETRY_AFTER_S: Final = "2"  # RFC 9110 §10.2.3; programs know it, and tasks are programs
_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503
_PLACES: Final = 3  # the upstream's header, the caller's header, the metadata


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
        decision_id: told to the upstream and, in the response, to the caller.
        headers: what `identity_headers` made, or nothing for an anonymous caller.
        cookies: what the Cookie header becomes; "" takes it away, None leaves it as it is.
        metadata: `decision_id, reason, rule, revision, subject` for the access log.
        keep: the Authorization header is the destination's: no credential of ours is in it.
    """
    response = pb.CheckResponse()
    ok = response.ok_response
    response.status.code = GrpcCode.OK
    for name, value in headers.items():
        option = ok.headers.add()
        option.header.key = name
        option.header.value = value
    option = ok.headers.add()
    option.header.key = DECISION
    option.header.value = decision_id
    remove = ok.headers_to_remove
    remove.extend(NEVER_FORWARDED[1:] if keep else NEVER_FORWARDED)
    remove.extend(name for name in IDENTITY_HEADERS if name not in headers)
    if cookies:
        option = ok.headers.add()
        option.header.key = "cookie"
        option.header.value = cookies
    elif cookies is not None:
        remove.append("cookie")
    shown = ok.response_headers_to_add.add()
    shown.header.key = DECISION
    shown.header.value = decision_id
    shown.append_action = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    _describe(response, metadata)
    return response.SerializeToString()


class PreparedAllow:
    """An allow whose bytes are the same for every decision but for the decision's id.

    It is built by `allowed`, once, with a mark in the id's place; `render` puts the id there. The mark is random, so
    that no claim can hold it, and as long as an id, so that the lengths inside the message stay true.
    """

    __slots__ = ("_parts",)

    def __init__(
        self, *, headers: Mapping[str, str], cookies: str | None, metadata: Mapping[str, str], keep: bool = False
    ) -> None:
        metadata = {**metadata, "decision_id": _MARK}
        made = allowed(decision_id=_MARK, headers=headers, cookies=cookies, metadata=metadata, keep=keep)
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


def denied(
    deny: Deny,
    *,
    decision_id: str,
    identity: Identity | None,
    http: HttpRequest | None,
    metadata: Mapping[str, str],
    realm: str,
    run: Run | None = None,
    at: float = 0.0,
    branding: Branding = NO_BRANDING,
) -> bytes:
    """The request ends here. `run` is the one that a task's token names, whether it is believed or not.

    `http` is what is answered, None where it could not be read. A page shows the time `at` (seconds since the epoch)
    and the `branding`. A browser whose session is over goes to where its cookies are cleared, if there is such a place.

    Raises:
        ValueError: the reason is not one of a denial, or a sign-out that leads nowhere. This is a bug of the caller;
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
        headers["www-authenticate"] = f'Bearer realm="{realm}"{error}'
    response = pb.CheckResponse()
    response.status.code = answer.grpc
    response.denied_response.status.code = status
    response.denied_response.body = _body(deny, identity, decision_id, http, run, at=at, branding=branding).decode()
    for name, value in headers.items():
        option = response.denied_response.headers.add()
        option.header.key = name
        option.header.value = value
    _describe(response, metadata)
    return response.SerializeToString()


def answered(*, decision_id: str, body: bytes, metadata: Mapping[str, str]) -> bytes:
    """A task gets what it asked the gate for. To Envoy this is a denial, so that nothing is forwarded."""
    answer = ANSWERS[Reason.RUN_TOKEN_ISSUED]
    response = pb.CheckResponse()
    response.status.code = answer.grpc
    response.denied_response.status.code = answer.http
    response.denied_response.body = body.decode()
    headers = {"content-type": "application/json", "cache-control": "no-store", DECISION: decision_id}
    for name, value in headers.items():
        option = response.denied_response.headers.add()
        option.header.key = name
        option.header.value = value
    _describe(response, metadata)
    return response.SerializeToString()


def _status(status: int, http: HttpRequest | None) -> int:
    """The HTTP status. Airflow's client asks elsewhere after a 404, and takes a 401 for the end of its own token."""
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
    said = task_messages.message(deny, run, http) if outward and http is not None else ""
    return pages.as_json(deny, identity, decision_id, said=said)


def _way_back(http: HttpRequest) -> str:
    """Where a browser with a session goes from Airflow's login route. Its own login would be a dead end here."""
    scheme = "https" if http.secure else "http"
    return return_path(http.target, f"{scheme}://{http.authority}", http.base + "/")


def _way_out(http: HttpRequest | None) -> dict[str, str]:
    """The headers that lead a browser to where Envoy ends its session, with the mark that it was here first.

    Envoy ends no session without the mark, so that each is revoked before. A browser keeps `__Host-` over TLS only.
    """
    if http is None or not http.signout:
        return {}
    where = f"{HOST_ONLY}{SIGN_OUT_MARKER}=1; Path=/;" if http.secure else f"{SIGN_OUT_MARKER}=1; Path={http.signout};"
    secure = " Secure;" if http.secure else ""
    cookie = f"{where} Max-Age={_MARKER_S}; HttpOnly;{secure} SameSite=Lax"
    return {"location": http.signout, "set-cookie": cookie}
