"""From a decision to the bytes that answer it.

Law: what is answered to many requests alike is built once, by `wire.allowed`, and only the decision's id is new each
time; for who asks for the first time nothing is prepared. A prepared answer belongs to one identity (or to nobody), one
audience, one rule, one rest of cookies and one revision of the policy, and is used no longer than the assertion in it
may be handed out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from cachetools import LRUCache

from authz import wire
from authz.minter import NO_ASSERTION, Assertion
from authz.model import Allow, Decision, Deny, Identity
from authz.trail import Trail
from authz.verdicts import PreparedAnswer

_MOST_KEPT: Final = 2048  # prepared allows, some 3 MB
_LONGEST_COOKIES: Final = 512  # characters of the rest of cookies in a prepared allow
_NOBODY: Final = MappingProxyType[str, str]({})


class _Kept(NamedTuple):
    """A prepared allow, and all that it was prepared for besides its key."""

    identity: Identity | None
    assertion: Assertion
    revision: str
    allow: wire.PreparedAllow

    def is_for(self, trail: Trail, assertion: Assertion) -> bool:
        return self.identity is trail.identity and self.assertion is assertion and self.revision == trail.revision


class Minter(Protocol):
    """Makes the assertion for an identity and an audience, reusing a recent one of the same identity."""

    def assertion(self, identity: Identity, audience: str, now: float) -> Assertion:
        """The assertion; `NO_ASSERTION` where no signing key is configured."""
        ...


class Answers:
    """Renders answers.

    Args:
        minter: makes the assertions.
        realm: the `realm` of the challenge that comes with 401 (RFC 6750 §3).
    """

    def __init__(self, minter: Minter, *, realm: str) -> None:
        self._minter = minter
        self._realm = realm
        self._allows: LRUCache[tuple[int, str, str, str | None], _Kept] = LRUCache(_MOST_KEPT)

    def render(self, trail: Trail, decision: Decision) -> bytes:
        """The serialised CheckResponse.

        Raises:
            ValueError: an allow for what is no request. This is a bug of the caller; the service answers 503 for it.
        """
        http = trail.http
        if isinstance(decision, Deny):
            return wire.denied(
                decision,
                decision_id=trail.id,
                identity=trail.identity,
                http=http,
                metadata=trail.metadata(decision),
                realm=self._realm,
            )
        if http is None:
            raise ValueError("an allow for no request")
        verdict = trail.verdict
        is_new = trail.identity is not None and verdict is None
        cookies = trail.cookies().left if http.cookies else None
        if is_new or (cookies is not None and len(cookies) > _LONGEST_COOKIES):
            headers = self._identity_headers(trail, self._assertion(trail, http.audience), http.audience)
            metadata = trail.metadata(decision)
            return wire.allowed(decision_id=trail.id, headers=headers, cookies=cookies, metadata=metadata)
        kept = verdict.answer if verdict is not None else None
        if (
            kept is None
            or kept.audience != http.audience
            or kept.cookies != cookies
            or not kept.assertion.is_fresh(trail.time)
        ):
            kept = self._prepare(trail, decision, http.audience, cookies)
            if verdict is not None:
                verdict.answer = kept
        return kept.allow.render(trail.id)

    def _assertion(self, trail: Trail, audience: str) -> Assertion:
        if trail.identity is None or not audience:
            return NO_ASSERTION
        return self._minter.assertion(trail.identity, audience, trail.time)

    @staticmethod
    def _identity_headers(trail: Trail, assertion: Assertion, audience: str) -> Mapping[str, str]:
        if trail.identity is None or not audience:
            return _NOBODY
        return wire.identity_headers(trail.identity, assertion.token)

    def _prepare(self, trail: Trail, decision: Allow, audience: str, cookies: str | None) -> PreparedAnswer:
        """The allow of this identity (or of nobody), audience, rule and rest of cookies, with a fresh assertion.

        Many requests share one, so it is kept here too: by the identity's own identity, which the entry keeps alive.
        """
        assertion = self._assertion(trail, audience)
        key = (id(trail.identity), audience, decision.rule, cookies)
        kept = self._allows.get(key)
        if kept is None or not kept.is_for(trail, assertion):
            headers = self._identity_headers(trail, assertion, audience)
            made = wire.PreparedAllow(headers=headers, cookies=cookies, metadata=trail.metadata(decision))
            kept = _Kept(trail.identity, assertion, trail.revision, made)
            self._allows[key] = kept
        return PreparedAnswer(audience, cookies, assertion, kept.allow)
