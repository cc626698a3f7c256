"""nginx (`auth_request`): one `nginx.conf`, for nginx 1.22 or later with what Debian builds in.

Law: as in `authz.fronts`. The sub-request has the caller's method and its raw target, `$request_uri`; `proxy_pass` to
Airflow has no URI part, so nginx sends the same bytes. What is not in origin form is refused first. Airflow gets the
headers of an allow list: nginx cannot remove whole families, nor names in other spellings.
Source: nginx's ngx_http_auth_request_module, ngx_http_proxy_module, ngx_http_core_module.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final

from authz.core import edge
from authz.core.addresses import SocketPath
from authz.fronts import crossing
from authz.fronts.plan import GATE_IDLE_S, UPSTREAM_IDLE_S, Place, Plan

FILE: Final = "nginx.conf"
_TRIES: Final = 2
_STATUSES: Final[Mapping[int, str]] = {400: "bad_request", 401: "unauthenticated", 403: "forbidden"}


class _Text(Template):
    """nginx has `$` for itself."""

    delimiter = "%"


_ALL: Final = _Text(
    """\
worker_processes auto;
worker_shutdown_timeout 1m; # after a reload, for requests that are under way
error_log stderr crit; # lines of less have the whole target, and a token may be in its query

events {
    worker_connections 4096;
}

http {
    server_tokens off;
    merge_slashes off; # and no location but / depends on the path
    underscores_in_headers off; # x_authz_subject is no header here: it is dropped
    ignore_invalid_headers on;

    # Of what the gate answered, the last try; without an answer it is no status.
    map $authz_upstream_status $authz_last_status {
        "~([0-9]+)$" $1;
        default 503;
    }
    map $authz_simple_status $authz_status { # `statuses: simple`
        "" $authz_last_status;
        default $authz_simple_status;
    }
    map $request_uri $authz_path { # for the log, without the query: a token may be there
        "~^([^?]*)" $1;
    }
    log_format authz escape=json
        '{"time":"$time_iso8601","decision":"$authz_decision","request":"$request_id","client":"$remote_addr",'
        '"method":"$request_method","path":"$authz_path","status":"$status","check":"$authz_last_status","airflow":"$upstream_status",'
        '"seconds":"$request_time","bytes":"$bytes_sent"}';
%{servers}}
"""
)
_ONE: Final = _Text(
    """
    upstream authz_gate_%{number} {
%{gate}        keepalive 64;
        keepalive_timeout %{gate_idle}s;
    }

    upstream authz_airflow_%{number} {
%{airflow}        keepalive 64;
        keepalive_timeout %{airflow_idle}s; # uvicorn closes after 5: we must be first
    }

    server {
        listen %{listen} ssl;
        ssl_certificate %{certificate};
        ssl_certificate_key %{key};
        ssl_protocols TLSv1.2 TLSv1.3;
%{clients}        access_log %{access_log} authz;

        # limits
        client_header_timeout 10s;
        client_body_timeout 60s;
        send_timeout %{idle}s;
        keepalive_timeout %{idle}s;
        keepalive_requests 10000;
        client_header_buffer_size 4k;
        large_client_header_buffers 1 %{header_kib}k;
        client_max_body_size %{request_bytes};

        # to the gate and to Airflow
        proxy_http_version 1.1;
        proxy_request_buffering on;
        proxy_buffering off; # Airflow streams logs
        proxy_buffer_size 64k; # all headers of an answer
        proxy_buffers 8 64k;
        proxy_busy_buffers_size 128k;
        proxy_redirect off;
        proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;

        # The gate evaluates targets that begin with a slash. Others (absolute form, CONNECT) are no requests here.
        if ($request !~ "^[^ ]+ /") {
            return 400 '{"error":"bad_request"}';
        }

        location / {
            auth_request /%{question};
            auth_request_set $authz_upstream_status $upstream_status;
            auth_request_set $authz_simple_status $upstream_http_x_authz_status;
%{answers}            error_page 401 403 500 = @refused;
            error_page 502 504 = @away;

            proxy_pass %{scheme}://authz_airflow_%{number};
%{tls}            proxy_connect_timeout 2s;
            proxy_read_timeout %{idle}s;
            proxy_send_timeout %{idle}s;
            proxy_next_upstream error;
            proxy_next_upstream_tries %{tries};

            proxy_pass_request_headers off;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Request-Id $request_id;
%{headers}
%{hidden}            add_header %{decision} $authz_decision always;
        }

        # Airflow's task API is for workers, whatever the policy says.
        location ~* "(?s)^%{base}/+execution([^a-z0-9_-].*)?$" {
            return 404;
        }

        location = /%{question} {
            internal;
            proxy_pass http://authz_gate_%{number}/check/%{name}$request_uri;
            proxy_method $request_method;
            proxy_connect_timeout 1s;
            proxy_read_timeout %{check}s;
            proxy_send_timeout %{check}s;
            proxy_next_upstream error timeout non_idempotent; # a question changes nothing
            proxy_next_upstream_tries %{tries};
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Transfer-Encoding "";
            proxy_set_header Connection "";
            proxy_set_header Cookie "";
            proxy_set_header Host $http_host;
%{client_address}        }

        # nginx throws the body of the gate's answer away, so this is its own.
        location @refused {
            default_type application/json;
            add_header %{decision} $authz_decision always;
            add_header Cache-Control no-store always;
%{refusals}            return 503 '{"error":"unavailable","decision_id":"$authz_decision"}';
        }

        location @away {
            default_type application/json;
            add_header %{decision} $authz_decision always;
            return 503 '{"error":"airflow_unavailable","decision_id":"$authz_decision"}';
        }
    }
