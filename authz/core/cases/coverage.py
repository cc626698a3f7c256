"""Which rules and conditions the tests of a policy cover.

Law: exact, and not rules times tests. A rule is covered if it applied to a request, whichever rule decided. A condition
is covered if it was once the only one of its rule that did not hold: without it, the rule would apply to that request.
A pattern that keeps nothing out, as `/**`, is no condition.
Whether a test would fail then is not measured, because another rule may give the same answer. A rule for all teams
counts once, whichever team's was tested. For each entry of a condition the requests
that fit it are a number with one bit per request, found through the index's own tables; a rule costs a few operations
on such numbers. Tests compare the result with the plain definition (`authz.core.decision.conditions`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from authz.core.cases.judge import Judge
from authz.core.cases.load import Suite
from authz.core.catalogue import ANY_DAG
from authz.core.decision.decide import narrows, route_of
from authz.core.errors import TokenError
from authz.core.model import Identity, Level, Plane, Request
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.dags import EVERY
from authz.core.policy.index import METHOD_KEYS
from authz.core.policy.operations import words_for
from authz.core.policy.outbound import SATISFIED, is_tunnel, sure
from authz.core.policy.patterns import Glob
from authz.core.policy.tables import GlobTable, HostTable, PathTable
from authz.core.request.path import CONNECT

_NOTHING: Final = 0
_EVERY_PATH: Final = "/**"


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A rule that applied to no request, or a `condition` of it that was never the only one that did not hold.

    Of a rule for all teams it is the first team's.
    """

    rule: Rule
    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many rules and conditions there are, how many are covered, and which are not, in the order of their ids."""

    rules: int
    covered_rules: int
    conditions: int
    covered_conditions: int
    uncovered: tuple[Uncovered, ...]

    @property
    def percent(self) -> float:
        """The lower of the two percentages."""
        return min(share(self.covered_rules, self.rules), share(self.covered_conditions, self.conditions))


def share(part: int, whole: int) -> float:
    """A percentage; all of nothing is 100."""
    return 100.0 * part / whole if whole else 100.0


def coverage(suite: Suite, judge: Judge) -> Coverage:
    """What the cases cover."""
    seen = dict.fromkeys((request, case.caller) for case in suite.cases for request in case.requests)
    asked = ((request, judge.identity(caller, request)) for request, caller in seen)
    return covered(suite.policy, [(request, None if isinstance(who, TokenError) else who) for request, who in asked])


def covered(policy: Policy, asked: Sequence[tuple[Request, Identity | None]]) -> Coverage:
    """What these requests and their callers cover."""
    seen = _Seen(policy, asked)
    tallies: dict[str, _Tally] = {}
    for rule in policy.rules.values():
        tally = tallies.setdefault(rule.written, _Tally(rule))
        wanted = list(_conditions(rule, seen))
        everywhere = seen.on(rule)
        tally.applied |= bool(_all(everywhere, wanted))
        for position, condition in enumerate(wanted):
            if condition.counts:
                others = _all(everywhere, [*wanted[:position], *wanted[position + 1 :]])
                before = tally.conditions.get(condition.name, False)
                tally.conditions[condition.name] = before or bool(others & ~condition.holds)
    conditions = [covered for tally in tallies.values() for covered in tally.conditions.values()]
    return Coverage(
        rules=len(tallies),
        covered_rules=sum(tally.applied for tally in tallies.values()),
        conditions=len(conditions),
        covered_conditions=sum(conditions),
        uncovered=tuple(one for tally in tallies.values() for one in tally.uncovered()),
    )


@dataclass(slots=True)
class _Tally:
    """What is covered of one rule of the file; of a rule for all teams, what is covered for any of them."""

    rule: Rule
    applied: bool = False
    conditions: dict[str, bool] = field(default_factory=dict)

    def uncovered(self) -> Iterator[Uncovered]:
        """The rule, and those of its conditions, that are not covered."""
        if not self.applied:
            yield Uncovered(self.rule)
        yield from (Uncovered(self.rule, name) for name, covered in self.conditions.items() if not covered)


class _Condition(NamedTuple):
    """The requests for which one condition of a rule holds. `counts` is false for one that is not to be covered."""

    name: str
    holds: int
    counts: bool = True


def _all(bits: int, conditions: Iterable[_Condition]) -> int:
    for condition in conditions:
        bits &= condition.holds
    return bits


def _conditions(rule: Rule, seen: "_Seen") -> Iterator[_Condition]:
    """The conditions of a rule, as `authz.core.decision.conditions` defines them."""
    deny = rule.effect is Effect.DENY
    if rule.roles:
        yield _Condition("roles", seen.roles.any_of(rule.roles))
    if rule.operations:
        yield _Condition("operations", seen.operations[deny].any_of(rule.operations))
    elif not deny:
        yield _Condition("operations", ~seen.of("never"), counts=False)
    if rule.hosts:
        yield _Condition("hosts", seen.hosts.any_of(host.text for host in rule.hosts))
    if rule.destinations:
        yield _Condition("destinations", seen.destinations.any_of(rule.destinations))
    tunnels = _NOTHING if is_tunnel(rule.methods) else seen.of("tunnels")
    if rule.methods:
        yield _Condition("methods", seen.methods.any_of(rule.methods) | (tunnels if deny else _NOTHING))
    elif not deny:
        yield _Condition("methods", ~tunnels, counts=False)
    if rule.paths:
        holds = seen.paths.any_of(path.key for path in rule.paths) | tunnels
        yield _Condition("paths", holds, counts=all(path.key != _EVERY_PATH for path in rule.paths))
    runs = [key for key in ("dags", "tasks") if getattr(rule, key) and not _is_every_run(rule, getattr(rule, key))]
    if "dags" in runs:
        yield _Condition("dags", _dags(rule, seen))
    if "tasks" in runs:
        unsure = seen.of("unsure") if deny else _NOTHING
        yield _Condition("tasks", seen.run_tasks.any_of(glob.text for glob in rule.tasks) | unsure)
    if rule.identity is not None:  # of a rule for both planes, it is asked for on egress only
        holds = seen.levels.any_of((rule.identity,)) | seen.planes[Plane.INBOUND]
        # `dags` and `tasks` need a known run, which is at least asserted; without the key they would ask for more.
        implied = rule.identity is Level.ASSERTED and bool(runs)
        yield _Condition("identity", holds, counts=not implied)


def _is_every_run(rule: Rule, globs: Iterable[Glob]) -> bool:
    """Whether these keep no run out: a rule that allows something asks for a known run by its `identity`."""
    return rule.planes == {Plane.EGRESS} and any(glob.text == EVERY for glob in globs)


def _dags(rule: Rule, seen: "_Seen") -> int:
    deny = rule.effect is Effect.DENY
    texts = [glob.text for glob in rule.dags]
    holds = seen.dags.any_of(texts) | seen.run_dags.any_of(texts)
    holds |= seen.of("narrowed") if not deny else seen.of("unsure")
    return holds | (seen.of("any") if deny or EVERY in texts else _NOTHING)


class _Table:
    """Requests by what they have: each key's requests as one number."""

    def __init__(self) -> None:
        self._positions: dict[str, list[int]] = defaultdict(list)
        self._bits: dict[str, int] = {}

    def add(self, keys: Iterable[str], positions: Iterable[int]) -> None:
        """These requests have these keys."""
        for key in keys:
            self._positions[key] += positions

    def any_of(self, keys: Iterable[str]) -> int:
        """The requests that have one of the keys."""
        found = _NOTHING
        for key in keys:
            found |= self[key]
        return found

    def __getitem__(self, key: str) -> int:
        if key not in self._bits:
            self._bits[key] = _number(self._positions.get(key, ()))
        return self._bits[key]


