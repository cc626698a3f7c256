"""A check that cannot be answered yet, as a value: the engine waits, and asks again.

Law: waiting is never done here, and an engine knows nothing of what is waited for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

Done = Callable[[], None]
Begin = Callable[[Done], bool]
"""Begins something; never blocks. True: `done` is called once, from another thread, when it has ended. False: it has
ended already, or will not begin."""

WantKey = Callable[[str, str, Done], bool]
"""Asks for an issuer's key to be fetched: its name, the key id; see `Begin` (implemented by `authz.keys.KeyStore`)."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A check that waits for what `begin` begins.

    `resume` answers it, whatever became of what it waits for. It may have to wait for something else then: who signs
    out waits for the key of the token, and then for the revocation. It never waits for the same thing twice, so
    resuming without waiting ends with an answer too. `leave` is called instead when the caller has hung up.

    `counted`: it takes one of the places that the engine has for checks that wait, because anybody can make such
    checks. Of the others, whoever begins the wait bounds how many there are.
    """

    resume: Callable[[], "bytes | Parked"] = field(repr=False)
    begin: Begin = field(repr=False)
    counted: bool = False
    leave: Done | None = field(default=None, repr=False)
