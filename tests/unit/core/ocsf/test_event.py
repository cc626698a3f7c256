"""Decisions as OCSF's events: valid by OCSF's own schema, and all that is on record, and nothing else."""

import json

import pytest

from authz.core.ocsf import ATTRIBUTES, event
from authz.core.reasons import ANSWERS, Reason, word_of
from authz.core.record import OutboundRecord, OutcomeEntry
from authz.core.traffic.story import Recorded
from tests.support.ocsf import ASKED, CALLED, ENTRY, OUTCOME, RUN, compiled, mistakes


def made(record=ASKED, entry=None, outcome=None, **changed):
    """The event of a decision, which is valid."""
    found = event(Recorded({**record, **changed}, entry, outcome))
    assert mistakes(json.loads(json.dumps(found))) == []
    return found


def test_a_request_with_all_that_is_on_record():
    assert made(entry=ENTRY, outcome=OUTCOME) == {
        "class_uid": 6003,
        "class_name": "API Activity",
        "category_uid": 6,
        "category_name": "Application Activity",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": 600301,
        "type_name": "API Activity: Create",
        "time": 1796040000123,
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 1,
        "status": "Success",
        "status_code": "rule",
        "message": "allow dag_runs:create sales_eu /api/v2/dags/sales_eu/dagRuns: rule",
        "duration": 67,
        "metadata": {
            "version": "1.8.0",
            "profiles": ["security_control", "trace"],
            "product": {"name": "airflow-envoy-authz", "vendor_name": "airflow-envoy-authz"},
            "uid": "00000000000000000000000a",
            "original_event_uid": "00000000000000000000000a",
            "original_time": "2026-11-30T12:00:00.123999Z",
            "logged_time": 1796040000124,
            "log_version": "1",
            "reporter": {"name": "eu-1"},
            "correlation_uid": "sales_eu/manual__1",
        },
        "actor": {
            "user": {"uid": "ada", "name": "Ada", "groups": [{"name": "data"}, {"name": "sales"}]},
            "app_uid": "airflow-ui",
            "idp": {"uid": "https://idp.example.com", "issuer": "https://idp.example.com"},
        },
        "src_endpoint": {"ip": "10.0.0.1"},
        "api": {
            "operation": "dag_runs:create",
            "request": {"uid": "00000000000000000000000a"},
            "service": {"name": "airflow", "uid": "airflow"},
        },
        "http_request": {
            "http_method": "POST",
            "url": {"hostname": "airflow.example.com", "port": 8443, "path": "/api/v2/dags/sales_eu/dagRuns"},
            "body_length": 12,
        },
        "dst_endpoint": {"hostname": "airflow.example.com", "port": 8443, "svc_name": "airflow", "ip": "10.1.2.3"},
        "resources": [
            {"type": "DAG", "name": "sales_eu", "role_id": 1, "role": "Target"},
            {"type": "DAG run", "uid": "manual__1", "role_id": 3, "role": "Affected"},
        ],
        "action_id": 1,
        "action": "Allowed",
        "disposition_id": 1,
        "disposition": "Allowed",
        "authorizations": [{"decision": "allow", "policy": {"uid": "ab" * 32, "name": "etl"}}],
        "policy": {"uid": "ab" * 32},
        "http_response": {"code": 200, "body_length": 345},
        "trace": {"uid": "4bf92f3577b34da6a3ce929d0e0e4736"},
        "unmapped": {
            "latency_us": 1500,
            "worker": 0,
            "plane": "inbound",
            "identity": "f6592774e08d08170c57cabe",
            "roles": ["user", "viewer"],
            "outcome": {
                "time": "2026-11-30T12:00:00.100000Z",
                "flags": "",
                "details": "via_upstream",
                "upstream": "airflow",
                "upstream_host": "10.1.2.3:8080",
                "ended_by": "upstream",
            },
        },
    }


