"""Signs assertions for sessions, and reuses a recent one.

Law: an assertion is made for one session and one audience and is never handed to another (DESIGN §2.10). One that has
lived for half of its life is not handed out any more, so that whatever reaches the upstream still has time to be used.
"""

import os
from collections.abc import Mapping, Sequence

from authz import assertion
from authz.authenticate import Session


class AssertionMinter:
    """Signs with the first key; all keys are published, so that a new first key is known before it signs.

    Args:
        keys: signing keys, newest first; none means that no assertion is made.
        issuer: the `iss` of the assertions.
        lifetime: seconds, at most 60.
    """

    def __init__(self, keys: Sequence[assertion.SigningKey], *, issuer: str, lifetime: int) -> None:
        self._keys = tuple(keys)
        self._issuer = issuer
        self._lifetime = lifetime

    def assertion(self, session: Session, audience: str, now: float) -> str:
        """The compact JWT for the session and the audience; "" where no key is configured."""
        if not self._keys:
            return ""
        made, reusable_until = session.assertions.get(audience, ("", 0.0))
        # Not before it was made either: after a clock went back, it would begin in the upstream's future.
        if 0 < reusable_until - now <= self._lifetime / 2:
            return made
        made = assertion.mint(
            session.identity,
            audience=audience,
            issuer=self._issuer,
            now=int(now),
            lifetime=self._lifetime,
            jti=os.urandom(12).hex(),
            key=self._keys[0],
        )
        session.assertions[audience] = (made, now + self._lifetime / 2)
        return made

    def jwks(self) -> Mapping[str, object]:
        """The public keys, as served on `/jwks.json` (RFC 7517 §5)."""
        return assertion.public_jwks(self._keys)
