"""The bodies and headers of Envoy's own answers: `Page`, the JSON that says the same, and the pages of every plane.

Law: nothing here knows a plane. A page is fixed text in the frame of all pages. It shows nothing of the request
except its id, the time and the gate's decision id, and of the configuration only who runs the gate. It has one link, to
the start.
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
# Placeholders that Envoy fills in; no text of a page or of an operator can be one of these.
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


GATE_AWAY: Final = Page(
    "gate_unavailable",
    "The gate does not answer",
    "The service that checks each request before it is forwarded is down, or takes too long. Nothing was forwarded. Try"
    " again shortly; if it persists, tell your platform team the time and the request id.",
    "To the start page",
)
UPSTREAM_AWAY: Final = Page(
    "upstream_unavailable",
    "Airflow does not answer",
    "The gate let this request pass, but Airflow behind it is down, or takes too long. Try again shortly; if it"
    " persists, tell your platform team the time and the decision.",
    "To the start page",
    decided=True,
)
