"""Which headers cross a front: of a caller towards Airflow, of the gate's answer, and of Airflow's answer.

Law: no name is written twice. What the gate sets or removes is in `authz.core.edge`, `authz.core.stripped` and
`authz.check.wire`; here is only what fronts need of it, and the list of what Airflow reads.
"""

from typing import Final

from authz.check.wire.headers import NEVER_FORWARDED
from authz.core import edge, stripped

SET: Final = (*edge.IDENTITY_HEADERS, edge.DECISION)
"""Always those of the gate's answer; an empty one is removed."""
REMOVED: Final = tuple(sorted({*NEVER_FORWARDED, *stripped.INBOUND_HEADERS, "cookie"} - {*SET}))
"""Names that never reach Airflow. Cookies are among them: a session is Envoy's, and Airflow knows the caller by the
assertion."""
REMOVED_PREFIXES: Final = stripped.INBOUND_PREFIXES
"""And whole families."""
HIDDEN: Final = stripped.UPSTREAM_RESPONSE_HEADERS
"""What Airflow may not say to a caller."""
PASSED: Final = (
    "accept",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "cache-control",
    "content-encoding",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-requested-with",
)
"""What Airflow reads, for a front that cannot remove families: it passes these and no others."""
