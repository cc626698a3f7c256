"""A request, and a run that asks, as the words of `authz check`, so that people can try what a report says.

Law: the words mean the very request, as far as a policy can tell requests apart.
"""

from collections.abc import Iterator
from typing import Final

from authz.core.model import Level, Plane, Request, Run
from authz.core.request.path import CONNECT, written

_PORT: Final = 443  # a tunnel is asked for with a port, which no rule looks at


def request_words(request: Request) -> Iterator[str]:
    """The words for a request."""
    yield request.method
    if request.method == CONNECT:
        yield f"{request.host}:{request.port or _PORT}"
    else:
        yield written(request.segments)
        yield from ("--host", request.host)
    if request.plane is Plane.EGRESS:
        yield from ("--plane", "egress")
        if request.destination:
            yield from ("--destination", request.destination)
    elif request.narrowed:
        yield "--narrowed"


def run_words(run: Run | None, *, of_account: bool) -> Iterator[str]:
    """The words for a run; `of_account`: the caller also has an issuer's token, with which a run is asserted."""
    if run is not None:
        yield from ("--dag", run.dag_id, "--task", run.task_id)
        if run.level is not Level.ASSERTED or not of_account:
            yield from ("--identity", run.level.value)