class _Seen:
    """The requests of the tests, by everything that a condition may ask for. A value is looked up once."""

    def __init__(self, policy: Policy, asked: Sequence[tuple[Request, Identity | None]]) -> None:
        self._policy = policy
        self._facts = _Table()
        self.planes, self.roles, self.methods, self.destinations, self.levels = (_Table() for _ in range(5))
        self.operations = {deny: _Table() for deny in (False, True)}
        values: dict[str, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
        inside = [(request, identity) for request, identity in asked if not request.outside]  # no rule is about others
        for position, (request, identity) in enumerate(inside):
            self._add(position, request, identity, values)
        rules = policy.rules.values()
        paths = PathTable(path for rule in rules for path in rule.paths)
        hosts = HostTable(host for rule in rules for host in rule.hosts)
        dags, tasks = (_globs(part(rule) for rule in rules) for part in (_dags_of, _tasks_of))
        self.paths = _found(values["segments"], paths.find)
        self.hosts = _found(values["host"], hosts.find)
        self.dags = _found(values["dag"], dags.find)
        self.run_dags = _found(values["run dag"], dags.find)
        self.run_tasks = _found(values["run task"], tasks.find)

    def on(self, rule: Rule) -> int:
        """The requests on the planes of a rule."""
        return self.planes.any_of(rule.planes)

    def of(self, fact: str) -> int:
        """The requests about which something is true."""
        return self._facts[fact]

    def _add(
        self, position: int, request: Request, identity: Identity | None, values: Mapping[str, dict[Any, list[int]]]
    ) -> None:
        here = (position,)
        self.planes.add((request.plane,), here)
        self.roles.add((AUTHENTICATED, *identity.roles) if identity is not None else (), here)
        self.methods.add(filter(None, METHOD_KEYS.get(request.method, (request.method,))), here)
        self.destinations.add((request.destination,), here)
        values["host"][request.host].append(position)
        values["segments"][request.segments].append(position)
        if request.method == CONNECT:
            self._facts.add(("tunnels",), here)
        if request.plane is Plane.EGRESS:
            self._add_run(position, identity, values)
        else:
            self._add_route(position, request, identity, values)

    def _add_run(self, position: int, identity: Identity | None, values: Mapping[str, dict[Any, list[int]]]) -> None:
        run = identity.run if identity is not None else None
        if not sure(run):
            self._facts.add(("unsure",), (position,))
        if run is not None:
            values["run dag"][run.dag_id].append(position)
            values["run task"][run.task_id].append(position)
            self.levels.add(SATISFIED[run.level], (position,))

    def _add_route(
        self, position: int, request: Request, identity: Identity | None, values: Mapping[str, dict[Any, list[int]]]
    ) -> None:
        route = route_of(request, self._policy)
        if route is None:
            return
        operation = self._policy.catalogue.operations[route.operation]
        self.operations[True].add(words_for(operation), (position,))
        self.operations[False].add((operation.name,) if operation.never else words_for(operation), (position,))
        if operation.never:
            self._facts.add(("never",), (position,))
        if route.dag_id == ANY_DAG:
            self._facts.add(("narrowed" if narrows(request, identity, route) else "any",), (position,))
        elif route.dag_id:
            values["dag"][route.dag_id].append(position)


def _found(values: Mapping[Any, list[int]], find: Callable[[Any], Iterable[str]]) -> _Table:
    """The requests by the patterns that fit their values."""
    table = _Table()
    for value, positions in values.items():
        table.add(find(value), positions)
    return table


def _dags_of(rule: Rule) -> tuple[Glob, ...]:
    return rule.dags


def _tasks_of(rule: Rule) -> tuple[Glob, ...]:
    return rule.tasks


def _globs(listed: Iterable[tuple[Glob, ...]]) -> GlobTable[str]:
    table: GlobTable[str] = GlobTable()
    for globs in listed:
        for glob in globs:
            table.setdefault(glob, glob.text)
    return table


def _number(positions: Iterable[int]) -> int:
    """The number with these bits, in time that is linear in the highest."""
    listed = list(positions)
    bits = bytearray(max(listed, default=-1) // 8 + 1)
    for position in listed:
        bits[position // 8] |= 1 << position % 8
    return int.from_bytes(bits, "little")
