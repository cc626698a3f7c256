"""`python -m authz.airflow.plugin_paths`, in Airflow's environment: the paths that its plugins add, for the policy.

Law: it only reads the application as Airflow builds it, and opens nothing. What a plugin mounts has no operation, so
the gate denies it until a rule names its paths. A plugin may also hide Airflow's own paths, because plugins are mounted
first: then an operation stands for what the plugin does there; this is a warning, with exit status 1.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

AIRFLOWS_OWN = frozenset({"/execution", "/auth", "/pluginsv2"})  # Airflow refuses plugins there
AIRFLOWS_STATIC = frozenset({"webapp_static_folder", "dev_i18n_static"})  # it does not refuse `/static`
CATCH_ALLS = frozenset({"/{rest_of_path:path}", "/api/{_:path}", "/api/v1/{_:path}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """Where a plugin's application is mounted, and the Airflow paths that it hides."""

    path: str
    hides: tuple[str, ...] = ()


def mounted(routes: Sequence[Any]) -> Iterator[Mounted]:
    """Return the plugins' mounts among an application's routes, in order."""
    for index, route in enumerate(routes):
        if not _is_mount(route) or route.path in AIRFLOWS_OWN or route.name in AIRFLOWS_STATIC:
            continue
        later = [other.path for other in routes[index + 1 :] if other.path not in CATCH_ALLS]
        hides = tuple(dict.fromkeys(path for path in later if _below(path, route.path)))
        yield Mounted(path=route.path, hides=hides)


def report(found: Sequence[Mounted], *, flask: bool) -> Iterator[str]:
    """Return the lines for the operator."""
    if not found and not flask:
        yield "No plugin adds paths to this Airflow."
    for mount in found:
        yield f'{mount.path}/**  no operation: a rule needs `paths: ["{mount.path}/**"]`'
        if mount.hides:
            yield f"  WARNING: it is mounted over {len(mount.hides)} paths of Airflow, among them {mount.hides[0]}"
    if flask:
        yield "/pluginsv2/**  operation plugins:use"


def _is_mount(route: Any) -> bool:
    return hasattr(route, "app") and not hasattr(route, "endpoint")


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def main() -> None:
    """Print the report for the Airflow of this environment and configuration."""
    from airflow.api_fastapi.app import create_app  # noqa: PLC0415 - building it takes seconds, and belongs to the command alone

    routes = create_app("all").routes
    found = list(mounted(routes))
    flask = any(getattr(route, "path", "") == "/pluginsv2" for route in routes)
    for line in report(found, flask=flask):
        print(line)  # noqa: T201 - this is a command
    sys.exit(1 if any(mount.hides for mount in found) else 0)


if __name__ == "__main__":
    main()
