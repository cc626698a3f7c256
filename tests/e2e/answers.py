"""The time and the request's id in answers that Envoy makes."""

import re
from datetime import UTC, datetime

REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_now(text: str) -> bool:
    """Whether `text` is a time of the last minute, in UTC."""
    said = datetime.fromisoformat(text.replace(" UTC", "Z"))
    return abs((datetime.now(UTC) - said).total_seconds()) < 60
