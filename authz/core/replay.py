"""From a line of the decision log back to what was evaluated, so that a policy can evaluate it again.

Law: pure, and it never guesses. What is rebuilt is equal to what `evaluate` read, so the same policy gives the same
decision, rule and reason. A record from which this cannot be done gives a `Gap` that says why.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from authz.core.decision.decide import evaluate
from authz.core.documents.moments import parse_end
from authz.core.errors import RequestError
from authz.core.model import (
    NO_CLAIMS,
    Claims,
    Decision,
    HeldGrant,
    Identity,
    Level,
    Plane,
    Request,
    Run,
    made_per_request,
)
from authz.core.policy import NEVER, Policy, as_of
from authz.core.reasons import ALLOWED_BY_POLICY, ANSWERS, DENIED_BY_POLICY, Reason, word_of
from authz.core.record import HASHED, LONGEST, REPLACED, VERSION, Memberships, identity_id, written
from authz.core.request.path import CONNECT, CanonicalPath, below, canonicalise, is_base
from authz.core.runs.run_claim import read_run


class Gap(StrEnum):
    """Why a record cannot be evaluated again."""

    VERSION = "version"
    MALFORMED = "malformed"
    NOT_EVALUATED = "not_evaluated"
    REFUSED_TOKEN = "refused_token"  # noqa: S105 a word, not a password
    NO_CANONICAL_FORM = "no_canonical_form"
    PATH_CUT = "path_cut"
    REPLACED = "replaced"
    DROPPED = "dropped"
    HASHED = "hashed"
    IDENTITY_UNKNOWN = "identity_unknown"
    ISSUER_UNKNOWN = "issuer_unknown"


GAPS: Final[Mapping[Gap, str]] = MappingProxyType(
    {
        Gap.VERSION: "The record has another version of the format, or none.",
        Gap.MALFORMED: "A field has a type or a value that the gate does not write.",
        Gap.NOT_EVALUATED: "The policy did not decide: a sign-out, a replayed proof, a failure of the gate.",
        Gap.REFUSED_TOKEN: "The token was refused, so it is not known who called.",
        Gap.NO_CANONICAL_FORM: "The request was refused, because its path, host or method has no canonical form.",
        Gap.PATH_CUT: f"The path has {LONGEST:,} characters, so it may have been longer.",
        Gap.REPLACED: "A name that the policy compares held characters that UTF-8 cannot encode.",
        Gap.DROPPED: "A field that the policy compares is left out (`log.privacy`).",
        Gap.HASHED: "A field that the policy compares is hashed (`log.privacy`).",
        Gap.IDENTITY_UNKNOWN: "The identity entry that the record names is missing, or was changed.",
        Gap.ISSUER_UNKNOWN: "The policy does not have the token's issuer, or none of its audiences on this plane.",
    }
)

_EVALUATED: Final = frozenset({*ALLOWED_BY_POLICY, *DENIED_BY_POLICY})
_UNREADABLE: Final = frozenset({Reason.BAD_REQUEST, Reason.BAD_METHOD, Reason.BAD_HOST, Reason.BAD_PATH})
_UNAUTHENTICATED: Final = 401  # RFC 9110 §15.5.2
# Members by their words: calling an enumeration takes four times as long.
_PLANES: Final[Mapping[str, Plane]] = MappingProxyType({plane.value: plane for plane in Plane})
_REASONS: Final[Mapping[str, Reason]] = MappingProxyType({reason.value: reason for reason in Reason})
_NO_PATH: Final = CanonicalPath(path="", segments=())  # of a tunnel
_NOTHING: Final[Mapping[str, Gap]] = MappingProxyType({})
_OF_GRANTS: Final = ("grants", "suspended")
_TABLES: Final = (("subject", "subjects"), ("client", "clients"), ("groups", "groups"))  # of a caller, of a role


@made_per_request
class Case:
    """What was evaluated, and what came of it.

    `caller` is None for an anonymous caller, and for a run that a token of the gate identifies: it has no memberships.
    `grants` are those that the caller held, whether they counted or not; their ends are not known. `lost` says which of
    the caller's fields are not known, and why. `at` is the time, in seconds since the epoch, for which the policy
    decided: a policy in which something ends decides again as it was then.
    """

    id: str
    revision: str
    request: Request
    caller: Claims | None
    run: Run | None
    reason: Reason
    rule: str
    lost: Mapping[str, Gap]
    at: float
    grants: tuple[HeldGrant, ...] = ()


Callers = dict[str, tuple[Claims, Mapping[str, Gap]]]
"""Callers that were read already: their claims, and what of them is lost, by the ids of their entries."""


class _CannotError(Exception):
    """The case cannot be rebuilt."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(gap)
        self.gap = gap


