"""Which route the upstream serves: its own words, routed as uvicorn and Starlette do it. Test support.

None of our path or catalogue code takes part: the target is decoded with the standard library, as uvicorn does it, and
matched with Starlette's own patterns in Airflow's order. That the catalogue's data is Airflow's is proven elsewhere
(tests/integration/test_catalogue_against_airflow.py).
"""

import functools
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import unquote

import yaml
from starlette.routing import compile_path


@dataclass(frozen=True)
class Served:
    """What a request is to Airflow: its operation and the DAG, "" for none."""

    operation: str = ""
    dag: str = ""


@functools.cache
def routes():
    document = yaml.safe_load(files("authz.core.catalogue").joinpath("airflow-3.3.yaml").read_text())
    return [(compile_path(record["path"])[0], record) for record in document["routes"]]


def served(received):
    """The route of one request that an upstream received."""
    path = unquote(received.target.partition("?")[0])
    method = "GET" if received.method == "HEAD" else received.method
    for pattern, record in routes():
        match = pattern.match(path)
        if match and method in record["methods"]:
            return Served(record["methods"][method], record.get("dag") or match.groupdict().get("dag_id", ""))
    return Served()


def all_routes():
    """(method, an example path, operation, whether there is no parameter) of every route."""
    for _, record in routes():
        example = record["path"]
        for name in ("dag_id", "dag_run_id", "task_id"):
            example = example.replace(f"{{{name}}}", "x")
        while "{" in example:
            before, _, rest = example.partition("{")
            example = f"{before}x{rest.partition('}')[2]}"
        for method, operation in record["methods"].items():
            yield method, example, operation, "{" not in record["path"]
