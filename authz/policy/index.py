"""The index: which rules apply to a request, found without looking at the rules one by one.

Law: the cost of `find` depends on the request (its roles, its path's segments, its host's labels) and on the kinds of
conditions in use, never on how many rules there are or on the condition in which they differ.

The rules of one plane and one effect are kept in nested dictionaries, one level per kind of condition that any of them
has. A level's keys are the entries of that condition, and ANY for rules without it; a rule with several entries stands
under each of them. At the end stands the smallest id of the rules that ask for exactly these keys; where no rule asks
for anything more, it stands there at once, instead of below one ANY after the other. A request is turned into its
possible keys level by level: a path into the patterns that match it, an operation into the words for it.

`dags` are no such level, because a decision asks which DAGs the rules name together, and not only which rules name this
one: where rules with `dags` are at the end, a `Limited` stands there instead of an id.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from authz.catalogue import Catalogue
from authz.model import Plane, Request
from authz.policy.dags import Applying, Dags, Limited, Unions
from authz.policy.operations import words_for
from authz.policy.rules import Effect, Rule
from authz.policy.tables import HostTable, PathTable

ANY: Final = None
Keys: TypeAlias = Sequence[str | None]
_Level: TypeAlias = Callable[[Request, Keys, str], Keys]

_ANY_ONLY: Final[Keys] = (ANY,)
_NONE: Final = Applying("")
METHOD_KEYS: Final[Mapping[str, Keys]] = {
    "HEAD": (ANY, "HEAD", "GET"),
    **{method: (ANY, method) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")},
}
"""What a request's method may be called in a rule: GET covers HEAD (RFC 9110 §9.3.2)."""


class Index:
    """The rules of one plane and one effect."""

    __slots__ = ("_always", "_hosts", "_levels", "_paths", "_root", "_unions")

    def __init__(self, rules: Iterable[Rule], *, plane: Plane, effect: Effect, catalogue: Catalogue) -> None:
        chosen = sorted(_chosen(rules, plane, effect), key=lambda rule: rule.id)
        self._paths = PathTable(path for rule in chosen for path in rule.paths)
        self._hosts = HostTable(host for rule in chosen for host in rule.hosts)
        operations = _Column(
            _operations(chosen, effect, catalogue),
            [rule.operations or _ANY_ONLY for rule in chosen],
            always=plane is Plane.INBOUND and effect is not Effect.DENY,
        )
        columns = [
            _Column(_roles, [rule.roles or _ANY_ONLY for rule in chosen]),
            _Column(_methods, [rule.methods or _ANY_ONLY for rule in chosen]),
            operations,
            _Column(_hosts(self._hosts), [tuple(host.text for host in rule.hosts) or _ANY_ONLY for rule in chosen]),
            _Column(_paths(self._paths), [tuple(path.key for path in rule.paths) or _ANY_ONLY for rule in chosen]),
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

    def find(self, request: Request, roles: Keys, operation: str) -> Applying:
        """The rules that apply, apart from their `dags`. `roles` is ANY and every role of the caller."""
        places: list[Mapping[str | None, Any]] = [self._root]
        ids: list[str] = []
        limited: list[Limited] = []
        for level in self._levels:
            found: list[Mapping[str | None, Any]] = []
            for key in level(request, roles, operation):
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

    def names(self, request: Request) -> bool:
        """Whether any rule has a path pattern, and on egress a host pattern, that matches: it names the route."""
        path = bool(self._paths.find(request.segments))
        return path and (request.plane is Plane.INBOUND or bool(self._hosts.find(request.host)))


class _Column:
    """One kind of condition: how a request is turned into its keys, and the keys of every rule."""

    def __init__(self, level: _Level, entries: Sequence[Keys], *, always: bool = False) -> None:
        self.level = level
        self.entries = entries
        self.always = always
        self._distinct = {key for keys in entries for key in keys}
        self.used = always or bool(self._distinct - {ANY})

    def order(self) -> tuple[bool, int]:
        """Few different keys first, which makes few dictionaries; a level that tells no rules apart last."""
        return self._distinct == {ANY}, len(self._distinct)


def _chosen(rules: Iterable[Rule], plane: Plane, effect: Effect) -> Iterator[Rule]:
    for rule in rules:
        # Egress requests carry no verified DAG yet, so an allow rule that asks for one cannot apply.
        never = plane is Plane.EGRESS and effect is not Effect.DENY and rule.dags
        if rule.effect is effect and plane in rule.planes and not never:
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
    """What stands at the ends of the nested dictionaries. Equal ends are one object: a rule may be in many places."""

    def __init__(self, rules: Sequence[Rule], plane: Plane) -> None:
        self._rules = rules
        # On egress the DAG of a request is not known yet, so that a deny rule about DAGs denies whatever they are.
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
        """All the rules, where none of them has a condition that an index has a level for."""
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
    return lambda request, _roles, _operation: [ANY, *table.find(request.host)]


def _paths(table: PathTable) -> _Level:
    return lambda request, _roles, _operation: [ANY, *table.find(request.segments)]


def _roles(_request: Request, roles: Keys, _operation: str) -> Keys:
    return roles


def _methods(request: Request, _roles: Keys, _operation: str) -> Keys:
    return METHOD_KEYS[request.method]


def _operations(rules: Sequence[Rule], effect: Effect, catalogue: Catalogue) -> _Level:
    """An operation that the catalogue marks `never` is allowed only by a rule that names it."""
    used = {word for rule in rules for word in rule.operations}
    table: dict[str, Keys] = {}
    for name, operation in catalogue.operations.items():
        if operation.never and effect is not Effect.DENY:
            table[name] = (name,)
        else:
            table[name] = (ANY, *(word for word in words_for(operation) if word in used))

    def keys(_request: Request, _roles: Keys, operation: str) -> Keys:
        return table.get(operation, _ANY_ONLY)

    return keys
