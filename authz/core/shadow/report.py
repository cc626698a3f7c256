"""What the decisions of a log say about the candidates that were compared.

Law: pure. Only what the records say is counted, so a record without a candidate's verdict is no agreement. Bounded: of
each group of differences it keeps a count and its first decision.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from authz.core.record import DECISION, VERSION
from authz.core.shadow.comparison import OUTCOMES, UNKNOWN

_MOST_GROUPS: Final = 10_000
_WITNESS: Final = ("id", "time", "plane", "method", "host", "path", "operation", "dag", "destination")
_ORDER: Final = ("gain", "loss", "rights")
_DAGS: Final = {
    "lost": "no longer the DAGs",
    "gained": "also the DAGs",
    "denied": "without the DAGs",
    "denied_before": "no longer without the DAGs",
}


class Difference(NamedTuple):
    """A group of decisions: who, what comes of it, and which rule decides under either policy ("" if none does).

    `rights` says in words what the assertion would say otherwise, where both allow.
    """

    outcome: str
    caller: str
    rule: str
    reason: str
    candidate_rule: str
    candidate_reason: str
    rights: tuple[str, ...] = ()


@dataclass(slots=True)
class Group:
    """How many decisions a group has, and the first of them."""

    witness: Mapping[str, Any]
    count: int = 0


@dataclass(slots=True)
class Tally:
    """What is known of one candidate. `left_out` decisions differ and are in no group: there are too many groups."""

    revision: str
    in_force: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    groups: dict[Difference, Group] = field(default_factory=dict)
    left_out: int = 0

    @property
    def compared(self) -> int:
        """Decisions whose verdict under the candidate is known."""
        return sum(self.outcomes[outcome] for outcome in OUTCOMES)

    @property
    def differs(self) -> int:
        """Decisions that would not be the same."""
        return self.compared - self.outcomes["agree"]

    def sorted(self) -> Iterator[tuple[Difference, Group]]:
        """The groups: gains first, and the largest of each outcome first."""
        yield from sorted(self.groups.items(), key=lambda one: (_ORDER.index(one[0].outcome), -one[1].count, one[0]))


@dataclass(slots=True)
class Report:
    """The candidates of a log by revision, in the order of their first decisions.

    `newest` is the revision of the candidate that was compared last. `without` counts decisions that no candidate was
    compared on, `malformed` records with a verdict that the gate does not write.
    """

    candidates: dict[str, Tally] = field(default_factory=dict)
    newest: str = ""
    without: int = 0
    malformed: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one line of the log; lines of other types and versions are skipped."""
        if record.get("type") != DECISION or record.get("v") != VERSION:
            return
        shadow = record.get("shadow")
        if shadow is None:
            self.without += 1
            return
        try:
            self._add(record, shadow)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.malformed += 1

    def _add(self, record: Mapping[str, Any], shadow: Mapping[str, Any]) -> None:
        outcome, revision = _outcome(record, shadow), _text(shadow["revision"])
        reason, rule, in_force = (_text(record[name]) for name in ("reason", "rule", "revision"))
        of = Difference(
            outcome=outcome,
            caller=_caller(record),
            rule=rule,
            reason=reason,
            candidate_rule=_text(shadow.get("rule", rule)),
            candidate_reason=_text(shadow.get("reason", reason)),
            rights=tuple(_rights(shadow["rights"])) if outcome == "rights" else (),
        )
        candidate = self.candidates.setdefault(revision, Tally(revision))
        self.newest = revision
        candidate.in_force[in_force] += 1
        candidate.outcomes[outcome] += 1
        if outcome not in _ORDER:
            return
        group = candidate.groups.get(of)
        if group is None and len(candidate.groups) >= _MOST_GROUPS:
            candidate.left_out += 1
            return
        if group is None:
            group = candidate.groups[of] = Group({name: record[name] for name in _WITNESS if name in record})
        group.count += 1


def _outcome(record: Mapping[str, Any], shadow: Mapping[str, Any]) -> str:
    if "unknown" in shadow:
        return UNKNOWN[UNKNOWN.index(shadow["unknown"])]
    ours, theirs = record["decision"], shadow.get("decision", record["decision"])
    if ours not in {"allow", "deny"} or theirs not in {"allow", "deny"}:
        raise ValueError("decision")
    if ours == theirs:
        return "rights" if "rights" in shadow else "agree"
    return "gain" if theirs == "allow" else "loss"


def _rights(found: Mapping[str, Any]) -> Iterator[str]:
    """What the assertion would say otherwise, in words."""
    for name, kind in (("agent", bool), ("dags", dict)):
        if not isinstance(found.get(name, kind()), kind):
            raise TypeError(name)
    if "airflow" in found:
        ours, theirs = _texts(found["airflow"])
        yield f"role in Airflow {ours or 'none'} → {theirs or 'none'}"
    if "agent" in found:
        yield "marked as an agent" if found["agent"] else "no longer marked as an agent"
    dags = found.get("dags", {})
    for name, words in _DAGS.items():
        if name in dags:
            yield f"{words} {', '.join(_texts(dags[name]))}"
    if "left_out" in dags:
        yield f"{int(dags['left_out'])} more patterns of DAGs that are not listed"


def _caller(record: Mapping[str, Any]) -> str:
    """The caller in words; a hidden name gives the id of the identity entry, if that is there."""
    run = record.get("run")
    if run:
        return f"run of {_text(run['dag_id'])}, task {_text(run['task_id'])}"
    if record.get("identity", "?") == "" and record.get("subject", "") == "":
        return "anonymous"
    return _text(record.get("subject") or record.get("client") or f"identity {record.get('identity') or 'unknown'}")


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return [_text(one) for one in value]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
