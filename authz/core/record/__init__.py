"""The lines of the decision log: which fields they have, and their bytes. They do no harm if they leak.

Law: a line is built only from canonical values. It never holds a token, a cookie, a header value or the query, and it
is always exactly one line of valid JSON, whatever a caller managed to put into a path or a claim.
A decision, with the identity entry that it names, holds all that `evaluate` reads: `authz.core.replay` decides again.
A signed log (`authz.audit`) hashes the very bytes; nothing else in the package makes lines.
"""

from authz.core.record.encoding import DecisionLine, end_of_line, valid
from authz.core.record.fields import (
    DECISION,
    HASHED,
    IDENTITY,
    LOG,
    LONGEST,
    REPLACED,
    VERSION,
    ComparedFields,
    DagsFields,
    DecisionRecord,
    GrantFields,
    IdentityEntry,
    LogEntry,
    LogFields,
    Memberships,
    OutboundFields,
    OutboundRecord,
    OwnFields,
    RequestFields,
    RightsFields,
    RunFields,
    ShadowFields,
    SharedFields,
)
from authz.core.record.identity import IdentityLine, identity_id, written
from authz.core.record.log_entries import EVENTS, LOG_LINE, Event, log_entry_in, log_line
from authz.core.record.reading import (
    DECISION_LINE,
    SKIPPED,
    DecisionParts,
    Skipped,
    decision_in,
    entry_in,
    fields_of,
    record_in,
    time_in,
)
from authz.core.record.redaction import PATH, PEOPLE, Redactor

__all__ = [
    "DECISION",
    "DECISION_LINE",
    "EVENTS",
    "HASHED",
    "IDENTITY",
    "LOG",
    "LOG_LINE",
    "LONGEST",
    "PATH",
    "PEOPLE",
    "REPLACED",
    "SKIPPED",
    "VERSION",
    "ComparedFields",
    "DagsFields",
    "DecisionLine",
    "DecisionParts",
    "DecisionRecord",
    "Event",
    "GrantFields",
    "IdentityEntry",
    "IdentityLine",
    "LogEntry",
    "LogFields",
    "Memberships",
    "OutboundFields",
    "OutboundRecord",
    "OwnFields",
    "Redactor",
    "RequestFields",
    "RightsFields",
    "RunFields",
    "ShadowFields",
    "SharedFields",
    "Skipped",
    "decision_in",
    "end_of_line",
    "entry_in",
    "fields_of",
    "identity_id",
    "log_entry_in",
    "log_line",
    "record_in",
    "time_in",
    "valid",
    "written",
]
