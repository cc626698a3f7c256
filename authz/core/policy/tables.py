"""Tables that find, among any number of patterns, those that match a value.

Law: the cost of a lookup depends on the value (its length, its segments, its labels) and on the patterns that match,
never on the number of patterns that do not. There is one exception: globs with the same beginning, the same end and
something in between (`a*b*c`, `a*d*c`) are compared one by one.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from authz.core.policy.patterns import Glob, HostPattern, PathPattern

_Value = TypeVar("_Value")


class GlobTable(Generic[_Value]):
    """Globs → values. A lookup costs one probe per pair of lengths of beginning and end that occurs among the globs."""

    __slots__ = ("_affixes", "_exact", "_lengths", "_more")

    def __init__(self) -> None:
        self._exact: dict[str, _Value] = {}
        self._affixes: dict[tuple[str, ...], _Value] = {}
        self._more: dict[tuple[str, ...], dict[Glob, _Value]] = {}
        self._lengths: tuple[tuple[int, int], ...] = ()

    def setdefault(self, glob: Glob, value: _Value) -> _Value:
        """The value of exactly this glob, set to `value` if it has none."""
        first, last = glob.parts[0], glob.parts[-1]
        if len(glob.parts) == 1:
            return self._exact.setdefault(first, value)
        if (len(first), len(last)) not in self._lengths:
            self._lengths = (*self._lengths, (len(first), len(last)))
        if len(glob.parts) == 2:  # noqa: PLR2004 one star: a beginning and an end, and nothing else to compare
            return self._affixes.setdefault(glob.parts, value)
        return self._more.setdefault((first, last), {}).setdefault(glob, value)

    def find(self, text: str) -> list[_Value]:
        """The values of all globs that match."""
        found: list[_Value] = []
        value = self._exact.get(text)
        if value is not None:
            found.append(value)
        size = len(text)
        for before, after in self._lengths:
            if before + after <= size:
                affixes = text[:before], text[size - after :]
                value = self._affixes.get(affixes)
                if value is not None:
                    found.append(value)
                if self._more:
                    more = self._more.get(affixes, {})
                    found += [value for glob, value in more.items() if glob.matches(text)]
        return found


class HostTable:
    """Host patterns → their texts."""

    __slots__ = ("_exact", "_suffixes")

    def __init__(self, patterns: Iterable[HostPattern]) -> None:
        texts = {pattern.text for pattern in patterns}
        self._suffixes = {text[1:]: text for text in texts if text[0] == "*"}
        self._exact = texts - set(self._suffixes.values())

    def find(self, host: str) -> list[str]:
        """The texts of all patterns that match the host."""
        found = [host] if host in self._exact else []
        if self._suffixes:
            dot = host.find(".", 1)
            while dot >= 0:
                text = self._suffixes.get(host[dot:])
                if text is not None:
                    found.append(text)
                dot = host.find(".", dot + 1)
        return found


class _Node:
    """A place in the trie of path patterns."""

    __slots__ = ("end", "globs", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] | None = None  # most nodes are an end and nothing else
        self.parameter: _Node | None = None
        self.globs: GlobTable[_Node] | None = None
        self.rest: str | None = None
        self.end: str | None = None

    def literal(self, segment: str) -> "_Node":
        """The node after a literal segment, made if there is none."""
        if self.literals is None:
            self.literals = {}
        found = self.literals.get(segment)
        if found is None:
            found = self.literals[segment] = _Node()
        return found


class PathTable:
    """Path patterns → their keys: a trie by segments."""

    __slots__ = ("_root",)

    def __init__(self, patterns: Iterable[PathPattern]) -> None:
        self._root = _Node()
        for pattern in patterns:
            self._add(pattern)

    def _add(self, pattern: PathPattern) -> None:
        node = self._root
        for want in pattern.segments:
            if isinstance(want, str):
                node = node.literal(want)
            elif want is None:
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node.globs = node.globs or GlobTable()
                node = node.globs.setdefault(want, _Node())
        if pattern.rest:
            node.rest = pattern.key
        else:
            node.end = pattern.key

    def find(self, segments: tuple[str, ...]) -> list[str]:
        """The keys of all patterns that match the segments."""
        found: list[str] = []
        places = [self._root]
        for segment in segments:
            following: list[_Node] = []
            for node in places:
                if node.rest is not None:
                    found.append(node.rest)
                if node.literals is not None and (child := node.literals.get(segment)) is not None:
                    following.append(child)
                if segment and node.parameter is not None:
                    following.append(node.parameter)
                if segment and node.globs is not None:
                    following += node.globs.find(segment)
            if not following:
                return found
            places = following
        found += [node.end for node in places if node.end is not None]
        return found
