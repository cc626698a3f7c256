"""One request that a rule is about, made of its first entries: a question that most rules answer at once.

Law: careful. Either the rule applies to the request, or there is none; what is not simple has none.
"""

from typing import Final

from authz.core.catalogue import ANY_DAG
from authz.core.model import Level, Plane, Request, Run
from authz.core.policy.compiled import Policy
from authz.core.policy.operations import Words
from authz.core.policy.outbound import is_tunnel
from authz.core.policy.overlap import Segment
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import AUTHENTICATED, Rule
from authz.core.proof.points import Point
from authz.core.request.path import METHODS

_ANY: Final = "x"
_DAG: Final = "{dag_id}"
_GET: Final = "GET"


class Samples:
    """Requests of one plane."""

    def __init__(self, policy: Policy, plane: Plane) -> None:
        self._catalogue, self._plane = policy.catalogue, plane
        self._words = Words(policy.catalogue)
        self._routes: dict[tuple[tuple[str, ...], tuple[str, ...], bool], tuple[str, tuple[str, ...], str] | None] = {}

    def of(self, rule: Rule) -> Point | None:
        """A request that the rule applies to; None if that is not certain."""
        return self._inbound(rule) if self._plane is Plane.INBOUND else self._outbound(rule)

    def _inbound(self, rule: Rule) -> Point | None:
        if rule.operations:
            found = None if rule.paths else self._route(rule)
            if found is None:
                return None
            method, words, operation = found
            dag = _text(rule.dags[0]) if rule.dags else _ANY
            segments = tuple(dag if word == _DAG else _ANY if word.startswith("{") else word for word in words)
            route = self._catalogue.match(segments, method)
            fits = route is not None and route.operation == operation
            fits = fits and not (rule.dags and route is not None and route.dag_id in {"", ANY_DAG})
        else:
            method, segments = _method(rule), _path(rule)
            route = self._catalogue.match(segments, method)
            fits = not (rule.dags or (route is not None and self._catalogue.operations[route.operation].never))
        return Point(request=self._request(rule, method, segments)) if fits else None

    def _route(self, rule: Rule) -> tuple[str, tuple[str, ...], str] | None:
        """A method, the words of a template and the operation of a route of the rule."""
        question = rule.operations, rule.methods, bool(rule.dags)
        if question not in self._routes:
            names = self._words.stand_for(rule.operations, never=False)
            self._routes[question] = next(
                (
                    (route.method, tuple(route.template[1:].split("/")), name)
                    for name in sorted(names)
                    for route in self._catalogue.operations[name].routes
                    if (not rule.methods or route.method in rule.methods) and (not rule.dags or _DAG in route.template)
                ),
                None,
            )
        return self._routes[question]

    def _outbound(self, rule: Rule) -> Point | None:
        if is_tunnel(rule.methods):
            return None
        run = None
        if rule.identity is not None or rule.dags or rule.tasks:
            if rule.roles and AUTHENTICATED not in rule.roles:
                return None  # runs that prove which run they are have no roles
            dag, task = (_text(globs[0]) if globs else _ANY for globs in (rule.dags, rule.tasks))
            run = Run(dag, _ANY, task, -1, 1, Level.VERIFIED)
        return Point(request=self._request(rule, _method(rule), _path(rule)), run=run)

    def _request(self, rule: Rule, method: str, segments: tuple[str, ...]) -> Request:
        return Request(
            plane=self._plane,
            method=method,
            host=rule.hosts[0].text.replace("*", _ANY) if rule.hosts else _ANY,
            port=None,
            path="/" + "/".join(segments),
            segments=segments,
            destination=rule.destinations[0] if rule.destinations else "",
        )


def _method(rule: Rule) -> str:
    return next((method for method in rule.methods if method in METHODS), _GET)


def _path(rule: Rule) -> tuple[str, ...]:
    some = ((*map(_text, path.segments), *((_ANY,) if path.rest else ())) for path in rule.paths)
    return next(some, (_ANY,))


def _text(segment: Segment) -> str:
    if segment is None:
        return _ANY
    return segment.text.replace("*", _ANY) if isinstance(segment, Glob) else segment
