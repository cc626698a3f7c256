"""Lint for entries of `grantable`.

Law: that of `authz.core.lint.review`, which reports this. What an entry allows as a rule is seen as any other rule.
"""

from collections.abc import Iterator

from authz.core.errors import Problem
from authz.core.policy import AUTHENTICATED, Grantable, Policy
from authz.core.policy.rules import of_grant


def open_approval(policy: Policy) -> Iterator[Problem]:
    """Entries that every other caller with a valid token may approve."""
    for entry in policy.grantable.values():
        if AUTHENTICATED in entry.approvers:
            message = f"every caller with a valid token may approve grants of `{entry.id}`"
            yield _at(policy, entry, message, "name roles instead of `authenticated`")


def colleagues(policy: Policy) -> Iterator[Problem]:
    """Entries that the same roles ask for and approve: no one approves an own request, but each other's."""
    for entry in policy.grantable.values():
        if entry.requesters == entry.approvers and AUTHENTICATED not in entry.approvers:
            message = f"who may ask for `{entry.id}` may approve it too: colleagues approve each other"
            yield _at(policy, entry, message, "name another role in `approvers`, if that is not meant")


def had_already(policy: Policy) -> Iterator[Problem]:
    """Entries that give roles only, all of which every caller has who may ask for them."""
    for entry in policy.grantable.values():
        given = policy.roles[of_grant(entry.id)].includes - {of_grant(entry.id)}
        asking = [policy.roles[role].includes for role in entry.requesters if role != AUTHENTICATED]
        if of_grant(entry.id) in policy.rules or AUTHENTICATED in entry.requesters:
            continue
        if all(given <= held for held in asking):
            message = f"the entry `{entry.id}` gives nothing: all who may ask for it have its roles already"
            yield _at(policy, entry, message, "remove it, or give other roles")


def _at(policy: Policy, entry: Grantable, message: str, hint: str) -> Problem:
    return Problem(policy.file, entry.line, entry.column, message, hint)
