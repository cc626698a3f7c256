"""Cache of canonical requests and decisions, so that the same question is not evaluated again.

Law: this remembers only what pure functions returned. A canonical request follows from plane, method, authority,
target, base path, narrowing, destination and the host that Envoy sets; a decision from that request, the caller's
roles, the DAG, task and assurance level of the calling run, and the policy. The tables are keyed by exactly these and
dropped with the policy. A prepared record or answer belongs to one identity, compared by `is`: the authenticator makes
a new identity whenever the token, its claims, the grants that the caller holds or the policy's edition changes. Whether
the *token* is still valid (its time, plane, key and issuer) is not cached here; every check verifies that before it
looks here.

Only what a verified identity asked is kept, so a caller without a token cannot evict anything. Bounded. Used by one
thread.
"""

from dataclasses import dataclass
from typing import Final

from authz.check.assertions import Assertion
from authz.check.wire import PreparedAllow, PreparedDeny
from authz.core.decision import decide
from authz.core.model import Decision, HttpRequest, Identity, Level, Request
from authz.core.policy import Policy
from authz.core.request.canonical import canonical
from authz.core.shadow import Comparison

_Key = tuple[str, str, str, str, str, bool, str, str]
_Asker = frozenset[str] | tuple[frozenset[str], str, str, Level]  # all of a caller that a decision depends on
_MOST_KEPT: Final = 2048  # decisions, and as many verdicts of some 2 kB; full tables are cleared
_LONGEST_KEPT: Final = 512  # characters of a target


@dataclass(slots=True)
class PreparedAnswer:
    """The allow for one audience and one set of remaining cookies, while its assertion may be handed out."""

    audience: str
    cookies: str | None
    assertion: Assertion
    allow: PreparedAllow
    keep: bool = False


class Question:
    """A canonical request, and the decisions on it by what they depend on in the caller, under one policy.

    `key` is all that the canonical form depends on.
    """

    __slots__ = ("decisions", "key", "request")

    def __init__(self, key: _Key, request: Request) -> None:
        self.key = key
        self.request = request
        self.decisions: dict[_Asker, Decision] = {}


@dataclass(slots=True)
class Verdict:
    """A decision on one request of one identity, with the reusable parts of its record and answer.

    `record` is what `end_of_line` made, b"" before that. `compared` is the comparison in it, with the candidate of the
    number `compared_with` (see `authz.check.shadow`).
    """

    question: Question
    identity: Identity
    decision: Decision
    record: bytes = b""
    answer: PreparedAnswer | None = None
    denial: PreparedDeny | None = None
    compared: Comparison | None = None
    compared_with: int = 0


class DecisionCache:
    """The tables; see the module's law."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._questions: dict[_Key, Question] = {}
        self._decided = 0
        # By identity of question and identity: hashing them whole would cost more than deciding again. An entry holds
        # both, so no other objects have these ids while it is there.
        self._verdicts: dict[tuple[int, int], Verdict] = {}

    def __len__(self) -> int:
        """How many decisions and verdicts are kept."""
        return self._decided + len(self._verdicts)

    def question(self, http: HttpRequest, policy: Policy) -> Question:
        """The request in canonical form, with the decisions kept on it under this policy.

        Raises:
            DeniedError, RequestError: as `canonical` does.
        """
        if policy is not self._policy:
            self.forget()
            self._policy = policy
        key = (
            http.plane,
            http.method,
            http.authority,
            http.target,
            http.base,
            http.narrowed,
            http.destination,
            http.host,
        )
        known = self._questions.get(key)
        return Question(key, canonical(http)) if known is None else known

    def decide(self, http: HttpRequest, question: Question, identity: Identity, policy: Policy) -> Decision:
        """What `evaluate` returns; `question` is what `self.question(http, policy)` just returned."""
        run = identity.run
        asker = identity.roles if run is None else (identity.roles, run.dag_id, run.task_id, run.level)
        decision = question.decisions.get(asker)
        if decision is None:
            decision = decide.evaluate(question.request, identity, policy)
            if len(http.target) <= _LONGEST_KEPT:
                if self._decided >= _MOST_KEPT:
                    self.forget()
                    question.decisions.clear()
                self._decided += 1
                question.decisions[asker] = decision
                self._questions[question.key] = question
        return decision

    def kept(self, question: Question, identity: Identity) -> Verdict | None:
        """What `verdict` returned for these before, with what `decide` returned; None if it is not kept."""
        verdict = self._verdicts.get((id(question), id(identity)))
        if verdict is not None and verdict.question is question and verdict.identity is identity:
            return verdict
        return None

    def verdict(self, question: Question, identity: Identity, decision: Decision) -> Verdict | None:
        """Where record and answer are kept for an identity that asks again; `decision` is what `decide` returned.

        None for a question that is too long to be kept.
        """
        if not question.decisions:
            return None
        verdict = self.kept(question, identity)
        if verdict is None:
            if len(self._verdicts) >= _MOST_KEPT:
                self.forget()
            verdict = self._verdicts[id(question), id(identity)] = Verdict(question, identity, decision)
        return verdict

    def forget(self) -> None:
        """Forget everything."""
        self._questions.clear()
        self._verdicts.clear()
        self._decided = 0