def test_the_call_of_a_run_names_the_run():
    found = made(CALLED)
    assert found["actor"] == {"app_name": "sales_us"}
    assert found["metadata"]["correlation_uid"] == "sales_us/manual__2"
    assert found["metadata"]["profiles"] == ["security_control"]
    assert found["api"]["service"] == {"name": "orders", "uid": "airflow"}
    assert (found["unmapped"]["run"], found["unmapped"]["level"]) == (RUN, "verified")
    assert "resources" not in found


def test_a_dag_that_may_be_any_is_no_resource():
    found = made(dag="~")
    assert ("resources" in found, found["unmapped"]["dag"]) == (False, "~")


@pytest.mark.parametrize(
    ("operation", "method", "number", "name"),
    [
        ("dag_runs:create", "POST", 1, "Create"),
        ("dags:read", "GET", 2, "Read"),
        ("pools:update", "PATCH", 3, "Update"),
        ("dags:delete", "DELETE", 4, "Delete"),
        ("dag_runs:clear", "POST", 99, "dag_runs:clear"),
        ("", "GET", 2, "Read"),
        ("", "PUT", 3, "Update"),
        ("", "CONNECT", 99, "CONNECT"),
        ("", "PURGE", 99, "PURGE"),
        ("", "", 0, "Unknown"),
    ],
)
def test_the_activity_follows_from_the_operation_and_without_one_from_the_method(operation, method, number, name):
    found = made(operation=operation, method=method)
    assert (found["activity_id"], found["activity_name"], found["type_uid"]) == (number, name, 600300 + number)
    assert found["api"]["operation"] == (operation or method or "unknown")


def test_a_method_that_is_unknown_to_ocsf_is_not_lost():
    found = made(method="PURGE", operation="dags:read")
    assert ("http_method" in found["http_request"], found["unmapped"]["method"]) == (False, "PURGE")


@pytest.mark.parametrize(
    ("reason", "action", "disposition", "severity", "status"),
    [
        ("rule", "Allowed", "Allowed", "Informational", "Unknown"),
        ("run_token_issued", "Allowed", "Allowed", "Informational", "Success"),
        ("no_rule", "Denied", "Unauthorized", "Low", "Failure"),
        ("no_token", "Denied", "Blocked", "Low", "Failure"),
        ("bad_path", "Denied", "Blocked", "Low", "Failure"),
        ("keys_unavailable", "Denied", "Error", "Medium", "Failure"),
        ("signed_out", "signed_out", "signed_out", "Informational", "Success"),
    ],
)
def test_what_was_decided(reason, action, disposition, severity, status):
    word = word_of(Reason(reason))
    found = made(decision=word, reason=reason)
    assert (found["action"], found["disposition"], found["severity"], found["status"]) == (
        (action, disposition, severity, status)
    )
    assert (found["status_code"], found["authorizations"][0]["decision"]) == (reason, word)


@pytest.mark.parametrize("reason", ANSWERS)
def test_the_event_of_every_reason_is_valid(reason):
    found = made(decision=word_of(reason), reason=str(reason), rule="", detail="why")
    assert (found["status_detail"], found["action_id"] == 1) == ("why", word_of(reason) in {"allow", "issue"})


def test_words_of_later_versions_are_unknown():
    assert made(decision="ask")["action"] == made(decision="ask")["severity"] == "Unknown"
    assert made(decision="deny", reason="later")["disposition"] == "Blocked"


@pytest.mark.parametrize(("status", "name"), [(200, "Success"), (302, "Success"), (404, "Failure"), (0, "Failure")])
def test_the_status_is_that_of_the_outcome(status, name):
    found = made(outcome={**OUTCOME, "status": status})
    assert (found["status"], "http_response" in found) == (name, status > 0)


@pytest.mark.parametrize(
    ("host", "address"), [("[2001:db8::1]:443", "2001:db8::1"), ("/run/airflow.sock", None), ("", None)]
)
def test_the_upstreams_address_is_one(host, address):
    assert made(outcome={**OUTCOME, "upstream_host": host})["dst_endpoint"].get("ip") == address


