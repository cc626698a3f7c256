"""A request as people write it, on a command line or in a test, and as the gate would get it from Envoy.

Law: it is made canonical by the code that serves; what has no canonical form is refused as the gate refuses it.
"""

from typing import Final

from authz.core.decision.decide import evaluate
from authz.core.errors import DeniedError, RequestError
from authz.core.model import Allow, Decision, Deny, HttpRequest, Plane, Request
from authz.core.policy import Policy
from authz.core.request.path import CONNECT, METHODS

LOCALHOST: Final = "localhost"
"""The host of a request that names none."""

ASKED: Final = (*sorted(METHODS), CONNECT)
"""The methods of requests that the gate may get."""

_SCHEMES: Final = ("https://", "http://")


def http_request(
    method: str,
    url: str,
    plane: Plane,
    host: str = LOCALHOST,
    *,
    destination: str = "",
    base: str = "",
    narrowed: bool = False,
) -> HttpRequest:
    """The request for a path or URL; `host` is its Host if the URL has none. A tunnel's URL is its authority.

    The other arguments are what Envoy says of it.
    """
    if method == CONNECT:
        authority, target = url, url
    elif scheme := next((scheme for scheme in _SCHEMES if url.startswith(scheme)), ""):
        authority, slash, rest = url.removeprefix(scheme).partition("/")
        target = slash + rest or "/"
    else:
        authority, target = host, url
    return HttpRequest(
        plane=plane.value,
        audience="",
        method=method,
        authority=authority,
        target=target,
        base=base,
        narrowed=narrowed,
        destination=destination,
    )


def names_host(method: str, url: str) -> bool:
    """Whether the URL has a host in it."""
    return method == CONNECT or url.startswith(_SCHEMES)


def without_identity(error: DeniedError, request: Request, policy: Policy) -> Decision:
    """The decision if the caller's token is refused. A public route stays public, as for everyone without a token."""
    decision = evaluate(request, None, policy)
    if isinstance(error, RequestError) or not isinstance(decision, Allow):
        return Deny(reason=error.reason, detail=error.detail)
    return decision
