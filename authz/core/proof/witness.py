"""A request that people can try for themselves: what `authz check` is asked to see a gain or a loss.

Law: the engine answered this very request, under both policies, as the report says.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from authz.core.catalogue import ANY_DAG
from authz.core.model import SOMEONE
from authz.core.proof.callers import Caller, Kind, Membership
from authz.core.proof.points import Point, real
from authz.core.proof.regions import Region
from authz.core.request.check_words import request_words, run_words

_SUBJECTS: Final = ("someone-else", "z")  # where the policy has something to do with the one that `check` asks for
_OPTIONS: Final = {Kind.GROUP: "--group", Kind.CLIENT: "--client", Kind.SUBJECT: "--as", Kind.GRANT: "--grant"}


@dataclass(frozen=True, slots=True)
class Witness:
    """The words after `authz check`; `shows` is the DAG that a narrowed list shows, "" for none."""

    words: tuple[str, ...]
    shows: str = ""


def witness(region: Region, caller: Caller, differs: Callable[[Caller, Point], bool]) -> Witness | None:
    """The first request of the region that `differs`; None if none of those that were tried does."""
    for asked, options in _named(caller):
        for at in real(region):
            if differs(asked, at):
                words = (*request_words(at.request), *options, *run_words(at.run, of_account=bool(asked.issuer)))
                return Witness(words, "" if at.shown == ANY_DAG else at.shown)
    return None


def _named(caller: Caller) -> list[tuple[Caller, tuple[str, ...]]]:
    """The caller as `authz check` asks for one, and with which options: a token always has a subject."""
    if not caller.issuer:
        return [(caller, ())]
    options = [word for one in caller.memberships for word in (_OPTIONS[one.kind], one.value)]
    options += ["--issuer", caller.issuer]
    held = {one.kind: one.value for one in caller.memberships}
    if Kind.SUBJECT in held:
        return [(caller, tuple(options))]
    found = []
    unnamed = held.get(Kind.CLIENT, SOMEONE)
    for subject in (unnamed, *_SUBJECTS):
        also = () if subject == unnamed and caller.memberships else (_OPTIONS[Kind.SUBJECT], subject)
        named = replace(caller, memberships=(*caller.memberships, Membership(Kind.SUBJECT, subject)))
        found.append((named, (*options, *also)))
    return found
