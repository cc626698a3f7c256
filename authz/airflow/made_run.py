"""Airflow's answer to a request that triggers a DAG says in a header which run it made.

Law: the answer stays the same but for that header, which only this module sets, and Envoy removes it: so the gate's log
can say whose request made a run. An answer that is not a small JSON object with the id of a run is passed on as it
comes.
"""

import json
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

HEADER: Final = b"x-authz-made-run"

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_MOST_BYTES: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
_triggers: Final = re.compile(r"/api/v2/dags/[^/]+/dagRuns/?").fullmatch
_is_run_id: Final = re.compile(r"[!-~]{1,250}").fullmatch


def makes_run(method: str, path: str) -> bool:
    """Whether a request with this method and path, without Airflow's base path, triggers a DAG."""
    return method == "POST" and _triggers(path) is not None


def naming_run(send: Send) -> Send:
    """Return a `send` that adds the header to the answer."""
    held: list[Message] = []

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start" and _may_name(message):
            held.append(message)
            return
        if not held:
            await send(message)
            return
        held.append(message)
        size = sum(len(one.get("body", b"")) for one in held)
        if message["type"] == "http.response.body" and message.get("more_body", False) and size <= _MOST_BYTES:
            return
        run = _run_in(held[1:])
        if run:
            held[0]["headers"] = [*held[0].get("headers", ()), (HEADER, run.encode())]
        for one in held:
            await send(one)
        held.clear()

    return send_named


def _may_name(start: Message) -> bool:
    """Whether an answer that begins so may be about a new run."""
    kinds = [value for name, value in start.get("headers", ()) if name.lower() == b"content-type"]
    return start["status"] in range(200, 300) and any(kind.startswith(b"application/json") for kind in kinds)


def _run_in(messages: list[Message]) -> str:
    """The id of the run in a body; "" if there is none, or it cannot stand in a header."""
    if messages[-1].get("more_body", False):
        return ""
    data = b"".join(one.get("body", b"") for one in messages)
    try:
        if data.startswith(_GZIP):  # Airflow compresses it for callers who take that
            data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, _MOST_BYTES)
        found = json.loads(data)
    except (ValueError, zlib.error):
        return ""
    run = found.get("dag_run_id") if isinstance(found, dict) else None
    return run if isinstance(run, str) and _is_run_id(run) else ""
