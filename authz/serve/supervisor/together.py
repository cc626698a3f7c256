"""Whether the gate as a whole is ready: the readiness of all workers as one.

Law: pure. Ready means that every worker is, and that all of them serve the same policy; each problem is reported with
its worker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from authz.ops.admin import Readiness

_SHOWN: Final = 12  # characters of a revision in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a worker reports about itself."""

    ready: bool
    revision: str
    reasons: tuple[str, ...] = ()
    shadow: object = None


def read_state(page: bytes | None) -> WorkerState | None:
    """A worker's `/readyz`; None if it cannot be read."""
    try:
        found = json.loads(page or b"")
        return WorkerState(
            ready=found["ready"],
            revision=found["revision"],
            reasons=tuple(found["reasons"]),
            shadow=found.get("shadow"),
        )
    except (ValueError, KeyError, TypeError):
        return None


def combine_readiness(states: Mapping[int, WorkerState | None]) -> Readiness:
    """The readiness of the gate; None is a worker that does not answer."""
    reasons: list[str] = []
    for index, state in sorted(states.items()):
        if state is None:
            reasons.append(f"worker {index}: does not answer")
        else:
            reasons_of = state.reasons or (() if state.ready else ("not ready",))
            reasons += [f"worker {index}: {reason}" for reason in reasons_of]
    revisions: dict[str, list[str]] = {}
    for index, state in sorted(states.items()):
        if state is not None:
            revisions.setdefault(state.revision, []).append(str(index))
    if len(revisions) > 1:
        held = ", ".join(
            f"{revision[:_SHOWN] or 'none'} at {' '.join(indices)}" for revision, indices in revisions.items()
        )
        reasons.append(f"workers serve different policies: {held}")
    return Readiness(
        ready=len(revisions) == 1 and all(state is not None and state.ready for state in states.values()),
        reasons=tuple(reasons),
        details={
            "revision": next(iter(revisions)) if len(revisions) == 1 else "",
            "workers": [
                {
                    "ready": state is not None and state.ready,
                    "revision": state.revision if state else "",
                    **({"shadow": state.shadow} if state is not None and state.shadow is not None else {}),
                }
                for _, state in sorted(states.items())
            ],
        },
    )
