"""Apache httpd 2.4 (`mod_authnz_fcgi`, then `mod_proxy_http`): one `apache.conf`, for Debian's modules.

Law: as in `authz.fronts`. `REQUEST_URI` is the target of the request line, and `nocanon` forwards the same bytes. The
Lua script runs after the allow and does no I/O: it refuses long bodies, which httpd does not where it is a proxy, keeps
the caller's headers of an allow list, which `mod_headers` cannot, and sets those of the answer; without the answer's
decision, or if it fails, nothing is forwarded. A check holds a thread of a worker for as long as it takes, at most 30
seconds.
Source: httpd 2.4 `mod_authnz_fcgi.c`, its documentation of `mod_lua`, `mod_headers`, `mod_proxy`, `core`.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from authz.core import edge
from authz.core.addresses import HostPort, SocketPath
from authz.core.errors import ConfigError, Problem
from authz.fronts import crossing
from authz.fronts.plan import UPSTREAM_IDLE_S, Place, Plan

FILE: Final = "apache.conf"
_FRAMING: Final = ("content-length", "expect", "host", "transfer-encoding")
_MODULES: Final = "/usr/lib/apache2/modules"
_LOADED: Final = (
    *("mpm_event", "authn_core", "authz_core", "authnz_fcgi", "headers", "lua", "reqtimeout"),
    *("proxy", "proxy_http", "socache_shmcb", "ssl"),
)
_MOST_LINE: Final = 16_000
"""A variable of more than 16 KiB is left out of what the gate is asked."""


class _Text(Template):
    """httpd has `$` and `%` for itself."""

    delimiter = "@"


_ALL: Final = _Text(
    """\
@{modules}
ServerRoot /usr/lib/apache2
DefaultRuntimeDir ${APACHE_RUN_DIR}
PidFile ${APACHE_PID_FILE}
User ${APACHE_RUN_USER}
Group ${APACHE_RUN_GROUP}
ErrorLog ${APACHE_LOG_DIR}/error.log
LogLevel warn
ServerTokens Prod
ServerSignature Off
TraceEnable Off
UseCanonicalName Off
AddDefaultCharset Off

# A request that two parsers could read differently is refused. Over HTTP/2 nothing here was tried.
Protocols http/1.1
HttpProtocolOptions Strict RegisteredMethods Require1.0
LimitRequestLine @{most_line}
LimitRequestFieldSize @{most_line}
LimitRequestFields 100
RequestReadTimeout handshake=10 header=10 body=60,MinRate=100
KeepAlive On
MaxKeepAliveRequests 10000
LogFormat "@{log}" authz
@{servers}"""
)
_LOG: Final = (
    r"{\"time\":\"%{%Y-%m-%dT%H:%M:%S%z}t\",\"decision\":\"%{@}o\",\"client\":\"%a\",\"method\":\"%m\","
    r"\"status\":\"%>s\",\"microseconds\":\"%D\",\"bytes\":\"%B\"}"
).replace("@", edge.DECISION)
"""Without the path, which httpd would not escape as JSON does. The gate's record has it."""
_ONE: Final = _Text(
    """
Listen @{listen} https
AuthnzFcgiDefineProvider authnz @{provider} fcgi://@{gate}/

<VirtualHost @{listen}>
    SSLEngine on
    SSLCertificateFile @{certificate}
    SSLCertificateKeyFile @{key}
    SSLProtocol TLSv1.2 TLSv1.3
@{clients}    CustomLog @{access_log} authz
    Timeout @{idle}
    KeepAliveTimeout @{idle}

    # What is asked about and what Airflow gets are the same bytes.
    AllowEncodedSlashes NoDecode
    MergeSlashes Off
    ProxyRequests Off
    ProxyPreserveHost On
    ProxyTimeout @{idle}
    ProxyPass / @{airflow} nocanon ttl=@{airflow_idle} connectiontimeout=2

    <Location "/">
        AuthType Gate
        AuthName airflow
        CGIPassAuth On
        AuthnzFcgiCheckAuthnProvider @{provider} Authoritative On RequireBasicAuth Off \\
            UserExpr "%{reqenv:@{subject}}" DefaultUser "-"
        Require @{provider}
    </Location>

    # Airflow's task API is for workers, whatever the policy says.
    <LocationMatch "(?i)^@{base}/+execution([^a-z0-9_-]|$)">
        Require all denied
    </LocationMatch>

    # After the gate's allow: the caller's headers of the list, and those of the answer.
    <LuaHookFixups headers>
@{script}    </LuaHookFixups>
@{hidden}    Header always set @{decision} "expr=%{reqenv:@{variable}}" "expr=-n reqenv('@{variable}')"
    # mod_authnz_fcgi calls every refusal HTML. Only a caller that accepts HTML gets a page.
    Header always set Content-Type application/json "expr=-z reqenv('@{variable}') && -n resp('@{decision}') \\
        && %{HTTP_ACCEPT} !~ m#text/html#"
</VirtualHost>
"""
)


