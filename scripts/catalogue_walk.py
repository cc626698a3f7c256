"""Walk the application of the Airflow that this Python has, and print every route as JSON. `catalogue.py` runs it.

Law: nothing is guessed from documentation: routes come from the application object as the API server builds it, the
checks of a route from its own dependants, and the lowest role from FAB's default roles through FAB's own auth manager.
It imports Airflow and nothing of ours, apart from the auth manager that it is told to use, so that it runs in any
Airflow's environment. Everything that Airflow writes goes to a folder that is thrown away.

usage: python catalogue_walk.py authz|simple|fab
"""

import importlib
import importlib.metadata
import inspect
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANAGERS = {
    "authz": "authz.airflow.auth_manager.AuthzAuthManager",
    "simple": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What Airflow mounts itself. Below `/execution` and `/static` all paths are one thing; any other mount is a plugin's.
OPAQUE = {"/execution": METHODS, "/static": ("GET",), "/pluginsv2": METHODS}
# What the FAB manager's Flask application may be configured to be: each has login views of its own.
FAB_LOGINS = {
    "database": "AUTH_TYPE = 1\n",
    "registration": "AUTH_TYPE = 1\nAUTH_USER_REGISTRATION = True\nAUTH_USER_REGISTRATION_ROLE = 'Viewer'\n"
    "RECAPTCHA_PUBLIC_KEY = RECAPTCHA_PRIVATE_KEY = 'x'\n",
    "ldap": "AUTH_TYPE = 2\nAUTH_LDAP_SERVER = 'ldap://127.0.0.1'\n",
    "remote-user": "AUTH_TYPE = 3\n",
    "oauth": "AUTH_TYPE = 4\nAUTH_USER_REGISTRATION = True\nAUTH_USER_REGISTRATION_ROLE = 'Viewer'\n"
    "OAUTH_PROVIDERS = []\n",
}
# Views that FAB answers without asking who it is.
FAB_OPEN = {"index", "back", "login", "logout", "oauth_authorized", "static", "register", "activation", "refresh"}


def settings(home: Path, manager: str) -> dict[str, str]:
    """The configuration of an Airflow that is only looked at."""
    (home / "webserver_config.py").write_text(FAB_LOGINS["database"])
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__AUTH_MANAGER": MANAGERS[manager],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "AIRFLOW__API__SECRET_KEY": "0" * 32,
        "AIRFLOW__AUTHZ__ISSUER": "https://gate.test",
        "AIRFLOW__AUTHZ__AUDIENCE": "airflow",
        "AIRFLOW__AUTHZ__JWKS_URL": "http://127.0.0.1:9/jwks.json",
        "AIRFLOW__FAB__CONFIG_FILE": str(home / "webserver_config.py"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore",
    }


def checks(dependant: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Airflow's access checks of one FastAPI route: who made each, and with what."""
    for dependency in dependant.dependencies:
        made_by, _, inner = getattr(dependency.call, "__qualname__", "").partition(".<locals>")
        if made_by.startswith(("requires_", "permitted_")):
            yield made_by, dict(inspect.getclosurevars(dependency.call).nonlocals) if inner else {}
        elif made_by == "get_user":
            yield made_by, {}
        yield from checks(dependency)


def wording(made_by: str, made_with: dict[str, Any]) -> str:
    """One check as text: `dag GET RUN`."""
    words = [made_by.removeprefix("requires_access_").removeprefix("requires_")]
    for name in ("method", "access_entity", "access_view", "resource_name", "filter_class"):
        value = made_with.get(name)
        if value is not None:
            words.append(str(getattr(value, "value", None) or getattr(value, "__name__", None) or value))
    return " ".join(words)


class Judge:
    """The lowest of FAB's default roles that passes a route's checks, by FAB's own code."""

    def __init__(self) -> None:
        """Read the roles where the FAB provider has them."""
        override = importlib.import_module("airflow.providers.fab.auth_manager.security_manager.override")
        self._manager = importlib.import_module("airflow.api_fastapi.app").get_auth_manager()
        self._details = importlib.import_module("airflow.api_fastapi.auth.managers.models.resource_details")
        configured = override.FabAirflowSecurityManagerOverride.ROLE_CONFIGS
        roles = {entry["role"]: frozenset(entry["perms"]) for entry in configured}
        self._users = {name.lower(): _User(roles[name]) for name in ("Viewer", "User", "Op")}

    def lowest(self, asked: list[tuple[str, dict[str, Any]]]) -> str:
        """`anyone` where nothing is asked; `admin` where no weaker role passes."""
        if not asked:
            return "anyone"
        for role, user in self._users.items():
            if all(self._passes(user, *check) for check in asked):
                return role
        return "admin"

    def lowest_of_view(self, action: str, resource: str) -> str:
        """The same for one of FAB's own views."""
        return next((role for role, user in self._users.items() if (action, resource) in user.perms), "admin")

    def _passes(self, user: "_User", made_by: str, made_with: dict[str, Any]) -> bool:
        kind = made_by.removeprefix("requires_access_").removeprefix("requires_").removesuffix("_bulk")
        if made_by.startswith("permitted_") or kind in {"get_user", "authenticated"}:
            return True
        method = made_with.get("method")
        manager = self._manager
        if kind == "view":
            return bool(manager.is_authorized_view(access_view=made_with["access_view"], user=user))
        if kind == "fab_custom_view":
            resource = made_with["resource_name"]
            return bool(manager.is_authorized_custom_view(method=method, resource_name=resource, user=user))
        entities = {"backfill": "RUN", "event_log": "AUDIT_LOG", "dag_run": "RUN", "dag_run_clear": "RUN"}
        if kind in {"dag", "dag_from_file_token"} or kind in entities:
            entity = made_with.get("access_entity")
            if kind in entities:
                entity = self._details.DagAccessEntity[entities[kind]]
            details = self._details.DagDetails(id="any")
            return bool(
                manager.is_authorized_dag(method=method or "PUT", access_entity=entity, details=details, user=user)
            )
        ask = getattr(manager, f"is_authorized_{kind}")
        return all(ask(method=each, user=user) for each in ([method] if method else ["POST", "PUT", "DELETE"]))


class _User:
    """Who has some permissions of FAB's: all that its auth manager asks of a user."""

    def __init__(self, perms: frozenset[tuple[str, str]]) -> None:
        self.perms = perms


def fastapi_routes(app: Any, prefix: str, judge: Judge | None) -> Iterator[dict[str, Any]]:
    """The routes of one FastAPI application, in its order; mounts that are not ours to open are one route each."""
    mount = importlib.import_module("starlette.routing").Mount
    for route in app.routes:
        path = prefix + route.path
        if not isinstance(route, mount):
            asked = list(checks(route.dependant)) if hasattr(route, "dependant") else []
            tags = [str(tag) for tag in getattr(route, "tags", None) or []]
            role = judge.lowest(asked) if judge else None
            for method in METHODS:
                if method in (route.methods or ()):
                    said = [wording(*check) for check in asked]
                    yield {"method": method, "path": path, "tags": tags, "checks": said, "role": role}
        elif prefix == "/auth" and not route.path:
            continue  # FAB's Flask application: `auth_routes` walks it
        elif path == "/auth":
            yield from auth_routes(route.app, judge)
        elif path in OPAQUE or prefix == "/auth":
            role = "anyone" if path.endswith("static") else "admin"
            for method in OPAQUE.get(path, ("GET",)):
                yield {"method": method, "path": path + "/{path:path}", "tags": [], "checks": [], "role": role}
        else:
            yield {"mount": path, "app": type(route.app).__name__}


def auth_routes(app: Any, judge: Judge | None) -> Iterator[dict[str, Any]]:
    """The routes of the auth manager's own application, with Flask's below FAB's, for every kind of login."""
    yield from fastapi_routes(app, "/auth", judge)
    manager = importlib.import_module("airflow.api_fastapi.app").get_auth_manager()
    if judge is None or not hasattr(manager, "flask_app"):
        return
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, text in FAB_LOGINS.items():
        Path(os.environ["AIRFLOW__FAB__CONFIG_FILE"]).write_text(text)
        manager.get_fastapi_app()
        for route in flask_routes(manager.flask_app, judge):
            found.setdefault((route["path"], route["method"]), {**route, "login": name})
    yield from (found[key] for key in sorted(found))


def flask_routes(app: Any, judge: Judge) -> Iterator[dict[str, Any]]:
    """The rules of FAB's Flask application. A rule that ends with a slash also answers without, by a redirect."""
    for rule in app.url_map.iter_rules():
        path = "/auth" + re.sub(r"<(?:path:)(\w+)>", r"{\1:path}", rule.rule)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
        view = app.view_functions[rule.endpoint]
        role, said = _flask_check(view, rule.endpoint.rpartition(".")[2], judge)
        for method in METHODS:
            if method in (rule.methods or ()):
                route = {"method": method, "path": path, "tags": ["Flask"], "checks": said, "role": role}
                yield route
                if path.endswith("/") and path != "/auth/" and method == "GET":
                    yield {**route, "path": path[:-1]}


def _flask_check(view: Any, name: str, judge: Judge) -> tuple[str, list[str]]:
    owner = getattr(view, "__self__", None)
    if owner is None or name in FAB_OPEN or name.startswith(("oauth", "login")):
        return "anyone", []
    permission = getattr(view, "_permission_name", None)
    if permission is None and not name.startswith("action"):  # FAB checks actions inside, anything else not at all
        return "anyone", []
    resource = getattr(type(owner), "class_permission_name_mapping", {}).get(name)
    if resource is None:
        resource = getattr(owner, "_class_permission_name", None) or getattr(owner, "class_permission_name", "")
    action = "can_" + str((getattr(owner, "method_permission_name", None) or {}).get(permission, permission))
    return judge.lowest_of_view(action, str(resource)), [f"view {action} {resource}"]


def main(manager: str) -> None:
    """Walk the application as it is with one auth manager."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(settings(Path(folder), manager))
        warnings.simplefilter("ignore")
        out, sys.stdout = sys.stdout, sys.stderr  # Airflow prints to standard output as it starts
        app = importlib.import_module("airflow.api_fastapi.app").create_app("all")
        judge = Judge() if manager == "fab" else None
        routes = list(fastapi_routes(app, "", judge))
    versions = {name: importlib.metadata.version(name) for name in ("apache-airflow", "apache-airflow-providers-fab")}
    json.dump({"manager": manager, "versions": versions, "routes": routes}, out)
    out.flush()
    os._exit(0)  # Airflow leaves threads behind that would hold the process up


if __name__ == "__main__":
    main(sys.argv[1])
