"""Which policy a running gate serves, asked of its operators' port; for commands that answer about a policy file.

Law: an answer about another revision than the gate's is refused, and so is one where the gate's is not known. What the
port sends is bounded, and so is the time for all of it together; no proxy is used, and a redirect is not followed.
"""

from typing import Any, Final

import orjson

from authz.core.characters import one_line
from authz.core.errors import ConfigError, FetchError, Problem
from authz.core.policy import Policy
from authz.core.urls import Url

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
    import httpcore  # noqa: PLC0415 it costs start-up time that others need not pay

    from authz.fetching.guard import Deadline, GuardedBackend, system_resolver  # noqa: PLC0415 see above

    try:
        url = Url.parse(gate)
    except ValueError as error:
        raise FetchError(f"--gate: {error}") from None
    network = GuardedBackend(deadline=Deadline(_TIMEOUT_S), loopback=True, resolver=system_resolver)
    target = url.origin + url.path.rstrip("/") + _PAGE
    try:
        with (
            httpcore.ConnectionPool(network_backend=network) as pool,
            pool.stream("GET", target, headers={"accept": "application/json"}) as answer,
        ):
            status, data = answer.status, b""
            for chunk in answer.iter_stream():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise FetchError(f"{target}: more than {_MOST_BYTES} bytes")
    except httpcore.TimeoutException:
        raise FetchError(f"{target}: no complete answer within {_TIMEOUT_S:g} seconds") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        why = one_line(str(error) or type(error).__name__)
        raise FetchError(f"{target}: {why}; is it the gate's operators' port (`admin` in its settings)?") from None
    if status not in _ANSWERS:
        raise FetchError(f"{target}: answers {status}, which is not that of a gate's operators' port")
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {}
