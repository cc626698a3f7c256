"""The codec: bytes of a CheckRequest to `HttpRequest`, a decision to the bytes of a CheckResponse.

Law: this is the only file that builds a `CheckResponse`, and it has two builders. `allowed()` says OK; `denied()`
refuses to be built from a reason whose gRPC code is zero, because Envoy reads an all-default response as ALLOW. Header
names that we emit are always either set or removed, so that nothing a client sent under them gets through. Emitted
values are visible ASCII and bounded. Source: `envoy.service.auth.v3`, see `protos/`.
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from authz import pages
from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.cookies import read as read_cookies
from authz.errors import RequestError
from authz.model import Deny, HttpRequest, Identity
from authz.reasons import ANSWERS, GrpcCode, Reason

ASSERTION: Final = "x-authz-assertion"
DECISION: Final = "x-authz-decision"
SUBJECT: Final = "x-authz-subject"
USER: Final = "x-authz-user"
ISSUER: Final = "x-authz-issuer"
CLIENT: Final = "x-authz-client"
ROLES: Final = "x-authz-roles"

_MARK: Final = os.urandom(12).hex()
# What `signout` may be: a path of plain segments. It goes into a Location and into a cookie.
_SIGNOUT: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,16}", re.ASCII)
_MARKER: Final = "authz-signout"
_SECURE: Final = "__Host-"  # no other host can set it (RFC 6265bis §4.1.3.2)
_MARKER_S: Final = 20
_SIGN_OUT: Final = "/api/v2/auth/logout"  # Airflow's own, which is ours to answer
_FOUND: Final = 302  # RFC 9110 §15.4.3
_PLACES: Final = 3  # the upstream's header, the caller's header, the metadata

IDENTITY_HEADERS: Final = (SUBJECT, USER, ISSUER, CLIENT, ROLES, ASSERTION)

# Removed from every forwarded request. The credentials are ours and end here; the others let a client tell an upstream
# a method, a path, a host or a user other than the one that was judged (PITFALLS d-07, d-17, d-25).
NEVER_FORWARDED: Final = (
    "authorization",
    "proxy-authorization",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-prefix",
    "x-remote-user",
    "remote-user",
)

# All that is read of the request's headers; the rendered Envoy configuration sends no others.
READ_HEADERS: Final = ("authorization", "cookie", "accept", "traceparent")
_READ: Final = frozenset(map(len, READ_HEADERS))
# How an entry of a header map begins whose name is of no length that we read: the tag of the key, and its length.
_OTHERS: Final = frozenset(bytes((0x0A, length)) for length in range(0x80) if length not in _READ)
_LONGEST_VALUE: Final = 1024  # bytes of one identity header
_LONGEST_ROLES: Final = 4096


def parse(message: bytes) -> HttpRequest:
    """Read a serialised CheckRequest.

    With `encode_raw_headers` the headers are in `header_map`, one entry per line; without it Envoy joins repeated ones.

    Raises:
        RequestError: BAD_REQUEST, when the bytes are no CheckRequest or carry no HTTP request.
    """
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
        http = attributes.request.http
        authorization, cookies, browser, traceparent = _headers(http)
    except DecodeError:
        raise RequestError(Reason.BAD_REQUEST, "the message is not a CheckRequest") from None
    method, target = http.method, http.path
    if not method or not target:
        raise RequestError(Reason.BAD_REQUEST, "the CheckRequest carries no HTTP request")
    extension = attributes.context_extensions.get
    signout = _path(extension("signout", ""))
    audience = extension("audience", "")
    return HttpRequest(
        extension("plane", ""),
        audience,
        method,
        http.host,
        target,
        authorization,
        cookies,
        browser,
        traceparent,
        attributes.source.address.socket_address.address,
        extension("base", ""),
        signout,
        bool(signout) and _is_secure(extension("marker", ""), http.scheme),
        # Only an assertion can say which DAGs are meant, and without an audience there is none.
        extension("dags", "") == "narrowed" and audience != "",
    )


@lru_cache(maxsize=64)
def _path(text: str) -> str:
    """The path, "" where it is none: a sign-out path that cannot be believed is none at all."""
    return text if _SIGNOUT.fullmatch(text) else ""


def _is_secure(marker: str, scheme: str) -> bool:
    """Whether the browser speaks TLS: Envoy says which marker it awaits, and knows of a balancer in front of it."""
    return marker.startswith(_SECURE) if marker else scheme == "https"


def _headers(http: pb.AttributeContext.HttpRequest) -> tuple[tuple[bytes, ...], tuple[bytes, ...], bool, str]:
    """The Authorization lines, the Cookie lines, whether HTML is accepted, and traceparent; nothing else is looked at.

    This loop is a third of what reading a message costs. So most entries are told by their first two bytes.
    """
    authorization: list[bytes] = []
    cookies: list[bytes] = []
    browser, traceparent = False, ""
    for entry in http.header_map.headers or _entries(http.headers):
        if entry[:2] in _OTHERS:
            continue
        key, value = _header(entry)
        if key == "authorization":
            authorization.append(value)
        elif key == "accept":
            browser = browser or b"text/html" in value
        elif key == "cookie":
            cookies.append(value)
        elif key == "traceparent":
            traceparent = value.decode("latin-1")
    return tuple(authorization), tuple(cookies), browser, traceparent


def _header(entry: bytes) -> tuple[str, bytes]:
    """The name, in lower case, and the value of one serialised HeaderValue."""
    header = pb.HeaderValue.FromString(entry)
    return header.key.lower(), header.raw_value or header.value.encode()


def _entries(headers: Mapping[str, str]) -> list[bytes]:
    """The entries that the plain map of headers would be in a header map."""
    return [pb.HeaderValue(key=key, value=text).SerializeToString() for key, text in headers.items()]


def _visible(value: str) -> str:
    """The value in visible ASCII: `%`, spaces at the ends, controls and anything beyond ASCII percent-encoded."""
    if value.isascii() and value.isprintable() and "%" not in value and value == value.strip():
        return value
    encoded = value.encode("utf-8", "replace")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in encoded)  # noqa: PLR2004 VCHAR of RFC 5234


def identity_headers(identity: Identity, assertion: str) -> dict[str, str]:
    """The headers that name the caller to the upstream. One that is empty or too long is left out, hence removed."""
    claims = identity.claims
    values = {
        SUBJECT: _visible(claims.subject),
        USER: _visible(claims.username),
        ISSUER: _visible(claims.issuer),
        CLIENT: _visible(claims.client_id),
    }
    kept = {name: value for name, value in values.items() if value and len(value) <= _LONGEST_VALUE}
    roles = ",".join(sorted(identity.roles))
    if roles and len(roles) <= _LONGEST_ROLES:
        kept[ROLES] = roles
    if assertion:
        kept[ASSERTION] = assertion
    return kept


def _describe(response: pb.CheckResponse, metadata: Mapping[str, str]) -> None:
    """Dynamic metadata for Envoy's access log (namespace `envoy.filters.http.ext_authz`)."""
    fields = response.dynamic_metadata.fields
    for name, value in metadata.items():
        fields[name].string_value = value


