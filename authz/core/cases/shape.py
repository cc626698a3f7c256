"""What the keys of one test say together: which form it has, and what that form may and must have.

Law: a test that could silently ask less than its author thought is a mistake.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from authz.core.cases.callers import Caller
from authz.core.documents.wording import near
from authz.core.errors import RequestError
from authz.core.model import Plane
from authz.core.policy import Effect
from authz.core.policy.case_schema import CaseDraft
from authz.core.reasons import ALLOWED_BY_POLICY, DENIED_BY_POLICY, Reason
from authz.core.request.path import canonical_host, is_base

Found = tuple[tuple[str | int, ...], str, str]
"""Where in the test (keys and positions), what, what to do."""

_DENYING: Final = (*DENIED_BY_POLICY, Reason.AUDIENCE)
"""`audience`: no issuer of the policy has an audience on the plane, so every token is refused."""

ONE_QUESTION: Final = ("request", "operation")
_FORMS: Final = (*ONE_QUESTION, "table", "matrix")
_ONE_ANSWER: Final = ("expect", "reason", "rule", "shows", "hides", "dag")
_NOT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "request": ("dag", "among"),
    "operation": ("among",),
    "table": (*_ONE_ANSWER, "among"),
    "matrix": ("who", *_ONE_ANSWER),
}
_INSTEAD: Final[Mapping[str, str]] = {
    "dag": "a DAG goes with `operation`; in a request the path names it, in a row it stands after the operation",
    "among": "it goes with `matrix`",
    "who": "each row of a matrix names its callers",
}
_INBOUND: Final = ("operation", "dag", "base", "narrowed", "shows", "hides")


def form_of(entry: CaseDraft) -> str:
    """The key that says what the test asks; "" if none does."""
    return next((key for key in _FORMS if getattr(entry, key)), "")


def plane_of(entry: CaseDraft, caller: Caller | None) -> Plane | None:
    """The plane that the test is about; None if its request decides."""
    if entry.plane:
        return Plane(entry.plane)
    return Plane.EGRESS if entry.destination or (caller is not None and caller.run is not None) else None


def shape(entry: CaseDraft, plane: Plane | None, caller: Caller | None) -> Iterator[Found]:
    """Every mistake in what the keys say together."""
    form = form_of(entry)
    others = [key for key in _FORMS if getattr(entry, key) and key != form]
    if not form:
        yield (), "the test asks nothing", "add request: GET /api/v2/dags, or operation, table or matrix"
        return
    for key in others:
        yield (key,), f"a test has either `{form}` or `{key}`", "make two tests of it"
    for key in _NOT_IN[form]:
        if getattr(entry, key):
            yield (key,), f"`{key}` does not go with `{form}`", _INSTEAD.get(key, "each row has its own answer")
    if form != "matrix" and not entry.who:
        yield (), "`who` is missing", "a name of `callers`, anonymous, authenticated, or {groups: [...]}"
    if form in ONE_QUESTION and not entry.expect:
        yield (), "`expect` is missing", "expect: allow, or expect: deny"
    if entry.base and not is_base(entry.base):
        yield ("base",), f"`{entry.base}` is not a base path", "write it as /airflow"
    if entry.host and not _is_host(entry.host):
        yield ("host",), f"`{entry.host}` is not a host", "write it as airflow.example.com"
    yield from _plane(entry, plane, caller)
    yield from _lists(entry)


def _is_host(text: str) -> bool:
    try:
        return bool(canonical_host(text))
    except RequestError:
        return False


def _plane(entry: CaseDraft, plane: Plane | None, caller: Caller | None) -> Iterator[Found]:
    if plane is Plane.INBOUND and entry.destination:
        yield ("destination",), "`destination` is about outbound calls", "remove it, or say plane: egress"
    if plane is Plane.INBOUND and caller is not None and caller.run is not None:
        yield ("who",), "a run calls on egress", "remove `run`, or say plane: egress"
    if plane is Plane.EGRESS:
        for key in _INBOUND:
            if getattr(entry, key):
                yield (key,), f"`{key}` is about requests to Airflow", "remove it, or say plane: inbound"


def _lists(entry: CaseDraft) -> Iterator[Found]:
    for key in ("shows", "hides"):
        if getattr(entry, key) and entry.expect == "deny":
            yield (key,), f"a denied request shows nothing, so `{key}` says nothing", "remove it, or expect: allow"


def answer(entry: CaseDraft, effects: Mapping[str, Effect] | None, nearest: Callable[[str], str]) -> Iterator[Found]:
    """Mistakes in `reason` and `rule`; `effects` has the effect of every rule, None where not all could be read."""
    fitting = ALLOWED_BY_POLICY if entry.expect == "allow" else _DENYING
    if entry.reason and entry.reason not in {*ALLOWED_BY_POLICY, *_DENYING}:
        known = ", ".join(fitting)
        near_reason = near(entry.reason, [*ALLOWED_BY_POLICY, *_DENYING])
        hint = near_reason or f"with `expect: {entry.expect}` it is one of {known}"
        message = "does not follow from a policy" if entry.reason in set(Reason) else "is not a reason"
        yield ("reason",), f"`{entry.reason}` {message}", hint
    elif entry.reason and entry.expect and entry.reason not in fitting:
        yield ("reason",), f"`{entry.reason}` does not go with `expect: {entry.expect}`", f"one of {', '.join(fitting)}"
    elif entry.reason in {*_DENYING} - {Reason.DENY_RULE} and entry.rule:
        yield ("rule",), f"no rule decides where the reason is `{entry.reason}`", "remove `rule`, or `reason`"
    if not entry.rule or effects is None:
        return
    effect = effects.get(entry.rule)
    if effect is None:
        yield ("rule",), f"unknown rule `{entry.rule}`", nearest(entry.rule) or "it must be the `id` of a rule"
    elif entry.expect and (effect is Effect.DENY) is (entry.expect == "allow"):
        yield ("rule",), f"the rule `{entry.rule}` never decides `{entry.expect}`", f"its effect is `{effect}`"
