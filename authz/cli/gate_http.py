"""One request to a gate's operators' port, for commands.

Law: what the port sends is bounded, and so is the time for all of it together; no proxy is used, and a redirect is not
followed.
"""

from typing import Any, NamedTuple

import orjson

from authz.core.characters import one_line
from authz.core.errors import FetchError
from authz.core.urls import Url


class GatePage(NamedTuple):
    """Where it was asked for, its HTTP status, and the members of the JSON object that it is; none if it is no such."""

    target: str
    status: int
    members: dict[str, Any]


def gate_url(gate: str) -> Url:
    """The URL that `--gate` gives.

    Raises:
        FetchError: it is none.
    """
    try:
        return Url.parse(gate)
    except ValueError as error:
        raise FetchError(f"--gate: {error}") from None


def send(
    url: Url,
    page: str,
    *,
    most_bytes: int,
    timeout_s: float,
    token: str = "",
    method: str = "GET",
    body: dict[str, str] | None = None,
) -> GatePage:
    """What the port answers. `timeout_s` is for name, connection and answer together.

    Raises:
        FetchError: there is no complete answer, or it is too large.
    """
    import httpcore  # noqa: PLC0415 it costs start-up time that others need not pay

    from authz.fetching.guard import Deadline, GuardedBackend, system_resolver  # noqa: PLC0415 see above

    headers: dict[bytes | str, bytes | str] = {"accept": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        content, headers["content-type"] = orjson.dumps(body), "application/json"
    network = GuardedBackend(deadline=Deadline(timeout_s), loopback=True, resolver=system_resolver)
    target = url.origin + url.path.rstrip("/") + page
    try:
        with (
            httpcore.ConnectionPool(network_backend=network) as pool,
            pool.stream(method, target, headers=headers, content=content) as answer,
        ):
            data = b""
            for chunk in answer.iter_stream():
                data += chunk
                if len(data) > most_bytes:
                    raise FetchError(f"{target}: more than {most_bytes} bytes")
    except httpcore.TimeoutException:
        raise FetchError(f"{target}: no complete answer within {timeout_s:g} seconds") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        why = one_line(str(error) or type(error).__name__)
        raise FetchError(f"{target}: {why}; is it the gate's operators' port (`admin` in its settings)?") from None
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    return GatePage(target, answer.status, found if isinstance(found, dict) else {})
