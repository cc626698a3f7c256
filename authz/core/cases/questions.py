"""The requests that a test asks about: one METHOD and URL, or all routes of an operation.

Law: the canonical form is the gate's own. A request that has none is a mistake of the test, because the gate refuses it
whatever the policy says. An operation stands for its routes: with a DAG those that are about one, without a DAG all
others. That is what the gate decides by: a route whose path names a DAG, and whose body may name others, is about any.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.cases.asking import ASKED, LOCALHOST, http_request, names_host
from authz.core.catalogue import ONE_DAG, Catalogue, OperationRoute
from authz.core.documents.wording import Mistake, near
from authz.core.errors import DeniedError
from authz.core.model import Plane, Request
from authz.core.policy.operations import Words
from authz.core.policy.patterns import parse_one_id
from authz.core.policy.synonyms import OperationHints
from authz.core.request.canonical import canonical
from authz.core.request.path import CONNECT

_SAMPLE: Final = "x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What Envoy adds to a request. `plane` is None if the request decides: egress for a tunnel, else inbound."""

    plane: Plane | None = None
    host: str = ""
    destination: str = ""
    base: str = ""
    narrowed: bool = False


class Questions:
    """Reads the questions of one policy's tests. Equal questions are read once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._words = Words(catalogue)
        self._hints = OperationHints(catalogue)
        self._known: dict[tuple[object, ...], tuple[Request, ...]] = {}

    def of_request(self, text: str, setting: Setting) -> tuple[Request, ...]:
        """The request of a text `METHOD URL`.

        Raises:
            Mistake: it is none, or has no canonical form.
        """
        method, _, url = text.partition(" ")
        if method not in ASKED:
            hint = (
                near(method.upper(), ASKED) or "write METHOD and URL, as GET /api/v2/dags; an operation is area:action"
            )
            raise Mistake(f"`{method}` is not a method", hint)
        if not url:
            raise Mistake("the request has no path", "write METHOD and URL, as GET /api/v2/dags")
        plane = setting.plane or (Plane.EGRESS if method == CONNECT else Plane.INBOUND)
        if setting.host and names_host(method, url):
            raise Mistake(f"`{url}` has a host, and the test has another", "remove `host`, or write a path")
        return (_canonical(method, url, plane, setting),)

    def of_operation(self, word: str, dag: str, setting: Setting, *, never: bool) -> tuple[Request, ...]:
        """A request for each route of the operations that a word stands for; `never` as in `Words.stand_for`.

        Raises:
            Mistake: it is not an operation, or none of its routes is about one DAG, or each is.
        """
        if setting.plane is Plane.EGRESS:
            raise Mistake(f"`{word}`: operations are Airflow's own, on the inbound plane", "write METHOD and URL")
        if not self._words.known(word, never=never):
            message = f"unknown operation `{word}` (Airflow {self._catalogue.version})"
            raise Mistake(message, self._hints.for_unknown(word, never=never))
        question = (word, dag, setting, never)
        if question not in self._known:
            self._known[question] = tuple(self._routes(word, dag, setting, never=never))
        found = self._known[question]
        if not found and dag:
            raise Mistake(f"no route of `{word}` is about one DAG", "leave the DAG out")
        if not found:
            raise Mistake(f"each route of `{word}` is about one DAG", "say which one the test is about")
        return found

    def of_row(self, text: str, setting: Setting, *, never: bool) -> tuple[Request, ...]:
        """The requests of a row: `METHOD URL`, `operation` or `operation DAG`. Raises Mistake."""
        first, _, rest = text.partition(" ")
        if ":" not in first and first != "*" and "." not in first:
            return self.of_request(text, setting)
        return self.of_operation(first, parse_one_id(rest, "DAG") if rest else "", setting, never=never)

    def check_narrowed(self, requests: Iterable[Request]) -> None:
        """Raise a Mistake about the first request that is not a list of DAGs that Airflow narrows."""
        for request in requests:
            route = self._catalogue.match(request.segments, request.method)
            if route is None or not route.narrowed:
                text = f"{request.method} {request.path} is not a list that Airflow narrows"
                raise Mistake(text, "`shows` and `hides` are about such lists, as GET /api/v2/dags")

    def _routes(self, word: str, dag: str, setting: Setting, *, never: bool) -> Iterator[Request]:
        for name in sorted(self._words.stand_for((word,), never=never)):
            for route in self._catalogue.operations[name].routes:
                if (route.dag == ONE_DAG) == bool(dag):
                    yield _canonical(route.method, setting.base + _path(route, dag), Plane.INBOUND, setting)


def _path(route: OperationRoute, dag: str) -> str:
    """A path that the route matches."""
    segments, named = route.template.split("/"), dag or _SAMPLE
    return "/".join(named if word == ONE_DAG else _SAMPLE if word.startswith("{") else word for word in segments)


def _canonical(method: str, url: str, plane: Plane, setting: Setting) -> Request:
    http = http_request(
        method,
        url,
        plane,
        setting.host or LOCALHOST,
        destination=setting.destination,
        base=setting.base,
        narrowed=setting.narrowed,
    )
    try:
        return canonical(http)
    except DeniedError as error:
        hint = "the gate refuses such a request whatever the policy says: write it in its canonical form"
        raise Mistake(f"`{url}`: {error.detail} ({error.reason})", hint) from None
