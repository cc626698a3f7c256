"""What people and programs read when Envoy answers by itself: a failed login, or a gate or Airflow that is down.

Law: fixed text in the frame of all pages. It shows nothing of the request except its id, the time and the gate's
decision id, nothing of the provider's answer, and of the configuration only who runs the gate. A page has one link, to
the start. JSON says the same.
"""

from dataclasses import dataclass
from typing import Final

from authz.core.edge import META_DECISION
from authz.core.messages.page_frame import NO_BRANDING, POLICY, Branding, Link, page
from authz.envoy_config.ext_authz import NAME

# With every page: it is not stored, not framed, and its address is not sent as a referrer.
HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
}


# What stands in the places that Envoy fills in; no text of a page or of an operator can be one of these.
_TIME: Final = "\x00time\x00"
_REQUEST: Final = "\x00request\x00"
_DECISION: Final = "\x00decision\x00"
# Nothing here needs escaping: Envoy makes the id of a request itself (`headers.own_request_id`), the gate that of a
# decision.
_ID: Final = "%REQ(X-REQUEST-ID)%"
_DECISION_ID: Final = f"%DYNAMIC_METADATA({NAME}:{META_DECISION})%"
_COMMANDS: Final = {_TIME: "%START_TIME(%Y-%m-%d %H:%M:%S UTC)%", _REQUEST: _ID, _DECISION: _DECISION_ID}


def json_fields(error: str, message: str, *, decided: bool = False) -> dict[str, str]:
    """The fields of a JSON answer for Envoy's formatter; `time` and the ids are those of the access log's line."""
    body = {
        "error": error,
        "message": message.replace("%", "%%"),
        "time": "%START_TIME%",
        "request_id": _ID,
    }
    return body | ({"decision_id": _DECISION_ID} if decided else {})


@dataclass(frozen=True, slots=True)
class Page:
    """One failure: the error code for programs and the text for people. `decided`: the gate has allowed the request."""

    error: str
    title: str
    text: str
    link: str = "Sign in again"
    decided: bool = False

    def html(self, branding: Branding = NO_BRANDING) -> str:
        """For a browser that opens a page."""
        return page(self.title, self.text, links=self._links, branding=branding)

    def format(self, branding: Branding = NO_BRANDING) -> str:
        """The same for Envoy's formatter, which fills in the time and the ids; `%%` means `%`."""
        facts = (("Time", _TIME), ("Request", _REQUEST), ("Decision", _DECISION if self.decided else ""))
        text = page(self.title, self.text, links=self._links, facts=facts, branding=branding).replace("%", "%%")
        for place, command in _COMMANDS.items():
            text = text.replace(place, command)
        return text

    @property
    def _links(self) -> list[Link]:
        return [Link("/", self.link)]

    def json(self) -> dict[str, str]:
        """The JSON fields for other clients, for Envoy's formatter."""
        return json_fields(self.error, self.text, decided=self.decided)


REFUSED: Final = Page(
    "login_refused",
    "The sign-in was refused",
    "Your identity provider says that you may not sign in here, or the sign-in was cancelled. If you should have"
    " access, ask the people who look after your accounts.",
)
PROVIDER_ERROR: Final = Page(
    "login_provider_error",
    "The identity provider reported an error",
    "The provider ended the sign-in with an error. Try again; if it lasts, tell your platform team the time: the"
    " provider's own log says what was wrong.",
)
STALE: Final = Page(
    "login_stale",
    "This sign-in cannot be completed",
    "It took too long, was already used, or began in another browser or under another address. Nothing was changed.",
)
NO_TOKEN: Final = Page(
    "login_failed",
    "The sign-in could not be completed",
    "The identity provider gave no token: it cannot be reached, the sign-in was used already or took too long, or its"
    " settings for this gate are wrong. Try again; if it lasts, tell your platform team the time and the request id.",
)
NOT_READY: Final = Page(
    "login_not_ready",
    "Signing in is not possible right now",
    "The gate waits for its secrets. Nothing was forwarded. Try again shortly; if it lasts, tell your platform team.",
)
UNAUTHENTICATED: Final = Page("unauthenticated", "Please sign in", "Authentication is required.", "Sign in")
FOREIGN_COOKIE: Final = Page(
    "invalid_session",
    "Please sign in again",
    "A session cookie that your browser sent is not one that this gate made. The gate did not use it, and deletes it.",
)
GATE_AWAY: Final = Page(
    "gate_unavailable",
    "The gate does not answer",
    "The service that checks each request before it is forwarded is away, or takes too long. Nothing was forwarded. Try"
    " again shortly; if it lasts, tell your platform team the time and the request id.",
    "To the start page",
)
UPSTREAM_AWAY: Final = Page(
    "upstream_unavailable",
    "Airflow does not answer",
    "The gate let this request pass, but Airflow behind it is away, or takes too long. Try again shortly; if it lasts,"
    " tell your platform team the time and the decision.",
    "To the start page",
    decided=True,
)
FOREIGN: Final = Page(
    "foreign_origin",
    "This request came from another site",
    "A change must be made from the pages of this site itself. Nothing was changed.",
    "To the start page",
)
TOO_LARGE: Final = Page(
    "too_large",
    "Your sign-in is too large",
    "Your token, or what else this site keeps in your browser, does not fit into cookies. Usually the token names too"
    " many groups: ask your platform team to have the provider send fewer. Nothing was forwarded.",
    "To the start page",
)
SIGNED_OUT: Final = Page(
    "signed_out",
    "You are signed out",
    "Your session here has ended. Your identity provider may still know you, and sign you in again without asking.",
)
