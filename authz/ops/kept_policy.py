"""The last good policy, kept across restarts as one generation with its revision.

Law: what is kept is exactly the file that came into force; when used, it goes through the same loader and the same
checks as the file, with the current settings. It is asked for only if no policy is in force.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from authz.core import policy
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import PolicyError
from authz.system.state_folder import Item, StateFolder, shown

_NAME: Final = "policy"


class Kept(NamedTuple):
    """A policy that was in force before the restart, the bytes of its file, and since when it was in force."""

    policy: policy.Policy
    size: int
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

    def keep(self, data: bytes, loaded: policy.Policy) -> None:
        """This policy is in force now. What is kept already keeps its time."""
        self._state.settle(_NAME)  # an older policy that waits to be kept must not replace this one later
        about = self._about() or {}
        if (about.get("file"), about.get("revision")) == (loaded.file, loaded.revision):
            return
        about = {"file": loaded.file, "revision": loaded.revision, "in_force_since": self._wall()}
        self._state.keep(_NAME, Item(about=about, data=data))

    def load(self, file: str) -> Kept | None:
        """The policy that was last in force for the policy file `file`; None if none may be used."""
        item = self._state.read(_NAME, MAX_BYTES)
        if item is None:
            return None
        if item.about.get("file") != file:
            self._state.refuse(_NAME, "it was another file's")
            return None
        try:
            loaded = policy.load(item.data, file)
        except PolicyError as error:
            self._state.refuse(_NAME, f"it does not load any more ({len(error.problems)} problems)")
            return None
        if loaded.revision != item.about.get("revision"):
            self._state.refuse(_NAME, "it is not the revision that it says")
            return None
        return Kept(loaded, len(item.data), shown(item.about.get("in_force_since")))

    def _about(self) -> Mapping[str, object] | None:
        item = self._state.read(_NAME, MAX_BYTES)
        return item.about if item is not None else None

    def refuse(self, text: str) -> None:
        """The policy was read and cannot be used."""
        self._state.refuse(_NAME, text)
