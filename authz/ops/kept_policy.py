"""The last good policy, kept across restarts as one generation with its revision.

Law: what is kept is exactly the files that came into force; when used, they go through the same loader, the same tests
and the same checks, with the current settings. It is asked for only if no policy is in force.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from authz.core import cases, policy
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import PolicyError
from authz.core.policy.bundle import MOST_INCLUDED, MOST_INCLUDED_BYTES, unpacked
from authz.system.state_folder import Item, StateFolder, shown

_NAME: Final = "policy"
_MOST_BYTES: Final = MAX_BYTES + MOST_INCLUDED * MOST_INCLUDED_BYTES + (1 << 20)  # with the names of its files


class Kept(NamedTuple):
    """A policy that was in force before the restart, and since when."""

    settled: cases.Settled
    since: str


class KeptPolicy:
    """The policy of a state folder.

    Args:
        state: where it is kept.
        wall: the time that is stored with it.
    """

    def __init__(self, state: StateFolder, wall: Callable[[], float]) -> None:
        self._state = state
        self._wall = wall

    def keep(self, bundle: policy.Bundle, loaded: policy.Policy) -> None:
        """This policy is in force now. What is kept already keeps its time."""
        self._state.settle(_NAME)  # an older policy that waits to be kept must not replace this one later
        about = self._about() or {}
        if (about.get("file"), about.get("revision")) == (loaded.file, loaded.revision):
            return
        files = 1 + len(bundle.parts)
        about = {"file": loaded.file, "revision": loaded.revision, "in_force_since": self._wall(), "files": files}
        self._state.keep(_NAME, Item(about=about, data=bundle.packed()))

    def load(self, file: str) -> Kept | None:
        """The policy that was last in force for the policy file `file`; None if none may be used."""
        item = self._state.read(_NAME, _MOST_BYTES)
        if item is None:
            return None
        if item.about.get("file") != file:
            self._state.refuse(_NAME, "it was another file's")
            return None
        try:
            bundle = unpacked(item.data, file, several=item.about.get("files", 1) != 1)
        except ValueError as error:
            self._state.refuse(_NAME, str(error))
            return None
        try:
            settled = cases.settled(bundle, cases.load, lambda: cases.good_parts(bundle))
        except PolicyError as error:
            self._state.refuse(_NAME, f"it does not load any more ({len(error.problems)} problems)")
            return None
        if bundle.revision != item.about.get("revision"):
            self._state.refuse(_NAME, "it is not the revision that it says")
            return None
        return Kept(settled, shown(item.about.get("in_force_since")))

    def good(self, file: str) -> Mapping[str, bytes]:
        """The last good content of each file of a team, where the policy of `file` is kept; else none."""
        item = self._state.read(_NAME, _MOST_BYTES)
        if item is None or item.about.get("file") != file:
            return {}
        try:
            return cases.good_parts(unpacked(item.data, file, several=item.about.get("files", 1) != 1))
        except ValueError:
            return {}

    def _about(self) -> Mapping[str, object] | None:
        item = self._state.read(_NAME, _MOST_BYTES)
        return item.about if item is not None else None

    def refuse(self, text: str) -> None:
        """The policy was read and cannot be used."""
        self._state.refuse(_NAME, text)
