"""Airflow's side: a real Airflow with FAB, everybody logged in, and every route asked by each of them.

Law: a refusal is what Airflow does on purpose: 401, 403, or a 404 where the same thing of somebody else's is there. Any
other error would hide a refusal, so it stops the comparison unless it is listed as an answer.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from authz.core.catalogue import Catalogue
from tests.parity.asks import APART, PEOPLE, Ask, Person, ask, asked_routes
from tests.parity.compare import Listed, statuses
from tests.support.sites.airflow import AirflowSite

HERE = Path(__file__).parent
STRONGEST = "admin"
OPTIONS = {
    "AIRFLOW__API__EXPOSE_CONFIG": "true",  # without it nobody may read the configuration
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",  # without it nobody may test a connection
}
REFUSALS = {401, 403}


class Airflow:
    """The running Airflow and everyone's world in it. `fab` is what FAB's auth manager says to each of them."""

    def __init__(self, site: AirflowSite, ids: Mapping[str, Any], fab: Mapping[str, Mapping[str, bool]]) -> None:
        self.fab = fab
        self._site = site
        with self._client(STRONGEST) as client:
            tokens = {name: client.get(f"/api/v2/dags/parity_{name}").json()["file_token"] for name in PEOPLE}
        self._people = [Person(name, {**ids[name], "file_token": tokens[name]}) for name in PEOPLE]

    def answers(self, catalogue: Catalogue) -> dict[tuple[str, str], int]:
        """What each of them gets: (who, route) → status."""
        asked = asked_routes(catalogue)
        found: dict[tuple[str, str], int] = {}
        for person in self._people:  # one after the other: two writers at once are too much for SQLite
            found.update(self._ask_all(person, asked))
        return found

    def _ask_all(self, person: Person, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        found = {}
        with self._client(person.name) as client:
            for method, template in asked:
                request = ask(method, template, person)
                with (
                    self._client(person.name) if (method, template) in APART else contextlib.nullcontext(client) as one
                ):
                    found[person.name, f"{method} {template}"] = _answer(one, request)
        return found

    def _client(self, name: str) -> httpx.Client:
        """Somebody logged in, with FAB's token."""
        return self._site.client("" if name == "nobody" else name)


def _answer(client: httpx.Client, request: Ask) -> int:
    more: dict[str, Any] = {} if request.body is None else {"json": request.body}
    return client.request(request.method, request.url, headers=request.headers, **more).status_code


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Airflow]:
    """A real Airflow with FAB, in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    dags = dict.fromkeys(PEOPLE, (HERE / "dags.py").read_text())
    with AirflowSite(folder, dags=dags, auth_manager="fab", options=OPTIONS) as site:
        made = folder / "world.json"
        site.python(HERE / "world.py", str(made), *PEOPLE)
        yield Airflow(site, **json.loads(made.read_text()))


def verdicts(answers: Mapping[tuple[str, str], int], listed: Listed) -> tuple[dict[tuple[str, str], bool], list[str]]:
    """Whether Airflow allows: (who, route) → bool, without the routes that are not there; and what is unclear."""
    absent, answered = statuses(listed.not_there), statuses(listed.answered)
    found: dict[tuple[str, str], bool] = {}
    unclear: list[str] = []
    for (who, route), status in answers.items():
        fine = answers[STRONGEST, route] < httpx.codes.BAD_REQUEST
        if route in absent:
            if status not in absent[route]:
                unclear.append(f"listed as not there: {who}: {route} → {status}")
        elif status in REFUSALS:
            found[who, route] = False
        elif status < httpx.codes.BAD_REQUEST or status in answered.get(route, ()):
            found[who, route] = True
        elif status == httpx.codes.NOT_FOUND and fine:
            found[who, route] = False
        else:
            unclear.append(f"neither allowed nor refused: {who}: {route} → {status}")
    routes = {route for _, route in answers}
    unclear += [f"listed, and no route: {route}" for route in sorted((absent.keys() | answered.keys()) - routes)]
    return found, unclear
