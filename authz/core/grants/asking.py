"""What a caller may ask, approve, end and see; from that the event to record.

Law 1: born refused: each function ends in the event only when every condition holds.
Law 2: a grant that the caller may neither own, approve nor end does not exist for the caller.
Law 3: roles are those at that moment, without grants. An account of the gate's machine (`local`) has no roles: it can
write the file anyway, so only the entry, its longest duration and the reason are checked, and the event says so.
Law 4: repeating an approval or an end changes nothing and is no mistake; so is asking again for what already waits.
Law 5: an agent approves nothing, also for a person whose name its token has. It may ask and end as that person.
Law 6: bounded, for each holder and in all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.characters import one_line
from authz.core.documents.quantities import duration_text
from authz.core.grants.events import MOST_NAME, MOST_REASON, MOST_SUBJECT, Actor, Approved, Ended, Requested
from authz.core.grants.ledger import Grant, Ledger, State
from authz.core.grants.refusals import GrantRefusedError, Refusal
from authz.core.policy import Grantable, Policy

MOST: Final = 2000  # grants that are waiting, active or recently ended
MOST_OPEN_OF_ONE: Final = 10  # waiting or active
MOST_OF_ONE: Final = 40  # with those that ended within a day
_LOOK: Final = "`authz grant list` shows what you may ask for and approve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The identity that asks, with its roles without grants; or an account of the machine, without roles.

    `is_agent`: the token is an agent's, which may act for a person of the same name.
    """

    actor: Actor
    roles: frozenset[str] = frozenset()
    is_agent: bool = False

    def has_one_of(self, roles: frozenset[str]) -> bool:
        """Whether it has one of these roles, or needs none."""
        return bool(self.actor.local) or not self.roles.isdisjoint(roles)


def request(ledger: Ledger, policy: Policy, caller: Caller, wanted: Requested) -> Requested | Grant:
    """The request to record; or the grant that waits already for the same. `wanted.open` is set here.

    Raises:
        GrantRefusedError: it may not be asked for.
    """
    entry = policy.grantable.get(wanted.entry)
    if entry is None or not caller.has_one_of(entry.requesters):
        raise GrantRefusedError(
            Refusal.NOT_A_REQUESTER,
            "there is no entry of this name that you may ask for",
            _names(one.id for one in _requestable(policy, caller)),
        )
    _check_form(wanted, entry)
    _check_names(caller.actor)
    holder = wanted.holder
    own = ledger.of(holder.issuer, holder.subject)
    for grant in own:
        if grant.state is State.WAITING and _asks_the_same(grant.request, wanted):
            return grant
    if sum(grant.over_at is None for grant in own) >= MOST_OPEN_OF_ONE:
        raise GrantRefusedError(
            Refusal.TOO_MANY, f"{MOST_OPEN_OF_ONE} of your grants are waiting or active", "end one that you do not need"
        )
    if len(own) >= MOST_OF_ONE:
        raise GrantRefusedError(
            Refusal.TOO_MANY, f"{MOST_OF_ONE} of your grants are open or ended within a day", "ask again tomorrow"
        )
    if len(ledger) >= MOST:
        raise GrantRefusedError(
            Refusal.TOO_MANY, f"{MOST} grants of all callers are open or ended within a day", "ask the gate's operators"
        )
    return Requested(
        id=wanted.id,
        at=wanted.at,
        holder=holder,
        entry=wanted.entry,
        seconds=wanted.seconds,
        reason=wanted.reason,
        open=not entry.approvers,
        local=caller.actor.local,
    )


def approve(ledger: Ledger, policy: Policy, caller: Caller, name: str, now: int) -> Approved | Grant:
    """The approval to record; or the grant that is approved already.

    Raises:
        GrantRefusedError: it may not be approved, or not by this caller.
    """
    grant = _found(ledger, policy, caller, name)
    asked = grant.request
    entry = policy.grantable.get(asked.entry)
    if caller.is_agent:
        raise GrantRefusedError(
            Refusal.AGENT, "an agent may not approve", "a person approves, with a token that was issued for no agent"
        )
    if caller.actor == asked.holder:
        raise GrantRefusedError(
            Refusal.OWN_REQUEST, "you asked for this yourself, and another person must approve it", _approvers(entry)
        )
    if entry is None:
        raise _narrowed("the policy does not have this entry any more")
    if not caller.has_one_of(entry.approvers):
        raise GrantRefusedError(Refusal.NOT_AN_APPROVER, "you may not approve this", _approvers(entry))
    if grant.state is State.ENDED:
        raise GrantRefusedError(Refusal.ENDED, "it has ended", "the requester may ask again")
    if grant.state is State.ACTIVE:
        if entry.approvers and grant.approved is None:
            raise _narrowed("it was asked for when no approval was needed")
        return grant
    if asked.seconds > entry.longest:
        raise _narrowed("the policy permits a shorter time only")
    return Approved(id=name, at=now, by=caller.actor)


