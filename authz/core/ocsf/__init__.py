"""A decision, with what else is on record about it, as an event of OCSF's class API Activity.

Law: pure and total; `ATTRIBUTES` is the whole mapping, and the page about it is made of it. An event asserts only what
is on record. What OCSF has no attribute for is in `unmapped` under its name in the log, so nothing is lost. A hashed
value stays a hash.

Source: Open Cybersecurity Schema Framework 1.8.0, class 6003, profiles `security_control` and `trace`. The profile
`record_integrity` of 1.9.0 signs an event; what is signed here is the line of the log, so it is not used.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from authz.core.ocsf import answer, request
from authz.core.ocsf.fields import milliseconds, of_entry, of_outcome, of_record
from authz.core.record import number_in, text_in, time_in
from authz.core.traffic.story import Recorded

VERSION: Final = "1.8.0"
"""The version of OCSF."""
PRODUCT: Final = "airflow-envoy-authz"
"""The product's name, and its vendor's."""

_CLASS: Final = 6003
_CATEGORY: Final = 6
_NONE: Final[tuple[object, ...]] = (None, "", [], {})
_MAPPED: Final = frozenset(
    {
        *(
            "v",
            "type",
            "id",
            "time",
            "trace",
            "source",
            "upstream",
            "gate",
            "host",
            "port",
            "path",
            "subject",
            "client",
        ),
        *("operation", "destination", "decision", "reason", "rule", "revision", "detail"),
    }
)
_MAPPED_OF_OUTCOME: Final = frozenset(
    {"v", "type", "decision", "status", "bytes_received", "bytes_sent", "duration_ms", "run"}
)


class Attribute(NamedTuple):
    """An attribute: its name, with dots between objects; what it says, for the reader of the page; and its value."""

    name: str
    text: str
    value: Callable[[Recorded], object]


def event(recorded: Recorded) -> dict[str, Any]:
    """The event of a decision, to be written as JSON."""
    made: dict[str, Any] = {}
    for name, _, value in ATTRIBUTES:
        found = value(recorded)
        if found in _NONE:
            continue
        *parents, last = name.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = found
    return made


def _logged(one: Recorded) -> int | None:
    """When the answer left, in milliseconds since the epoch."""
    began, latency = milliseconds(one), number_in(one.record, "latency_us")
    return None if latency is None or not began else began + latency // 1000


def _format(one: Recorded) -> str:
    return str(number_in(one.record, "v") or "")


def _profiles(one: Recorded) -> list[str]:
    return ["security_control", "trace"] if text_in(one.record, "trace") else ["security_control"]


def _unmapped(one: Recorded) -> dict[str, Any]:
    """All fields that are in no other attribute."""
    mapped = _MAPPED | ({"method"} if request.method(one) else set()) | ({"dag"} if request.dag(one) else set())
    left = {name: value for name, value in one.record.items() if name not in mapped and value not in _NONE}
    outcome = {name: value for name, value in (one.outcome or {}).items() if name not in _MAPPED_OF_OUTCOME}
    return {**left, "outcome": outcome} if outcome else left


_COMMON: Final = (
    Attribute("class_uid", "6003", lambda _: _CLASS),
    Attribute("class_name", "API Activity", lambda _: "API Activity"),
    Attribute("category_uid", "6", lambda _: _CATEGORY),
    Attribute("category_name", "Application Activity", lambda _: "Application Activity"),
    Attribute(
        "activity_id",
        "Create, Read, Update or Delete: by the last word of `operation`; without one by `method`; else Other",
        request.activity,
    ),
    Attribute("activity_name", "its name; of Other the operation", request.activity_name),
    Attribute("type_uid", "`class_uid` times 100, and `activity_id`", lambda one: _CLASS * 100 + request.activity(one)),
    Attribute("type_name", "its name", request.type_name),
    Attribute("time", "`time` in milliseconds; 0 if there is none", milliseconds),
    Attribute(
        "severity_id",
        "Informational; Low for a denial, Medium if the gate could not decide (503)",
        answer.severity,
    ),
    Attribute("severity", "its name", lambda one: answer.SEVERITIES[answer.severity(one)]),
    Attribute(
        "status_id",
        "Success or Failure: by the status of the outcome; without one a denial is a Failure, and an allow is Unknown",
        answer.status,
    ),
    Attribute("status", "its name", lambda one: answer.STATUSES[answer.status(one)]),
    Attribute("status_code", "`reason`", of_record("reason")),
    Attribute("status_detail", "`detail`", of_record("detail")),
    Attribute("message", "`decision`, what was asked for, `reason`", answer.message),
    Attribute("duration", "outcome: `duration_ms`", of_outcome("duration_ms")),
)
_EVENT: Final = (
    Attribute("metadata.version", VERSION, lambda _: VERSION),
    Attribute("metadata.profiles", "`security_control`; `trace` where there is one", _profiles),
    Attribute("metadata.product.name", PRODUCT, lambda _: PRODUCT),
    Attribute("metadata.product.vendor_name", PRODUCT, lambda _: PRODUCT),
    Attribute("metadata.uid", "`id`", of_record("id")),
    Attribute("metadata.original_event_uid", "`id`", of_record("id")),
    Attribute("metadata.original_time", "`time`", lambda one: time_in(one.record)),
    Attribute("metadata.logged_time", "`time` and `latency_us`, in milliseconds", _logged),
    Attribute("metadata.log_version", "`v`", _format),
    Attribute("metadata.reporter.name", "`gate`", of_record("gate")),
    Attribute(
        "metadata.correlation_uid",
        "DAG/run: of the run that called, or that the request made (`run` of the outcome)",
        request.run,
    ),
)
_CALLER: Final = (
    Attribute("actor.user.uid", "`subject`", of_record("subject")),
    Attribute(
        "actor.user.name",
        "identity entry: `user`; `unknown` where neither this nor `subject` nor a run is on record",
        request.user_name,
    ),
    Attribute("actor.user.type_id", "0 where the name is `unknown`", request.user_type),
    Attribute("actor.user.type", "its name", request.user_type_name),
    Attribute("actor.user.groups", "identity entry: `groups`, each as `name`", request.groups),
    Attribute("actor.app_uid", "`client`", of_record("client")),
    Attribute("actor.app_name", "DAG of the run that called", request.calling_dag),
    Attribute("actor.idp.uid", "identity entry: `issuer`", of_entry("issuer")),
    Attribute("actor.idp.issuer", "identity entry: `issuer`", of_entry("issuer")),
    Attribute("src_endpoint.ip", "`source`, if it is an address", request.source_address),
    Attribute("src_endpoint.uid", "`source`, if it is hashed (`log.privacy`)", request.source_hash),
    Attribute("src_endpoint.name", "`source` of another form; `unknown` without one", request.source_name),
)
_ASKED: Final = (
    Attribute("api.operation", "`operation`; without one `method`", request.operation),
    Attribute("api.request.uid", "`id`", of_record("id")),
    Attribute("api.service.name", "`destination`; inbound `upstream`", request.service),
    Attribute("api.service.uid", "`upstream`", of_record("upstream")),
    Attribute("http_request.http_method", "`method`, if OCSF knows it", request.method),
    Attribute("http_request.url.hostname", "`host`; only with a path", request.of_url("host")),
    Attribute("http_request.url.port", "`port`; only with a path", request.port_of_url),
    Attribute("http_request.url.path", "`path`", of_record("path")),
    Attribute("http_request.body_length", "outcome: `bytes_received`", of_outcome("bytes_received")),
    Attribute("dst_endpoint.hostname", "`host`", of_record("host")),
    Attribute("dst_endpoint.port", "`port`", request.port_of_host),
    Attribute("dst_endpoint.svc_name", "`destination`; inbound `upstream`", request.service),
    Attribute("dst_endpoint.ip", "outcome: address in `upstream_host`", request.upstream_address),
    Attribute("resources", "inbound: the DAG (Target), unless it is `~`; outcome: `run` (Affected)", request.resources),
)
_ANSWER: Final = (
    Attribute(
        "action_id",
        "Allowed for `allow` and `issue`, Denied for `deny`; Other for the answer to a sign-out (status 302)",
        answer.action,
    ),
    Attribute("action", "its name; of Other the reason", answer.action_name),
    Attribute(
        "disposition_id",
        "Allowed; of a denial by the status of its reason: Unauthorized (403), Error (503), else Blocked",
        answer.disposition,
    ),
    Attribute("disposition", "its name; of Other the reason", answer.disposition_name),
    Attribute("authorizations", "`decision`; `policy` with `revision` (uid) and `rule` (name)", answer.authorizations),
    Attribute("policy.uid", "`revision`", of_record("revision")),
    Attribute("http_response.code", "outcome: `status`, unless there was no answer", answer.http_status),
    Attribute("http_response.body_length", "outcome: `bytes_sent`", answer.bytes_sent),
    Attribute("trace.uid", "`trace`", of_record("trace")),
    Attribute(
        "unmapped",
        "all other fields of the record under their names (`plane`, `roles`, `run`, `level`, …), and in"
        " `outcome` those of the outcome (`ended_by`, `flags`, …)",
        _unmapped,
    ),
)
ATTRIBUTES: Final[tuple[Attribute, ...]] = (*_COMMON, *_EVENT, *_CALLER, *_ASKED, *_ANSWER)
"""All attributes, in the order of an event."""
