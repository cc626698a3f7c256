"""Builds the canonical form of a request, which rules, the decision log and answers use.

Law: pure. A request that two parsers could read differently is refused, not repaired. Envoy's context extensions set
the plane, base path, destination and host; a request whose extensions contradict each other is denied.
"""

import re
from typing import Final

from authz.core.errors import DeniedError, RequestError
from authz.core.model import HttpRequest, Plane, Request
from authz.core.reasons import Reason
from authz.core.request.path import (
    CONNECT,
    CanonicalPath,
    below,
    canonical_host,
    canonical_method,
    canonicalise,
    is_base,
    tunnel,
)

# RFC 6750 §2.3 tokens in a query end up in logs and histories; they are refused rather than ignored or forwarded.
_QUERY_TOKEN: Final = re.compile(r"[?&;](?:access|id)(?:_|%5[fF])token=", re.ASCII)
_PLANES: Final = {plane.value: plane for plane in Plane}


def canonical(http: HttpRequest) -> Request:
    """The canonical form of a request.

    Raises:
        DeniedError: MISCONFIGURED, if Envoy sent no plane, or an invalid base path or host.
        RequestError: the request has no canonical form, or has a token in its query.
    """
    plane = _PLANES.get(http.plane)
    if plane is None:
        raise DeniedError(Reason.MISCONFIGURED, 'context_extensions has no "plane" of inbound or egress')
    if "?" in http.target and _QUERY_TOKEN.search(http.target):
        raise RequestError(Reason.BAD_AUTHORIZATION, "a token in the query; send it in the Authorization header")
    egress = plane is Plane.EGRESS
    if egress and http.method == CONNECT:
        return _tunnel(http)
    path = canonicalise(http.target)
    if egress and path.encoded_slash:
        raise RequestError(Reason.BAD_PATH, "an encoded slash, which destinations read in different ways")
    host, port = canonical_host(http.authority)
    if egress and http.host:
        host, port = _set_by_envoy(http.host), None
    method = canonical_method(http.method)
    inner = _inside(path, http.base) if http.base else path
    evaluated = inner or path
    return Request(
        plane=plane,
        method=method,
        host=host,
        port=port,
        path=evaluated.path,
        segments=evaluated.segments,
        base=http.base,
        outside=inner is None,
        narrowed=http.narrowed,
        destination=http.destination if egress else "",
    )


def _tunnel(http: HttpRequest) -> Request:
    """The canonical form of a CONNECT. Its Host alone decides where it is routed, so `host` and `base` are refused."""
    if http.host or http.base:
        raise DeniedError(Reason.MISCONFIGURED, 'context_extensions has a "host" or "base" for a tunnel')
    host, port = tunnel(http.authority, http.target)
    return Request(
        plane=Plane.EGRESS, method=CONNECT, host=host, port=port, path="", segments=(), destination=http.destination
    )


def _set_by_envoy(host: str) -> str:
    """The destination's host, if the request's own Host is an address of Envoy."""
    try:
        name, port = canonical_host(host)
    except RequestError:
        port = 0
    if port is not None:
        raise DeniedError(Reason.MISCONFIGURED, 'context_extensions has a "host" that is not a host without port')
    return name


def _inside(path: CanonicalPath, base: str) -> CanonicalPath | None:
    """The path to an application served under a base path; None if it is not below that."""
    if not is_base(base):
        raise DeniedError(Reason.MISCONFIGURED, 'context_extensions has a "base" that is not a path like /airflow')
    return below(path, base)
