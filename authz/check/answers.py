"""From a decision to the bytes that answer it.

Law: `wire` builds an answer that many requests share once, and only the decision's id is new each time. A caller's
first request prepares nothing. A prepared allow belongs to one identity (or to anonymous callers), one audience, one
rule with the rights that it gave, one set of remaining cookies and one edition of the policy. It is used only while
its assertion may be handed out. A prepared denial belongs to one verdict; browsers get none, because a page shows the
time.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from cachetools import LRUCache

from authz.check import wire
from authz.check.assertions import NO_ASSERTION, Assertion
from authz.check.check_record import CheckRecord
from authz.check.decision_cache import PreparedAnswer
from authz.core.decision.rights import airflow_role, menu
from authz.core.http_answer import HttpAnswer, for_task, refusal
from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.core.model import Allow, Decision, Deny, Identity, Plane, Request, Rights
from authz.core.policy import Policy

_MOST_KEPT: Final = 2048  # prepared allows, some 3 MB
_LONGEST_COOKIES: Final = 512  # characters of the rest of cookies in a prepared allow
_NO_HEADERS: Final = MappingProxyType[str, str]({})


class _Kept(NamedTuple):
    """A prepared allow, and what it was prepared for in addition to its key."""

    identity: Identity | None
    assertion: Assertion
    edition: str
    allow: wire.PreparedAllow

    def is_for(self, check: CheckRecord, assertion: Assertion) -> bool:
        return self.identity is check.identity and self.assertion is assertion and self.edition == check.edition


class Minter(Protocol):
    """Makes the assertion for an identity, an audience and rights, reusing a recent one of the same identity."""

    def assertion(self, identity: Identity, audience: str, rights: Rights, now: float, ends: float = ...) -> Assertion:
        """The assertion, which says nothing from the time `ends` on; `NO_ASSERTION` where no signing key is configured.

        `now` is before `ends`.
        """
        ...


class Menus:
    """Cache of what `menu` returned, by all that it reads: roles, host and narrowing, under one policy. Bounded."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._known: dict[tuple[frozenset[str], str, bool], tuple[str, ...]] = {}

    def of(self, request: Request, identity: Identity, policy: Policy) -> tuple[str, ...]:
        """This identity's items of Airflow's menu, at the host of this request."""
        if policy is not self._policy or len(self._known) >= _MOST_KEPT:
            self._policy = policy
            self._known.clear()
        key = (identity.roles, request.host, request.narrowed)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = menu(request, identity, policy)
        return found


