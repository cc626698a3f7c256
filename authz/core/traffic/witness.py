"""A record's request as the words of `authz check`, so that people can try it.

Law: the words are asked under the new policy, and mean the very case that was evaluated, as far as a policy can tell
cases apart. Where no words can say it, there are none.
"""

from collections.abc import Iterator
from typing import Final

from authz.core.model import Claims
from authz.core.policy import Policy
from authz.core.replay import Case
from authz.core.request.check_words import request_words, run_words

_MANY: Final = 8  # groups: of more, only those that the policy names


def words(case: Case, policy: Policy) -> tuple[str, ...]:
    """The words after `authz check`; () if they cannot say it: settings alone say what is below a base path."""
    if case.request.outside:
        return ()
    account = () if case.caller is None else _account(case, case.caller, policy)
    return (*request_words(case.request), *account, *run_words(case.run, of_account=case.caller is not None))


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
