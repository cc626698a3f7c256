"""What Airflow itself does with raw bytes: uvicorn's protocols and Airflow's routes and checks, without a socket."""

import asyncio
import importlib
import re
from dataclasses import dataclass

import uvicorn
from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.routing import Match, Mount
from uvicorn.server import ServerState

from authz.airflow import levels


@dataclass(frozen=True)
class Choice:
    """What Airflow does with a request: the template that answers it ("" for 404 and 405), and its parameters."""

    template: str
    parameters: dict


def choose(app, scope):
    """Starlette's own choice: the first route that matches fully, inside the auth manager's applications as well."""
    for route in app.routes:
        match, child = route.matches(scope)
        if match is not Match.FULL:
            continue
        inside = {**scope, **child}
        if not isinstance(route, Mount):
            return Choice(route.path, child["path_params"])
        if route.path == "/static" and scope["method"] not in {"GET", "HEAD"}:
            return Choice("", {})  # StaticFiles answers 405
        if route.path == "/auth":
            inner = choose(route.app, inside)
            return Choice(inner.template and f"/auth{inner.template}", inner.parameters)
        if not route.path:
            return choose_in_flask(route.app.app, get_route_path(inside), scope["method"])
        return Choice(f"{route.path}/{{path:path}}", {})
    return Choice("", {})


def choose_in_flask(app, path, method):
    """Werkzeug's own choice; a rule that ends with a slash redirects a GET that comes without."""
    redirects = importlib.import_module("werkzeug.routing").RequestRedirect
    refusals = importlib.import_module("werkzeug.exceptions").HTTPException
    rules = app.url_map.bind("localhost")
    try:
        rule, parameters = rules.match(path, method, return_rule=True)
    except redirects:
        if method != "GET":
            return Choice("", {})
        rule, parameters = rules.match(f"{path}/", method, return_rule=True)
        return Choice(_template(rule.rule).removesuffix("/"), parameters)
    except refusals:
        return Choice("", {})
    return Choice(_template(rule.rule), parameters)


def _template(rule):
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", re.sub(r"<path:(\w+)>", r"{\1:path}", rule))


class Wire:
    """Bytes in, ASGI scopes out: uvicorn's protocol as it stands, without a socket."""

    def __init__(self, protocol):
        self.scopes = []
        self.config = uvicorn.Config(
            self.capture, http=protocol, interface="asgi3", ws="none", lifespan="off", access_log=False
        )
        self.config.load()
        self.state = ServerState()

    async def capture(self, scope, receive, send):
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def scope(self, method, target):
        """The scope of one request, None when uvicorn itself refuses it."""
        self.scopes.clear()
        protocol = self.config.http_protocol_class(config=self.config, server_state=self.state, app_state={})
        protocol.connection_made(Transport())
        protocol.data_received(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        for task in list(self.state.tasks):
            await task
        protocol.connection_lost(None)
        return self.scopes[0] if self.scopes else None


class Transport(asyncio.Transport):
    """A transport that leads nowhere."""

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        pass

    def close(self):
        pass

    def is_closing(self):
        return False

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


def scopes(protocol, targets):
    """The scope of a GET of each target."""

    async def collect():
        wire = Wire(protocol)
        return [await wire.scope("GET", target) for target in targets]

    return asyncio.run(collect())


def api_routes(app):
    return [(method, route) for route in app.routes if isinstance(route, APIRoute) for method in route.methods]


def allows(role, made_by, made_with):
    """Whether our auth manager's levels let `role` pass one of Airflow's checks."""
    kind = made_by.removeprefix("requires_access_").removesuffix("_bulk")
    method = made_with.get("method")
    if kind in DAG_CHECKS:
        entity = made_with.get("access_entity")
        return levels.may_dag(role, method or "PUT", DAG_CHECKS[kind] or (entity.value if entity else None))
    if kind == "view":
        return levels.may_view(role, made_with["access_view"].value)
    if made_by.startswith("requires_access_"):
        return all(levels.may(role, each, kind) for each in ([method] if method else ["POST", "PUT", "DELETE"]))
    return True


# The DAG entity that a check is about; None: it says so itself, or it is about the DAG.
DAG_CHECKS = {
    "dag": None,
    "dag_from_file_token": None,
    "backfill": "RUN",
    "event_log": "AUDIT_LOG",
    "dag_run": "RUN",
    "dag_run_clear": "RUN",
}
