"""Provider metadata for Airflow's providers manager: the connection type `authz-http`, its form and its hook.

Law: importing this module imports nothing else of ours.
"""

from importlib.metadata import version
from typing import Any, Final

DISTRIBUTION: Final = "airflow-envoy-authz-airflow"


def get_provider_info() -> dict[str, Any]:
    """Provider metadata, in the form of the schema `provider_info.schema.json`."""
    return {
        "package-name": DISTRIBUTION,
        "name": "Envoy authorization",
        "description": "Tasks' calls through the gate, identified by the DAG run that makes them.",
        "versions": [version(DISTRIBUTION)],
        "integrations": [
            {
                "integration-name": "HTTP through the gate",
                "external-doc-url": "https://www.envoyproxy.io/",
                "tags": ["protocol"],
            }
        ],
        "hooks": [
            {"integration-name": "HTTP through the gate", "python-modules": ["authz.airflow.egress.hook"]},
        ],
        "connection-types": [
            _form("authz-http", "GateHttpHook", "HTTP through the gate"),
            # The spelling that Airflow uses in environment variables (`AIRFLOW_CONN_…`) and secrets backends.
            _form("authz_http", "GateHttpHookOfVariable", "HTTP through the gate (from a variable)"),
        ],
    }


def _form(connection_type: str, hook_class: str, hook_name: str) -> dict[str, Any]:
    return {
        "hook-class-name": f"authz.airflow.egress.hook.{hook_class}",
        "hook-name": hook_name,
        "connection-type": connection_type,
        "ui-field-behaviour": {
            "hidden-fields": [],
            "relabeling": {"host": "Base URL at the gate"},
            "placeholders": {
                "host": "http://127.0.0.1:9101",
                "login": "only for a destination that sees the task's own Authorization",
            },
        },
        "conn-fields": {
            "retry_after_limit": {
                "label": "Longest wait (seconds)",
                "description": "How many seconds a call waits in total when 429 or 503 names a time (Retry-After)."
                " 60 by default, 0 for never.",
                "schema": {"type": ["integer", "null"], "minimum": 0},
            },
            "retry_after_tries": {
                "label": "Most tries",
                "description": "How many times such a call is sent in total. 3 by default.",
                "schema": {"type": ["integer", "null"], "minimum": 1},
            },
        },
    }
