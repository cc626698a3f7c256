"""The use case: one CheckRequest in, one CheckResponse out.

Law 1: a check never blocks. It reads one snapshot, computes, hands its record to a sink that does not block, and
returns; a key that is not there yet gives `Parked`, and the engine waits in its own way.
Law 2: every way out is an answer. The one `except Exception` of the package is here: a bug is a 503 with the reason
`internal_error`, never an allow and never a gRPC error (Envoy would hand that to somebody's `failure_mode_allow`).
Law 3: no record, no allow. The record is accepted by the sink before the answer is built.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from authz import decide, wire
from authz.audit import encode
from authz.authenticate import Authenticator, KeyState, KeyWanted, Session
from authz.errors import AuditUnavailableError, DeniedError, RequestError
from authz.model import Allow, Decision, Deny, HttpRequest, Identity, Plane, Request
from authz.path import canonical_host, canonical_method, canonicalise
from authz.policy import Policy
from authz.reasons import ANSWERS, Reason

log = logging.getLogger(__name__)

# RFC 6750 §2.3 tokens in a query end up in logs and histories; they are refused rather than ignored or forwarded.
_QUERY_TOKEN: Final = re.compile(r"[?&;](?:access|id)(?:_|%5[fF])token=", re.ASCII)
_PLANES: Final = {plane.value: plane for plane in Plane}
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_LONGEST_RAW: Final = 256
_PREPARED_ALLOWS: Final = 4096  # some 6 MB; a table that is full is begun anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one check reads, taken once at its start: the policy in force and the key sets."""

    policy: Policy | None
    keys: Mapping[str, KeyState]


