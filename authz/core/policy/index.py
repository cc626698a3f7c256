"""The index: finds the rules that apply to a request without looking at each rule.

Law: the cost of `find` depends on the request (its roles, its path's segments, its host's labels) and on the kinds of
conditions in use, never on how many rules there are or on the condition in which they differ.

The rules of one plane and one effect are kept in nested dictionaries, one level per kind of condition that any of them
has. A level's keys are the entries of that condition, and ANY for rules without it; a rule with several entries is
under each of them. At the end is the smallest id of the rules that ask for exactly these keys; if no rule asks for
more, it is there at once, instead of below a chain of ANY keys. A request is turned into its possible keys level by
level: a path into the patterns that match it, an operation into the words for it.

On the inbound plane `dags` are no such level, because a decision asks which DAGs the rules name together, and not only
which rules name this one: an end with `dags` rules has a `Limited` instead of an id. On egress, the calling run's
DAG, task and assurance level each have a level. There a deny rule is also under UNKNOWN in each level that a call may
say nothing about (see `authz.core.policy.outbound`).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from authz.core.catalogue import Catalogue
from authz.core.model import DagGrant, Plane, Request, Run
from authz.core.policy.dags import Applying, Dags, Limited, Unions
from authz.core.policy.operations import words_for
from authz.core.policy.outbound import SATISFIED, sure
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import Effect, Rule
from authz.core.policy.tables import GlobTable, HostTable, PathTable
from authz.core.request.path import CONNECT

ANY: Final = None
UNKNOWN: Final = ""
"""The key, in a deny rule's level, of requests that do not say what the level is about. No pattern is empty."""
Keys: TypeAlias = Sequence[str | None]
_Level: TypeAlias = Callable[[Request, Keys, str, Run | None], Keys]

