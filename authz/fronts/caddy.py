"""Caddy (`forward_auth`, spelt out): one `caddy.json`, for Caddy 2.11 or later.

Law: as in `authz.fronts`. The question is `GET /check/@METHOD/NAME/TARGET`: Caddy sends the caller's body along with
any other method. The target is Caddy's own spelling of it, and the same bytes go on to Airflow. Every header that a
caller may not send is deleted before the question, in any spelling, and set again only from the answer: not from what
Caddy would leave where an answer lacks one (GHSA-7r4p-vjf4-gxv4). Caddy's JSON, because a Caddyfile cannot say it all.
Source: caddyserver.com/docs/json; `Rewrite`, `HeaderOps` and `prepareRequest` of Caddy 2.11.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from authz.core import edge
from authz.core.addresses import SocketPath
from authz.core.request.path import METHODS
from authz.fronts import crossing
from authz.fronts.plan import GATE_IDLE_S, UPSTREAM_IDLE_S, Place, Plan

FILE: Final = "caddy.json"
ADMIN: Final = "caddy.sock"
# Hop by hop, and so the caller's own; `Connection` could also name headers that Caddy would then drop.
_OF_THE_CONNECTION: Final = ("connection", "expect", "upgrade", "te", "keep-alive", "proxy-connection")
# What else a name may have than letters, digits, hyphens (RFC 9110 §5.6.2). WSGI reads `_` as a hyphen, CGI each.
_MARKS: Final = "!#$%&'*+.^_`|~"
_ANSWER: Final = "http.reverse_proxy.header"  # of the last server that answered
_DECIDED: Final = "{http.vars.authz_decision}"
_REQUEST_ID: Final = "{http.request.uuid}"
_PLAIN: Final = {"Content-Type": ["application/json"], "Cache-Control": ["no-store"]}

Json = dict[str, Any]


def render(plans: Sequence[Plan], folder: Path) -> Mapping[str, str]:
    """The files of this front by their names; Caddy's own interface is a socket beside them, for `caddy reload`."""
    config = {
        "admin": {"listen": f"unix/{folder / ADMIN}|0600", "config": {"persist": False}},
        "logging": {
            "logs": {
                "default": {"encoder": _encoder(), "exclude": [f"http.log.access.{_name(at)}" for at in _each(plans)]},
                **{_name(at): _access_log(plans[at], at) for at in _each(plans)},
            }
        },
        "apps": {
            "tls": {
                "certificates": {
                    "load_files": [
                        {"certificate": plan.certificate, "key": plan.key, "tags": [_name(at)]}
                        for at, plan in enumerate(plans)
                    ]
                }
            },
            "http": {"servers": {_name(at): _server(plan, at) for at, plan in enumerate(plans)}},
        },
    }
    return {FILE: json.dumps(config, indent=2) + "\n"}


def _each(plans: Sequence[Plan]) -> range:
    return range(len(plans))


def _name(number: int) -> str:
    return f"authz_{number}"


def _encoder() -> Json:
    """JSON lines without queries and headers: a token may be there."""
    return {
        "format": "filter",
        "wrap": {"format": "json", "time_format": "rfc3339_nano"},
        "fields": {
            "request>uri": {"filter": "regexp", "regexp": "\\?.*", "value": ""},
            "request>headers": {"filter": "delete"},
            "request>tls": {"filter": "delete"},
            "resp_headers": {"filter": "delete"},
        },
    }


def _access_log(plan: Plan, number: int) -> Json:
    writer = {"output": "file", "filename": plan.access_log, "roll": False} if plan.access_log else None
    return {
        "writer": writer or {"output": "stdout"},
        "encoder": _encoder(),
        "include": [f"http.log.access.{_name(number)}"],
    }


def _server(plan: Plan, number: int) -> Json:
    policy: Json = {"certificate_selection": {"any_tag": [_name(number)]}, "protocol_min": "tls1.2"}
    if plan.client_ca:
        ca = {"provider": "file", "pem_files": [plan.client_ca]}
        policy["client_authentication"] = {"mode": "require_and_verify", "ca": ca}
    return {
        "listen": [_listen(plan.listen)],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "tls_connection_policies": [policy],
        "max_header_bytes": plan.header_kib * 1024,
        "read_header_timeout": "10s",
        "read_timeout": "5m",
        "idle_timeout": f"{plan.idle_s}s",
        "logs": {"default_logger_name": _name(number)},
        "routes": [
            {
                "handle": [
                    {"handler": "log_append", "key": "decision", "value": _DECIDED},
                    {"handler": "log_append", "key": "request", "value": _REQUEST_ID},
                ]
            },
            {"match": [{"not": [_QUESTIONABLE]}], "handle": [_said(400, "bad_request")], "terminal": True},
            {"match": [_execution(plan)], "handle": [_said(404, "not_found")], "terminal": True},
            {"handle": [{"handler": "request_body", "max_size": plan.request_bytes}, _callers_removed()]},
            {"handle": [_question(plan)]},
            {"handle": [_airflow(plan)], "terminal": True},
        ],
        "errors": {
            "routes": [
                {"match": [_error(413)], "handle": [_said(413, "body_too_large")], "terminal": True},
                {"match": [_DECIDED_ALREADY], "handle": [_said(503, "airflow_unavailable")], "terminal": True},
                {"handle": [_said(503, "unavailable")]},
            ]
        },
    }


