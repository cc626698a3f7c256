"""What the gate answered, and what came of it, as values of OCSF's attributes.

Law: the decision is the gate's word, the status that of the outcome. An allow without an outcome has an unknown status:
the gate does not know what the upstream answered.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.ocsf.request import OTHER, UNKNOWN, operation
from authz.core.reasons import ANSWERS
from authz.core.record import number_in, text_in
from authz.core.traffic.story import Recorded

SEVERITIES: Final[Mapping[int, str]] = {0: "Unknown", 1: "Informational", 2: "Low", 3: "Medium"}
"""The names of `severity_id`."""
STATUSES: Final[Mapping[int, str]] = {0: "Unknown", 1: "Success", 2: "Failure"}
"""The names of `status_id`."""

_HTTP: Final[Mapping[str, int]] = {str(reason): answer.http for reason, answer in ANSWERS.items()}
_REDIRECT, _ERROR, _FORBIDDEN, _FAILED = 300, 400, 403, 500
_ACTIONS: Final[Mapping[int, str]] = {0: "Unknown", 1: "Allowed", 2: "Denied"}
_DISPOSITIONS: Final[Mapping[int, str]] = {0: "Unknown", 1: "Allowed", 2: "Blocked", 26: "Unauthorized", 27: "Error"}


def _http(one: Recorded) -> int:
    """The status that the gate's answer has for the reason; 0 if the reason is not known."""
    return _HTTP.get(text_in(one.record, "reason"), 0)


def _word(one: Recorded) -> str:
    """`allow` if the gate let it through or issued a token, `own` if it answered a sign-out, `deny`, or ""."""
    word = text_in(one.record, "decision")
    if word == "deny" and _REDIRECT <= _http(one) < _ERROR:
        return "own"
    return "allow" if word == "issue" else word if word in {"allow", "deny"} else ""


def action(one: Recorded) -> int:
    """`action_id`."""
    return {"allow": 1, "deny": 2, "own": OTHER}.get(_word(one), 0)


def action_name(one: Recorded) -> str:
    """Its name; what has none is called by its reason."""
    return _ACTIONS.get(action(one), text_in(one.record, "reason"))


def disposition(one: Recorded) -> int:
    """`disposition_id`: of a denial it says why, by the status of the gate's answer."""
    if _word(one) != "deny":
        return action(one)
    return 27 if _http(one) >= _FAILED else 26 if _http(one) == _FORBIDDEN else 2


def disposition_name(one: Recorded) -> str:
    """Its name; what has none is called by its reason."""
    return _DISPOSITIONS.get(disposition(one), text_in(one.record, "reason"))


def severity(one: Recorded) -> int:
    """`severity_id`."""
    return {"": 0, "deny": 3 if _http(one) >= _FAILED else 2}.get(_word(one), 1)


def status(one: Recorded) -> int:
    """`status_id`: by the status of the outcome, or else what follows from the decision alone."""
    if one.outcome is not None:
        return 1 if 0 < (number_in(one.outcome, "status") or 0) < _ERROR else 2
    issued = text_in(one.record, "decision") == "issue"
    return 1 if issued else {"deny": 2, "own": 1}.get(_word(one), 0)


def authorizations(one: Recorded) -> list[Mapping[str, Any]]:
    """The decision, and the policy and the rule that it follows from."""
    policy = _present({"uid": text_in(one.record, "revision"), "name": text_in(one.record, "rule")})
    made = _present({"decision": text_in(one.record, "decision"), "policy": policy})
    return [made] if made else []


def _present(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in fields.items() if value}


def http_status(one: Recorded) -> int | None:
    """The answer's status; None if there was no answer."""
    return number_in(one.outcome, "status") or None


def bytes_sent(one: Recorded) -> int | None:
    """Bytes of the answer's body."""
    return None if http_status(one) is None else number_in(one.outcome, "bytes_sent")


def message(one: Recorded) -> str:
    """What was decided about what, and why."""
    words = (text_in(one.record, "decision"), operation(one), text_in(one.record, "dag"), text_in(one.record, "path"))
    return f"{' '.join(filter(None, words))}: {text_in(one.record, 'reason') or UNKNOWN}"
