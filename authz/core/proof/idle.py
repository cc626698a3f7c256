"""Which rules change nothing: without them the policy allows the same, or, of deny rules, denies the same.

Law: exact for a policy in which nothing ends. A rule is found if and only if every request that it is about, of every
caller that it is about, meets another rule that does the same, or, for an allow rule, a deny rule. A set of memberships
that is about to lose something loses it with one of them, so that callers with one of them stand for all; and the
other rules meet all of a region where they meet its stand-in. Rules are looked at from the last one in the file to the
first, and what is found is left out for the next: all that are found can be removed together. What the file has once
for all teams is one rule. Rules of built-in roles are never found, as no one can remove them.

Rules and memberships that have an end count as if they were over where they would make another rule idle. So a finding
holds at all times; of two rules that end, the one is found only if it says the same as the other.

Most rules do something, and the first request that is asked about shows it. Where too much would be asked, a rule
counts as one that does something.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Final

from authz.core.decision.decide import route_of
from authz.core.errors import TooLargeError
from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.ends import as_of, ends
from authz.core.policy.index import ANY, Index
from authz.core.policy.rules import AUTHENTICATED, BUILT_IN, Effect, Rule
from authz.core.proof.asked import Asked, in_time, numbers
from authz.core.proof.gains import meaning
from authz.core.proof.others import Others, Question
from authz.core.proof.points import point
from authz.core.proof.regions import Region, of_denial, of_rule
from authz.core.proof.samples import Samples
from authz.core.proof.space import Space

MOST_ASKED: Final = 10_000
"""Questions about one rule, each of which takes at least some ten microseconds."""
MOST_ASKED_IN_ALL: Final = 200_000
MOST_RULES: Final = 20_000
MOST_ROLES: Final = 1000
_MOST_COMPARED: Final = 20
_ANYONES: Final = (ANY, AUTHENTICATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A rule that changes nothing. `by` are the ids of rules that together do the same, in their order in the file.

    `same`: `by` is one rule, which says the same. `denied` are deny rules that keep everyone from the rest of an allow
    rule. With neither, no request meets all conditions of the rule.
    """

    rule: Rule
    by: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    same: bool = False


@dataclass(slots=True)
class _Met:
    """What a rule's requests meet, in so many `regions`: some other rules that do the same, or deny rules."""

    questions: list[tuple[Question, frozenset[str]]] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    regions: int = 0


def idle(policy: Policy, lifeless: Iterable[str] = ()) -> Iterator[Idle]:
    """The rules, without those that no one has the roles for, and the `lifeless`: rules that deny rules cover."""
    asked = _Idle(policy, lifeless)
    yield from asked.repeated()
    yield from asked.covered()


class _Idle:
    """The question about one policy. `_gone` are ids that are left out, with those of the rule that is asked about."""

    def __init__(self, policy: Policy, gone: Iterable[str]) -> None:
        over = ends(policy)
        self._policy, self._lasting = policy, as_of(policy, over[-1]) if over else policy
        written: dict[str, list[Rule]] = defaultdict(list)
        for rule in policy.rules.values():
            written[rule.written].append(rule)
        # In their order in the file; built-in rules first.
        self._written = sorted(
            written.values(), key=lambda each: (each[0].id not in BUILT_IN, policy.place_of(each[0]), each[0].id)
        )
        self._gone = set(gone)
        self._left = MOST_ASKED_IN_ALL

    def _left_of(self, written: Iterable[list[Rule]]) -> Iterator[list[Rule]]:
        return (each for each in written if any(rule.id not in self._gone for rule in each))

    def repeated(self) -> Iterator[Idle]:
        """Rules that say the same as earlier ones."""
        known: dict[object, int] = {}
        said = {
            rule.id: known.setdefault((meaning(rule), rule.until), len(known)) for rule in self._policy.rules.values()
        }
        often = Counter(said.values())
        first: dict[object, str] = {}
        for each in self._left_of(self._written):
            if any(often[said[rule.id]] == 1 for rule in each):
                continue
            whole = [(said[rule.id], frozenset(rule.roles)) for rule in each]
            if all(key in first for key in whole):
                self._gone.update(rule.id for rule in each)
                yield Idle(rule=each[0], by=(first[whole[0]],), same=True)
            else:
                for key, rule in zip(whole, each, strict=True):
                    first.setdefault(key, rule.id)

    def covered(self) -> Iterator[Idle]:
        """Rules that others cover, and those that no request meets."""
        left = [rule for rule in self._policy.rules.values() if rule.id not in self._gone]
        if len(left) > MOST_RULES:
            return
        sides = {plane: _Side(self._policy, self._lasting, plane, left, self._gone) for plane in Plane}
        for each in self._left_of(reversed(self._written)):
            if each[0].id in BUILT_IN:
                continue
            names = {rule.id for rule in each}
            self._gone |= names
            found = self._covered([(rule, sides[plane]) for rule in each for plane in rule.planes])
            if found is None:
                self._gone -= names
            else:
                yield found

    def _covered(self, asked: Sequence[tuple[Rule, "_Side"]]) -> Idle | None:
        self._left -= len(asked)
        if self._left < 0 or any(side.acts(rule) for rule, side in asked):
            return None
        most, met = MOST_ASKED, []
        for rule, side in asked:
            most = min(most, self._left)
            found = side.met(rule, most)
            spent = most if found is None else found.regions + len(found.questions)
            self._left -= spent
            most -= spent
            if found is None:
                return None
            met.append(found)
        return self._said(asked, met)

    def _said(self, asked: Sequence[tuple[Rule, "_Side"]], met: Sequence[_Met]) -> Idle | None:
        if not any(found.regions for found in met):
            return Idle(rule=asked[0][0])
        meeting = [(*one, found) for one, found in zip(asked, met, strict=True) if found.questions]
        if not meeting:
            return None  # no one has its roles, or `lifeless` says what denies it
        names = {name for rule, side, found in meeting for name in side.fewest(rule, found.questions)}
        by = sorted(names, key=lambda name: self._policy.place_of(self._policy.rules[name]))
        denied = {name for found in met for name in found.denied}
        return Idle(rule=meeting[0][0], by=tuple(by), denied=tuple(sorted(denied)))


