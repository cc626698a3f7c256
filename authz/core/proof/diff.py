"""The exact difference between two policies: who gains and who loses what, with a request to try for each.

Law: complete beside `conditions.conditions`, each of which is a change by itself. Gains are the losses of
the way back: one question, asked twice.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Final

from authz.core.model import Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import AUTHENTICATED, Rule
from authz.core.proof.boxes import Box, boxes
from authz.core.proof.callers import Caller, Membership, callers
from authz.core.proof.gains import Gain, Gains, may
from authz.core.proof.points import Point
from authz.core.proof.regions import EVERY, Region
from authz.core.proof.space import Space
from authz.core.proof.witness import Witness, witness
from authz.core.proof.wording import dag_of
from authz.core.request.path import METHODS


@dataclass(frozen=True)
class Known:
    """The callers who were asked about."""

    callers: tuple[Caller, ...] = ()

    @cached_property
    def alike(self) -> Mapping[tuple[str, Membership], tuple[Membership, ...]]:
        """For each issuer and membership those that count like it."""
        return {(one.issuer, one.memberships[0]): one.alike for one in self.callers if len(one.memberships) == 1}


NOT_ASKED: Final = Known()


@dataclass(frozen=True, kw_only=True)
class Change:
    """What callers gain, or lose: all combinations of what it says. `roles` are those of the rule that they have.

    `operations` is empty outside of Airflow's catalogue. `routes` are those of them that are meant, where two versions
    of Airflow differ about them, as `GET /ui/teams`; empty where all are. `dags` are patterns, empty where no DAG is
    concerned. The others are what the rule says, as far as it is about them; `methods` and `levels` are those that have
    changed.
    `rule` allows it in the one policy; `denied` is a deny rule of the other, if that is the reason.
    `known` are those who were asked about. `find` finds the witness. `excepted` is what deny rules take from it; only
    `access.calls` looks.
    """

    gained: bool
    plane: Plane
    callers: tuple[Caller, ...]
    known: Known = field(default=NOT_ASKED, repr=False)
    roles: tuple[str, ...]
    operations: tuple[str, ...]
    routes: tuple[str, ...] = ()
    dags: tuple[str, ...]
    destinations: tuple[str, ...]
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    levels: tuple[str, ...]
    tasks: tuple[str, ...]
    rule: str
    denied: str
    find: Callable[[], Witness | None] = field(repr=False, compare=False)
    excepted: tuple[str, ...] = ()

    @cached_property
    def witness(self) -> Witness | None:
        """A request that shows it; None if none is found. It is looked for only where it is shown."""
        return self.find()

    def ways(self, caller: Caller) -> tuple[tuple[Membership, ...], ...]:
        """For each membership of the caller, itself and those that count alike."""
        alike = [self.known.alike.get((caller.issuer, one), ()) for one in caller.memberships]
        if caller.alike:
            alike[-1] = caller.alike
        return tuple((one, *others) for one, others in zip(caller.memberships, alike, strict=True))


def changes(old: Policy, new: Policy) -> Iterator[Change]:
    """Every gain and every loss."""
    for plane in Plane:
        yield from gained(old, new, plane)
        yield from (replace(change, gained=False) for change in gained(new, old, plane))


def gained(before: Policy, after: Policy, plane: Plane, asking: Iterable[Caller] | None = None) -> Iterator[Change]:
    """The gains on one plane, those of one rule with equal callers together; of `asking`, or else of all callers."""
    known = Known(tuple(callers(plane, before, after) if asking is None else asking))
    question = Gains(before, after, plane, None if asking is None else known.callers)
    methods = Methods(plane, before, after)
    for found in _together(question):
        first = found[0]
        rule = after.rules[first.rule]
        held = {role for caller in first.callers for role in _roles(caller, after)}
        for box, regions in _boxes(found, rule, question):
            levels = box[_LEVEL] if question.about_runs else ("",)
            yield Change(
                gained=True,
                plane=plane,
                callers=first.callers,
                known=known,
                roles=tuple(role for role in rule.roles if role == AUTHENTICATED or role in held),
                operations=_texts(name.partition(_BY)[0] for name in box[0]),
                routes=_texts(name.partition(_BY)[2] for name in box[0]),
                dags=() if plane is Plane.EGRESS and "" in box[_DAG] else _texts(box[_DAG]),
                destinations=_texts(region.destination for region in regions),
                hosts=_texts(region.host.text for region in regions if region.host is not None),
                methods=methods.texts(rule, regions),
                paths=_texts(region.pattern for region in regions),
                levels=() if "" in levels else tuple(level.value for level in Level if level.value in levels),
                tasks=()
                if any(region.task == EVERY for region in regions)
                else _texts(one.task.text for one in regions),
                rule=first.rule,
                denied=first.denied,
                find=partial(_witness, regions, first.callers[0], before, after),
            )


def _witness(regions: Iterable[Region], caller: Caller, before: Policy, after: Policy) -> Witness | None:
    """A request of the regions that shows the gain."""

    def differs(caller: Caller, at: Point) -> bool:
        return may(caller, at, after) and not may(caller, at, before)

    return next(filter(None, (witness(region, caller, differs) for region in regions)), None)


_DAG: Final = 1
_LEVEL: Final = 5
_BY: Final = " by "  # between an operation and one of its routes


def _boxes(found: Iterable[Gain], rule: Rule, question: Gains) -> Iterator[tuple[Box, list[Region]]]:
    """The regions of the gains, together where all combinations of what they say are gained."""
    regions: dict[tuple[str, ...], list[Region]] = defaultdict(list)
    about_dags: dict[str, bool] = defaultdict(bool)
    for region in (gain.region for gain in found):
        for name in _names(region, question):
            about_dags[name] |= bool(region.operation and dag_of(region))
            regions[name, *_sides(region, rule, question)].append(region)
    # Beside the DAGs of an operation, whether it may be asked for at all says nothing more.
    said = [sides for sides in regions if sides[_DAG] or not about_dags[sides[0]]]
    for box in boxes(said):
        inside = {
            id(region): region
            for sides, some in regions.items()
            if all(
                side in values or (at == _DAG and not side and about_dags[sides[0]])
                for at, (side, values) in enumerate(zip(sides, box, strict=True))
            )
            for region in some
        }
        yield box, [*inside.values()]


def _names(region: Region, question: Gains) -> list[str]:
    """The operations of a region; where two catalogues differ about its routes, with each of these."""
    names = []
    for operation in question.operations(region):
        routes = question.routes(region, operation)
        names += [f"{operation}{_BY}{route}" for route in routes] or [operation]
    return names or [""]


def _sides(region: Region, rule: Rule, question: Gains) -> tuple[str, ...]:
    """What a report says of a region, side by side; an operation says the method."""
    method = region.method if rule.methods or not region.operation else ""
    host = region.host.text if region.host is not None else ""
    level = region.level.value if region.level is not None else ""
    # An entry has routes of which all are said, or operations of which all routes are meant.
    differs = "by" if region.was is not None and region.operation and question.routes(region, region.operation) else ""
    return dag_of(region), region.destination, host, region.pattern, level, method, region.task.text, differs


def _together(question: Gains) -> Iterator[list[Gain]]:
    """The gains of one rule and equal callers, those within Airflow's catalogue and the others; a rule at a time.

    What callers gain by the rule alone, they do not gain a second time because a deny rule is gone.
    """
    rule, groups, whole = "", dict[object, list[Gain]](), dict[Region, frozenset[Caller]]()
    for gain in question.all():
        if gain.rule != rule:
            yield from groups.values()
            rule, groups, whole = gain.rule, {}, {}
        if not gain.denied:
            whole[gain.region] = whole.get(gain.region, frozenset()).union(gain.callers)
        elif whole.get(gain.region, frozenset()).issuperset(gain.callers):
            continue
        groups.setdefault((gain.callers, gain.denied, bool(gain.region.operation)), []).append(gain)
    yield from groups.values()


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}))


class Methods:
    """The methods of regions in words: those that one of them stands for, too."""

    def __init__(self, plane: Plane, *policies: Policy) -> None:
        rules = [rule for policy in policies for rule in policy.rules.values() if plane in rule.planes]
        self._asked = set(Space(plane, *policies).methods)
        self._others = METHODS - {method for rule in rules for method in rule.methods} - {"HEAD"}

    def texts(self, rule: Rule, regions: list[Region]) -> tuple[str, ...]:
        """The methods, where they are not clear from the operations and are not all of them."""
        found = {region.method for region in regions}
        if not rule.methods and (regions[0].operation or found == self._asked):
            return ()
        one_for_all = self._others if regions[0].plane is Plane.EGRESS and found & self._others else frozenset()
        return _texts(found | one_for_all)


def _roles(caller: Caller, policy: Policy) -> frozenset[str]:
    identity = caller.identity(policy)
    return identity.roles if identity is not None else frozenset()
