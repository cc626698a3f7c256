"""Finds, among many rules, those that may cover another one, so that lint need not compare each with each.

Law: it finds every rule that `Covering.covers` would accept; extra candidates only cost time. A rule is stored under
the entries of one of its conditions, the one whose entries it shares with the fewest others: any single condition in
which otherwise equal rules differ separates them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from authz.core.catalogue import Catalogue
from authz.core.policy.coverage import Covering
from authz.core.policy.operations import words_for
from authz.core.policy.outbound import is_tunnel
from authz.core.policy.patterns import Glob, PathPattern
from authz.core.policy.rules import AUTHENTICATED, Rule
from authz.core.policy.tables import GlobTable, HostTable, PathTable

_ENTRIES: Final[Mapping[str, Callable[[Rule], Iterable[str]]]] = {
    "destinations": lambda rule: rule.destinations,
    "operations": lambda rule: rule.operations,
    "hosts": lambda rule: (host.text for host in rule.hosts),
    "dags": lambda rule: (glob.text for glob in rule.dags),
    "tasks": lambda rule: (glob.text for glob in rule.tasks),
    "paths": lambda rule: (path.key for path in rule.paths),
}
_OF_TUNNELS: Final = frozenset(_ENTRIES) - {"paths"}  # a deny rule about paths covers tunnels too


class CoveringIndex:
    """Rules by role and condition."""

    def __init__(self, rules: Iterable[Rule], covering: Covering) -> None:
        self._covering = covering
        groups: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            for role in rule.roles or (AUTHENTICATED,):
                groups[role].append(rule)
        self._groups = {role: _Group(members) for role, members in groups.items()}
        self._near: dict[str, list[_Group]] = {}  # by the role of the narrow rule

    def first(self, narrow: Rule) -> Rule | None:
        """One rule that covers this one: of the first role in order, the one with the smallest id."""
        role = narrow.roles[0] if narrow.roles else AUTHENTICATED
        if role not in self._near:
            known = self._covering.policy.roles.get(role)
            names = sorted(self._groups.keys() & {AUTHENTICATED, *(known.includes if known else ())})
            self._near[role] = [self._groups[name] for name in names]
        for group in self._near[role]:
            found = [rule for rule in group.near(narrow, self._covering) if self._covering.covers(rule, narrow)]
            if found:
                return min(found, key=lambda rule: rule.id)
        return None


class _Group:
    """The rules of one role, once for requests and once for tunnels, whose path is unknown."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._made: dict[bool, _Tables] = {}

    def near(self, narrow: Rule, covering: Covering) -> Iterator[Rule]:
        tunnel = is_tunnel(narrow.methods)
        if tunnel not in self._made:
            self._made[tunnel] = _Tables(self._rules, _OF_TUNNELS if tunnel else _ENTRIES.keys())
        return self._made[tunnel].near(narrow, covering)


class _Tables:
    """Each rule under the entries of its rarest condition; `_rest` has those without any."""

    def __init__(self, rules: list[Rule], kinds: Iterable[str]) -> None:
        entries = {kind: [tuple(_ENTRIES[kind](rule)) for rule in rules] for kind in kinds}
        counts = {kind: Counter(key for keys in column for key in keys) for kind, column in entries.items()}
        self._rest: list[Rule] = []
        self._by: dict[str, dict[str, list[Rule]]] = {kind: defaultdict(list) for kind in entries}
        for position, rule in enumerate(rules):
            present = [kind for kind in entries if entries[kind][position]]
            if not present:
                self._rest.append(rule)
                continue
            rarest = min(present, key=lambda kind: max(counts[kind][key] for key in entries[kind][position]))
            for key in entries[rarest][position]:
                self._by[rarest][key].append(rule)
        self._dags, self._tasks = (_globs(rules, kind, self._by[kind]) for kind in ("dags", "tasks"))
        self._hosts = HostTable(host for rule in rules for host in rule.hosts if host.text in self._by["hosts"])
        paths = self._by.get("paths", {})
        self._paths = PathTable(path for rule in rules for path in rule.paths if path.key in paths)

    def near(self, narrow: Rule, covering: Covering) -> Iterator[Rule]:
        """The rules that may cover this one: they have an entry that covers its first one."""
        yield from self._rest
        for kind, keys in self._keys(narrow, covering):
            table = self._by[kind]
            for key in keys:
                yield from table.get(key, ())

    def _keys(self, narrow: Rule, covering: Covering) -> Iterator[tuple[str, Iterable[str]]]:
        if narrow.destinations:
            yield "destinations", narrow.destinations[:1]
        if narrow.operations:
            yield "operations", _words(min(covering.meant(narrow)), covering.policy.catalogue)
        if narrow.hosts:
            text = narrow.hosts[0].text
            yield "hosts", {text, *self._hosts.find(text.removeprefix("*."))}
        if narrow.dags:
            yield "dags", self._dags.find(narrow.dags[0].text)
        if narrow.tasks:
            yield "tasks", self._tasks.find(narrow.tasks[0].text)
        if narrow.paths and "paths" in self._by:
            yield "paths", self._paths.find(_sample(narrow.paths[0]))


def _globs(rules: list[Rule], kind: str, used: Mapping[str, object]) -> GlobTable[str]:
    table: GlobTable[str] = GlobTable()
    for rule in rules:
        for glob in rule.dags if kind == "dags" else rule.tasks:
            if glob.text in used:
                table.setdefault(glob, glob.text)
    return table


def _words(name: str, catalogue: Catalogue) -> tuple[str, ...]:
    return words_for(catalogue.operations[name])


def _sample(path: PathPattern) -> tuple[str, ...]:
    """Segments that match the pattern, and so every pattern that covers it."""
    return (*(_segment(segment) for segment in path.segments), *(("x",) if path.rest else ()))


def _segment(segment: str | Glob | None) -> str:
    if segment is None:
        return "x"
    return segment if isinstance(segment, str) else segment.text
