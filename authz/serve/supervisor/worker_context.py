"""A worker's context: its number, how many there are, and where it finds what it shares with the others.

Law: the supervisor sets it once, in one environment variable; a worker has no other source and counts no processors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem

VARIABLE: Final = "AUTHZ_WORKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """One worker's context. `lifeline` is its inherited socket, `signing_keys` its inherited keys: descriptors.

    `count` workers answer Envoy, and `http` more answer checks over HTTP: their indices follow. `writes_log`: it
    serves no checks, it is the one process that writes the signed log.
    """

    index: int
    count: int
    folder: str
    lifeline: int
    signing_keys: tuple[int, ...] = ()
    http: int = 0
    writes_log: bool = False

    @property
    def over_http(self) -> bool:
        """Whether it answers checks over HTTP."""
        return self.index >= self.count and not self.writes_log

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
        """The socket where the supervisor serves key sets."""
        return Path(self.folder) / "keys.sock"

    @property
    def log_lock(self) -> Path:
        """The file that is locked around writes to the decision log."""
        return Path(self.folder) / "log.lock"

    @property
    def revocations(self) -> Path:
        """The revocation file if the settings name none: shared by the workers, removed with them."""
        return Path(self.folder) / "revocations.jsonl"

    @property
    def replays(self) -> Path:
        """The replay cache: a proof that one worker let through is refused by all of them afterwards."""
        return Path(self.folder) / "replays"

    def environment(self) -> dict[str, str]:
        """What the worker's environment must hold."""
        return {VARIABLE: json.dumps(asdict(self))}


def context_of(environment: Mapping[str, str]) -> WorkerContext | None:
    """The context that the environment sets; None in a process that no supervisor started.

    Raises:
        ConfigError: the variable does not hold a context.
    """
    text = environment.get(VARIABLE)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        fields["signing_keys"] = tuple(fields["signing_keys"])
        return WorkerContext(**fields)
    except (KeyError, TypeError, ValueError):
        problem = Problem(VARIABLE, 0, 0, "the variable is not what a supervisor sets", "unset it")
        raise ConfigError([problem]) from None