def end(ledger: Ledger, policy: Policy, caller: Caller, name: str, now: int) -> Ended | Grant:
    """The end to record; or the grant that has ended already. Its holder and its approvers may end it.

    Raises:
        GrantRefusedError: there is none that this caller may end.
    """
    grant = _found(ledger, policy, caller, name)
    return grant if grant.state is State.ENDED else Ended(id=name, at=now, by=caller.actor)


def visible(ledger: Ledger, policy: Policy, caller: Caller) -> tuple[list[Grant], list[Grantable]]:
    """The grants that the caller holds, approves or may approve, the newest first; what the caller may ask for."""
    grants = [grant for grant in ledger if _may_see(grant, policy, caller)]
    grants.sort(key=lambda grant: (-grant.request.at, grant.id))
    return grants, list(_requestable(policy, caller))


def _check_form(wanted: Requested, entry: Grantable) -> None:
    reason, holder = wanted.reason, wanted.holder
    if not reason.strip() or len(reason) > MOST_REASON or one_line(reason) != reason:
        raise GrantRefusedError(
            Refusal.INVALID,
            f"`reason` is not one line of 1 to {MOST_REASON} visible characters",
            "say why you need it, for those who approve and those who read it later",
        )
    _check_names(holder)
    longest = int(entry.longest)
    if not 1 <= wanted.seconds <= longest:
        raise GrantRefusedError(
            Refusal.TOO_LONG,
            f"`duration` is not from 1s to {duration_text(longest)}, the longest for this entry",
            f"ask for at most {duration_text(longest)}",
        )


def _check_names(actor: Actor) -> None:
    """Who asks, approves or ends is named in a line, which has bounds."""
    names, most = ((actor.local,), MOST_NAME) if actor.local else ((actor.issuer, actor.subject), MOST_SUBJECT)
    if not all(0 < len(name) <= most and one_line(name) == name for name in names):
        raise GrantRefusedError(
            Refusal.INVALID,
            f"the name of this account is longer than {most} characters, or not printable",
            "use another account",
        )


def _asks_the_same(one: Requested, other: Requested) -> bool:
    return (one.entry, one.seconds, one.reason) == (other.entry, other.seconds, other.reason)


def _found(ledger: Ledger, policy: Policy, caller: Caller, name: str) -> Grant:
    grant = ledger.get(name)
    if grant is None or not _may_see(grant, policy, caller):
        raise GrantRefusedError(Refusal.UNKNOWN, "there is no such grant, or none that you may see", _LOOK)
    _check_names(caller.actor)
    return grant


def _may_see(grant: Grant, policy: Policy, caller: Caller) -> bool:
    if caller.actor.local or caller.actor == grant.request.holder:
        return True
    if grant.approved is not None and caller.actor == grant.approved.by:
        return True
    entry = policy.grantable.get(grant.request.entry)
    return entry is not None and caller.has_one_of(entry.approvers)


def _requestable(policy: Policy, caller: Caller) -> Iterator[Grantable]:
    return (entry for entry in policy.grantable.values() if caller.has_one_of(entry.requesters))


def _approvers(entry: Grantable | None) -> str:
    names = sorted(entry.approvers) if entry is not None else []
    return f"it needs one of the roles {', '.join(names)}" if names else "it needs no approval"


def _names(names: Iterator[str]) -> str:
    return f"you may ask for: {', '.join(sorted(names)) or 'nothing'}"


def _narrowed(message: str) -> GrantRefusedError:
    return GrantRefusedError(Refusal.NARROWED, message, "the requester may ask again for what the policy permits now")
