"""From a line of Envoy's access log to the entry that the signed log has of it: an outcome, an access, or none.

Law: a line gives one entry at most. An entry is known again by what it is about.
"""

from typing import Final

from authz.core.record.outcome import OUTCOME_LINE, outcome_in, outcome_of
from authz.core.record.reading import object_in
from authz.core.record.task_access import ACCESS_LINE, access_in, access_of

FOLLOWED_LINES: Final = (OUTCOME_LINE, ACCESS_LINE)
"""How the lines begin that are made of Envoy's access logs."""


def followed_line(line: bytes) -> tuple[str, bytes] | None:
    """What the entry is about, as `followed_id`, and the entry without its newline.

    None for a line that is no JSON object, or is about neither a decision nor what a task read or changed.
    """
    said = object_in(line)
    return None if said is None else outcome_of(said) or access_of(said)


def followed_id(line: bytes) -> str:
    """The id of the decision or of the request that such an entry is about; "" for every other line."""
    found = outcome_in(line)
    if found is not None:
        return str(found["decision"])
    found = access_in(line)
    return "" if found is None else str(found["id"])