_SCRIPT: Final = _Text(
    """\
local passed = {@{passed}}
local set = {@{set}}

function headers(r)
    if not r.subprocess_env["@{decision}"] then
        return 503
    end
    -- LimitRequestBody is not for requests that httpd passes on, and of chunks the length is not known.
    if r.headers_in["Transfer-Encoding"] then
        return 411
    end
    if tonumber(r.headers_in["Content-Length"] or "0") > @{request_bytes} then
        return 413
    end
    local connection = string.lower(r.headers_in["Connection"] or "")
    for name in pairs(r:headers_in_table()) do
        if not passed[string.lower(name)] then
            r.headers_in[name] = nil
        end
    end
    if string.find(connection, "close", 1, true) then -- but no names of headers that it would take away
        r.headers_in["Connection"] = "close"
    end
    r.headers_in["X-Forwarded-Proto"] = "https"
    for name, variable in pairs(set) do
        local value = r.subprocess_env[variable]
        if value and value ~= "" then
            r.headers_in[name] = value
        end
    end
    return apache2.OK
end
"""
)


def render(plans: Sequence[Plan], _folder: Path) -> dict[str, str]:
    """The files of this front by their names.

    Raises:
        ConfigError: what httpd or its `mod_authnz_fcgi` cannot do.
    """
    return {
        FILE: _ALL.substitute(
            modules="\n".join(f"LoadModule {name}_module {_MODULES}/mod_{name}.so" for name in _LOADED),
            most_line=_MOST_LINE,
            log=_LOG,
            servers="".join(_server(plan, number) for number, plan in enumerate(plans)),
        ),
    }


def _server(plan: Plan, number: int) -> str:
    gate = [place for place in plan.fastcgi if isinstance(place, HostPort)]
    if len(gate) != 1:
        _refuse("http_check.fastcgi: httpd asks one TCP address", "with one worker, write a loopback address and port")
    if len(plan.airflow) != 1:
        _refuse("fronts.airflow.address: httpd is rendered for one Airflow", "write one address")
    if plan.airflow_name:
        text = "fronts.airflow.tls: httpd would verify the name in the caller's Host, not Airflow's"
        _refuse(text, "put httpd on Airflow's machine, or take another front")
    script = _SCRIPT.substitute(
        passed=", ".join(f'["{name}"] = true' for name in sorted((*crossing.PASSED, *_FRAMING))),
        set=", ".join(f'["{name}"] = "{name.upper()}"' for name in crossing.SET),
        decision=edge.DECISION.upper(),
        request_bytes=plan.request_bytes,
    )
    hidden = [f"Header onsuccess unset {name}" for name in crossing.HIDDEN]
    clients = f"    SSLCACertificateFile {plan.client_ca}\n    SSLVerifyClient require\n    SSLVerifyDepth 4\n"
    return _ONE.substitute(
        listen=_place(plan.listen),
        provider=f"authz-{number}",
        gate=_place(gate[0]),
        certificate=plan.certificate,
        key=plan.key,
        clients=clients if plan.client_ca else "",
        access_log=plan.access_log or "/dev/stdout",
        idle=plan.idle_s,
        airflow=_airflow(plan.airflow[0]),
        airflow_idle=UPSTREAM_IDLE_S,
        base=plan.base,
        subject=edge.SUBJECT.upper(),
        script=textwrap.indent(script, " " * 8),
        hidden="".join(f"    {line}\n" for line in hidden),
        decision=edge.DECISION,
        variable=edge.DECISION.upper(),
    )


def _refuse(text: str, hint: str) -> None:
    raise ConfigError([Problem(FILE, 0, 0, text, hint)])


def _airflow(place: Place) -> str:
    return f"unix:{place.path}|http://localhost/" if isinstance(place, SocketPath) else f"http://{_place(place)}/"


def _place(place: Place) -> str:
    if isinstance(place, SocketPath):
        return place.path
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
