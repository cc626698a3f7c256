"""From the Authorization header to a session: verified claims and their roles under the policy.

Law: a token is verified once; its time, audience, key and issuer, and whether it is revoked, are checked on *every*
use. The cache is keyed by the SHA-256 of the whole Authorization line, holds verified tokens only (a flood of bad ones
evicts nothing) and is bounded. An entry ends at its `exp`, when its key leaves the key set, or when its issuer's entry
changes. Used by one thread. It has no clock: time is an argument.

A hundred thousand tokens are cached, so each is small: values that many have in common (issuer, key, planes, groups,
roles, whole seconds) are shared objects. A session holds no policy and no key set: an idle session would keep old ones
alive for as long as it is cached. The groups of a large token may take half a megabyte and are not kept: its session is
not `whole`. It keeps the roles that the groups gave it, and another policy never identifies it from what is
left: the token is verified again.

A session has the grants that its identity holds. They are looked up on every use, so a grant ends at its end, also for
a token that is cached; with other grants the session gets another identity, and everything that was made for the one
before is found no more. A session of another identity is not touched.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, Protocol

from authz.core import tokens
from authz.core.caching.clock_cache import SecondChance
from authz.core.caching.interning import NOT_SHARED, Shared, shared_claims
from authz.core.errors import KeysUnavailableError, TokenError
from authz.core.grants import Granted
from authz.core.jose.jwks import Key, KeySet
from authz.core.model import Claims, HeldGrant, HttpRequest, Identity, Issuer, Plane
from authz.core.policy import Policy
from authz.core.reasons import Reason
from authz.core.revocation import Revocation, Revoked, of_token
from authz.core.tokens.claims import typed_claims

_MOST_STANDINGS: Final = 1024
_LARGE: Final = 16 * 1024  # bytes of a token
_WITH_PROOF: Final = b"+ proof"


class KeyState(Protocol):
    """The state of one issuer's keys (implemented by `authz.keys`)."""

    @property
    def issuer(self) -> str:
        """The `iss` that the keys are for."""
        ...

    @property
    def keyset(self) -> KeySet | None:
        """The last good key set; None before the first."""
        ...

    @property
    def fetched_at(self) -> float:
        """The monotonic time at which the key set was fetched."""
        ...

    @property
    def stale_at(self) -> float:
        """The monotonic time after which the key set may not be used any more."""
        ...

    @property
    def last_error(self) -> str:
        """Why the newest fetch failed; "" when it did not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWanted:
    """The token cannot be checked until the issuer's keys are fetched again; without that, `reason` is the answer."""

    issuer: str
    key_id: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """What all sessions of one key and the same planes were checked against under one edition of the policy."""

    edition: str
    issuer: Issuer
    key: Key = field(repr=False)
    planes: frozenset[Plane]


@dataclass(slots=True, eq=False)
class Session:
    """One verified token.

    It is valid on the planes of its `standing` from wall time `starts` until just before `ends`, and is dropped at the
    monotonic time `dies_at`: what `tokens.check_claims` says, computed once. `identity` stays the same object for as
    long as the policy's edition does. `marks` are looked up among the revocations. `thumbprint` is that of the key
    that the token is bound to, "" if it is bound to none. `whole`: all claims are present, and another policy can
    identify them. `entered` is where its identity entry is, 0 before there is one: the number of the log file, in a
    private log plus the number of erasures before it. `used` is for the cache.
    """

    identity: Identity
    standing: Standing
    starts: float
    ends: float
    dies_at: float
    marks: int
    whole: bool
    thumbprint: str = ""
    entered: int = 0
    used: bool = False

    @property
    def account(self) -> "Session":
        """Itself: see `authz.authn.run_identity.Caller`."""
        return self

    @property
    def claims(self) -> Claims:
        """The verified claims."""
        return self.identity.claims

    @property
    def issuer(self) -> Issuer:
        """The issuer, as the policy last had it."""
        return self.standing.issuer


