"""lighttpd 1.4 (FastCGI authorizer, then mod_proxy): `lighttpd.conf` and two small Lua scripts.

Law: as in `authz.fronts`. `url-normalize` is off, so the authorizer and Airflow get the same bytes. The authorizer is
for every path, mod_proxy for those that begin with a slash. The scripts do no I/O: lighttpd has one thread. The first
one runs before the authorizer is asked and again after its allow: it keeps the caller's headers of an allow list, and
after the allow sets those of the answer. Without the answer's decision there are none, and no credentials of the caller
go on after it.
Source: lighttpd 1.4.69, `gw_backend.c`, `mod_fastcgi.c`, `http_cgi.c`; its wiki on mod_magnet.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from authz.core import edge
from authz.core.addresses import SocketPath
from authz.core.errors import ConfigError, Problem
from authz.fronts import crossing
from authz.fronts.plan import Place, Plan

FILE: Final = "lighttpd.conf"
REQUEST: Final = "request-{}.lua"
"""One for each of `fronts`: their base paths differ."""
RESPONSE: Final = "response.lua"
_KIB: Final = 1024
_MOST_HEAD: Final = 30 * _KIB
"""lighttpd sends all variables in one record of 64 KiB, and says most of a request twice."""
_FRAMING: Final = ("connection", "content-length", "expect", "host", "transfer-encoding")
_NO_LETTER: Final = re.compile(r"[^a-z0-9/]")  # in a pattern of Lua each of these may mean something
_ASKED: Final = frozenset({"authorization"})  # of the caller; the rest that the gate reads, Airflow reads too


class _Text(Template):
    """lighttpd has `$` and `%` for itself."""

    delimiter = "@"


_ALL: Final = _Text(
    """\
server.modules = ("mod_magnet", "mod_fastcgi", "mod_proxy", "mod_accesslog", "mod_openssl")
server.document-root = "/nonexistent"
server.bind = "@{host}"
server.port = @{port}
server.tag = ""

# What is asked about and what Airflow gets are the same bytes. Over HTTP/2 a body may come before the answer, and the
# authorizer would get it in place of Airflow.
server.http-parseopts = (
    "header-strict" => "enable",
    "host-strict" => "enable",
    "host-normalize" => "disable",
    "url-normalize" => "disable",
    "method-get-body" => "enable"
)
server.feature-flags = (
    "server.h2proto" => "disable",
    "server.h2c" => "disable",
    "server.graceful-shutdown-timeout" => 60
)

server.max-request-field-size = @{most_head}
server.max-read-idle = 30
server.stream-response-body = 1 # Airflow streams logs
@{servers}"""
)
_ONE: Final = _Text(
    """
$SERVER["socket"] == "@{listen}" {
    ssl.engine = "enable"
    ssl.pemfile = "@{certificate}"
    ssl.privkey = "@{key}"
    ssl.openssl.ssl-conf-cmd = ("MinProtocol" => "TLSv1.2")
@{clients}    server.max-request-size = @{request_kib}
    server.max-keep-alive-idle = @{idle}
    server.max-write-idle = @{idle}
    accesslog.filename = "@{access_log}"
    accesslog.escaping = "json"
    accesslog.format = "@{log}"

    magnet.attract-raw-url-to = ("@{folder}/request-@{number}.lua")
    magnet.attract-response-start-to = ("@{folder}/response.lua")
    fastcgi.balance = "least-connection"
    fastcgi.server = ("" => (@{gate}))
    proxy.balance = "least-connection"
    proxy.server = ("/" => (@{airflow}))
}
"""
)
_LOG: Final = (
    r"{\"time\":\"%{%Y-%m-%dT%H:%M:%S%z}t\",\"decision\":\"%{@}o\",\"client\":\"%a\",\"method\":\"%m\",\"path\":\"%U\","
    r"\"status\":\"%s\",\"microseconds\":\"%D\",\"bytes\":\"%B\"}"
).replace("@", edge.DECISION)
_REQUEST: Final = _Text(
    """\
-- Before the gate is asked: the caller's headers of the list, nothing else. After its allow: its headers too.
local passed = {@{passed}}
local asked = {@{asked}}
local set = {@{set}}
local request = lighty.r
local path = string.match(request.req_attr["request.orig-uri"], "^[^?]*")
if string.sub(path, 1, 1) ~= "/" then
    return 400