def rebuild(
    record: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]], known: Callers | None = None
) -> Case | Gap:
    """The case in a record of the type `decision`. `entries` are the log's identity entries by their ids.

    `known` keeps the callers from one record to the next: reading one takes as long as all the rest.
    """
    try:
        return _rebuilt(record, entries, {} if known is None else known)
    except _CannotError as error:
        return error.gap
    except (AttributeError, KeyError, TypeError, ValueError):
        return Gap.MALFORMED


def decide_again(case: Case, policy: Policy) -> Decision | Gap:
    """What the policy decides in this case, as it was at the case's time.

    For many cases, give it the policy as of their time (`authz.core.policy.as_of`): else it is made for each of them.
    """
    policy = as_of(policy, case.at)
    identity = identify(case, policy)
    return identity if isinstance(identity, Gap) else evaluate(case.request, identity, policy)


def identify(case: Case, policy: Policy) -> Identity | Gap | None:
    """The caller under the policy; None if anonymous. A lost field is a gap only if some role asks for it."""
    caller, run = case.caller, case.run
    if caller is None:
        return None if run is None else Identity(claims=NO_CLAIMS, roles=frozenset(), run=run)
    issuer = policy.issuers.get(caller.issuer)
    if issuer is None or case.request.plane not in issuer.audiences:
        return Gap.ISSUER_UNKNOWN
    for name, table in _TABLES:
        if name in case.lost and any(getattr(role, table) for role in policy.roles.values()):
            return case.lost[name]
    return replace(policy.identify(replace(caller, issuer_name=issuer.name), case.grants), run=run)


def _rebuilt(record: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]], known: Callers) -> Case:
    if record.get("v") != VERSION:
        raise _CannotError(Gap.VERSION)
    reason = _evaluated(record)
    name = record["identity"] if "identity" in record else _dropped()
    caller, lost = (known.get(name) or _caller(name, entries, known)) if name != "" else (None, _NOTHING)
    return Case(  # by position, in the order of the fields: with their names it takes three times as long
        _text(record, "id"),
        _text(record, "revision"),
        _request(record),
        caller,
        _run(record),
        reason,
        _text(record, "rule"),
        lost,
        _at(record),
        _grants(record) if caller is not None and not record.keys().isdisjoint(_OF_GRANTS) else (),
    )


def _at(record: Mapping[str, Any]) -> float:
    """The time of the decision; a later one if the policy was one from later on, as after a clock was set back.

    Without its time, what had ended in the policy that decided is known all the same.
    """
    text = _text(record, "time", "")
    if text and not text.endswith("Z"):
        raise ValueError(text)
    time = datetime.fromisoformat(text).timestamp() if text else -NEVER
    return max(time, parse_end(record["since"])) if "since" in record else time


def _evaluated(record: Mapping[str, Any]) -> Reason:
    """The record's reason, if it is one that `evaluate` gives."""
    word = _text(record, "reason")
    if word in _EVALUATED and record["plane"] in _PLANES:
        reason = _REASONS[word]
        word = word_of(reason)
        if _text(record, "decision", word) != word:
            raise ValueError("decision")
        return reason
    if word in _UNREADABLE:
        raise _CannotError(Gap.NO_CANONICAL_FORM)
    refused = word in ANSWERS and ANSWERS[Reason(word)].http == _UNAUTHENTICATED
    raise _CannotError(Gap.REFUSED_TOKEN if refused else Gap.NOT_EVALUATED)