class Authenticator:
    """Turns credentials into sessions.

    Args:
        capacity: most tokens kept.
        max_token_bytes: a longer token is refused before any of it is decoded.
        count: called with "hit" or "miss" for every token looked up.
        revoked: the revocations; its own table when not given.
        granted: the grants that identities hold; none when not given.
    """

    def __init__(
        self,
        *,
        capacity: int,
        max_token_bytes: int,
        count: Callable[[str], None],
        revoked: Revoked | None = None,
        granted: Granted | None = None,
    ) -> None:
        self.revoked = Revoked(os.urandom(32)) if revoked is None else revoked
        self._granted = Granted() if granted is None else granted
        self._max_token_bytes = max_token_bytes
        self._longest_line = max_token_bytes + len("Bearer ")
        self._count = count
        self._sessions: SecondChance[bytes, Session] = SecondChance(capacity)
        self._standings: dict[tuple[int, frozenset[Plane]], Standing] = {}
        self._share_claims = shared_claims()
        self._share_time: Shared[float] = Shared()

    def authenticate(
        self,
        http: HttpRequest,
        plane: Plane,
        policy: Policy,
        keys: Mapping[str, KeyState],
        *,
        wall: float,
        monotonic: float,
    ) -> Session | KeyWanted | None:
        """The session of the request's token; None without one.

        Raises:
            RequestError: the header is not exactly one bearer token.
            TokenError: the token identifies no one.
            KeysUnavailableError: its issuer's keys are too old to be trusted.
        """
        lines = http.authorization
        if not lines:
            return None
        digest, session = b"", None
        if len(lines) == 1 and len(lines[0]) <= self._longest_line:  # what cannot be in the cache is not hashed either
            digest = sha256(lines[0]).digest()
            session = self._sessions.get(digest)
        if session is None or monotonic >= session.dies_at or not self._stands(session, policy, keys, wall, monotonic):
            token = tokens.parse_bearer(lines)
            if token is None:
                return None
            verified = self._verify(token, policy, keys, wall=wall, monotonic=monotonic)
            return verified if isinstance(verified, KeyWanted) else self._admit(digest, verified, plane, wall)
        session.used = True
        self._count("hit")
        _check_use(session, plane, wall)
        if self.revoked.any:
            self._check_revoked(session)
        return session

    def bound(
        self, token: str, plane: Plane, policy: Policy, keys: Mapping[str, KeyState], *, wall: float, monotonic: float
    ) -> Session | KeyWanted:
        """The session of a token that comes with a proof. If it is bound to a key, the caller must compare the key.

        It is kept apart from bearer tokens' sessions: a bound token is not accepted there.

        Raises:
            TokenError, KeysUnavailableError: as `authenticate` does.
        """
        # Longer than the key of any header line, whatever a caller may write into one.
        digest = sha256(token.encode("ascii")).digest() + _WITH_PROOF
        session = self._sessions.get(digest)
        if session is None or monotonic >= session.dies_at or not self._stands(session, policy, keys, wall, monotonic):
            verified = self._verify(token, policy, keys, wall=wall, monotonic=monotonic, bound=True)
            return verified if isinstance(verified, KeyWanted) else self._admit(digest, verified, plane, wall)
        session.used = True
        self._count("hit")
        _check_use(session, plane, wall)
        self._check_revoked(session)
        return session

    def _admit(self, digest: bytes, session: Session, plane: Plane, wall: float) -> Session:
        """Admit a token that was just verified."""
        _check_use(session, plane, wall)
        self._sessions.put(digest, session)
        if self.revoked.any:
            self._check_revoked(session)
        return session

    def revocation(self, http: HttpRequest, session: Session, *, wall: float, keep: float, note: str) -> Revocation:
        """What ends the session of the request's token; `session` is what `authenticate` just returned for it."""
        token = tokens.parse_bearer(http.authorization)
        if token is None:
            raise ValueError("a session of no token")
        parsed = tokens.parse(token, max_bytes=self._max_token_bytes)
        return of_token(parsed, session.issuer, now=wall, ends=session.ends, keep=keep, note=note)

    def _check_revoked(self, session: Session) -> None:
        if self.revoked.covers(session.marks, session.claims, session.issuer.clock_skew):
            raise TokenError(Reason.REVOKED, "the token or its session was revoked")

    def _stands(
        self, session: Session, policy: Policy, keys: Mapping[str, KeyState], wall: float, monotonic: float
    ) -> bool:
        """Whether we still trust what the session was verified with; it then has its roles under this policy.

        So it has the grants of this moment, of which a session that is not whole cannot take in a change.

        Raises:
            KeysUnavailableError: the issuer's keys were not refreshed for longer than `keys.max_stale`.
        """
        standing = session.standing
        if standing.edition != policy.edition:
            now = policy.issuers.get(standing.issuer.issuer)
            if not session.whole or now is None or now != standing.issuer:
                return False
            standing = session.standing = self._standing(policy.edition, now, standing.key, standing.planes)
            session.identity = policy.identify(session.claims, self._held(session.claims, wall))
        elif self._granted.any or session.identity.held:
            claims = session.claims
            held = self._granted.held(claims.issuer, claims.subject, wall)
            if session.identity.held is not held:
                if not session.whole:
                    return False
                session.identity = policy.identify(session.claims, held)
        issuer, key = standing.issuer, standing.key
        state = keys.get(issuer.name)
        if state is None or state.issuer != issuer.issuer or state.keyset is None:
            return False
        if monotonic >= state.stale_at:
            raise KeysUnavailableError("the last key set is older than keys.max_stale")
        return state.keyset.keys.get(key.kid or "") is key or any(other is key for other in state.keyset.unnamed)

    def _held(self, claims: Claims, wall: float) -> tuple[HeldGrant, ...]:
        return self._granted.held(claims.issuer, claims.subject, wall)

    def _verify(
        self,
        token: str,
        policy: Policy,
        keys: Mapping[str, KeyState],
        *,
        wall: float,
        monotonic: float,
        bound: bool = False,
    ) -> Session | KeyWanted:
        self._count("miss")
        parsed = tokens.parse(token, max_bytes=self._max_token_bytes)
        issuer = tokens.find_issuer(parsed, policy.issuers)
        state = keys.get(issuer.name)
        if state is None or state.issuer != issuer.issuer or state.keyset is None or monotonic >= state.stale_at:
            return KeyWanted(issuer=issuer.name, key_id=parsed.kid or "", reason=Reason.KEYS_UNAVAILABLE)
        try:
            key = tokens.find_key(parsed, issuer, state.keyset)
        except TokenError as error:
            if error.reason is not Reason.UNKNOWN_KEY:
                raise
            # With the issuer out of reach we cannot tell a forged key id from a freshly rotated one.
            reason = Reason.KEYS_UNAVAILABLE if state.last_error else Reason.UNKNOWN_KEY
            return KeyWanted(issuer=issuer.name, key_id=parsed.kid or "", reason=reason)
        tokens.verify(parsed, key)
        whole = len(token) <= _LARGE
        claims = tokens.read_claims(parsed, issuer, self._share_claims if whole else NOT_SHARED, bound=bound)
        starts, ends = tokens.window(claims, issuer)
        planes = frozenset(plane for plane, names in issuer.audiences.items() if not names.isdisjoint(claims.audiences))
        identity = policy.identify(claims, self._held(claims, wall))
        if not whole:
            identity = replace(identity, claims=replace(claims, groups=frozenset()))
        return Session(  # by position, in the order of the fields: with their names it takes three times as long
            identity,
            self._standing(policy.edition, issuer, key, planes),
            self._share_time(starts),
            self._share_time(ends),
            # In whole seconds, which many share; rounded down, so that it never outlives the token.
            self._share_time((monotonic + max(0.0, ends - wall)) // 1.0),
            self.revoked.marks(parsed, issuer),
            whole,
            tokens.bound_to(parsed) if bound else "",
        )

    def _standing(self, edition: str, issuer: Issuer, key: Key, planes: frozenset[Plane]) -> Standing:
        """The standing of these, one object that their sessions share."""
        place = id(key), planes  # the standing keeps the key alive, so no other object has its id
        found = self._standings.get(place)
        if found is None or found.edition != edition or found.issuer is not issuer:
            if len(self._standings) >= _MOST_STANDINGS:
                self._standings.clear()
            found = self._standings[place] = Standing(edition=edition, issuer=issuer, key=key, planes=planes)
        return found


def groups_in(token: str, session: Session) -> frozenset[str]:
    """The groups of the token that `session` is the session of: those of a large one are not kept."""
    parsed = tokens.parse(token, max_bytes=len(token))
    return typed_claims(parsed.payload, session.issuer).groups


def _check_use(session: Session, plane: Plane, wall: float) -> None:
    """Run `tokens.check_claims` for this use, unless the session already shows that it would pass."""
    if not (plane in session.standing.planes and session.starts <= wall < session.ends):
        tokens.check_claims(session.claims, session.issuer, plane, wall)