class _Side:
    """One plane of a policy. `lasting` is the policy when all that ends is over; `rules` are all but those `gone`."""

    def __init__(
        self, policy: Policy, lasting: Policy, plane: Plane, rules: Iterable[Rule], gone: Collection[str]
    ) -> None:
        self._policy, self._lasting, self._plane, self._gone = policy, lasting, plane, gone
        self._rules: dict[Effect, list[Rule]] = {effect: [] for effect in Effect}
        for rule in rules:
            if plane in rule.planes and rule.id in lasting.rules:
                self._rules[rule.effect].append(rule)
        self._samples = Samples(policy, plane)

    @cached_property
    def _space(self) -> Space:
        return Space(self._plane, self._policy)

    @cached_property
    def _asked(self) -> tuple[Asked, Asked]:
        """Who rules are about, and which roles are theirs when all that ends is over."""
        return in_time(self._policy, self._lasting, self._plane)

    @cached_property
    def _others(self) -> dict[Effect, list[Others]]:
        """For each effect the rules that may do the same."""
        of = {effect: Others(self._rules[effect], self._plane, effect, self._policy.catalogue) for effect in Effect}
        granting = [of[Effect.PUBLIC], of[Effect.ALLOW]]
        return {Effect.DENY: [of[Effect.DENY]], Effect.PUBLIC: granting, Effect.ALLOW: granting}

    def _beside(self, rule: Rule, question: Question) -> Iterator[str]:
        """Some other rules that do the same to a request, if there are any."""
        for others in self._others[rule.effect]:
            yield from others.beside(self._gone, question)

    def _denied(self, rule: Rule, question: Question) -> str:
        return "" if rule.effect is Effect.DENY else question.of(self._lasting.gates[self._plane].deny)

    def acts(self, rule: Rule) -> bool:
        """Whether a sample of what the rule is about shows that it does something: most rules need no more."""
        at = self._samples.of(rule)
        if at is None:
            return False
        if all(others.are(self._gone) for others in self._others[rule.effect]):
            return True
        about, lasting = self._asked
        number = about.tokenless if at.run is not None else about.one(rule)
        if number is None or (number == about.tokenless and self._plane is Plane.EGRESS and at.run is None):
            return False
        question = Question(at, route_of(at.request, self._policy), lasting.keys[number])
        if len(question.roles) > MOST_ROLES:
            return True  # each answer takes too long
        return not any(True for _ in self._beside(rule, question)) and not self._denied(rule, question)

    def met(self, rule: Rule, most: int) -> _Met | None:
        """What the requests that the rule is about meet; None if the rule does something, or too much is asked."""
        found = _Met()
        try:
            regions = (of_denial if rule.effect is Effect.DENY else of_rule)(rule, self._plane, self._space)
            for region in regions:
                if len(found.questions) + found.regions >= most or not self._meets(rule, region, found):
                    return None
        except TooLargeError:
            return None
        return found

    def _meets(self, rule: Rule, region: Region, found: _Met) -> bool:
        """Whether all callers that the rule is about meet other rules in a region."""
        at = point(region, self._space.symbol)
        route = route_of(at.request, self._policy)
        if (route.template if route is not None else "") != region.template:
            return True  # another route has taken its path
        found.regions += 1
        about, lasting = self._asked
        among = about.asking(region, about.named(rule))
        with_tokens = among & ~(1 << about.tokenless) if self._plane is Plane.INBOUND else among
        if with_tokens.bit_count() > 1 and self._is_met(rule, Question(at, route, _ANYONES), found):
            among ^= with_tokens
        for number in numbers(among):
            question = Question(at, route, lasting.keys[number])
            if not self._is_met(rule, question, found):
                denied = self._denied(rule, question)
                if not denied:
                    return False
                found.denied.add(denied)
        return True

    def _is_met(self, rule: Rule, question: Question, found: _Met) -> bool:
        beside = frozenset(islice(self._beside(rule, question), 2))
        if beside:
            found.questions.append((question, beside))
        return bool(beside)

    def fewest(self, rule: Rule, met: Sequence[tuple[Question, frozenset[str]]]) -> set[str]:
        """The first other rule that does the same in all of these, or else few that do together."""
        first = (others.all(met[0][0]) for others in self._others[rule.effect])
        near = [name for name in islice(chain.from_iterable(first), _MOST_COMPARED) if name not in self._gone]
        for name in sorted(near, key=self._place):
            other = self._policy.rules[name]
            alone = Index([other], plane=self._plane, effect=other.effect, catalogue=self._policy.catalogue)
            if all(question.of(alone) for question, _ in met):
                return {name}
        chosen: set[str] = set()
        while left := [names for _, names in met if chosen.isdisjoint(names)]:
            often = Counter(name for names in left for name in names)
            chosen.add(min(often, key=lambda name: (-often[name], self._place(name))))
        return chosen

    def _place(self, name: str) -> tuple[str, int, int]:
        return self._policy.place_of(self._policy.rules[name])
