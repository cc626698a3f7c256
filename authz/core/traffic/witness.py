"""A record's request as the words of `authz check`, so that people can try it.

Law: the words are asked under the new policy, and mean the very case that was evaluated, as far as a policy can tell
cases apart. Where no words can say it, there are none.
"""

from collections.abc import Iterator
from typing import Final

from authz.core.model import Claims, Level, Plane
from authz.core.policy import Policy
from authz.core.replay import Case
from authz.core.request.path import CONNECT, written

_MANY: Final = 8  # groups: of more, only those that the policy names
_PORT: Final = 443  # a tunnel is asked for with a port, which no rule looks at


def words(case: Case, policy: Policy) -> tuple[str, ...]:
    """The words after `authz check`; () if they cannot say it: settings alone say what is below a base path."""
    return () if case.request.outside else (*_request(case), *_caller(case, policy))


def _request(case: Case) -> Iterator[str]:
    request = case.request
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


def _caller(case: Case, policy: Policy) -> Iterator[str]:
    if case.caller is not None:
        yield from _account(case, case.caller, policy)
    if case.run is not None:
        yield from ("--dag", case.run.dag_id, "--task", case.run.task_id)
        if case.run.level is not Level.ASSERTED or case.caller is None:
            yield from ("--identity", case.run.level.value)


def _account(case: Case, claims: Claims, policy: Policy) -> Iterator[str]:
    groups, named = claims.groups, frozenset(group for role in policy.roles.values() for group in role.groups)
    known = [] if "groups" in case.lost else sorted(groups & named if len(groups) > _MANY else groups)
    for group in known:
        yield from ("--group", group)
    client = "" if "client" in case.lost else claims.client_id
    if client:
        yield from ("--client", client)
    subject = "" if "subject" in case.lost else claims.subject
    yield from ("--as", subject or "someone")
    yield from ("--issuer", policy.issuers[claims.issuer].name)
