"""One JSON line per request, in the words of the decision log, so that the two join on `id`.

Law: no query, no token, no cookie. The path is Envoy's `:path` without the query; everything that a caller chose is
bounded in length, and Envoy's JSON formatter escapes it.
"""

from collections.abc import Mapping
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.google.protobuf import Any, Struct

from authz.envoy_config.ext_authz import NAME
from authz.model import Plane


def _decision(word: str) -> str:
    return f"%DYNAMIC_METADATA({NAME}:{word})%"


# `latency_us` is the time that the check took as Envoy saw it; `duration_ms` is the whole request's.
FIELDS: Final[Mapping[str, str]] = {
    "time": "%START_TIME%",
    "id": _decision("decision_id"),
    "method": "%REQ(:METHOD):16%",
    "host": "%REQ(:AUTHORITY):255%",
    "path": "%PATH(NQ):2048%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "subject": _decision("subject"),
    "reason": _decision("reason"),
    "rule": _decision("rule"),
    "revision": _decision("revision"),
    "latency_us": f"%FILTER_STATE({NAME}:FIELD:latency_us)%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "trace": "%REQ(TRACEPARENT):55%",
    "request_id": "%REQ(X-REQUEST-ID):64%",
    "user_agent": "%REQ(USER-AGENT):256%",
}


def access_log(plane: Plane, path: str) -> AccessLog:
    """The access log of one plane, to a file or (no path) to standard output."""
    line = SubstitutionFormatString(json_format=Struct.from_dict({**FIELDS, "plane": plane.value}))
    if path:
        return AccessLog(
            name="envoy.access_loggers.file", typed_config=Any.pack(FileAccessLog(path=path, log_format=line))
        )
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=Any.pack(StdoutAccessLog(log_format=line)))
