"""Where an operation is allowed: all of it, or only some hosts, methods and paths; and what deny rules take from it.

Law: an operation counts as whole only if each route of it is allowed on every path and host that it has. Limits to DAGs
are not said here: see `access.Cell`.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from authz.core.model import Identity, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.overlap import Segment
from authz.core.policy.rules import AUTHENTICATED, Effect, Rule
from authz.core.policy.targets import Target
from authz.core.proof.regions import Region, shared
from authz.core.proof.space import Space

_Route = tuple[str, str]
_Path = tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What rules ask for; false if the whole operation is allowed."""

    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.hosts or self.methods or self.paths)


NO_LIMITS: Final = Limits()


def is_about(rule: Rule, identity: Identity | None) -> bool:
    """Whether a rule is about a caller; None for one without a token."""
    if identity is None or not rule.roles:
        return not rule.roles
    return AUTHENTICATED in rule.roles or not identity.roles.isdisjoint(rule.roles)


def taken_by(rule: Rule) -> str:
    """What a deny rule takes, as far as it is about places, DAGs or tasks; "" if it takes all."""
    hosts, paths = [host.text for host in rule.hosts], [path.text for path in rule.paths]
    place = " ".join(", ".join(texts) for texts in (rule.methods, rule.destinations, hosts, paths) if texts)
    named = ("DAG", [glob.text for glob in rule.dags]), ("task", [glob.text for glob in rule.tasks])
    runs = " ".join(f"{word} {', '.join(texts)}" for word, texts in named if texts)
    return " of ".join(filter(None, (place, runs)))


class Routes:
    """The routes of a policy's catalogue that rules tell apart, and the deny rules about places that meet them."""

    def __init__(self, policy: Policy) -> None:
        self.space = Space(Plane.INBOUND, policy)
        self._denials = [
            rule
            for rule in policy.rules.values()
            if rule.effect is Effect.DENY
            and Plane.INBOUND in rule.planes
            and (rule.paths or rule.hosts or rule.methods)
        ]

    @cached_property
    def of_operation(self) -> dict[str, list[Target]]:
        """For each operation one route of each kind that it has."""
        found: dict[str, list[Target]] = defaultdict(list)
        for members in self.space.alike.values():
            for name in {member.operation for member in members}:
                found[name].append(members[0])
        return found

    @cached_property
    def _by_route(self) -> dict[_Route, list[Rule]]:
        """The deny rules about places that share something with a route."""
        return {
            (target.method, target.template): [rule for rule in self._denials if self._meets(target, rule)]
            for target in (self.space.targets if self._denials else ())
        }

    def _meets(self, target: Target, rule: Rule) -> bool:
        regions = (
            Region(
                plane=Plane.INBOUND,
                method=target.method,
                path=path,
                operation=target.operation,
                template=target.template,
                dag_at=target.dag_at,
                any_dag=target.any_dag,
            )
            for path in self.space.depths(target.shape)
        )
        return any(True for region in regions for _ in shared(region, rule, self.space.named))

    def denials(self, method: str, template: str) -> list[Rule]:
        """The deny rules about places that share something with a route."""
        return self._by_route.get((method, template), [])


class Places:
    """What one caller is allowed of each operation, gain by gain."""

    def __init__(self, policy: Policy, identity: Identity | None) -> None:
        self._policy = policy
        self._identity = identity
        self._found: dict[str, list[tuple[Rule, Region]]] = defaultdict(list)

    def add(self, operation: str, rule: str, region: Region) -> None:
        """A rule allows a region of an operation."""
        self._found[operation].append((self._policy.rules[rule], region))

    def limits(self, operation: str, routes: Routes) -> Limits:
        """What the rules ask for that allow only a part of the operation."""
        found = self._found[operation]
        narrow = [(rule, region) for rule, region in found if rule.paths or rule.hosts or rule.methods]
        if not narrow or any(not (rule.paths or rule.hosts or rule.methods or rule.dags) for rule, _ in found):
            return NO_LIMITS
        parts = [target for target in routes.of_operation[operation] if not self._is_whole(target, found, routes)]
        if all(rule.dags for rule, _ in found):  # such rules never allow what concerns no DAG
            parts = [target for target in parts if target.dag_at >= 0 or target.narrowed]
        if not parts:
            return NO_LIMITS
        return Limits(
            hosts=_sorted(region.host.text for _, region in narrow if region.host is not None),
            methods=_sorted(
                region.method for rule, region in narrow if rule.methods and not (rule.paths or rule.hosts)
            ),
            paths=_sorted(region.pattern for _, region in narrow),
        )

    def _is_whole(self, target: Target, found: list[tuple[Rule, Region]], routes: Routes) -> bool:
        """Whether all paths of a route are allowed, on every host."""
        route = target.method, target.template
        allowed = {
            _without_dag(region.path, region.dag_at)
            for _, region in found
            if region.host is None and (region.method, region.template) == route
        }
        return allowed.issuperset(_without_dag(path, target.dag_at) for path in routes.space.depths(target.shape))

    def excepted(self, operation: str, routes: Routes, *, whole: bool) -> tuple[str, ...]:
        """What deny rules about paths or hosts take from the operation; `whole` if the rules allow all of it."""
        near = {
            rule.id: rule
            for _, region in self._found[operation]
            for rule in routes.denials(region.method, region.template)
            if is_about(rule, self._identity) and (whole or any(True for _ in shared(region, rule, routes.space.named)))
        }
        if whole:  # a route that a rule denies altogether is no gain
            kinds = routes.of_operation[operation]
            others = (rule for target in kinds for rule in routes.denials(target.method, target.template))
            near |= {rule.id: rule for rule in others if is_about(rule, self._identity)}
        return _sorted(map(taken_by, near.values()))


def _without_dag(path: _Path, dag_at: int) -> _Path:
    return path if dag_at < 0 else (*path[:dag_at], None, *path[dag_at + 1 :])


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}))
