"""A check that cannot be answered yet, as a value: the engine waits, and asks again.

Law: waiting is never done here. Whoever begins it bounds how many may wait.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parked:
    """A check that waits: for a key of `issuer`, or for what `wait` begins (see `Revoker.revoke` for what it returns).

    Whoever begins it bounds how many may wait.

    `resume` answers it, whatever became of what it waits for. It may have to wait for something else then: who signs
    out waits for the key of the token, and then for the revocation. It never waits for the same thing twice, so
    resuming without waiting ends with an answer too. `leave` is called instead when the caller has hung up.
    """

    issuer: str
    key_id: str
    resume: Callable[[], "bytes | Parked"] = field(repr=False)
    wait: Callable[[Callable[[], None]], bool] | None = field(default=None, repr=False)
    leave: Callable[[], None] | None = field(default=None, repr=False)