def test_what_privacy_hashes_stays_a_hash():
    hidden = "sha256:" + "0" * 64
    entry = {**ENTRY, "user": hidden, "groups": [hidden]}
    found = made(entry=entry, source=hidden, subject=hidden, client=hidden)
    assert found["src_endpoint"] == {"uid": hidden}
    assert found["actor"]["user"] == {"uid": hidden, "name": hidden, "groups": [{"name": hidden}]}


def test_what_privacy_drops_is_unknown_or_absent():
    left = {name: value for name, value in ASKED.items() if name not in {"subject", "client", "source", "path"}}
    found = made(left, entry={"issuer": "https://idp.example.com", "groups": ["data"]})
    assert found["src_endpoint"] == {"name": "unknown"}
    assert found["actor"]["user"] == {"name": "unknown", "type_id": 0, "type": "Unknown", "groups": [{"name": "data"}]}
    assert "url" not in found["http_request"]
    assert found["dst_endpoint"]["hostname"] == "airflow.example.com"
    assert made({}, entry={"groups": "data"})["actor"]["user"]["name"] == "unknown"


def test_an_anonymous_caller_is_unknown():
    assert made(subject="", client="", identity="")["actor"] == {
        "user": {"name": "unknown", "type_id": 0, "type": "Unknown"}
    }


@pytest.mark.parametrize("source", ["/run/envoy.sock", "fe80::1%" + "x" * 40])
def test_a_source_of_another_form_is_a_name(source):
    assert made(source=source)["src_endpoint"] == {"name": source}


@pytest.mark.parametrize("time", ["", "2026-02-30T00:00:00.000000Z", 7])
def test_a_time_that_is_none_is_the_epoch(time):
    found = made(time=time)
    assert (found["time"], "logged_time" in found["metadata"]) == (0, False)


def test_a_port_that_is_none_is_left_out():
    assert "port" not in made(port=70000)["dst_endpoint"]
    assert "dst_endpoint" not in made({"port": 443})


def leaves(value):
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [value]


def test_no_field_of_the_log_is_lost():
    """Each field has a value of its own, which is somewhere in the event."""
    kinds = {**OutboundRecord.__annotations__, "v": int}
    record = {name: f"<{name}>" for name in kinds} | {"v": 41, "latency_us": 42, "worker": 43, "port": 44}
    record |= {"type": "decision", "time": ASKED["time"], "run": RUN, "grants": [{"id": "<grant>"}]}
    record |= {"plane": "inbound", "later": "<later>"}
    outcome = {name: f"<outcome.{name}>" for name in OutcomeEntry.__annotations__}
    outcome |= {"type": "outcome", "v": 41, "decision": "<id>"}
    outcome |= {"status": 500, "bytes_received": 51, "bytes_sent": 52, "duration_ms": 53}
    entry = {"issuer": "<issuer>", "user": "<user>", "groups": ["<group>"]}
    shown = {*leaves(made(record, entry, outcome))} | {41}
    wanted = {*leaves([record, outcome, entry])} - {"decision", "outcome"}
    assert wanted - shown == set()


def test_the_schema_finds_mistakes():
    """The test of the tests."""
    found = made()
    assert "more" in mistakes({**found, "more": 1})[0]
    assert mistakes({**found, "status": "Failure"}) == ["status is 'Failure', and status_id is Unknown"]
    assert mistakes({**found, "activity_id": 99, "activity_name": ""}) == [
        "activity_name is missing, and activity_id is Other"
    ]
    assert len(mistakes({**found, "src_endpoint": {"ip": "sha256:00"}, "actor": {}, "type_uid": 7})) >= 3


def test_every_attribute_of_the_mapping_is_one_of_ocsf():
    schema = compiled()

    def is_known(name):
        place = schema["classes"]["api_activity"]
        for part in name.split("."):
            attribute = place.get("attributes", {}).get(part)
            if attribute is None:
                return False
            place = schema["objects"].get(attribute.get("object_type"), {})
        return True

    assert [one.name for one in ATTRIBUTES if not is_known(one.name)] == []
    assert not is_known("actor.user.nickname")
