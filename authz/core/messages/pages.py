"""The body of a denial: JSON for programs, one small page for people.

Law: a body gives callers their identity, what was missing, the time and the decision's id, and nothing that helps an
attacker: no policy, no rule text, no key, no reason beyond the public word of `authz.core.reasons`. Every page says
what to do next. Links go to our own paths only: the start page, signing out, or the same page again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from authz.core.messages.page_frame import NO_BRANDING, Branding, Link, page
from authz.core.model import Deny, Identity
from authz.core.reasons import ANSWERS, Reason

_ANY_DAG: Final = "~"
_TITLES = {
    302: "You are signed out",
    400: "This request cannot be understood",
    401: "Please sign in",
    403: "You do not have access to this",
    503: "Access cannot be checked right now",
}
_SIGNED_IN = "You are signed in"
_MESSAGES = {
    Reason.SIGNED_IN: "You will return to the page that you came from.",
    Reason.SIGNED_OUT: "This session has ended here.",
    Reason.NO_ROLE: (
        "You are signed in, but none of your groups has a role here. Ask for one, then sign out and sign in again."
    ),
    Reason.DENY_RULE: "A rule of your organisation forbids this.",
    Reason.UNKNOWN_ROUTE: "There is no such page here, or it is not open to anyone.",
    Reason.REVOCATION_UNAVAILABLE: ("You are NOT signed out: the sign-out could not be recorded. Try again shortly."),
}
# For programs and for people. Where there is none, both read what `authz.core.reasons` says.
_FOR_PROGRAMS = {
    401: "A valid token is needed.",
    503: "Nothing was forwarded. Try again shortly; if it persists, give the decision id to your platform team.",
}
_FOR_PEOPLE = {
    401: "Your sign-in is missing, has ended, or is not accepted here.",
    503: "Nothing was forwarded to Airflow. Try again shortly.",
}
# The usual causes, the same for every 401: the actual one would help an attacker.
_CAUSES = (
    "Your session may have ended, your account may have changed, or a clock may be wrong: this computer's, ours or that"
    " of the identity provider."
)
_ELSEWHERE = "This address has no sign-in page of its own. Open Airflow from where you usually sign in."
_LEADS_OUT = frozenset({Reason.NO_ROLE, Reason.AMBIGUOUS_CREDENTIALS})


def message(deny: Deny, identity: Identity | None, by_status: Mapping[int, str] = _FOR_PROGRAMS) -> str:
    """One or two sentences for the caller: what was missing."""
    answer = ANSWERS[deny.reason]
    if deny.reason is Reason.NO_RULE:
        return _missing(deny, identity)
    return _MESSAGES.get(deny.reason) or by_status.get(answer.http) or answer.help


def _missing(deny: Deny, identity: Identity | None) -> str:
    what = f"the permission {deny.operation}" if deny.operation else "permission for this address"
    where = ""
    if deny.dag_id:
        whole_list = " on one DAG at least" if deny.narrowed else " on all DAGs"
        where = whole_list if deny.dag_id == _ANY_DAG else f" on the DAG {deny.dag_id}"
    roles = ", ".join(sorted(identity.roles)) if identity else ""
    return f"This needs {what}{where}. " + (f"Your roles here: {roles}." if roles else "You have no role here.")


def as_json(deny: Deny, identity: Identity | None, decision_id: str, *, said: str = "") -> bytes:
    """`{"error", "message", "decision_id"}`, and the user and the rule where there are any.

    `said` is the message for a task, whose answer also names the rule.
    """
    body = {
        "error": ANSWERS[deny.reason].public,
        "message": said or message(deny, identity),
        "decision_id": decision_id,
    }
    if said and deny.rule:
        body["rule"] = deny.rule
    if identity is not None:
        body["user"] = identity.claims.username
    return orjson.dumps(body)


def as_html(
    deny: Deny,
    identity: Identity | None,
    decision_id: str,
    *,
    start: str = "/",
    sign_out: str = "",
    login: bool = False,
    at: float = 0.0,
    branding: Branding = NO_BRANDING,
) -> bytes:
    """The page of one denial.

    Args:
        deny: the denial.
        identity: the caller, if known.
        decision_id: identifies the line in the decision log.
        start: the path of the start page.
        sign_out: the path that ends the session; "" if there is none to end.
        login: Envoy signs people in on this listener.
        at: the time of the decision in seconds since the epoch; 0.0 shows none.
        branding: who runs the gate.
    """
    status = ANSWERS[deny.reason].http
    more = ""
    if status == 401:  # noqa: PLR2004 the HTTP status itself
        more = _CAUSES if sign_out else "" if login else _ELSEWHERE
    return page(
        _SIGNED_IN if deny.reason is Reason.SIGNED_IN else _TITLES[status],
        message(deny, identity, _FOR_PEOPLE),
        more,
        links=_links(deny, status, start=start, sign_out=sign_out, login=login),
        facts=(
            ("Signed in as", identity.claims.username if identity else ""),
            ("Time", datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""),
            ("Decision", decision_id),
        ),
        branding=branding,
    ).encode()


def _links(deny: Deny, status: int, *, start: str, sign_out: str, login: bool) -> list[Link]:
    again, home = Link("", "Try again"), Link(start, "To the start page")
    if status == 503:  # noqa: PLR2004 the HTTP status itself
        return [again]
    if status == 401:  # noqa: PLR2004 the HTTP status itself
        return [Link(sign_out, "Sign in again")] if sign_out else [Link(start, "Sign in")] if login else [again]
    if sign_out and deny.reason in _LEADS_OUT:
        return [Link(sign_out, "Sign out")]
    if deny.reason is Reason.SIGNED_OUT:
        return [Link(start, "Sign in again")]
    return [home, Link(sign_out, "Sign out")] if sign_out and status == 403 else [home]  # noqa: PLR2004 see above