# What can be asked about: a known method, a target that begins with a slash, a Host.
_QUESTIONABLE: Final[Json] = {
    "method": sorted(METHODS),
    "vars_regexp": {"{http.request.orig_uri}": {"pattern": "^/"}},
    "not": [{"vars": {"{http.request.hostport}": [""]}}],
}

_DECIDED_ALREADY: Final[Json] = {"vars_regexp": {_DECIDED: {"pattern": "."}}}


def _execution(plan: Plan) -> Json:
    """Airflow's task API is for workers, whatever the policy says. Caddy's path is decoded."""
    pattern = f"(?is)^{plan.base}/+execution([^a-z0-9_-].*)?$"
    return {"vars_regexp": {"{http.request.uri.path}": {"pattern": pattern}}}


def _error(status: int) -> Json:
    return {"vars": {"{http.error.status_code}": [str(status)]}}


def _said(status: int, error: str) -> Json:
    body = json.dumps({"error": error}, separators=(",", ":"))
    return {"handler": "static_response", "status_code": status, "headers": _PLAIN, "body": body}


def _callers_removed() -> Json:
    """All that a caller may not send, and every name that something behind may read as one of these."""
    names = [name for name in (*crossing.SET, *crossing.REMOVED, *_OF_THE_CONNECTION) if name != "authorization"]
    return {
        "handler": "headers",
        "request": {
            "delete": [
                *(f"*{mark}*" for mark in _MARKS),
                *names,
                *(f"{prefix}*" for prefix in crossing.REMOVED_PREFIXES),
            ]
        },
    }


def _question(plan: Plan) -> Json:
    """Ask; go on after a 200 alone, with what it says. Any other answer is the caller's, with its body."""
    headers: Json = {"delete": ["X-Forwarded-*"]}
    if plan.client_address:
        headers["set"] = {_header(plan.client_address): ["{http.request.remote.host}"]}
    decided = {"handle": [{"handler": "vars", "authz_decision": f"{{{_ANSWER}.{_header(edge.DECISION)}}}"}]}
    asked = {"find": "^/", "replace": f"/check/@{{http.request.method}}/{plan.name}/"}
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(place)} for place in plan.gate],
        "load_balancing": {"selection_policy": {"policy": "round_robin"}, "retries": max(1, len(plan.gate) - 1)},
        "rewrite": {"method": "GET", "path_regexp": [asked]},
        "headers": {"request": headers},
        "transport": _transport(GATE_IDLE_S, response_header_timeout=f"{plan.check_s:g}s"),
        "handle_response": [
            {"match": {"status_code": [200]}, "routes": [decided, *map(_taken, crossing.SET)]},
            {"routes": [decided, {"handle": [{"handler": "copy_response"}]}]},
        ],
    }


def _taken(name: str) -> Json:
    """Set a header from the answer, unless it is empty there: Airflow refuses an empty assertion."""
    value = f"{{{_ANSWER}.{_header(name)}}}"
    return {
        "match": [{"not": [{"vars": {value: [""]}}]}],
        "handle": [{"handler": "headers", "request": {"set": {_header(name): [value]}}}],
    }


def _airflow(plan: Plan) -> Json:
    hidden = [name for name in crossing.HIDDEN if name != edge.DECISION]
    tls = {"tls": _airflow_tls(plan)} if plan.airflow_name else {}
    silence = dict.fromkeys(("read_timeout", "write_timeout"), f"{plan.idle_s}s")
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(place)} for place in plan.airflow],
        "headers": {
            "request": {"delete": ["Authorization", "X-Forwarded-Host"], "set": {"X-Request-Id": [_REQUEST_ID]}},
            "response": {"delete": [*hidden, "via"], "set": {_header(edge.DECISION): [_DECIDED]}},
        },
        "transport": _transport(UPSTREAM_IDLE_S, **silence, **tls),
    }


def _airflow_tls(plan: Plan) -> Json:
    return {"ca": {"provider": "file", "pem_files": [plan.airflow_ca]}, "server_name": plan.airflow_name}


def _transport(idle_s: int, **more: Any) -> Json:
    """HTTP/1.1 with connections that are kept; what the caller accepts goes on as it is."""
    return {
        "protocol": "http",
        "versions": ["1.1"],
        "compression": False,
        "dial_timeout": "2s",
        "keep_alive": {"idle_timeout": f"{idle_s}s", "max_idle_conns_per_host": 64},
        **more,
    }


def _listen(place: Place) -> str:
    return f"unix/{place.path}" if isinstance(place, SocketPath) else f"tcp/{_dial(place)}"


def _dial(place: Place) -> str:
    if isinstance(place, SocketPath):
        return f"unix/{place.path}"
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _header(name: str) -> str:
    """The name as Go spells it."""
    return "-".join(part.capitalize() for part in name.split("-"))
