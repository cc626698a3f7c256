"""What two policies say differently about grants of the same entry: who may ask, who may approve, for how long.

Law: complete beside the differences between the rules, in which the holder of a grant is a caller. An entry that only
one of the policies has is none of these: what it gives is a gain, or a loss, of those who hold a grant of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from authz.core.documents.quantities import duration_text
from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import Grantable
from authz.core.proof.callers import Caller, callers
from authz.core.proof.condition import Condition
from authz.core.proof.wording import few_of

_Held = tuple[frozenset[str], frozenset[str]]
"""The roles of one caller under the old and the new policy."""
_Known = Mapping[_Held, Sequence[Caller]]


def about_grantable(old: Policy, new: Policy) -> Iterator[Condition]:
    """The differences, entry by entry. Single memberships are enough: each may be the one that lets its holder ask."""
    both = sorted(old.grantable.keys() & new.grantable.keys())
    asking = [one for one in callers(Plane.INBOUND, old, new) if one.issuer] if both else []
    known: dict[_Held, list[Caller]] = defaultdict(list)
    for caller in asking:
        known[caller.held(old), caller.held(new)].append(caller)
    several = len(new.issuers) > 1
    for name in both:
        before, after = old.grantable[name], new.grantable[name]
        yield from _who(f"ask for grants of `{name}`", known, (before.requesters, after.requesters), several=several)
        yield from _approval(name, known, (before, after), several=several)
        if before.longest != after.longest:
            change = f"{duration_text(before.longest)} → {duration_text(after.longest)}"
            text = f"the longest time of grants of `{name}` has changed: {change}"
            yield Condition(text=text, widens=after.longest > before.longest)


def _approval(name: str, known: _Known, of: tuple[Grantable, Grantable], *, several: bool) -> Iterator[Condition]:
    before, after = of
    if before.approvers and after.approvers:
        yield from _who(f"approve grants of `{name}`", known, (before.approvers, after.approvers), several=several)
    elif before.approvers or after.approvers:
        needed = "no longer need" if before.approvers else "now need"
        yield Condition(text=f"grants of `{name}` {needed} approval", widens=not after.approvers)


def _who(may: str, known: _Known, by: tuple[frozenset[str], frozenset[str]], *, several: bool) -> Iterator[Condition]:
    """Who may do it under one of the policies only, `by` a role that lets them."""
    found: dict[tuple[str, bool], list[Caller]] = defaultdict(list)
    for (old, new), some in known.items():
        could, can = by[0] & old, by[1] & new
        if can and not could:
            found[min(can), True] += some
        elif could and not can:
            found[min(could), False] += some
    for (role, widens), some in found.items():
        who = f"callers with the role {role} ({few_of(some, of_issuer=several)})"
        yield Condition(text=f"{who} may {'now' if widens else 'no longer'} {may}", widens=widens)
