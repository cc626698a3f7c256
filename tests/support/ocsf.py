"""Validates events of decisions by OCSF's own schema, as the package `ocsf-json-schema` has it compiled.

Law: an attribute that the class does not have under the event's profiles is a mistake too, and so is a name that is not
that of its number.
"""

from functools import cache

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from authz.core.ocsf import VERSION

ASKED = {
    "v": 1,
    "type": "decision",
    "id": "00000000000000000000000a",
    "time": "2026-11-30T12:00:00.123999Z",
    "latency_us": 1500,
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "source": "10.0.0.1",
    "upstream": "airflow",
    "gate": "eu-1",
    "worker": 0,
    "port": 8443,
    "plane": "inbound",
    "method": "POST",
    "host": "airflow.example.com",
    "path": "/api/v2/dags/sales_eu/dagRuns",
    "identity": "f6592774e08d08170c57cabe",
    "subject": "ada",
    "client": "airflow-ui",
    "roles": ["user", "viewer"],
    "operation": "dag_runs:create",
    "dag": "sales_eu",
    "decision": "allow",
    "reason": "rule",
    "rule": "etl",
    "revision": "ab" * 32,
    "detail": "",
}
ENTRY = {
    "issuer": "https://idp.example.com",
    "subject": "ada",
    "client": "airflow-ui",
    "user": "Ada",
    "groups": ["data", "sales"],
}
OUTCOME = {
    "v": 1,
    "type": "outcome",
    "decision": ASKED["id"],
    "time": "2026-11-30T12:00:00.100000Z",
    "status": 200,
    "flags": "",
    "details": "via_upstream",
    "upstream": "airflow",
    "upstream_host": "10.1.2.3:8080",
    "bytes_received": 12,
    "bytes_sent": 345,
    "duration_ms": 67,
    "ended_by": "upstream",
    "run": "manual__1",
}
RUN = {"dag_id": "sales_us", "run_id": "manual__2", "task_id": "extract", "map_index": -1, "try_number": 1}
CALLED = {
    **{name: value for name, value in ASKED.items() if name not in {"port", "trace"}},
    "plane": "egress",
    "method": "GET",
    "host": "orders.example.com",
    "path": "/v1/orders",
    "destination": "orders",
    "identity": "",
    "subject": "",
    "client": "",
    "roles": [],
    "operation": "",
    "dag": "sales_us",
    "run": RUN,
    "level": "verified",
    "trace": "",
}

SIBLINGS = {"activity_id": "activity_name", "type_uid": "type_name"}
"""The names of numbers whose attribute is not called like that of the number without `_id`."""


@cache
def compiled():
    """The schema of this version, all classes and objects."""
    return get_ocsf_schema(VERSION)


@cache
def _validator(name, profiles):
    schema = OcsfJsonSchemaEmbedded(compiled()).get_class_schema(name, profiles=list(profiles))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def mistakes(event):
    """What is wrong with an event of class API Activity, in the words of the validator; [] if nothing is."""
    profiles = tuple(event["metadata"]["profiles"])
    found = [
        f"{error.json_path}: {error.message[:300]}" for error in _validator("api_activity", profiles).iter_errors(event)
    ]
    return [*found, *_misnamed(event)]


def _misnamed(event):
    attributes = compiled()["classes"]["api_activity"]["attributes"]
    for name, attribute in attributes.items():
        sibling = SIBLINGS.get(name, name.removesuffix("_id"))
        if name in event and sibling != name and attribute.get("enum"):
            caption = attribute["enum"].get(str(event[name]), {}).get("caption")
            if caption != "Other" and event.get(sibling) != caption:
                yield f"{sibling} is {event.get(sibling)!r}, and {name} is {caption}"
            if caption == "Other" and not event.get(sibling):
                yield f"{sibling} is missing, and {name} is Other"