class Clock(Protocol):
    """Wall time in seconds since the epoch, and a monotonic time in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


class Minter(Protocol):
    """Makes the assertion for an identity and an audience, reusing a recent one of the same session."""

    def assertion(self, session: Session, audience: str, now: float) -> str:
        """The compact JWT, or "" where no signing key is configured."""
        ...


@dataclass(frozen=True, slots=True)
class Parked:
    """A check that waits for a key of `issuer`. `resume` answers it for good, whatever became of the key."""

    issuer: str
    key_id: str
    resume: Callable[[], bytes] = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Trail:
    """What is known of a check so far: enough to record it wherever it ends."""

    id: str
    started: float = 0.0
    time: float = 0.0
    http: HttpRequest | None = None
    request: Request | None = None
    identity: Identity | None = None
    revision: str = ""


class Service:
    """Judges checks. One instance per process, used by one thread."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        authenticator: Authenticator,
        minter: Minter,
        clock: Clock,
        record: Callable[[bytes], None],
        observe: Callable[[str, str, str, float], None],
        realm: str = "airflow",
    ) -> None:
        self._snapshot = snapshot
        self._authenticator = authenticator
        self._minter = minter
        self._clock = clock
        self._record = record
        self._observe = observe
        self._realm = realm
        self._allows: dict[tuple[Session, str, str], tuple[Identity, str, wire.PreparedAllow]] = {}

    def check(self, message: bytes) -> bytes | Parked:
        """Answer one serialised CheckRequest with a serialised CheckResponse, or say which key it waits for."""
        return self._check(message, may_wait=True)

    def overloaded(self) -> bytes:
        """The answer of an engine that has too much in hand: a denial with 503, recorded like any other."""
        trail = _Trail(id=_new_id())
        try:
            trail.started = self._clock.monotonic()
            trail.time = self._clock.wall()
            return self._finish(trail, Deny(reason=Reason.OVERLOADED), None)
        except Exception as error:  # noqa: BLE001 the service's door, for an engine that has no other answer
            return self._internal_error(trail, error)

    def _check(self, message: bytes, *, may_wait: bool) -> bytes | Parked:
        trail = _Trail(id=_new_id())
        try:
            trail.started = self._clock.monotonic()
            trail.time = self._clock.wall()
            return self._judge(message, trail, may_wait=may_wait)
        except Exception as error:  # noqa: BLE001 the service's door: the one place that may catch everything
            return self._internal_error(trail, error)

    def _last_answer(self, message: bytes) -> bytes:
        answer = self._check(message, may_wait=False)
        return answer if isinstance(answer, bytes) else self.overloaded()

    def _judge(self, message: bytes, trail: _Trail, *, may_wait: bool) -> bytes | Parked:
        snapshot = self._snapshot()
        policy = snapshot.policy
        try:
            trail.http = wire.parse(message)
            if policy is None:
                return self._finish(trail, Deny(reason=Reason.NOT_READY), None)
            trail.revision = policy.revision
            trail.request = _canonical(trail.http)
            session = self._authenticator.authenticate(
                trail.http,
                trail.request.plane,
                policy,
                snapshot.keys,
                wall=trail.time,
                monotonic=trail.started,
            )
        except RequestError as error:
            return self._finish(trail, Deny(reason=error.reason, detail=error.detail), None)
        except DeniedError as error:
            return self._unauthenticated(trail, policy, error.reason, error.detail)
        if isinstance(session, KeyWanted):
            if may_wait and not self._is_public(trail.request, policy):
                return Parked(session.issuer, session.key_id, lambda: self._last_answer(message))
            return self._unauthenticated(trail, policy, session.reason, f"no such key of issuer {session.issuer}")
        trail.identity = session.identity if session else None
        return self._finish(trail, decide.evaluate(trail.request, trail.identity, policy), session)

    @staticmethod
    def _is_public(request: Request, policy: Policy) -> bool:
        return isinstance(decide.evaluate(request, None, policy), Allow)

    def _unauthenticated(self, trail: _Trail, policy: Policy | None, reason: Reason, detail: str) -> bytes:
        """A public route stays public for a caller whose token is no good: they are nobody there, like everyone."""
        if policy is not None and trail.request is not None and self._is_public(trail.request, policy):
            return self._finish(trail, decide.evaluate(trail.request, None, policy), None)
        return self._finish(trail, Deny(reason=reason, detail=detail), None)

    def _finish(self, trail: _Trail, decision: Decision, session: Session | None) -> bytes:
        """Build the answer, have it recorded, and only then hand it out."""
        answer = self._render(trail, decision, session)
        try:
            self._record(self._line(trail, decision))
        except AuditUnavailableError as error:
            log.error("decision %s denied: %s", trail.id, error)  # noqa: TRY400 the text says it all
            decision = Deny(reason=Reason.AUDIT_UNAVAILABLE)
            answer = self._render(trail, decision, None)
        plane = trail.request.plane if trail.request is not None else ""
        verdict = "allow" if isinstance(decision, Allow) else "deny"
        self._observe(plane, verdict, decision.reason, self._clock.monotonic() - trail.started)
        return answer

    def _render(self, trail: _Trail, decision: Decision, session: Session | None) -> bytes:
        if isinstance(decision, Deny):
            return wire.denied(
                decision,
                decision_id=trail.id,
                identity=trail.identity,
                html=trail.http is not None and b"text/html" in trail.http.accept,
                metadata=_metadata(trail, decision),
                realm=self._realm,
            )
        http = trail.http
        if session is None or http is None:
            cookies = http.cookies if http is not None else ()
            return wire.allowed(decision_id=trail.id, headers={}, cookies=cookies, metadata=_metadata(trail, decision))
        assertion = self._minter.assertion(session, http.audience, trail.time) if http.audience else ""
        if http.cookies and wire.remaining_cookies(http.cookies) is not None:
            headers = wire.identity_headers(session.identity, assertion) if http.audience else {}
            metadata = _metadata(trail, decision)
            return wire.allowed(decision_id=trail.id, headers=headers, cookies=http.cookies, metadata=metadata)
        return self._prepared(trail, decision, session, http.audience, assertion).render(trail.id)

    def _prepared(
        self, trail: _Trail, decision: Allow, session: Session, audience: str, assertion: str
    ) -> wire.PreparedAllow:
        """The allow of this session, audience and rule; made once for as long as identity and assertion stay."""
        key = (session, audience, decision.rule)
        kept = self._allows.get(key)
        if kept is not None and kept[0] is session.identity and kept[1] == assertion:
            return kept[2]
        if len(self._allows) >= _PREPARED_ALLOWS:
            self._allows.clear()
        headers = wire.identity_headers(session.identity, assertion) if audience else {}
        made = wire.PreparedAllow(headers=headers, metadata=_metadata(trail, decision))
        self._allows[key] = (session.identity, assertion, made)
        return made

    def _line(self, trail: _Trail, decision: Decision) -> bytes:
        http, request, identity = trail.http, trail.request, trail.identity
        claims = identity.claims if identity is not None else None
        trace = _TRACEPARENT.fullmatch(http.traceparent) if http is not None and http.traceparent else None
        if request is not None:
            plane, method, host, path = request.plane.value, request.method, request.host, request.path
        else:
            plane, method, host, path = _as_sent(http)
        return encode(
            {
                "id": trail.id,
                "time": trail.time,
                "plane": plane,
                "method": method,
                "host": host,
                "path": path,
                "subject": claims.subject if claims is not None else "",
                "client": claims.client_id if claims is not None else "",
                "issuer": claims.issuer if claims is not None else "",
                "roles": tuple(sorted(identity.roles)) if identity is not None else (),
                "operation": decision.operation,
                "dag": decision.dag_id,
                "decision": "allow" if isinstance(decision, Allow) else "deny",
                "reason": decision.reason.value,
                "rule": decision.rule,
                "revision": trail.revision,
                "trace": trace.group(1) if trace is not None else "",
                "source": http.source if http is not None else "",
                "latency_us": int((self._clock.monotonic() - trail.started) * 1e6),
                "detail": decision.detail if isinstance(decision, Deny) else "",
            }
        )

    def _internal_error(self, trail: _Trail, error: Exception) -> bytes:
        # Neither the error's text nor its arguments: they could quote the request. Class and place are enough.
        log.critical("internal error in decision %s: %s at %s", trail.id, type(error).__name__, _place(error))
        deny = Deny(reason=Reason.INTERNAL_ERROR)
        try:
            bare = _Trail(id=trail.id, started=trail.started, time=trail.time)
            return self._finish(bare, deny, None)
        except Exception as again:  # noqa: BLE001 the same door: even its own recording may be what is broken
            log.critical("decision %s could not be recorded: %s at %s", trail.id, type(again).__name__, _place(again))
        answer = ANSWERS[deny.reason]
        return wire.denied(deny, decision_id=trail.id, identity=None, html=False, metadata={}, realm=answer.public)


