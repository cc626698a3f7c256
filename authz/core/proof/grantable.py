"""What two policies say differently about grants of the same entry: who may ask, who may approve, for how long.

Law: complete beside the differences between the rules, in which the holder of a grant is a caller. An entry that only
one of the policies has is none of these: what it gives is a gain, or a loss, of those who hold a grant of it.
"""

from collections.abc import Iterable, Iterator

from authz.core.documents.quantities import duration_text
from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import Grantable
from authz.core.proof.callers import callers
from authz.core.proof.condition import Condition

_Held = tuple[frozenset[str], frozenset[str]]
"""The roles of one caller under the old and the new policy."""


def about_grantable(old: Policy, new: Policy) -> Iterator[Condition]:
    """The differences, entry by entry. Single memberships are enough: each may be the one that lets its holder ask."""
    both = sorted(old.grantable.keys() & new.grantable.keys())
    asking = [one for one in callers(Plane.INBOUND, old, new) if one.issuer] if both else []
    known = dict.fromkeys((caller.held(old), caller.held(new)) for caller in asking)
    for name in both:
        before, after = old.grantable[name], new.grantable[name]
        yield from _who(f"ask for grants of `{name}`", known, before.requesters, after.requesters)
        yield from _approval(name, known, before, after)
        if before.longest != after.longest:
            change = f"{duration_text(before.longest)} → {duration_text(after.longest)}"
            text = f"the longest time of grants of `{name}` has changed: {change}"
            yield Condition(text=text, widens=after.longest > before.longest)


def _approval(name: str, known: Iterable[_Held], before: Grantable, after: Grantable) -> Iterator[Condition]:
    if before.approvers and after.approvers:
        yield from _who(f"approve grants of `{name}`", known, before.approvers, after.approvers)
    elif before.approvers or after.approvers:
        needed = "no longer need" if before.approvers else "now need"
        yield Condition(text=f"grants of `{name}` {needed} approval", widens=not after.approvers)


def _who(may: str, known: Iterable[_Held], before: frozenset[str], after: frozenset[str]) -> Iterator[Condition]:
    """Who may do it under one of the policies only, by a role that lets them."""
    found: dict[Condition, None] = {}
    for old, new in known:
        could, can = before & old, after & new
        if can and not could:
            found[Condition(text=f"callers with the role {min(can)} may now {may}", widens=True)] = None
        elif could and not can:
            found[Condition(text=f"callers with the role {min(could)} may no longer {may}", widens=False)] = None
    yield from found
