"""A task's request for a run identity token, as the path of one "variable" (docs/run-identity.md).

    /execution/variables/__run_identity__/v1/<thumbprint of the task's key, or "proxy">/<base64url of a JSON object>

The object has the members `d`, `r`, `t` (ids of the DAG, the run, the task), `m` (map index) and perhaps `n` (try).

Law 1: one spelling. The path never needs an escape, so one that has an escape, a query, a dot segment or a second
slash is refused, never reinterpreted: the answer has exactly the key that was asked for.
Law 2: nothing is trusted. What a task says about itself is only what Airflow is asked about.
"""

import re
from dataclasses import dataclass
from typing import Final

from authz.core import edge
from authz.core.errors import RequestError
from authz.core.jose.primitives import b64url_decode, read_object
from authz.core.reasons import Reason
from authz.core.runs import run_claim

BASE: Final = edge.VARIABLES
NAME: Final = edge.RUN_IDENTITY
PREFIX: Final = f"{BASE}{NAME}/"
PROXY: Final = "proxy"
MAX_TARGET_BYTES: Final = 8192

_asked = re.compile(
    rf"{BASE}({NAME}/v1/({PROXY}|[A-Za-z0-9_-]{{43}})/([A-Za-z0-9_-]{{1,{MAX_TARGET_BYTES}}}))"
).fullmatch
_REQUIRED: Final = frozenset("drtm")
_MEMBERS: Final = frozenset("drtmn")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a task asks for and what it claims to be.

    `key` is the name of the variable, as asked. `thumbprint` is that of the task's key; "" if `proxy` asks for the form
    that is bound to no key. `try_number` is None if the task does not say.
    """

    key: str
    thumbprint: str
    proxy: bool
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int | None


def parse(target: str) -> RunRequest:
    """The request in a request target; RequestError(BAD_PATH) for everything else."""
    match = _asked(target) if len(target) <= MAX_TARGET_BYTES else None
    if match is None:
        raise _refused(f"not {PREFIX}v1/<thumbprint or {PROXY}>/<base64url>, in exactly that spelling")
    key, holder, described = match.groups()
    proxy = holder == PROXY
    try:
        if not proxy:
            b64url_decode(holder.encode("ascii"))
        said = read_object(b64url_decode(described.encode("ascii")), most=1)
        if not _REQUIRED <= said.keys() <= _MEMBERS:
            raise ValueError("not an object of d, r, t, m and perhaps n")  # noqa: TRY301 one translation for all
        return RunRequest(
            key=key,
            thumbprint="" if proxy else holder,
            proxy=proxy,
            dag_id=run_claim.name("d", said["d"]),
            run_id=run_claim.name("r", said["r"]),
            task_id=run_claim.name("t", said["t"]),
            map_index=run_claim.map_index("m", said["m"]),
            try_number=run_claim.try_number("n", said["n"]) if "n" in said else None,
        )
    except ValueError as error:
        raise _refused(f"the run that it is for: {error}") from None


def _refused(detail: str) -> RequestError:
    return RequestError(Reason.BAD_PATH, detail)
