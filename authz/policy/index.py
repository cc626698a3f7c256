"""The index: which rule applies to a request, found without looking at the rules one by one.

Law: the cost of `find` depends on the request (its roles, its path's segments, its host's labels) and on the kinds of
conditions in use, never on how many rules there are or on the condition in which they differ.

The rules of one plane and one effect are kept in nested dictionaries, one level per kind of condition that any of them
has. A level's keys are the entries of that condition, and ANY for rules without it; a rule with several entries stands
under each of them. At the end stands the smallest id of the rules that ask for exactly these keys; where no rule asks
for anything more, it stands there at once, instead of below one ANY after the other. A request is turned into its
possible keys level by level: a DAG id into the globs that match it, a path into the patterns that match it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from authz.catalogue import ANY_DAG, Catalogue
from authz.model import Plane, Request
from authz.policy.operations import words_for
from authz.policy.rules import Effect, Rule
from authz.policy.tables import GlobTable, HostTable, PathTable

ANY: Final = None
Keys: TypeAlias = Sequence[str | None]
_Level: TypeAlias = Callable[[Request, Keys, str, str], Keys]

_ANY_ONLY: Final[Keys] = (ANY,)
METHOD_KEYS: Final[Mapping[str, Keys]] = {
    "HEAD": (ANY, "HEAD", "GET"),
    **{method: (ANY, method) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")},
}
"""What a request's method may be called in a rule: GET covers HEAD (RFC 9110 §9.3.2)."""


class Index:
    """The rules of one plane and one effect."""

    __slots__ = ("_always", "_hosts", "_levels", "_paths", "_root")

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
            _Column(_dags(chosen, effect), [_dag_keys(rule, plane) for rule in chosen]),
        ]
        used = sorted((column for column in columns if column.used), key=_Column.order)
        self._levels = tuple(column.level for column in used)
        # What an operation is called may leave ANY out (`never`), so that level must be passed.
        passed = used.index(operations) if operations.always else 0
        ids = [rule.id for rule in chosen]
        self._always = ids[0] if ids and not used else ""
        self._root = _nest(ids, [column.entries for column in used], passed) if used else {}

    def find(self, request: Request, roles: Keys, operation: str, dag_id: str) -> str:
        """The smallest id of the rules that apply, or "". `roles` is ANY and every role of the caller."""
        places: list[Mapping[str | None, Any]] = [self._root]
        ids: list[str] = []
        for level in self._levels:
            found: list[Mapping[str | None, Any]] = []
            for key in level(request, roles, operation, dag_id):
                for place in places:
                    if key in place:
                        below = place[key]
                        if type(below) is str:
                            ids.append(below)
                        else:
                            found.append(below)
            if not found:
                break
            places = found
        return min(ids) if ids else self._always

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


def _nest(ids: Sequence[str], columns: Sequence[Sequence[Keys]], passed: int) -> dict[str | None, Any]:
    """The nested dictionaries. `ids` are sorted: the first stays. No id stands before the level `passed`."""
    root: dict[str | None, Any] = {}
    for position, rule_id in enumerate(ids):
        for keys in itertools.product(*(column[position] for column in columns)):
            last = len(keys) - 1
            while last > passed and keys[last] is ANY:
                last -= 1
            _put(root, keys[: last + 1], rule_id)
    return root


def _put(place: dict[str | None, Any], keys: Keys, rule_id: str) -> None:
    for key in keys[:-1]:
        below = place.get(key)
        if not isinstance(below, dict):  # nothing, or a rule that asks for nothing more, as others do from here on
            below = place[key] = {} if below is None else {ANY: below}
        place = below
    key = keys[-1]
    while isinstance(place.get(key), dict):  # others ask for more: beside them, this one does not
        place, key = place[key], ANY
    place.setdefault(key, rule_id)


def _dag_keys(rule: Rule, plane: Plane) -> Keys:
    """A deny rule about any DAG also denies "all DAGs", and on egress, where the DAG is not known yet, everything."""
    if not rule.dags:
        return _ANY_ONLY
    texts = tuple(glob.text for glob in rule.dags)
    if rule.effect is Effect.DENY:
        return _ANY_ONLY if plane is Plane.EGRESS else (*texts, ANY_DAG)
    return texts


def _hosts(table: HostTable) -> _Level:
    return lambda request, _roles, _operation, _dag_id: [ANY, *table.find(request.host)]


def _paths(table: PathTable) -> _Level:
    return lambda request, _roles, _operation, _dag_id: [ANY, *table.find(request.segments)]


def _roles(_request: Request, roles: Keys, _operation: str, _dag_id: str) -> Keys:
    return roles


def _methods(request: Request, _roles: Keys, _operation: str, _dag_id: str) -> Keys:
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

    def keys(_request: Request, _roles: Keys, operation: str, _dag_id: str) -> Keys:
        return table.get(operation, _ANY_ONLY)

    return keys


def _dags(rules: Sequence[Rule], effect: Effect) -> _Level:
    """`~` in a path means every DAG: only an allow rule for `*` covers it, and every deny rule about any DAG does."""
    table: GlobTable[str] = GlobTable()
    for rule in rules:
        for glob in rule.dags:
            table.setdefault(glob, glob.text)
    every: Keys = (ANY, ANY_DAG) if effect is Effect.DENY else (ANY, "*")

    def keys(_request: Request, _roles: Keys, _operation: str, dag_id: str) -> Keys:
        if not dag_id:
            return _ANY_ONLY
        return every if dag_id == ANY_DAG else [ANY, *table.find(dag_id)]

    return keys
