"""Which roles include which: cycles, and closures over `includes`.

Law: pure, and the work is bounded by the edges plus the members of the closures, of which there are at most MOST in
all: a chain of a thousand roles is within the limit, and beyond it no one can read a policy. No recursion: a chain may
be as long as the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

MOST: Final = 500_000
"""Members of all closures together, each role's own name not counted."""

Includes = Mapping[str, tuple[str, ...]]
"""The roles that include others. Most do not, and are left out."""


def reached(
    names: Iterable[str], includes: Includes, also: Callable[[str, set[str]], Iterable[str]] = lambda _role, _found: ()
) -> set[str]:
    """These roles, and every role that one of them includes, directly or not.

    `also` says which others a role brings with it, beside those that were found with and before it.
    """
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        role = waiting.pop()
        if role not in found:
            found.add(role)
            waiting += includes.get(role, ())
            waiting += also(role, found)
    return found


def components(includes: Includes) -> Iterator[list[str]]:
    """The strongly connected components, each after all that it includes (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_ones: dict[str, None] = {}  # a stack that knows its members
    path: list[tuple[str, Iterator[str]]] = []

    def enter(name: str) -> None:
        index[name] = low[name] = len(index)
        open_ones[name] = None
        path.append((name, iter(includes[name])))

    for start in includes:
        if start in index:
            continue
        enter(start)
        while path:
            name, rest = path[-1]
            below = next((role for role in rest if role in includes), None)
            if below is not None:
                if below not in index:
                    enter(below)
                elif below in open_ones:
                    low[name] = min(low[name], index[below])
                continue
            path.pop()
            if path:
                low[path[-1][0]] = min(low[path[-1][0]], low[name])
            if low[name] == index[name]:
                component = [open_ones.popitem()[0]]
                while component[-1] != name:
                    component.append(open_ones.popitem()[0])
                yield component


def circles(includes: Includes) -> list[tuple[str, str]]:
    """One pair for each cycle: its role that comes first, and the first of that role's `includes` that leads back."""
    order = {name: position for position, name in enumerate(includes)}
    found = []
    for component in components(includes):
        name = min(component, key=order.__getitem__)
        inside = set(component)
        back = next((role for role in includes[name] if role in inside), None)
        if back is not None:
            found.append((name, back))
    return sorted(found, key=lambda pair: order[pair[0]])


def closures(includes: Includes, most: int = MOST) -> dict[str, frozenset[str]] | None:
    """Each role with all that it includes, for roles without cycles; None if that is more than `most` in all."""
    closed: dict[str, frozenset[str]] = {}
    left = most
    for [name] in components(includes):
        found = {name}
        # The largest first: what it brings along need not be looked at again.
        for role in sorted(includes[name], key=lambda role: len(closed.get(role, ())), reverse=True):
            if role not in found:
                found |= closed.get(role) or {role}
        left -= len(found) - 1
        if left < 0:
            return None
        closed[name] = frozenset(found)
    return closed