class Answers:
    """Renders answers.

    Args:
        minter: makes the assertions.
        branding: who runs the gate, for its pages.
    """

    def __init__(self, minter: Minter, *, branding: Branding = NO_BRANDING) -> None:
        self._minter = minter
        self._branding = branding
        self._allows: LRUCache[tuple[int, str, str, Rights | None, str | None, bool], _Kept] = LRUCache(_MOST_KEPT)
        self._menus = Menus()

    def forget(self) -> None:
        """Forget what was prepared."""
        self._allows.clear()

    def render(self, check: CheckRecord, decision: Decision) -> bytes:
        """The serialised CheckResponse.

        Raises:
            ValueError: an allow without a request. This is a bug in the caller; the service answers 503 for it.
        """
        http = check.http
        if isinstance(decision, Deny):
            return self._deny(check, decision)
        if http is None:
            raise ValueError("an allow for no request")
        verdict = check.verdict
        is_new = check.identity is not None and verdict is None
        cookies = check.cookies().left if http.cookies else None
        if is_new or (cookies is not None and len(cookies) > _LONGEST_COOKIES):
            assertion = self._assertion(check, self._rights(check, decision, http.audience), http.audience)
            headers = self._identity_headers(check, assertion, http.audience)
            metadata = check.metadata(decision)
            keep = _keeps_authorization(check)
            return wire.allowed(decision_id=check.id, headers=headers, cookies=cookies, metadata=metadata, keep=keep)
        kept = verdict.answer if verdict is not None else None
        if (
            kept is None
            or kept.audience != http.audience
            or kept.cookies != cookies
            or kept.keep != (http.keeps_authorization and _keeps_authorization(check))
            or not kept.assertion.is_fresh(check.time)
        ):
            kept = self._prepare(check, decision, http.audience, cookies)
            if verdict is not None:
                verdict.answer = kept
        return kept.allow.render(check.id)

    def _deny(self, check: CheckRecord, decision: Deny) -> bytes:
        """A denial. Except for browsers, repeated denials of one question differ only in the decision's id."""
        verdict, http = check.verdict, check.http
        if verdict is None or verdict.decision is not decision or http is None or http.browser:
            answer = self._refusal(check, decision, check.id)
            return wire.denied(answer, reason=decision.reason, metadata=check.metadata(decision))
        if verdict.denial is None:
            make = partial(self._refusal, check, decision)
            verdict.denial = wire.PreparedDeny(make, reason=decision.reason, metadata=check.metadata(decision))
        return verdict.denial.render(check.id)

    def _refusal(self, check: CheckRecord, decision: Deny, decision_id: str) -> HttpAnswer:
        return refusal(
            decision,
            decision_id=decision_id,
            identity=check.identity,
            http=check.http,
            run=check.caller_run,
            at=check.time,
            branding=self._branding,
        )

    @staticmethod
    def answered(check: CheckRecord, decision: Deny, body: bytes) -> bytes:
        """The serialised CheckResponse that gives a task what it asked for."""
        answer = for_task(body, decision_id=check.id)
        return wire.denied(answer, reason=decision.reason, metadata=check.metadata(decision))

    def _rights(self, check: CheckRecord, decision: Allow, audience: str) -> Rights | None:
        """The rights in the assertion; None without an assertion: anonymous caller or no audience."""
        identity, request, policy = check.identity, check.request, check.policy
        if identity is None or request is None or policy is None or not audience:
            return None
        if request.plane is Plane.EGRESS:
            return Rights(None, identity.airflow_role, None)
        shown = self._menus.of(request, identity, policy)
        return Rights(decision.dags, airflow_role(identity, decision), shown)

    def _assertion(self, check: CheckRecord, rights: Rights | None, audience: str) -> Assertion:
        if check.identity is None or rights is None or check.policy is None:
            return NO_ASSERTION
        return self._minter.assertion(check.identity, audience, rights, check.time, check.ends)

    @staticmethod
    def _identity_headers(check: CheckRecord, assertion: Assertion, audience: str) -> Mapping[str, str]:
        if check.identity is None or not audience:
            return _NO_HEADERS
        return wire.identity_headers(check.identity, assertion.token)

    def _prepare(self, check: CheckRecord, decision: Allow, audience: str, cookies: str | None) -> PreparedAnswer:
        """The allow for this identity (or None), audience, rule and remaining cookies, with a fresh assertion.

        Many requests share one, so it is also cached here, by the `id` of the identity, which the entry keeps alive.
        """
        rights = self._rights(check, decision, audience)
        assertion = self._assertion(check, rights, audience)
        keep = _keeps_authorization(check)
        key = (id(check.identity), audience, decision.rule, rights, cookies, keep)
        kept = self._allows.get(key)
        if kept is None or not kept.is_for(check, assertion):
            headers = self._identity_headers(check, assertion, audience)
            made = wire.PreparedAllow(headers=headers, cookies=cookies, metadata=check.metadata(decision), keep=keep)
            kept = _Kept(check.identity, assertion, check.edition, made)
            self._allows[key] = kept
        return PreparedAnswer(audience, cookies, assertion, kept.allow, keep)


def _keeps_authorization(check: CheckRecord) -> bool:
    """Whether the destination owns the Authorization header: Envoy says so, and another one names the caller."""
    http = check.http
    if http is None or not http.keeps_authorization or check.identity is None:
        return False
    return bool(http.run_identity or http.proxy_authorization)
