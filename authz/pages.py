"""The body of a denial: JSON for programs, one small page for people.

Law: a body tells the caller who they are, what was missing and the decision's id, and nothing that helps an attacker:
no policy, no rule text, no key, no reason beyond the public word of `authz.reasons`. Everything is escaped. The one
link that a page may have leads to signing out here, a path of ours.
"""

from html import escape

import orjson

from authz.model import Deny, Identity
from authz.reasons import ANSWERS, Reason

_TITLES = {
    302: "You are signed out",
    400: "This request cannot be understood",
    401: "Please sign in",
    403: "You may not do this",
    503: "The gate cannot answer right now",
}
_MESSAGES = {
    Reason.SIGNED_OUT: "This session has ended here.",
    Reason.NO_TOKEN: "Authentication is required.",
    Reason.NO_ROLE: "None of your groups has a role here. Ask your platform team for one, then sign in again.",
    Reason.REVOCATION_UNAVAILABLE: (
        "You are NOT signed out: it could not be put on record. Try again shortly, or tell your platform team."
    ),
}
_BY_STATUS = {
    401: "A valid token is needed.",
    503: "Nothing was forwarded. Try again shortly; if it lasts, give the decision id to your platform team.",
}
# The usual ones, the same for every 401: which it was would help an attacker.
_CAUSES = (
    "Your session may have ended, your account may have changed, or a clock may be wrong: this computer's, ours or that"
    " of the identity provider."
)
_LEADS_OUT = frozenset({Reason.NO_ROLE, Reason.AMBIGUOUS_CREDENTIALS})
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.5rem}dt{color:#666}dd{margin:0 0 .6rem}code{background:#f3f3f3;padding:.1rem .3rem}"
    "@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}code{background:#2a2a2a}dt{color:#999}}"
)


def message(deny: Deny, identity: Identity | None) -> str:
    """One sentence for the caller: what was missing."""
    answer = ANSWERS[deny.reason]
    text = _MESSAGES.get(deny.reason) or _BY_STATUS.get(answer.http)
    if text is not None:
        return text
    if deny.reason is Reason.NO_RULE:
        wanted = f"the right {deny.operation}" if deny.operation else "a right to this route"
        where = f" on DAG {deny.dag_id}" if deny.dag_id else ""
        roles = ", ".join(sorted(identity.roles)) if identity else ""
        return f"This needs {wanted}{where}. Your roles: {roles or 'none'}."
    return answer.help


def as_json(deny: Deny, identity: Identity | None, decision_id: str, *, said: str = "") -> bytes:
    """`{"error", "message", "decision_id"}`, and the user and the rule where there are any.

    `said` is the message for a task, and then its rule is told as well.
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


def as_html(deny: Deny, identity: Identity | None, decision_id: str, *, sign_out: str = "") -> bytes:
    """A page without scripts and foreign content. `sign_out` is the path of its one link, which ends the session."""
    status = ANSWERS[deny.reason].http
    title = _TITLES[status]
    user = f"<dt>Signed in as</dt><dd>{escape(identity.claims.username)}</dd>" if identity else ""
    more = ""
    if sign_out and status == 401:  # noqa: PLR2004 the HTTP status itself
        more = f"<p>{_CAUSES}</p>{_link(sign_out, 'Sign in again')}"
    elif sign_out and deny.reason in _LEADS_OUT:
        more = _link(sign_out, "Sign out")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(message(deny, identity))}</p>{more}<dl>{user}"
        f"<dt>Decision</dt><dd><code>{escape(decision_id)}</code></dd></dl></html>\n"
    ).encode()


def _link(path: str, text: str) -> str:
    return f'<p><a href="{escape(path)}">{text}</a></p>'
