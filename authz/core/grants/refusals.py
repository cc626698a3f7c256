"""Why a request about a grant is refused.

Law: a closed list; each has a sentence that says what is wrong and a hint that says what to do.
"""

from enum import StrEnum

from authz.core.errors import AuthzError


class Refusal(StrEnum):
    """The word for programs."""

    INVALID = "invalid"
    TOO_LONG = "too_long"
    NOT_A_REQUESTER = "not_a_requester"
    NOT_AN_APPROVER = "not_an_approver"
    OWN_REQUEST = "own_request"
    AGENT = "agent"
    UNKNOWN = "unknown"
    ENDED = "ended"
    NARROWED = "narrowed"
    TOO_MANY = "too_many"


class GrantRefusedError(AuthzError):
    """It is refused. `message` and `hint` are for the caller, and repeat nothing that the caller may not know."""

    def __init__(self, refusal: Refusal, message: str, hint: str) -> None:
        self.refusal = refusal
        self.message = message
        self.hint = hint
        super().__init__(f"{message} ({hint})")
