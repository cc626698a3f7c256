"""Names callers and says what they gain or may do, as lines for people and as data for programs.

Law: no one is left out. A caller is not listed only where a line names all callers of their issuer; where there is more
than one issuer, each name says whose tokens are meant. What a line has no room for it counts; the data has all of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from authz.cli.safe_text import TERMINAL, Form
from authz.core.characters import one_line
from authz.core.model import Plane
from authz.core.policy import Policy
from authz.core.policy.rules import Effect
from authz.core.proof.callers import Caller, Membership
from authz.core.proof.diff import Change

_FEW: Final = 4
_FEW_ALIKE: Final = 2
ANONYMOUS: Final = "callers without a token"
IDENTIFIED: Final = "every caller with a token"
EVERYONE: Final = "everyone, also without a token"

_Ways = tuple[tuple[Membership, ...], ...]
_Held = tuple[str, frozenset[Membership]]


def say_unknown(found: Iterable[str]) -> None:
    """Say on standard error, each once, what of the callers in question no role has: an answer may be about no one."""
    for text in dict.fromkeys(found):
        click.echo(one_line(f"note: {text}"), err=True)


class Names:
    """The names of callers under some policies."""

    def __init__(self, policies: Sequence[Policy], form: Form = TERMINAL) -> None:
        self._form, self._policies = form, policies
        self._issuers = {issuer.name: issuer for policy in policies for issuer in policy.issuers.values()}

    def who(self, change: Change) -> str:
        """The callers of a change in a few words, with the roles that the rule asks for."""
        return self.people(change) + self.roles(change.roles)

    def people(self, change: Change) -> str:
        """The callers of a change in a few words."""
        found = [*self._listed(change)]
        spared = [*self._spared(change)]
        but = f", but not {_few(spared)}" if spared else ""
        return f"{_few(found)}{but}"

    def roles(self, roles: Iterable[str]) -> str:
        """The roles that rules ask for, each once, behind the names of callers."""
        named = [*dict.fromkeys(roles)]
        return f" ({', '.join(map(self._form.text, named))})" if named else ""

    def _listed(self, change: Change) -> Iterator[str]:
        every = self._every(change.callers, change.plane)
        yield from every
        covered = _strangers(change.callers)
        some = [caller for caller in change.callers if caller.memberships and caller.issuer not in covered]
        yield from self._short([(caller.issuer, change.ways(caller)) for caller in some], change.plane)
        if any(not (caller.issuer or caller.anonymous) for caller in change.callers):
            yield "a run"

    def _every(self, callers: Sequence[Caller], plane: Plane) -> list[str]:
        """The names that stand for all callers of an issuer, or without a token."""
        covered = _strangers(callers)
        anonymous = any(caller.anonymous for caller in callers)
        accepted = {name for name, issuer in self._issuers.items() if plane in issuer.audiences}
        if anonymous and accepted and accepted <= covered.keys():
            return [EVERYONE]
        if len(accepted) > 1 and accepted <= covered.keys():
            return [IDENTIFIED]
        return [*([ANONYMOUS] if anonymous else []), *(f"every caller of {self._form.text(name)}" for name in covered)]

    def _spared(self, change: Change) -> Iterator[str]:
        """Those of an issuer, all of whose other callers are meant, who are not."""
        covered, meant = _strangers(change.callers), {_held(caller) for caller in change.callers}
        spared = [
            (caller.issuer, change.ways(caller))
            for caller in change.known.callers
            if caller.issuer in covered and caller.memberships and _held(caller) not in meant
        ]
        return self._short(spared, change.plane)

    def _short(self, callers: Iterable[tuple[str, _Ways]], plane: Plane) -> Iterator[str]:
        """The names of callers by their issuers and memberships: each once, for all the issuers that it is of."""
        issuers: dict[str, dict[str, None]] = {}
        for issuer, ways in callers:
            if len(ways) == 1:
                names = [f"{one.kind} {self._form.code(one.value)}" for one in ways[0]]
            else:
                names = [" and ".join(self._either(way, _FEW_ALIKE) for way in ways)]
            for name in names:
                issuers.setdefault(name, {})[issuer] = None
        yield from (f"{name}{self._of_issuers([*some], plane)}" for name, some in issuers.items())

    def _of_issuers(self, some: Sequence[str], plane: Plane) -> str:
        if len(self._issuers) == 1:
            return ""
        accepted = {name for name, issuer in self._issuers.items() if plane in issuer.audiences}
        if len(some) > 1 and accepted <= {*some}:
            return " of any issuer"
        return f" of {' and '.join(map(self._form.text, some))}"

    def together(self, callers: Sequence[Caller], plane: Plane) -> list[str]:
        """The names of callers who may do the same: all of them."""
        covered = _strangers(callers)
        single = [caller for caller in callers if caller.memberships and caller.issuer not in covered]
        return [*self._every(callers, plane), *self._short([(one.issuer, _ways_of(one)) for one in single], plane)]

    def each(self, callers: Sequence[Caller]) -> list[str]:
        """The name of every caller, and of those who count alike."""
        return [name for caller in callers for name in self._of(caller, _ways_of(caller))]

    def all(self, change: Change) -> list[str]:
        """Every caller of a change by every membership that counts."""
        return [name for caller in change.callers for name in self._of(caller, change.ways(caller))]

    def _of(self, caller: Caller, ways: _Ways) -> Iterator[str]:
        """All names of one caller."""
        of_issuer = f" of {self._form.text(caller.issuer)}" if len(self._issuers) > 1 else ""
        if not caller.memberships:
            yield self._without(caller)
        elif len(ways) == 1:
            yield from (f"{one.kind} {self._form.code(one.value)}{of_issuer}" for one in ways[0])
        else:
            yield " and ".join(self._either(way) for way in ways) + of_issuer

    def _either(self, way: Sequence[Membership], most: int = 0) -> str:
        """One of the memberships; at most `most` are named, 0 for all."""
        shown = way[: most or len(way)]
        more = f" or {len(way) - len(shown)} more" if len(way) > len(shown) else ""
        return f"{way[0].kind} {' or '.join(self._form.code(one.value) for one in shown)}{more}"

    def _without(self, caller: Caller) -> str:
        if caller.anonymous:
            return ANONYMOUS
        return f"every caller of {self._form.text(caller.issuer)}" if caller.issuer else "a run"

    def what(self, change: Change) -> str:
        """Operations, place, run and DAGs."""
        hosts = [f"on host {', '.join(change.hosts)}"] if change.hosts and change.destinations else [*change.hosts]
        place = [change.methods, change.destinations, hosts, change.paths]
        run = f"as a run ({', '.join(change.levels)})" if change.levels else ""
        named = [
            f"{word} {', '.join(texts)}" for word, texts in (("DAG", change.dags), ("task", change.tasks)) if texts
        ]
        said = ", ".join(filter(None, (_operations(change), " ".join(map(", ".join, filter(None, place))), run)))
        text = ", ".join(filter(None, (said, *named)))
        return self._form.text(text + (f", except {', '.join(change.excepted)}" if change.excepted else ""))

    def because(self, change: Change) -> str:
        """The rule, and what has become of the deny rule that makes the difference. It takes two policies."""
        rule = self.rules([change.rule])
        denied = f"the deny rule {self._form.code(change.denied)} is {self.denied_is(change)}"
        return f"{rule}; {denied}" if change.denied else rule

    def rules(self, rules: Iterable[str]) -> str:
        """The rules that allow something, each once."""
        named = [*dict.fromkeys(map(self._form.code, rules))]
        return f"rule{'s' if len(named) > 1 else ''} {', '.join(named)}"

    def denied_is(self, change: Change) -> str:
        """What has become of the deny rule of a change: for a gain, of an old one, for a loss, of a new one."""
        if not change.denied:
            return ""
        old, new = (policy.rules.get(change.denied) for policy in self._policies)
        other = new if change.gained else old
        if other is None or other.effect is not Effect.DENY:
            return "gone" if change.gained else "new"
        word, end = ("narrower", "sooner") if change.gained else ("wider", "later")
        return f"{word} or ends {end}" if old is not None and new is not None and old.until != new.until else word


def _operations(change: Change) -> str:
    """The operations and, if not all of their routes are meant, these."""
    names = ", ".join(change.operations)
    return f"{names} by {_few(change.routes)}" if change.routes else names


def callers_json(change: Change) -> list[dict[str, object]]:
    """Every caller: one of each list of memberships, from this issuer."""
    return [
        {
            "issuer": caller.issuer,
            "anonymous": caller.anonymous,
            "run": not (caller.issuer or caller.anonymous),
            "memberships": [
                [{"kind": one.kind.value, "value": one.value} for one in way] for way in change.ways(caller)
            ],
        }
        for caller in change.callers
    ]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"


def _strangers(callers: Iterable[Caller]) -> dict[str, None]:
    """The issuers all of whose callers are meant."""
    return {caller.issuer: None for caller in callers if caller.issuer and not (caller.memberships or caller.role)}


def _held(caller: Caller) -> _Held:
    return caller.issuer, frozenset(caller.memberships)


def _ways_of(caller: Caller) -> _Ways:
    return ((*caller.memberships[-1:], *caller.alike),) if caller.memberships else ()
