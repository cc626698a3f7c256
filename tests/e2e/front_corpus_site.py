"""What the corpus of all fronts runs against: any front before a real gate, and a real Airflow behind a tap.

with airflow_of_the_corpus(folder) as airflow:
    with CorpusSite(folder, idp, "nginx", airflow) as site:
        site.front.send(…); site.tap.arrived(); site.front.gate.decisions

`NAMED` is the second oracle: what each rule of the policy names, written by hand in the terms of Airflow's routes. None
of our code for paths, routes or policies takes part in it. Airflow says itself which route answered.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import unquote

from authz.core import assertion
from tests.attacks.route_oracle import routes
from tests.e2e.envoy_harness import Envoy, newest
from tests.e2e.front_site import HOST, STARTS, FrontSite
from tests.e2e.front_tap import ROUTE, Arrived, Tap
from tests.support import envoy_settings
from tests.support.ports import loopback
from tests.support.sites.airflow import AUDIENCE, AirflowSite, empty_dags

ENVOY: Final = "envoy"
FRONTS: Final = (ENVOY, *sorted(STARTS))
REQUEST_BYTES: Final = 1024 * 1024
"""The longest body, where a front has such a limit: that of `front_site`."""
POLICY: Final = """
version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [airflow]}}
    algorithms: [ES256]
    username: preferred_username
    groups: [groups]
roles:
  viewer: {{groups: [viewers]}}
  user: {{groups: [users], includes: [viewer]}}
  wide: {{groups: [wides]}}
