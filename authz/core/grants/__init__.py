"""Grants: access of one identity to what an entry of the policy's `grantable` gives, until a moment.

Law 1: a grant is a membership. The table says which identity holds which entry; the policy says what that gives, and
may take it away at any time by no longer having the entry, or by narrowing it.
Law 2: what has ended never comes back: not when a clock is set back, and not when a file is read again.
Law 3: an approver is another identity than the holder. Roles that a grant gives do not count for asking and approving.
Law 4: only the server's own events make access. A line that is out of order, or about what is not known, does nothing.
"""

from authz.core.grants.asking import Caller, approve, end, request, visible
from authz.core.grants.events import Actor, Approved, Ended, Event, Requested, encode, parse
from authz.core.grants.granted import Granted, Holding
from authz.core.grants.ledger import Grant, Ledger, State
from authz.core.grants.refusals import GrantRefusedError, Refusal
from authz.core.grants.views import described, view

__all__ = [
    "Actor",
    "Approved",
    "Caller",
    "Ended",
    "Event",
    "Grant",
    "GrantRefusedError",
    "Granted",
    "Holding",
    "Ledger",
    "Refusal",
    "Requested",
    "State",
    "approve",
    "described",
    "encode",
    "end",
    "parse",
    "request",
    "view",
    "visible",
]