def allowed(*, decision_id: str, headers: Mapping[str, str], cookies: str | None, metadata: Mapping[str, str]) -> bytes:
    """The request may go on, with exactly these identity headers; all others that we know are removed.

    Args:
        decision_id: told to the upstream and, in the response, to the caller.
        headers: what `identity_headers` made, or nothing for an anonymous caller.
        cookies: what the Cookie header becomes; "" takes it away, None leaves it as it is.
        metadata: `decision_id, reason, rule, revision, subject` for the access log.
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
    remove.extend(NEVER_FORWARDED)
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

    def __init__(self, *, headers: Mapping[str, str], cookies: str | None, metadata: Mapping[str, str]) -> None:
        metadata = {**metadata, "decision_id": _MARK}
        made = allowed(decision_id=_MARK, headers=headers, cookies=cookies, metadata=metadata)
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
) -> bytes:
    """The request ends here.

    `http` is what is answered, None where it could not be read. A browser whose session is over goes to where its
    cookies are cleared, if there is such a place.

    Raises:
        ValueError: the reason is not one of a denial, or a sign-out that leads nowhere. This is a bug of the caller;
            the service answers 503 for it.
    """
    answer = ANSWERS[deny.reason]
    if answer.grpc == GrpcCode.OK:
        raise ValueError(f"{deny.reason} is no reason to deny")
    html = http is not None and http.browser
    headers = {
        "content-type": "text/html; charset=utf-8" if html else "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        DECISION: decision_id,
    }
    status = answer.http
    if deny.reason is Reason.SIGNED_OUT or (deny.reason is Reason.REVOKED and html):
        leaving = _way_out(http)
        headers.update(leaving)
        status = _FOUND if leaving else status
    if status == _FOUND and "location" not in headers:
        raise ValueError("a sign-out that leads nowhere")
    if html:
        headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    if status == 401:  # noqa: PLR2004 RFC 9110 §15.5.2 demands a challenge with 401
        error = f', error="{answer.error}"' if answer.error else ""
        headers["www-authenticate"] = f'Bearer realm="{realm}"{error}'
    response = pb.CheckResponse()
    response.status.code = answer.grpc
    response.denied_response.status.code = status
    response.denied_response.body = _body(deny, identity, decision_id, http if html else None).decode()
    for name, value in headers.items():
        option = response.denied_response.headers.add()
        option.header.key = name
        option.header.value = value
    _describe(response, metadata)
    return response.SerializeToString()


def _body(deny: Deny, identity: Identity | None, decision_id: str, page: HttpRequest | None) -> bytes:
    """The body: a page where `page` is what it answers, with a link to sign out if there is a session to end."""
    if page is None:
        return pages.as_json(deny, identity, decision_id)
    with_session = page.signout and (identity is not None or read_cookies(page.cookies).session)
    return pages.as_html(deny, identity, decision_id, sign_out=page.base + _SIGN_OUT if with_session else "")


def _way_out(http: HttpRequest | None) -> dict[str, str]:
    """The headers that lead a browser to where Envoy ends its session, with the mark that it was here first.

    Envoy ends no session without the mark, so that each is revoked before. A browser keeps `__Host-` over TLS only.
    """
    if http is None or not http.signout:
        return {}
    where = f"{_SECURE}{_MARKER}=1; Path=/;" if http.secure else f"{_MARKER}=1; Path={http.signout};"
    secure = " Secure;" if http.secure else ""
    cookie = f"{where} Max-Age={_MARKER_S}; HttpOnly;{secure} SameSite=Lax"
    return {"location": http.signout, "set-cookie": cookie}