rules:
  - {{id: open, public: true, plane: inbound, operations: ["health:read"]}}
  - {{id: known, plane: inbound, roles: [authenticated], operations: ["version:read"]}}
  - {{id: reads, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"]}}
  - {{id: triggers, plane: inbound, roles: [user], operations: ["dag_runs:create"]}}
  - {{id: gets, plane: inbound, roles: [wide], methods: [GET], paths: ["/api/v2/**"]}}
  - {{id: never, deny: true, plane: inbound, roles: [wide], paths: ["/api/v2/pools", "/api/v2/pools/**",
     "/api/v2/connections", "/api/v2/connections/**", "/api/v2/variables", "/api/v2/variables/**"]}}
"""
GROUPS: Final = MappingProxyType(
    {"nobody": (), "viewer": ("viewers",), "user": ("users",), "wide": ("wides",), "forger": ("viewers",)}
)
RULES: Final[Mapping[str, frozenset[str]]] = {
    "nobody": frozenset({"open", "known"}),
    "viewer": frozenset({"open", "known", "reads"}),
    "user": frozenset({"open", "known", "reads", "triggers"}),
    "wide": frozenset({"open", "known", "gets"}),
}
"""Which rules a caller may be allowed by; one without a good token by `open` alone."""
OPEN: Final = frozenset({"open"})
_NEVER: Final = ("/api/v2/pools", "/api/v2/connections", "/api/v2/variables")


def _reads(method: str) -> bool:
    return method in {"GET", "HEAD"}


def _wide(method: str, route: str, path: str) -> bool:
    """By Airflow's route, or by the text of the path where Airflow has none."""
    catches_all = route in {"", "-", "/api/{_:path}", "/{rest_of_path:path}"}
    within = (path if catches_all else route).startswith("/api/v2/")
    return _reads(method) and within and not route.startswith(_NEVER)


def _operations(*wanted: str) -> Callable[[str, str, str], bool]:
    def named(method: str, route: str, _path: str) -> bool:
        return operation(method, route) in wanted

    return named


NAMED: Final[Mapping[str, Callable[[str, str, str], bool]]] = {
    "open": _operations("health:read"),
    "known": _operations("version:read"),
    "reads": _operations("dags:read", "dag_runs:read"),
    "triggers": _operations("dag_runs:create"),
    "gets": _wide,
}


def operation(method: str, route: str) -> str:
    """What a method on one of Airflow's routes is; "" for none. That the catalogue is Airflow's, others test."""
    method = "GET" if method == "HEAD" else method
    return next(
        (one["methods"][method] for _, one in routes() if one["path"] == route and method in one["methods"]), ""
    )


def is_named(rule: str, arrived: Arrived) -> bool:
    """Whether the rule names what Airflow served: its method and Airflow's own word for the route.

    Nothing is served where Airflow's HTTP parser refused what it read: 400, and no route was looked for.
    """
    if arrived.status == 400 and not arrived.route:
        return rule in NAMED
    path = unquote(arrived.request.target.partition("?")[0])
    route = arrived.route or _would_answer(arrived.request.method, path)
    return rule in NAMED and NAMED[rule](arrived.request.method, route, path)


def _would_answer(method: str, path: str) -> str:
    """The route of a request that Airflow gave no answer to: the front had gone. By Airflow's own patterns."""
    method = "GET" if method == "HEAD" else method
    return next((one["path"] for pattern, one in routes() if pattern.match(path) and method in one["methods"]), "-")


PLUGIN: Final = f'''
from airflow.plugins_manager import AirflowPlugin


class Says:
    """Adds the route that answers to each answer."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def say(message):
            if message["type"] == "http.response.start":
                route = scope.get("route")
                name = scope.get("root_path", "") + route.path if route else "-"
                message["headers"] = [*message["headers"], (b"{ROUTE}", name.encode())]
            await send(message)

        await self.app(scope, receive, say if scope["type"] == "http" else send)


class Corpus(AirflowPlugin):
    name = "corpus"
    fastapi_root_middlewares = [{{"middleware": Says, "args": [], "kwargs": {{}}, "name": "says"}}]
'''


class CorpusAirflow(AirflowSite):
    """Airflow with empty DAGs, which says in each answer which route gave it, and trusts all gates that it is shown."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, dags={"sales": empty_dags("sales_one", "sales_two")})
        self._trusted: list[Any] = []
        plugins = Path(self.home.home) / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "corpus.py").write_text(PLUGIN)
        self.environment["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(plugins)

    def trust(self, pem: bytes) -> None:
        self._trusted.append(assertion.load_signing_key(pem))
        self.publish(*self._trusted)


class EnvoySite(FrontSite):
    """Envoy as `authz envoy` renders it, asking the same gate over gRPC."""

    def __init__(self, folder: Path, idp: Any, name: str, *, airflow_at: str, **options: Any) -> None:
        super().__init__(folder, idp, name, airflow_at=airflow_at, **options)
        upstream = {"name": "airflow", "address": airflow_at, "hosts": [HOST], "audience": AUDIENCE}
        tls = {"certificate": str(self.pair.certificate), "key": str(self.pair.key)}
        section = {
            "inbound": {"listen": f"127.0.0.1:{self.port}", "upstreams": [upstream], "tls": tls},
            "admin": loopback(),
            "access_log": "access.log",
        }
        self._envoy = Envoy(envoy_settings.load(folder, section, self.gate.endpoints), folder, newest())

    def write(self) -> None:
        """Envoy writes its own."""

    def start(self) -> None:
        self._envoy.__enter__()

    def stop(self) -> None:
        self._envoy.close()

    def pause(self, seconds: float) -> None:
        self._envoy.pause(seconds)


class CorpusSite:
    """One front, its gate, and a tap before the Airflow that all of them share."""

    def __init__(self, folder: Path, idp: Any, name: str, airflow: CorpusAirflow) -> None:
        self.name, self.airflow = name, airflow
        self.tap = Tap(("127.0.0.1", airflow.port))
        kind = EnvoySite if name == ENVOY else FrontSite
        self.front = kind(folder, idp, name, airflow_at=self.tap.address, policy=POLICY)
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.tap)
            starting.enter_context(self.front)
            self.airflow.trust((self.front.gate.folder / "assertion.pem").read_bytes())
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def wanted(standard: int) -> int:
    """How many requests of the corpus go through each front: `FRONT_CORPUS` says another number."""
    return int(os.environ.get("FRONT_CORPUS", standard))
