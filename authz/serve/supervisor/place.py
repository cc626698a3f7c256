"""A worker's place: which of how many it is, and where it finds what it shares with the others.

Law: told once, by the supervisor, in one environment variable; a worker asks nobody else and counts no processors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem

VARIABLE: Final = "AUTHZ_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One worker's place. `lifeline` is its inherited socket, `signing_keys` its inherited keys: descriptors."""

    index: int
    count: int
    folder: str
    lifeline: int
    signing_keys: tuple[int, ...] = ()

    @property
    def settings(self) -> Path:
        """The settings as they were when the supervisor started: a restarted worker must not be a different one."""
        return Path(self.folder) / "settings.yaml"

    @property
    def admin(self) -> Path:
        """The socket of this worker's admin pages."""
        return Path(self.folder) / f"admin-{self.index}.sock"

    @property
    def keys(self) -> Path:
        """The socket where the supervisor hands out key sets."""
        return Path(self.folder) / "keys.sock"

    @property
    def log_lock(self) -> Path:
        """The file that is locked around writes to the decision log."""
        return Path(self.folder) / "log.lock"

    @property
    def revocations(self) -> Path:
        """The revocation file where the settings name none: shared by the workers, gone with them."""
        return Path(self.folder) / "revocations.jsonl"

    @property
    def replays(self) -> Path:
        """The table of used proofs: what one worker let through once is let through by none of them again."""
        return Path(self.folder) / "replays"

    def environment(self) -> dict[str, str]:
        """What the worker's environment must hold."""
        return {VARIABLE: json.dumps(asdict(self))}


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place that the environment tells; None in a process that no supervisor started.

    Raises:
        ConfigError: the variable holds something else.
    """
    text = environment.get(VARIABLE)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        fields["signing_keys"] = tuple(fields["signing_keys"])
        return Place(**fields)
    except (KeyError, TypeError, ValueError):
        problem = Problem(VARIABLE, 0, 0, "the variable is not what a supervisor sets", "unset it")
        raise ConfigError([problem]) from None
