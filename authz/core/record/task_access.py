"""What a task read or changed through Airflow's execution API: from a line of Envoy's access log to an entry.

Law: an entry has only the fields of `AccessEntry`. Names are as Airflow read them in the path, whose query is not in
the line. No value and no token is among them: of that, only the id of the task instance. Envoy did not verify it, and
an entry says so wherever Airflow did not accept the token.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import orjson

from authz.core.edge import EXECUTION_API, EXECUTION_UPSTREAM
from authz.core.record.encoding import replaced
from authz.core.record.envoy_line import flags_of, host_of, instance_of, number, request_of, time_of
from authz.core.record.fields import ACCESS, LONGEST, VERSION, AccessEntry
from authz.core.record.outcome import ended_by
from authz.core.record.reading import Shape, text_in

ACCESS_LINE: Final = b'{"v":1,"type":"access",'
"""How every such line begins."""
_SHAPE: Final = Shape(AccessEntry)
ACCEPTED: Final = range(200, 300)
"""The statuses by which Airflow says that it accepted the task's token."""


class Action(StrEnum):
    """What was asked for."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"


class Kind(StrEnum):
    """What it was asked of."""

    CONNECTION = "connection"
    VARIABLE = "variable"
    XCOM = "xcom"


_ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "GET": Action.READ,
        "HEAD": Action.READ,
        "POST": Action.WRITE,
        "PUT": Action.WRITE,
        "PATCH": Action.WRITE,
        "DELETE": Action.DELETE,
    }
)
_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"connections": Kind.CONNECTION, "variables": Kind.VARIABLE, "xcoms": Kind.XCOM}
)
_octet: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_OF_XCOM: Final = ("dag", "run", "task", "name")
# Airflow's routes (GET) that read one of the values of a mapped task, or some.
_of_mapped: Final = re.compile(r"(.*)/(?:item/[^/]+|slice)", re.DOTALL).fullmatch


def access_of(said: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """The id of the request, and the entry without its newline, of a line of Envoy's access log.

    None for what did not go to Airflow's execution API, and for what asked it for something else: heartbeats, states,
    health.
    """
    if text_in(said, "upstream") != EXECUTION_UPSTREAM or not (request := request_of(said)):
        return None
    method = text_in(said, "method")
    action = _ACTIONS.get(method)
    asked = _asked(text_in(said, "path"), method) if action is not None else None
    if asked is None:
        return None
    instance, status = instance_of(said), number(said, "status")
    entry: dict[str, object] = {
        "v": VERSION,
        "type": ACCESS,
        "id": request,
        "time": time_of(said),
        "instance": instance,
        **({"claimed": True} if instance and status not in ACCEPTED else {}),
        "action": action,
        **asked,
        "status": status,
        "ended_by": ended_by(flags_of(said), text_in(said, "details"), host_of(said)),
    }
    return request, orjson.dumps(entry)


def _asked(path: str, method: str) -> dict[str, object] | None:
    """Kind and names in a path. Airflow decodes it once, and then looks for slashes.

    A name that may have slashes is all up to the end, or up to a last newline: Starlette's expressions end with `$`.
    """
    whole = _octet.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode()).decode(errors="replace")
    word, _, rest = whole.removeprefix(EXECUTION_API).partition("/")
    kind = _KINDS.get(word)
    if not whole.startswith(EXECUTION_API) or kind is None or not rest:
        return None
    if kind is Kind.CONNECTION:
        return {"kind": kind, "name": replaced(rest, LONGEST)}
    rest = rest.removesuffix("\n")
    if kind is Kind.VARIABLE:
        return {"kind": kind, "name": replaced(rest, LONGEST)}
    names = dict.fromkeys(_OF_XCOM, "") | dict(zip(_OF_XCOM, rest.split("/", len(_OF_XCOM) - 1), strict=False))
    if method == "GET" and (mapped := _of_mapped(names["name"])):
        names["name"] = mapped[1]
    return {"kind": kind, **{name: replaced(value, LONGEST) for name, value in names.items()}}


def access_in(line: bytes) -> dict[str, Any] | None:
    """The fields of such an entry; None for every other line, and for an entry that does not have its fields."""
    return _SHAPE.fields_in(line) if line.startswith(ACCESS_LINE) else None
