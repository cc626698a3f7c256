"""Runs cases: the server's own decision on each request, compared with what was expected.

Law: `decide.evaluate` decides, with identities by `Policy.identify`, as for a request from Envoy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from authz.core.cases.asking import without_identity
from authz.core.cases.callers import Caller, asking, identity_of
from authz.core.cases.case import Case, Expected
from authz.core.decision.decide import evaluate
from authz.core.decision.explain import Considered, explain
from authz.core.decision.rights import dags_text
from authz.core.errors import Problem, TokenError
from authz.core.model import Allow, DagGrant, Decision, Identity, Plane, Request
from authz.core.policy import Policy
from authz.core.policy.patterns import parse_glob

EXPLAINED: Final = 20
"""Failures that are explained: each explanation looks at every rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The decision on a case: on its first request that was decided otherwise than expected, else on its first.

    `wrong` says what was expected and found; "" if the case passed.
    """

    case: Case
    request: Request
    decision: Decision
    wrong: str = ""


class Judge:
    """Runs the cases of one policy. A caller is identified once per plane."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._identities: dict[tuple[Caller, Plane], Identity | TokenError | None] = {}

    def identity(self, caller: Caller, request: Request) -> Identity | TokenError | None:
        """The identity of a caller, None if anonymous; or why a token like this is refused."""
        key = asking(caller, request), request.plane
        if key not in self._identities:
            try:
                self._identities[key] = identity_of(key[0], self._policy, request.plane)
            except TokenError as error:
                self._identities[key] = error
        return self._identities[key]

    def decide(self, caller: Caller, request: Request) -> Decision:
        """The decision on one request."""
        identity = self.identity(caller, request)
        if isinstance(identity, TokenError):
            return without_identity(identity, request, self._policy)
        return evaluate(request, identity, self._policy)

    def run(self, case: Case) -> Result:
        """One case."""
        first: Result | None = None
        for request in case.requests:
            decision = self.decide(case.caller, request)
            wrong = _difference(case.expected, decision)
            if wrong:
                asked = f", for {request.method} {request.whole_path}" if len(case.requests) > 1 else ""
                return Result(case=case, request=request, decision=decision, wrong=wrong + asked)
            first = first or Result(case=case, request=request, decision=decision)
        assert first is not None, "a case has at least one request"  # noqa: S101 the compiler makes no other
        return first

    def why(self, result: Result) -> str:
        """Why it was decided so: the expected rule and what it misses, the rule that decided, or the nearest rule."""
        decision, expected = result.decision, result.case.expected
        identity = self.identity(result.case.caller, result.request)
        if isinstance(identity, TokenError):
            return identity.detail
        if expected.allow and self._narrowed_would_allow(result):
            return (
                "the request may reach any DAG: where Airflow narrows it, it is allowed (`narrowed: true` in the test)"
            )
        explanation = explain(result.request, identity, self._policy)
        wanted = next((rule for rule in explanation.considered if rule.rule == expected.rule), None)
        if wanted is not None and wanted.missing:
            return _missing("the rule", wanted)
        if decision.rule:
            rule = self._policy.rules[decision.rule]
            return f"see the rule `{rule.id}` at {self._policy.where(rule)}"
        nearest = explanation.nearest
        return "no rule could allow it" if nearest is None else _missing("the nearest rule", nearest)

    def _narrowed_would_allow(self, result: Result) -> bool:
        """Whether only this is missing: an Airflow that keeps to permitted DAGs."""
        if isinstance(result.decision, Allow) or result.request.narrowed:
            return False
        return isinstance(self.decide(result.case.caller, replace(result.request, narrowed=True)), Allow)


def failures(failed: Iterable[Result], judge: Judge) -> Iterator[Problem]:
    """Failed cases as problems of the policy; the first ones are explained."""
    for number, result in enumerate(failed):
        case = result.case
        hint = judge.why(result) if number < EXPLAINED else "`authz explain` says why"
        yield Problem(case.file, case.line, case.column, f"the test `{case.name}` fails: {result.wrong}", hint)


def _missing(what: str, rule: Considered) -> str:
    missing = "; ".join(f"{condition.name}: {condition.text}" for condition in rule.missing)
    return f"{what} `{rule.rule}` at {rule.place} does not apply: {missing}"


def _difference(expected: Expected, decision: Decision) -> str:
    """What is otherwise than expected; "" if nothing is."""
    allowed = isinstance(decision, Allow)
    if (
        allowed is not expected.allow
        or (expected.reason is not None and decision.reason is not expected.reason)
        or (expected.rule and decision.rule != expected.rule)
    ):
        wanted = _words(allow=expected.allow, reason=expected.reason or "", rule=expected.rule)
        return f"expected {wanted}, found {_words(allow=allowed, reason=decision.reason, rule=decision.rule)}"
    return _list_difference(expected, decision) if expected.shows or expected.hides else ""


def _words(*, allow: bool, reason: str, rule: str) -> str:
    by = f" by rule `{rule}`" if rule else f" ({reason})" if reason else ""
    return ("allow" if allow else "deny") + by


def _list_difference(expected: Expected, decision: Decision) -> str:
    grant = decision.dags if isinstance(decision, Allow) else None
    wrong = [f"show `{dag}`" for dag in expected.shows if not _has(grant, dag)]
    wrong += [f"hide `{dag}`" for dag in expected.hides if _has(grant, dag)]
    found = dags_text(decision) or ("Airflow shows all DAGs" if grant is not None else "Airflow shows no DAG")
    return f"expected a list that would {' and '.join(wrong)}, and {found}" if wrong else ""


def _has(grant: DagGrant | None, dag: str) -> bool:
    """Whether the DAG is in a list that Airflow narrows to the grant; a caller without one is anonymous."""
    if grant is None:
        return False
    return _any_matches(grant.allowed, dag) and not _any_matches(grant.denied, dag)


def _any_matches(globs: Iterable[str], dag: str) -> bool:
    return any(parse_glob(text).matches(dag) for text in globs)
