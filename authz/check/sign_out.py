"""Where a browser's session begins and ends: what is a sign-out, and whose session a request may end.

Law: pure. Where Envoy has a path that ends a browser's session, anyone may sign out, whatever the policy says.
"""

from typing import Final

from authz.authn.sessions import Session
from authz.core.decision import decide
from authz.core.errors import RequestError
from authz.core.model import Decision, Deny, HttpRequest, Plane, Request
from authz.core.policy import Policy
from authz.core.reasons import Reason
from authz.core.request.cookies import Cookies, contradiction

SIGN_OUT: Final = "session:logout"  # the operation of the catalogue
SIGN_IN: Final = "session:login"


def check_cookies(http: HttpRequest, request: Request, session: object, jar: Cookies, policy: Policy) -> None:
    """Refuse a request whose caller is unclear; it may still end the session of its bearer token.

    Raises:
        RequestError: AMBIGUOUS_CREDENTIALS.
    """
    if request.plane is not Plane.INBOUND:
        return  # tasks have no session at Envoy: these cookies mean nothing, and are taken out
    why = contradiction(jar, http.authorization, session.claims if isinstance(session, Session) else None)
    if why and not signs_out(http, decide.evaluate(request, None, policy)):
        raise RequestError(Reason.AMBIGUOUS_CREDENTIALS, why)


def signs_out(http: HttpRequest, decision: Decision) -> bool:
    """Whether this ends the browser's session, for any caller."""
    return bool(http.signout) and decision.operation == SIGN_OUT


def signed_out(decision: Decision, detail: str = "") -> Deny:
    """The answer to a browser whose session has ended."""
    return Deny(reason=Reason.SIGNED_OUT, operation=decision.operation, detail=detail)
