"""What the words under a rule's `operations` mean: names, wildcards and sets of the catalogue.

Law: no wildcard and no set of an allow rule includes an operation that the catalogue marks `never`; those of a deny
rule do. `*:change` and `area:change` have all that is not a read, and so whatever a later catalogue adds. A
set has what Airflow's role of that name may do by FAB's defaults, which is in the catalogue's data.
"""

from functools import cache
from typing import Final

from authz.core.catalogue import Catalogue, Operation
from authz.core.catalogue.routes import CHANGE
from authz.core.policy.rules import AIRFLOW_ROLES, BUILT_IN

_API: Final = "/api/"


def words_for(operation: Operation) -> tuple[str, ...]:
    """Every word that may stand for the operation in a rule."""
    area, _, action = operation.name.partition(":")
    sets = tuple(BUILT_IN)[AIRFLOW_ROLES.index(operation.airflow_role) :]
    changing = (area + CHANGE, "*" + CHANGE) if operation.changes else ()
    return operation.name, f"{area}:*", f"*:{action}", "*", *changing, *sets


def expand(word: str, catalogue: Catalogue, *, never: bool) -> frozenset[str]:
    """The operations that a word stands for; `never`: wildcards and sets include those marked so."""
    if word in catalogue.operations:
        return frozenset({word})
    return frozenset(
        name
        for name, operation in catalogue.operations.items()
        if word in words_for(operation) and (never or not operation.never)
    )


def danger(operation: Operation) -> tuple[bool, bool, int, bool, str]:
    """The key that sorts operations: what to worry about first comes first.

    First what a rule must name, then what is on Airflow's own data (its API) before FAB's pages and plugins, then by
    the weakest of Airflow's roles that may do it, the strongest first, then changes before reads.
    """
    rank = AIRFLOW_ROLES.index(operation.airflow_role)
    native = any(is_native(route.template) for route in operation.routes)
    return not operation.never, not native, -rank, not operation.changes, operation.name


def is_native(template: str) -> bool:
    """Whether a route is one of Airflow's API, and not of a page, of FAB or of a plugin."""
    return template.startswith(_API)


class Words:
    """What words stand for in one catalogue, computed once: thousands of rules use the same words."""

    __slots__ = ("_meanings", "_together")

    def __init__(self, catalogue: Catalogue) -> None:
        self._meanings = {never: _meanings(catalogue, never=never) for never in (False, True)}
        self._together: dict[tuple[tuple[str, ...], bool], frozenset[str]] = {}

    def known(self, word: str, *, never: bool) -> bool:
        """Whether the word stands for an operation; `never` as in `expand`."""
        return word in self._meanings[never]

    def stand_for(self, words: tuple[str, ...], *, never: bool) -> frozenset[str]:
        """The operations that one of the words stands for."""
        found = self._together.get((words, never))
        if found is None:
            table = self._meanings[never]
            found = frozenset().union(*(table.get(word, frozenset()) for word in words))
            self._together[words, never] = found
        return found


@cache
def _meanings(catalogue: Catalogue, *, never: bool) -> dict[str, frozenset[str]]:
    """The result of `expand` for each known word. A catalogue is as long-lived as the program."""
    found: dict[str, set[str]] = {}
    for name, operation in catalogue.operations.items():
        for word in words_for(operation) if never or not operation.never else ():
            found.setdefault(word, set()).add(name)
    named = {name: frozenset({name}) for name in catalogue.operations}
    return {word: frozenset(names) for word, names in found.items()} | named
