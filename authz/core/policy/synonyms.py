"""What an unknown operation may have meant: another name for the action, or a slip.

Law: a hint only. It never makes a word mean something.
"""

from collections.abc import Mapping
from typing import Final

from authz.core.catalogue import Catalogue
from authz.core.documents.wording import Vocabulary
from authz.core.policy.rules import BUILT_IN

_SAID: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("trigger", "start", "run", "add", "new", "make", "post"), ("create", "materialize")),
    **dict.fromkeys(("view", "get", "list", "see", "show"), ("read",)),
    **dict.fromkeys(("edit", "write", "modify", "pause", "unpause", "set", "patch", "clear"), ("update",)),
    **dict.fromkeys(("remove", "drop"), ("delete",)),
}
"""What people call an action, and what the catalogue calls it."""


class OperationHints:
    """Hints for the unknown operations of one file."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._names = Vocabulary(catalogue.operations.keys() | BUILT_IN.keys())
        self._areas = ", ".join(sorted({name.partition(":")[0] for name in catalogue.operations}))

    def for_unknown(self, word: str) -> str:
        """`did you mean …?`, or what there is."""
        return self._meant(word) or self._names.near(word) or f"there are operations of {self._areas}"

    def _meant(self, word: str) -> str:
        """`did you mean …?` for an action by another name; `dag`, `dags` and what is triggered, `dag_runs`, are one."""
        area, _, action = word.partition(":")
        singular = area.removesuffix("s")
        areas = (area, f"{singular}s", singular, f"{singular}_runs")
        meant = (f"{name}:{other}" for name in areas for other in (*_SAID.get(action, ()), action))
        found = next((name for name in meant if name in self._catalogue.operations), "")
        return f"did you mean `{found}`?" if found else ""
