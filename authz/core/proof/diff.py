"""The exact difference between two policies: who gains and who loses what, with a request to try for each.

Law: complete under the conditions that `conditions` names, each of which is a change by itself. Gains are the losses of
the way back: one question, asked twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from authz.core.catalogue import ANY_DAG
from authz.core.model import Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import AUTHENTICATED, Rule
from authz.core.proof.callers import Caller
from authz.core.proof.gains import Gain, Gains, may
from authz.core.proof.points import Point
from authz.core.proof.regions import EVERY, Region
from authz.core.proof.witness import Witness, witness
from authz.core.request.path import CONNECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that changes who is a caller or what a request is, which no comparison of rules shows."""

    text: str
    widens: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What callers gain, or lose. `roles` are those of the rule that they have.

    `operations` is empty outside of Airflow's catalogue. `dags` are patterns, empty where no DAG is concerned. The
    others are what the rule says, as far as it is about them; `methods` and `levels` are those that have changed.
    `rule` allows it in the one policy; `denied` is a deny rule of the other, if that is the reason.
    """

    gained: bool
    plane: Plane
    callers: tuple[Caller, ...]
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    dags: tuple[str, ...]
    destinations: tuple[str, ...]
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    levels: tuple[str, ...]
    tasks: tuple[str, ...]
    rule: str
    denied: str
    witness: Witness | None


def conditions(old: Policy, new: Policy) -> Iterator[Condition]:
    """What the difference between the rules does not show."""
    if old.catalogue.version != new.catalogue.version:
        versions = f"{old.catalogue.version} and {new.catalogue.version}"
        yield Condition(text=f"the operations are those of different Airflow versions: {versions}", widens=True)
    for url in sorted(old.issuers.keys() | new.issuers.keys()):
        before, after = old.issuers.get(url), new.issuers.get(url)
        if before is None:
            yield Condition(text=f"tokens of a new issuer are accepted: {url}", widens=True)
        elif after is None:
            yield Condition(text=f"tokens of this issuer are no longer accepted: {url}", widens=False)
        elif before != after:
            yield Condition(text=f"whose tokens are accepted has changed: the entry of the issuer {url}", widens=True)


def changes(old: Policy, new: Policy) -> Iterator[Change]:
    """Every gain and every loss."""
    for plane in Plane:
        yield from gained(old, new, plane)
        yield from (replace(change, gained=False) for change in gained(new, old, plane))


def gained(before: Policy, after: Policy, plane: Plane, asking: Iterable[Caller] | None = None) -> Iterator[Change]:
    """The gains on one plane, those of one rule with equal callers together; of `asking`, or else of all callers."""

    def differs(caller: Caller, at: Point) -> bool:
        return may(caller, at, after) and not may(caller, at, before)

    question = Gains(before, after, plane, asking)
    for found in _together(question):
        first = found[0]
        rule = after.rules[first.rule]
        held = {role for caller in first.callers for role in _roles(caller, after)}
        regions = [gain.region for gain in found]
        levels = {region.level for region in regions}
        yield Change(
            gained=True,
            plane=plane,
            callers=first.callers,
            roles=tuple(role for role in rule.roles if role == AUTHENTICATED or role in held),
            operations=_texts(name for region in regions for name in question.operations(region)),
            dags=_texts(map(_dag, regions)),
            destinations=_texts(region.destination for region in regions),
            hosts=_texts(region.host.text for region in regions if region.host is not None),
            methods=_texts(_methods(rule, regions)),
            paths=_texts(region.pattern for region in regions),
            levels=() if None in levels else tuple(level.value for level in Level if level in levels),
            tasks=_texts(region.task.text for region in regions if region.task != EVERY),
            rule=first.rule,
            denied=first.denied,
            witness=next(filter(None, (witness(gain.region, gain.callers[0], differs) for gain in found)), None),
        )


def _together(question: Gains) -> Iterator[list[Gain]]:
    """The gains of one rule and equal callers, those within Airflow's catalogue and the others; a rule at a time."""
    rule, groups = "", dict[object, list[Gain]]()
    for gain in question.all():
        if gain.rule != rule:
            yield from groups.values()
            rule, groups = gain.rule, {}
        groups.setdefault((gain.callers, gain.denied, bool(gain.region.operation)), []).append(gain)
    yield from groups.values()


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}))


def _methods(rule: Rule, regions: list[Region]) -> Iterator[str]:
    """The methods, where they are not clear from the operations or the rule is about some."""
    if rule.methods or any(region.method == CONNECT for region in regions):
        yield from (region.method for region in regions)


def _roles(caller: Caller, policy: Policy) -> frozenset[str]:
    identity = caller.identity(policy)
    return identity.roles if identity is not None else frozenset()


def _dag(region: Region) -> str:
    """The DAGs of a region as a pattern; "" if it names none."""
    if region.plane is Plane.EGRESS:
        return "" if region.level is None or region.dag == EVERY else region.dag.text
    if region.shown is not None:
        return region.shown.text
    if region.dag_at < 0:
        return ""
    segment = region.path[region.dag_at]
    return segment.text if isinstance(segment, Glob) else EVERY.text if segment in {None, ANY_DAG} else str(segment)