_ANY_ONLY: Final[Keys] = (ANY,)
_NOT_KNOWN: Final[Keys] = (ANY, UNKNOWN)
_NONE: Final = Applying("")
METHOD_KEYS: Final[Mapping[str, Keys]] = {
    "HEAD": (ANY, "HEAD", "GET"),
    **{method: (ANY, method) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")},
}
"""What a request's method may be called in a rule: GET covers HEAD (RFC 9110 §9.3.2)."""
_TUNNEL_ALLOWED: Final[Mapping[str, Keys]] = {**METHOD_KEYS, CONNECT: (CONNECT,)}
_TUNNEL_DENIED: Final[Mapping[str, Keys]] = {**METHOD_KEYS, CONNECT: (ANY, CONNECT, *METHOD_KEYS)}


class Index:
    """The rules of one plane and one effect."""

    __slots__ = ("_always", "_destinations", "_hosts", "_levels", "_paths", "_root", "_unions", "effect")

    def __init__(self, rules: Iterable[Rule], *, plane: Plane, effect: Effect, catalogue: Catalogue) -> None:
        self.effect = effect
        chosen = sorted(_chosen(rules, plane, effect), key=lambda rule: rule.id)
        self._paths = PathTable(path for rule in chosen for path in rule.paths)
        self._hosts = HostTable(host for rule in chosen for host in rule.hosts)
        self._destinations = frozenset(name for rule in chosen for name in rule.destinations)
        operations = _Column(
            _operations(chosen, effect, catalogue),
            [rule.operations or _ANY_ONLY for rule in chosen],
            always=plane is Plane.INBOUND and effect is not Effect.DENY,
        )
        columns = [
            _Column(_roles, [rule.roles or _ANY_ONLY for rule in chosen]),
            operations,
            _Column(_hosts(self._hosts), [tuple(host.text for host in rule.hosts) or _ANY_ONLY for rule in chosen]),
            *(_inbound(chosen, self._paths) if plane is Plane.INBOUND else _egress(chosen, effect, self._paths)),
        ]
        used = sorted((column for column in columns if column.used), key=_Column.order)
        self._levels = tuple(column.level for column in used)
        # What an operation is called may leave ANY out (`never`), so that level must be passed.
        passed = used.index(operations) if operations.always else 0
        ends = _Ends(chosen, plane)
        self._always = ends.alone() if chosen and not used else _NONE
        self._root = _nest(len(chosen), [column.entries for column in used], passed) if used else {}
        ends.put(self._root)
        self._unions = Unions()

    def find(self, request: Request, roles: Keys, operation: str, run: Run | None = None) -> Applying:
        """The rules that apply, on the inbound plane except for their `dags`.

        `roles` is ANY and every role of the caller, `run` the calling run, if one is known.
        """
        places: list[Mapping[str | None, Any]] = [self._root]
        ids: list[str] = []
        limited: list[Limited] = []
        for level in self._levels:
            found: list[Mapping[str | None, Any]] = []
            for key in level(request, roles, operation, run):
                for place in places:
                    if key in place:
                        below = place[key]
                        kind = type(below)
                        if kind is str:
                            ids.append(below)
                        elif kind is Limited:
                            limited.append(below)
                        else:
                            found.append(below)
            if not found:
                break
            places = found
        if limited:
            ids += [place.rule for place in limited if place.rule]
        elif not ids:
            return self._always
        return Applying(min(ids, default=""), tuple(limited))

    def dags(self, applying: Applying) -> Dags:
        """The DAGs that rules of this index name together; `applying` is what `find` returned."""
        return self._unions.of(applying)

    def grant(self, applying: Applying, denied: Dags) -> DagGrant:
        """The DAGs that rules of this index name together, without those that are denied."""
        return self._unions.grant(self._unions.of(applying), denied)

    def names(self, request: Request) -> bool:
        """Whether any rule has a path pattern that matches, and on egress names the host or destination."""
        path = request.method == CONNECT or bool(self._paths.find(request.segments))
        if not path or request.plane is Plane.INBOUND:
            return path
        return request.destination in self._destinations or bool(self._hosts.find(request.host))


class _Column:
    """One kind of condition: how a request is turned into its keys, and the keys of every rule.

    `always`: it has a level whatever the rules are; `first`: its level is the first one, which every rule passes.
    """

    def __init__(self, level: _Level, entries: Sequence[Keys], *, always: bool = False, first: bool = False) -> None:
        self.level = level
        self.entries = entries
        self.always = always
        self._first = first
        self._distinct = {key for keys in entries for key in keys}
        self.used = always or first or bool(self._distinct - {ANY})

    def order(self) -> tuple[bool, bool, int]:
        """Sort key: fewest keys first, for few dictionaries; a level in which no rules differ last."""
        return not self._first, self._distinct == {ANY}, len(self._distinct)


def _inbound(rules: Sequence[Rule], paths: PathTable) -> Iterator[_Column]:
    yield _Column(_methods(METHOD_KEYS), [rule.methods or _ANY_ONLY for rule in rules])
    yield _Column(_paths(paths), [tuple(path.key for path in rule.paths) or _ANY_ONLY for rule in rules])


def _egress(rules: Sequence[Rule], effect: Effect, paths: PathTable) -> Iterator[_Column]:
    deny = effect is Effect.DENY
    unknown: Keys = (UNKNOWN,) if deny else ()
    # A tunnel is not called ANY where rules allow, so that every one of them must pass this level.
    methods = _methods(_TUNNEL_DENIED if deny else _TUNNEL_ALLOWED)
    yield _Column(methods, [rule.methods or _ANY_ONLY for rule in rules], first=not deny)
    keys = [(*(path.key for path in rule.paths), *unknown) if rule.paths else _ANY_ONLY for rule in rules]
    yield _Column(_outbound_paths(paths), keys)
    yield _Column(_destinations, [rule.destinations or _ANY_ONLY for rule in rules])
    globs_of: tuple[Callable[[Rule], Sequence[Glob]], ...] = (lambda rule: rule.dags, lambda rule: rule.tasks)
    names: tuple[Callable[[Run], str], ...] = (lambda run: run.dag_id, lambda run: run.task_id)
    for globs, name in zip(globs_of, names, strict=True):
        table: GlobTable[str] = GlobTable()
        for glob in {glob for rule in rules for glob in globs(rule)}:
            table.setdefault(glob, glob.text)
        keys = [(*(g.text for g in globs(rule)), *unknown) if globs(rule) else _ANY_ONLY for rule in rules]
        yield _Column(_runs(table, name, deny=deny), keys)
    yield _Column(_identity, [(rule.identity,) if rule.identity else _ANY_ONLY for rule in rules])


def _chosen(rules: Iterable[Rule], plane: Plane, effect: Effect) -> Iterator[Rule]:
    for rule in rules:
        if rule.effect is effect and plane in rule.planes:
            yield rule


def _nest(count: int, columns: Sequence[Sequence[Keys]], passed: int) -> dict[str | None, Any]:
    """The nested dictionaries, with lists of the positions of rules at their ends. None ends before `passed`."""
    root: dict[str | None, Any] = {}
    for position in range(count):
        for keys in itertools.product(*(column[position] for column in columns)):
            last = len(keys) - 1
            while last > passed and keys[last] is ANY:
                last -= 1
            _put(root, keys[: last + 1], position)
    return root


def _put(place: dict[str | None, Any], keys: Keys, position: int) -> None:
    for key in keys[:-1]:
        below = place.get(key)
        if not isinstance(below, dict):  # nothing, or a rule that asks for nothing more, as others do from here on
            below = place[key] = {} if below is None else {ANY: below}
        place = below
    key = keys[-1]
    while isinstance(place.get(key), dict):  # others ask for more: beside them, this one does not
        place, key = place[key], ANY
    place.setdefault(key, []).append(position)


class _Ends:
    """The ends of the nested dictionaries. Equal ends are one object: a rule may be in many places."""

    def __init__(self, rules: Sequence[Rule], plane: Plane) -> None:
        self._rules = rules
        self._by_dag = plane is Plane.INBOUND
        self._made: dict[tuple[int, ...], str | Limited] = {}

    def of(self, positions: Iterable[int]) -> str | Limited:
        """The smallest id of the rules at these positions, which are sorted; with `dags` among them, all of these."""
        key = tuple(positions)
        made = self._made.get(key)
        if made is None:
            rules = [self._rules[position] for position in key]
            limited = [rule for rule in rules if rule.dags and self._by_dag]
            plain = next((rule.id for rule in rules if not (rule.dags and self._by_dag)), "")
            made = self._made[key] = Limited(plain, limited) if limited else plain
        return made

    def alone(self) -> Applying:
        """All the rules, if none of them has a condition with a level in the index."""
        end = self.of(range(len(self._rules)))
        return Applying(end) if isinstance(end, str) else Applying(end.rule, (end,))

    def put(self, place: dict[str | None, Any]) -> None:
        """Every list of positions, in this dictionary and below, becomes its end."""
        for key, below in place.items():
            if isinstance(below, dict):
                self.put(below)
            else:
                place[key] = self.of(below)


def _hosts(table: HostTable) -> _Level:
    return lambda request, _roles, _operation, _run: [ANY, *table.find(request.host)]


def _paths(table: PathTable) -> _Level:
    return lambda request, _roles, _operation, _run: [ANY, *table.find(request.segments)]


def _outbound_paths(table: PathTable) -> _Level:
    def keys(request: Request, _roles: Keys, _operation: str, _run: Run | None) -> Keys:
        return _NOT_KNOWN if request.method == CONNECT else [ANY, *table.find(request.segments)]

    return keys


def _roles(_request: Request, roles: Keys, _operation: str, _run: Run | None) -> Keys:
    return roles


def _methods(table: Mapping[str, Keys]) -> _Level:
    return lambda request, _roles, _operation, _run: table[request.method]


def _destinations(request: Request, _roles: Keys, _operation: str, _run: Run | None) -> Keys:
    return (ANY, request.destination) if request.destination else _ANY_ONLY


def _runs(table: GlobTable[str], name: Callable[[Run], str], *, deny: bool) -> _Level:
    def keys(_request: Request, _roles: Keys, _operation: str, run: Run | None) -> Keys:
        if run is None or (deny and not sure(run)):
            return _NOT_KNOWN
        return [ANY, *table.find(name(run))]

    return keys


def _identity(_request: Request, _roles: Keys, _operation: str, run: Run | None) -> Keys:
    return _ANY_ONLY if run is None else (ANY, *SATISFIED[run.level])


def _operations(rules: Sequence[Rule], effect: Effect, catalogue: Catalogue) -> _Level:
    """An operation that the catalogue marks `never` is allowed only by a rule that names it."""
    used = {word for rule in rules for word in rule.operations}
    table: dict[str, Keys] = {}
    for name, operation in catalogue.operations.items():
        if operation.never and effect is not Effect.DENY:
            table[name] = (name,)
        else:
            table[name] = (ANY, *(word for word in words_for(operation) if word in used))

    def keys(_request: Request, _roles: Keys, operation: str, _run: Run | None) -> Keys:
        return table.get(operation, _ANY_ONLY)

    return keys
