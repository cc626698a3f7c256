"""What an unknown operation may have meant: another name for the action, or a slip.

Law: a hint only. It never makes a word mean something.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from authz.core.catalogue import Catalogue
from authz.core.catalogue.routes import CHANGE
from authz.core.documents.wording import Vocabulary
from authz.core.policy.operations import Words
from authz.core.policy.rules import BUILT_IN

_STARTS: Final = ("trigger", "start", "run")
_SAID: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((*_STARTS, "add", "new", "make", "post"), ("create", "materialize")),
    **dict.fromkeys(("view", "get", "list", "see", "show"), ("read",)),
    **dict.fromkeys(("edit", "write", "modify", "pause", "unpause", "set", "patch", "clear"), ("update",)),
    **dict.fromkeys(("remove", "drop"), ("delete",)),
}
"""What people call an action, and what the catalogue calls it."""


class OperationHints:
    """Hints for the unknown operations of one file."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._words = Words(catalogue)
        self._parts = {name.partition(":")[::2] for name in catalogue.operations}
        self._names = Vocabulary(catalogue.operations.keys() | BUILT_IN.keys())
        self._areas = Vocabulary({area for area, _ in self._parts})
        self._actions = Vocabulary({CHANGE[1:], *(action for _, action in self._parts)})

    def for_unknown(self, word: str, *, never: bool) -> str:
        """`did you mean …?`, or what there is. A `*` or `change` that is right stays. `never` as in `Words.known`."""
        area, _, action = word.partition(":")
        meant = (other for other in self._meant(area, action) if self._words.known(other, never=never))
        found = next(meant, "")
        if found:
            return f"did you mean `{found}`?"
        areas = ", ".join(sorted({area for area, _ in self._parts}))
        return self._names.near(word) or f"there are operations of {areas}"

    def _meant(self, area: str, action: str) -> Iterator[str]:
        """What may have been meant, the likeliest first. `dag`, `dags` and what is triggered, `dag_runs`, are one."""
        if area == "*" and action in _STARTS:
            yield "dag_runs:create"  # and not what makes connections too
        singular = area.removesuffix("s")
        for name in (area, f"{singular}s", singular, f"{singular}_runs"):
            yield from (f"{name}:{other}" for other in (*_SAID.get(action, ()), action))
        near_area, near_action = self._areas.nearest(area), self._actions.nearest(action)
        yield from (f"{near_area}:{action}", f"{area}:{near_action}", f"{near_area}:{near_action}")
