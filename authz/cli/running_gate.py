"""Which policy a running gate serves, asked of its operators' port; for commands that answer about a policy file.

Law: an answer about another revision than the gate's is refused, and so is one where the gate's is not known.
What `authz.cli.gate_http` bounds is bounded.
"""

from typing import Any, Final

from authz.cli.gate_http import gate_url, send
from authz.core.characters import one_line
from authz.core.errors import ConfigError, FetchError, Problem
from authz.core.policy import Policy

_PAGE: Final = "/readyz"
_ANSWERS: Final = frozenset({200, 503})  # ready, or not: both say the revision
_MOST_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 5.0  # for name, connection and answer together
_SHOWN: Final = 12  # characters of a revision in a sentence
_MOST_CHARS: Final = 200


def require_served(policy: Policy, gate: str) -> None:
    """Refuse to answer about a policy that is not the one that the gate at this URL serves.

    Raises:
        ConfigError: the gate serves another revision, or none, or several.
        FetchError: it cannot be asked.
    """
    state = _readiness(gate)
    revision = state.get("revision")
    if not (isinstance(revision, str) and "reasons" in state):
        raise FetchError(f"{one_line(gate)}: {_PAGE} is not that of a gate's operators' port")
    if not revision:
        reasons = "; ".join(map(str, state["reasons"])) if isinstance(state["reasons"], list) else ""
        message = f"the gate at {gate} serves no policy, or its workers serve different ones"
        raise ConfigError([Problem(policy.file, 0, 0, message, reasons[:_MOST_CHARS])])
    if revision != policy.revision:
        theirs, ours = revision[:_SHOWN], policy.revision[:_SHOWN]
        message = f"the gate at {gate} serves revision {theirs}, this file is {ours}"
        hint = "ask about the file that it serves, or wait until it has read this one; its log says why it refused one"
        raise ConfigError([Problem(policy.file, 0, 0, message, hint)])


def _readiness(gate: str) -> dict[str, Any]:
    found = send(gate_url(gate), _PAGE, most_bytes=_MOST_BYTES, timeout_s=_TIMEOUT_S)
    if found.status not in _ANSWERS:
        raise FetchError(f"{found.target}: answers {found.status}, which is not that of a gate's operators' port")
    return found.members
