"""Render `deploy/grafana/` from `dashboards.yaml`, or (`--check`) fail when the committed files differ.

Grafana asks for the data source, the gate's job and its instances. Panels about Envoy have a variable of their own,
because Envoy is another job.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

import yaml

from scripts import in_step

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "deploy" / "grafana"
BOARDS: Final = yaml.safe_load((ROOT / "scripts" / "dashboards.yaml").read_text())
WIDTH: Final = 24
HEIGHT: Final = 8
SCHEMA: Final = 39  # of Grafana 11, which newer ones migrate
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
LABELS: Final = {"gate": 'job=~"$job",instance=~"$instance"', "ours": 'job=~"$job"', "proxy": 'job=~"$envoy"'}
OF_GATE: Final = {
    "job": "label_values(authz_checks_total, job)",
    "instance": 'label_values(authz_checks_total{job=~"$job"}, instance)',
}
OF_ENVOY: Final = {"envoy": "label_values(envoy_cluster_membership_total, job)"}

_Data = Mapping[str, Any]


def panel(one: _Data, number: int, x: int, y: int) -> dict[str, Any]:
    """A panel as Grafana has it."""
    kind = one.get("kind", "timeseries")
    unit = one.get("unit", "short")
    instant = kind in {"stat", "table"}
    made: dict[str, Any] = {
        "id": number,
        "type": kind,
        "title": one["title"],
        "description": one["help"],
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": one.get("width", WIDTH // 3), "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": unit} | ({} if one.get("signed") else {"min": 0}), "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": Template(expression).safe_substitute(LABELS),
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
                "format": {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series"),
            }
            | ({"exemplar": True} if "authz_check_seconds_bucket" in expression else {})
            for place, (legend, expression) in enumerate(one["ask"].items())
        ],
    }
    if kind == "heatmap":
        made["options"] = {"calculate": False, "yAxis": {"unit": unit}}
    if kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made


def panels(board: _Data) -> Iterator[dict[str, Any]]:
    """All panels of a dashboard with a heading over each row, from left to right and from top to bottom."""
    number, y = 0, 0
    for title, row in board["rows"].items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }
        x, y = 0, y + 1
        for one in row:
            number += 1
            if x + one.get("width", WIDTH // 3) > WIDTH:
                x, y = 0, y + HEIGHT
            yield panel(one, number, x, y)
            x += one.get("width", WIDTH // 3)
        y += HEIGHT


def variable(name: str, query: str) -> dict[str, Any]:
    """A variable that holds some of a label's values, or all."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard(name: str, board: _Data) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    variables = OF_GATE | (OF_ENVOY if board.get("envoy") else {})
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "current": {}}
    return {
        "uid": f"airflow-envoy-authz-{name}",
        "title": board["title"],
        "tags": ["airflow-envoy-authz"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *(variable(key, query) for key, query in variables.items())]},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Gate",
                "tags": ["airflow-envoy-authz"],
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "panels": list(panels(board)),
    }


def files() -> dict[str, str]:
    """The content of each file in the folder."""
    return {f"{name}.json": json.dumps(dashboard(name, board), indent=1) + "\n" for name, board in BOARDS.items()}


if __name__ == "__main__":
    in_step.main(FOLDER, files(), FOLDER.glob("*.json"), script="scripts/dashboards.py", doc=__doc__)