end
path = string.lower(lighty.c.urldec(path))
if string.find(path, "^@{base}/+execution$") or string.find(path, "^@{base}/+execution[^a-z0-9_-]") then
    return 404 -- Airflow's task API is for workers, whatever the policy says
end
local allowed = request.req_env["@{decision}"]
local names = {}
for name in pairs(request.req_header) do
    names[#names + 1] = name
end
for _, name in ipairs(names) do
    local lower = string.lower(name)
    if not (passed[lower] or (not allowed and asked[lower])) then
        request.req_header[name] = ""
    end
end
if allowed then
    for name, variable in pairs(set) do
        request.req_header[name] = request.req_env[variable] or ""
    end
end
return 0
"""
)
_RESPONSE: Final = _Text(
    """\
-- Of Airflow's answer: without what it may not say, and with the decision. The gate's own answers stay as they are.
local hidden = {@{hidden}}
local decision = lighty.r.req_env["@{variable}"]
if decision then
    for _, name in ipairs(hidden) do
        lighty.r.resp_header[name] = ""
    end
    lighty.r.resp_header["@{decision}"] = decision
end
return 0
"""
)


def render(plans: Sequence[Plan], folder: Path) -> dict[str, str]:
    """The files of this front by their names.

    Raises:
        ConfigError: Airflow over TLS.
    """
    if any(plan.airflow_name for plan in plans):
        text = "fronts.airflow.tls: mod_proxy of lighttpd speaks no TLS to Airflow"
        raise ConfigError([Problem(FILE, 0, 0, text, "put lighttpd on Airflow's machine, or take another front")])
    first = plans[0].listen
    if isinstance(first, SocketPath):
        raise ConfigError([Problem(FILE, 0, 0, "fronts.listen: a socket", "write an IP address and a port")])
    return {
        FILE: _ALL.substitute(
            host=f"[{first.host}]" if ":" in first.host else first.host,
            port=first.port,
            most_head=min(_MOST_HEAD, plans[0].header_kib * _KIB),
            servers="".join(_server(plan, number, folder) for number, plan in enumerate(plans)),
        ),
        **{REQUEST.format(number): _request(plan) for number, plan in enumerate(plans)},
        RESPONSE: _RESPONSE.substitute(
            hidden=", ".join(f'"{name}"' for name in crossing.HIDDEN),
            variable=edge.DECISION.upper(),
            decision=edge.DECISION,
        ),
    }


def _request(plan: Plan) -> str:
    return _REQUEST.substitute(
        passed=", ".join(f'["{name}"] = true' for name in sorted((*crossing.PASSED, *_FRAMING))),
        asked=", ".join(f'["{name}"] = true' for name in sorted(_ASKED)),
        set=", ".join(f'["{name}"] = "{name.upper()}"' for name in crossing.SET),
        decision=edge.DECISION.upper(),
        base=_NO_LETTER.sub(r"%\g<0>", plan.base.lower()),
    )


def _server(plan: Plan, number: int, folder: Path) -> str:
    sockets = [place for place in plan.fastcgi if isinstance(place, SocketPath)]  # there the gate takes the address
    check, idle = math.ceil(plan.check_s), plan.idle_s
    gate = f'"mode" => "authorizer", "check-local" => "disable", "connect-timeout" => 1, "read-timeout" => {check}'
    clients = (
        f'    ssl.verifyclient.ca-file = "{plan.client_ca}"\n'
        '    ssl.verifyclient.activate = "enable"\n    ssl.verifyclient.enforce = "enable"\n'
    )
    return _ONE.substitute(
        listen=_socket(plan.listen),
        log=_LOG,
        certificate=plan.certificate,
        key=plan.key,
        clients=clients if plan.client_ca else "",
        request_kib=math.ceil(plan.request_bytes / _KIB),
        idle=idle,
        access_log=plan.access_log or "/dev/stdout",
        folder=folder,  # a plain word: `authz.fronts.render`
        number=number,
        gate=", ".join(f'({_place(place)}, {gate}, "disable-time" => 1)' for place in sockets or plan.fastcgi),
        airflow=", ".join(
            f'({_place(place)}, "connect-timeout" => 2, "read-timeout" => {idle}, "disable-time" => 1)'
            for place in plan.airflow
        ),
    )


def _socket(place: Place) -> str:
    if isinstance(place, SocketPath):
        return place.path
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _place(place: Place) -> str:
    if isinstance(place, SocketPath):
        return f'"socket" => "{place.path}"'
    return f'"host" => "{place.host}", "port" => {place.port}'