def _request(record: Mapping[str, Any]) -> Request:
    plane, method, base = _PLANES[record["plane"]], _text(record, "method"), _text(record, "base", "")
    path = _text(record, "path") if "path" in record else _dropped()
    if len(path) >= LONGEST:
        raise _CannotError(Gap.PATH_CUT)
    if base and not is_base(base):
        raise ValueError(base)
    whole = _canonical(path) if method != CONNECT else _NO_PATH
    inner = below(whole, base) if base else whole
    port, narrowed = record.get("port"), record.get("narrowed", False)
    if not (port is None or type(port) is int) or not isinstance(narrowed, bool):
        raise TypeError("port or narrowed")
    return Request(
        plane=plane,
        method=method,
        host=_text(record, "host"),
        port=port,
        path=(inner or whole).path,
        segments=(inner or whole).segments,
        base=base,
        outside=inner is None,
        narrowed=narrowed,
        destination=_text(record, "destination", ""),
    )


def _canonical(path: str) -> CanonicalPath:
    try:
        whole = canonicalise(path)
    except RequestError:
        raise _CannotError(Gap.NO_CANONICAL_FORM) from None
    if whole.path != path:
        raise _CannotError(Gap.NO_CANONICAL_FORM)
    return whole


def _run(record: Mapping[str, Any]) -> Run | None:
    run = record.get("run")
    if run is None:
        return None
    if any(REPLACED in str(value) for value in run.values()):
        raise _CannotError(Gap.REPLACED)
    return read_run(run, Level(record["level"]))


def _grants(record: Mapping[str, Any]) -> tuple[HeldGrant, ...]:
    return tuple(sorted(_grant(one) for name in _OF_GRANTS for one in record.get(name, ())))


def _grant(found: Mapping[str, Any]) -> HeldGrant:
    seconds = found["seconds"]
    if type(seconds) is not int or found.get("open", True) is not True:
        raise TypeError("seconds or open")
    return HeldGrant(_text(found, "entry"), _text(found, "id"), NEVER, seconds, "open" not in found)


def _caller(name: str, entries: Mapping[str, Mapping[str, Any]], known: Callers) -> tuple[Claims, Mapping[str, Gap]]:
    """The claims in the identity entry, and which of them are lost."""
    entry = entries.get(name)
    found = {key: entry[key] for key in Memberships.__annotations__ if key in entry} if entry is not None else {}
    if identity_id(written(found)) != name:
        raise _CannotError(Gap.IDENTITY_UNKNOWN)
    lost = {key: gap for key, _table in _TABLES if (gap := _loss(found.get(key)))}
    groups = found.get("groups", [])
    if not isinstance(groups, list):
        raise TypeError("groups")
    claims = replace(
        NO_CLAIMS,
        issuer=_text(found, "issuer"),
        subject=_text(found, "subject", ""),
        client_id=_text(found, "client", ""),
        username=_text(found, "user", ""),
        groups=frozenset(map(_is_text, groups)),
    )
    known[name] = claims, lost
    return claims, lost


def _loss(value: object) -> Gap | None:
    """Why a membership is not what the token said, if it is not."""
    if value is None:
        return Gap.DROPPED
    texts = value if isinstance(value, list) else [value]
    if any(str(text).startswith(HASHED) for text in texts):
        return Gap.HASHED
    return Gap.REPLACED if any(REPLACED in str(text) for text in texts) else None


def _dropped() -> str:
    raise _CannotError(Gap.DROPPED)


def _text(fields: Mapping[str, Any], name: str, missing: str | None = None) -> str:
    value = fields[name] if missing is None else fields.get(name, missing)
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _is_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
