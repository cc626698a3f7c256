"""A check that cannot be answered yet, as a value: the engine waits, and then resumes it.

Law: nothing waits in this module, and an engine does not know what a check waits for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

Done = Callable[[], None]
Begin = Callable[[Done], bool]
"""Starts something and never blocks. True: it calls `done` once, from another thread, when it has ended. False: it has
ended already, or does not start."""

WantKey = Callable[[str, str, Done], bool]
"""Asks for an issuer's key to be fetched: its name, the key id; see `Begin` (implemented by `authz.keys.KeyStore`)."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A check that waits for what `begin` starts.

    `resume` answers it, whether or not that has succeeded. The answer may be another wait: a sign-out waits for the
    token's key, and then for the revocation. A check never waits for the same thing twice, so resuming without waiting
    also ends with an answer. The engine calls `leave` instead when the caller has hung up.

    `counted`: the check takes one of the engine's places, because anonymous callers can cause such checks. The part
    that other checks wait for bounds their number.
    """

    resume: Callable[[], "bytes | Parked"] = field(repr=False)
    begin: Begin = field(repr=False)
    counted: bool = False
    leave: Done | None = field(default=None, repr=False)
