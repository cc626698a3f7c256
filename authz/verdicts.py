"""What was decided a moment ago, so that the same question is not worked out again.

Law: this remembers what pure functions returned, nothing else. A canonical request follows from plane, method,
authority and target; a decision from that request, the identity and the policy. Both tables are keyed by exactly these
and dropped with the policy. Identities are compared by `is`: the authenticator makes a new one whenever the token, its
claims or the policy's revision is another. Whether the *token* is still good (its time, plane, key and issuer) is no
part of a verdict; that is asked on every check, before anybody looks here.

Only what a verified identity asked is kept, so that nobody without a token can push anything out. Bounded. Used by one
thread.
"""

import re
from dataclasses import dataclass
from typing import Final

from authz import decide
from authz.audit import PreparedRecord
from authz.errors import DeniedError, RequestError
from authz.minter import Assertion
from authz.model import Decision, HttpRequest, Identity, Plane, Request
from authz.path import canonical_host, canonical_method, canonicalise
from authz.policy import Policy
from authz.reasons import Reason
from authz.wire import PreparedAllow

# RFC 6750 §2.3 tokens in a query end up in logs and histories; they are refused rather than ignored or forwarded.
_QUERY_TOKEN: Final = re.compile(r"[?&;](?:access|id)(?:_|%5[fF])token=", re.ASCII)
_PLANES: Final = {plane.value: plane for plane in Plane}
_MOST_KEPT: Final = 2048  # verdicts, some 4 MB; tables that are full are begun anew
_LONGEST_KEPT: Final = 512  # characters of a target


def canonical(http: HttpRequest) -> Request:
    """The request in the form that is judged.

    Raises:
        DeniedError: MISCONFIGURED, where Envoy sent no plane.
        RequestError: what was asked has no canonical form, or has a token in its query.
    """
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


@dataclass(slots=True)
class PreparedAnswer:
    """The allow for one audience, as long as its assertion may be handed out."""

    audience: str
    assertion: Assertion
    allow: PreparedAllow


@dataclass(slots=True)
class Verdict:
    """A decision on one request of one identity. The service keeps here what it can use again of record and answer."""

    request: Request
    identity: Identity
    decision: Decision
    record: PreparedRecord | None = None
    answer: PreparedAnswer | None = None


class Verdicts:
    """The table; see the module's law."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._requests: dict[tuple[str, str, str, str], Request] = {}
        # By identity of request and identity: hashing them whole would cost more than deciding anew. An entry holds
        # both, so these ids are nobody else's for as long as it is there.
        self._verdicts: dict[tuple[int, int], Verdict] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def request(self, http: HttpRequest) -> Request:
        """What `canonical` returns, or raises."""
        known = self._requests.get((http.plane, http.method, http.authority, http.target))
        return canonical(http) if known is None else known

    def decide(self, http: HttpRequest, request: Request, identity: Identity, policy: Policy) -> Verdict:
        """The verdict with what `evaluate` returns; `request` is what `self.request(http)` returned."""
        if policy is not self._policy:
            self._forget()
            self._policy = policy
        key = (id(request), id(identity))
        verdict = self._verdicts.get(key)
        if verdict is not None and verdict.request is request and verdict.identity is identity:
            return verdict
        verdict = Verdict(request, identity, decide.evaluate(request, identity, policy))
        if len(http.target) <= _LONGEST_KEPT:
            if len(self._verdicts) >= _MOST_KEPT:
                self._forget()
            self._requests[http.plane, http.method, http.authority, http.target] = request
            self._verdicts[key] = verdict
        return verdict

    def _forget(self) -> None:
        self._requests.clear()
        self._verdicts.clear()
