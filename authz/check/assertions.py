"""Signs assertions for identities, and reuses a recent one.

Law: an assertion is made for one identity, one audience and the rights of one decision, and is never handed to
another; decisions that give the same rights share it. After half of its lifetime it is no longer handed out, so
that the upstream still has time to use what reaches it. It has expired when something in the policy, or a grant,
that gave the rights ends. Recent assertions are kept in a bounded table, not with the cached tokens: most tokens are
idle most of the time.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cachetools import LRUCache

from authz.check.grants import Grants
from authz.core import assertion
from authz.core.model import Identity, Rights

_MOST_KEPT: Final = 2048  # some 2 MB


class Assertion(NamedTuple):
    """A compact JWT, the wall times between which it may be handed out, and its `exp`."""

    token: str
    since: float
    until: float
    expires_at: float

    def __repr__(self) -> str:
        return f"Assertion(since={self.since}, until={self.until})"

    def is_fresh(self, now: float) -> bool:
        """Whether it may be handed out now: not before it was made either, if a clock was set back."""
        return self.since <= now < self.until


NO_ASSERTION: Final = Assertion("", -math.inf, math.inf, -math.inf)


class AssertionMinter:
    """Signs with the first key; all keys are published, so that a new first key is known before it signs.

    `grants` holds what its assertions name by reference.

    Args:
        keys: signing keys, newest first; without keys it makes no assertions.
        issuer: the `iss` of the assertions.
        lifetime: seconds, at most 60.
    """

    def __init__(self, keys: Sequence[assertion.SigningKey], *, issuer: str, lifetime: int) -> None:
        self._keys = tuple(keys)
        self._issuer = issuer
        self._lifetime = lifetime
        self.grants = Grants()
        self._recent: LRUCache[tuple[int, str, Rights], tuple[Identity, Assertion]] = LRUCache(_MOST_KEPT)

    def assertion(
        self, identity: Identity, audience: str, rights: Rights, now: float, ends: float = math.inf
    ) -> Assertion:
        """The assertion for the identity, the audience and the rights; `NO_ASSERTION` where no key is configured.

        It has expired at the time `ends`, a whole second after `now`: the policy and the grants that give the rights
        are in force until then, and what ends then may be what gives them.
        """
        if not self._keys:
            return NO_ASSERTION
        # An identity is compared by `is`: hashing all its claims would cost more than looking it up. It is kept with
        # the assertion, so no other object has its id while the entry is there.
        key = (id(identity), audience, rights)
        recent = self._recent.get(key)
        if recent is not None and recent[1].is_fresh(now) and recent[1].expires_at <= ends:
            return recent[1]
        if rights.dags is not None and rights.dags.reference:
            self.grants.keep(rights.dags, identity.roles, now)
        since = int(now)
        lifetime = int(min(self._lifetime, ends - since))
        token = assertion.mint(
            identity,
            rights,
            audience=audience,
            issuer=self._issuer,
            now=since,
            lifetime=lifetime,
            jti=os.urandom(12).hex(),
            key=self._keys[0],
        )
        made = Assertion(token, now, min(now + lifetime / 2, ends), since + lifetime)
        self._recent[key] = (identity, made)
        return made

    def jwks(self) -> Mapping[str, object]:
        """The public keys, as served on `/jwks.json` (RFC 7517 §5)."""
        return assertion.public_jwks(self._keys)
