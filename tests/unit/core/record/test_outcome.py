"""What came of a decision: from Envoy's line only what the entry may have, and who ended the request."""

import json

import pytest

from authz.core.record import (
    OUTCOME_LINE,
    OutcomeEntry,
    decision_in,
    ended_by,
    entry_in,
    followed_id,
    followed_line,
    log_entry_in,
    outcome_in,
)

ID = "926a3e91b7e7441cfa435aae"
SAID = {
    "time": "2026-11-30T12:00:00.123Z",
    "id": ID,
    "method": "GET",
    "host": "airflow.example.com",
    "path": "/users/alice",
    "status": 200,
    "flags": "-",
    "details": "via_upstream",
    "subject": "alice",
    "duration_ms": 12,
    "bytes_received": 0,
    "bytes_sent": 345,
    "upstream": "inbound.airflow",
    "upstream_host": "10.0.0.1:8080",
    "client": "192.0.2.7",
    "user_agent": "alice's",
    "plane": "inbound",
}


def made(**changed):
    found = followed_line(json.dumps({**SAID, **changed}).encode())
    assert found is not None
    assert outcome_in(found[1]) == json.loads(found[1])
    assert (found[0], followed_id(found[1])) == (ID, ID)
    return json.loads(found[1])


def test_an_entry_has_these_fields_of_the_line_and_no_other():
    name, line = followed_line(json.dumps(SAID).encode())
    assert name == ID
    assert line.startswith(OUTCOME_LINE)
    assert json.loads(line) == {
        "v": 1,
        "type": "outcome",
        "decision": ID,
        "time": "2026-11-30T12:00:00.123000Z",
        "status": 200,
        "flags": "",
        "details": "via_upstream",
        "upstream": "inbound.airflow",
        "upstream_host": "10.0.0.1:8080",
        "bytes_received": 0,
        "bytes_sent": 345,
        "duration_ms": 12,
        "ended_by": "upstream",
    }
    assert set(json.loads(line)) | {"run", "instance"} == set(OutcomeEntry.__annotations__)
    assert decision_in(line) is entry_in(line) is log_entry_in(line) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"[1]", b'"x"', b'{"id":', b'{"id":null}', b'{"id":"-"}', b'{"id":7}', b"{}", b'{"id":"ALICE"}', b"\xff"],
)
def test_a_line_without_a_decision_has_no_outcome(line):
    assert followed_line(line) is None


def test_a_denied_request_has_no_upstream():
    found = made(status=403, flags="UAEX", details="ext_authz_denied", upstream="inbound.airflow", upstream_host=None)
    assert "upstream_host" not in found
    assert (found["status"], found["flags"], found["ended_by"]) == (403, "UAEX", "gate")


@pytest.mark.parametrize(
    ("flags", "details", "host", "wanted"),
    [
        ("", "via_upstream", "h:1", "upstream"),
        ("", "", "h:1", "upstream"),
        ("", "unauthorized", "h:1", "upstream"),
        ("URX", "via_upstream", "h:1", "upstream"),
        ("DI", "via_upstream", "h:1", "upstream"),
        ("URX,UF", "upstream_reset_before_response_started", "h:1", "envoy"),
        ("", "direct_response", "", "envoy"),
        ("", "response_payload_too_large", "h:1", "envoy"),
        ("", "unauthorized", "", "envoy"),
        ("UAEX", "ext_authz_denied", "", "gate"),
        ("UAEX", "unauthorized", "", "gate"),
        ("UAEX", "ext_authz_error", "", "envoy"),
        ("UAEX,DC", "ext_authz_denied", "", "gate"),
        ("DC", "downstream_remote_disconnect", "h:1", "client"),
        ("DR", "x", "h:1", "client"),
        ("DPE", "http1.codec_error", "", "client"),
        *((flag, "x", "h:1", "envoy") for flag in ("UH", "UF", "UC", "UT", "UR", "UO", "NR", "LH", "SI", "RL", "NEW")),
    ],
)
def test_who_ended_it(flags, details, host, wanted):
    assert ended_by(flags, details, host) == wanted


@pytest.mark.parametrize(
    ("name", "said", "wanted"),
    [
        ("time", "2026-11-30T12:00:00.1Z", "2026-11-30T12:00:00.100000Z"),
        ("time", "yesterday", ""),
        ("time", None, ""),
        ("status", "404", 404),
        ("status", True, 0),
        ("status", -1, 0),
        ("status", "9" * 30, 0),
        ("status", "²", 0),
        ("status", None, 0),
        ("bytes_sent", 2**60, 0),
        ("flags", "UF,URX", "UF,URX"),
        ("flags", "a b", ""),
        ("flags", ",".join(["UF"] * 40), ""),
        ("upstream", None, ""),
        ("upstream", "a\nb", ""),
        ("upstream", "x" * 300, ""),
        ("upstream_host", "x" * 300, None),
        ("upstream_host", "[::1]:80", "[::1]:80"),
        ("run", "manual__2026-11-30T12:00:00+00:00", "manual__2026-11-30T12:00:00+00:00"),
        ("run", "-", None),
        ("run", None, None),
        ("run", "a b", None),
        ("run", "x" * 251, None),
        ("instance", "0199d1c3-1111-7aaa-8bbb-0123456789ab", "0199d1c3-1111-7aaa-8bbb-0123456789ab"),
        ("instance", "-", None),
        ("instance", None, None),
        ("details", "via_upstream", "via_upstream"),
        ("details", "-", None),
        ("details", None, None),
        (
            "details",
            "upstream_reset_before_response_started{connection_termination}",
            "upstream_reset_before_response_started{connection_termination}",
        ),
        ("details", "oauth code=secret", None),
        ("details", "reset{of alice}", None),
    ],
)
def test_each_field_has_its_form_or_is_left_out(name, said, wanted):
    assert made(**{name: said}).get(name) == wanted


def test_the_details_of_a_401_may_quote_a_login():
    found = made(status=401, details="oauth_code_alice", flags="-")
    assert "details" not in found
    assert found["ended_by"] == "envoy"
    assert made(status=401, details="via_upstream")["ended_by"] == "upstream"


def test_what_a_caller_chose_is_not_copied():
    text = json.dumps(made(**dict.fromkeys(set(SAID) - {"id"}, "alice secret")))
    assert "alice" not in text
    assert "secret" not in text


@pytest.mark.parametrize("wrong", [b"", b"{}", OUTCOME_LINE, OUTCOME_LINE + b'"decision":"a"}', b'{"v":1}'])
def test_another_line_is_no_outcome(wrong):
    assert outcome_in(wrong) is None


def test_an_outcome_with_another_field_is_none():
    _, line = followed_line(json.dumps(SAID).encode())
    assert outcome_in(line[:-1] + b',"more":1}') is None
    assert outcome_in(line.replace(b'"status":200', b'"status":"200"')) is None