def _canonical(http: HttpRequest) -> Request:
    plane = _PLANES.get(http.plane)
    if plane is None:
        raise DeniedError(Reason.MISCONFIGURED, 'context_extensions has no "plane" of inbound or egress')
    if "?" in http.target and _QUERY_TOKEN.search(http.target):
        raise RequestError(Reason.BAD_AUTHORIZATION, "a token in the query; send it in the Authorization header")
    path = canonicalise(http.target)
    if plane is Plane.EGRESS and path.encoded_slash:
        raise RequestError(Reason.BAD_PATH, "an encoded slash, which destinations read in different ways")
    host, port = canonical_host(http.authority)
    method = canonical_method(http.method)
    return Request(plane=plane, method=method, host=host, port=port, path=path.path, segments=path.segments)


def _metadata(trail: _Trail, decision: Decision) -> dict[str, str]:
    """What Envoy's access log says about a decision."""
    subject = trail.identity.claims.subject if trail.identity is not None else ""
    return {
        "decision_id": trail.id,
        "reason": decision.reason.value,
        "rule": decision.rule,
        "revision": trail.revision,
        "subject": subject.encode("utf-8", "replace").decode(),
    }


def _as_sent(http: HttpRequest | None) -> tuple[str, str, str, str]:
    """Plane, method, host and path of a request that has no canonical form: cut, and without query and fragment."""
    if http is None:
        return "", "", "", ""
    path = http.target.partition("?")[0].partition("#")[0]
    return http.plane[:16], http.method[:16], http.authority[:_LONGEST_RAW], path[:_LONGEST_RAW]


class _Ids:
    """Decision ids: 96 random bits in hex, read from the system many at a time."""

    def __init__(self) -> None:
        self._spare: list[str] = []

    def __call__(self) -> str:
        if not self._spare:
            text = os.urandom(12 * 256).hex()
            self._spare = [text[at : at + 24] for at in range(0, len(text), 24)]
        return self._spare.pop()


_new_id = _Ids()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