"""
)


def render(plans: Sequence[Plan], _folder: Path) -> dict[str, str]:
    """The files of this front by their names."""
    return {FILE: _ALL.substitute(servers="".join(_server(plan, at) for at, plan in enumerate(plans)))}


def _server(plan: Plan, number: int) -> str:
    question = f"authz_question_{number}"
    variables = {name: f"$authz_{_variable(name)}" for name in crossing.SET}
    variables[edge.DECISION] = "$authz_decision"
    return _ONE.substitute(
        number=number,
        name=plan.name,
        question=question,
        base=plan.base,
        gate=_servers(plan.gate),
        gate_idle=GATE_IDLE_S,
        airflow=_servers(plan.airflow),
        airflow_idle=UPSTREAM_IDLE_S,
        listen=_place(plan.listen),
        certificate=plan.certificate,
        key=plan.key,
        clients=_lines(2, f"ssl_client_certificate {plan.client_ca}", "ssl_verify_client on") if plan.client_ca else "",
        access_log=plan.access_log or "/dev/stdout",
        idle=plan.idle_s,
        header_kib=plan.header_kib,
        request_bytes=plan.request_bytes,
        check=math.ceil(plan.check_s),
        tries=_TRIES,
        scheme="https" if plan.airflow_name else "http",
        tls=_airflow_tls(plan),
        decision=edge.DECISION,
        answers=_lines(
            3,
            *(f"auth_request_set {variable} $upstream_http_{_variable(name)}" for name, variable in variables.items()),
        ),
        headers=_lines(
            3,
            *(f"proxy_set_header {name} {variable}" for name, variable in variables.items()),
            *(f"proxy_set_header {name} $http_{_variable(name)}" for name in crossing.PASSED),
        ),
        hidden=_lines(3, *(f"proxy_hide_header {name}" for name in crossing.HIDDEN)),
        client_address=_lines(3, f"proxy_set_header {plan.client_address} $remote_addr") if plan.client_address else "",
        refusals="".join(
            f"            if ($authz_status = {status}) {{\n"
            f'                return {status} \'{{"error":"{error}","decision_id":"$authz_decision"}}\';\n'
            "            }\n"
            for status, error in _STATUSES.items()
        ),
    )


def _airflow_tls(plan: Plan) -> str:
    if not plan.airflow_name:
        return ""
    return _lines(
        3,
        f"proxy_ssl_trusted_certificate {plan.airflow_ca}",
        f"proxy_ssl_name {plan.airflow_name}",
        "proxy_ssl_server_name on",
        "proxy_ssl_verify on",
        "proxy_ssl_verify_depth 4",
    )


def _servers(places: Sequence[Place]) -> str:
    return _lines(2, *(f"server {_place(place)} max_fails=0" for place in places))


def _place(place: Place) -> str:
    if isinstance(place, SocketPath):
        return f"unix:{place.path}"
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _variable(name: str) -> str:
    return name.replace("-", "_")


def _lines(depth: int, *directives: str) -> str:
    return "".join(f"{'    ' * depth}{directive};\n" for directive in directives)
