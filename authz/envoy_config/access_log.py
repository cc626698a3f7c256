"""One JSON line per request, with the field names of the decision log, so that the two join on `id`.

Law: no query, no token, no cookie. The path is Envoy's `:path` without the query; everything that a caller chose is
bounded in length, and Envoy's JSON formatter escapes it.
"""

from collections.abc import Mapping
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from authz.core.edge import META_DECISION, META_REASON, META_REVISION, META_RULE, META_SUBJECT
from authz.core.model import EXECUTION
from authz.envoy_config.ext_authz import NAME

HEADER_TO_METADATA: Final = "envoy.filters.http.header_to_metadata"
"""The filter that fills these."""
MADE_RUN_SPACE: Final = "authz.made_run"
MADE_RUN_KEY: Final = "run"
TASK_CLAIMS_SPACE: Final = "authz.task"
TASK_CLAIMS_KEY: Final = "claims"


def _decision(word: str) -> str:
    return f"%DYNAMIC_METADATA({NAME}:{word})%"


# Only a valid traceparent (W3C Trace Context §3.2), as in the decision log: the caller writes this header.
# CEL bounds the size of a pattern, so the length is checked separately.
_TRACE: Final = (
    "request.headers['traceparent'].size() == 55"
    " && request.headers['traceparent'].matches('^[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$')"
    " ? request.headers['traceparent'] : ''"
)
# Only an id in Envoy's own form: a request that Envoy refuses before it changes headers still has the caller's id.
_REQUEST_ID: Final = (
    "request.headers['x-request-id'].size() == 36"
    " && request.headers['x-request-id'].matches('^[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$')"
    " ? request.headers['x-request-id'] : ''"
)
# `latency_us` is the time that the check took as Envoy saw it; `duration_ms` is the whole request's.
FIELDS: Final[Mapping[str, str]] = {
    "time": "%START_TIME%",
    "id": _decision(META_DECISION),
    "method": "%REQ(:METHOD):16%",
    "host": "%REQ(:AUTHORITY):255%",
    "path": "%PATH(NQ):2048%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "subject": _decision(META_SUBJECT),
    "reason": _decision(META_REASON),
    "rule": _decision(META_RULE),
    "revision": _decision(META_REVISION),
    "latency_us": f"%FILTER_STATE({NAME}:FIELD:latency_us)%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "run": f"%DYNAMIC_METADATA({MADE_RUN_SPACE}:{MADE_RUN_KEY}):250%",  # that a request made; inbound
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "trace": f"%CEL({_TRACE})%",
    "request_id": f"%CEL({_REQUEST_ID})%",
    "user_agent": "%REQ(USER-AGENT):256%",
}
# The id of the task instance, out of the claims of its token, and no other claim. Airflow makes the claims: a task can
# choose none of a token that Airflow accepts. `re.extract` is an extension of CEL that Envoy has.
_INSTANCE: Final = (
    f"re.extract(metadata.filter_metadata['{TASK_CLAIMS_SPACE}']['{TASK_CLAIMS_KEY}'],"
    """ '.*"sub": ?"([0-9a-f-]+)".*', '\\\\1')"""
)
# After their first words, Envoy's details of a failed login contain the query (`code`, `state`) or the answer of the
# provider's token endpoint. For a 401 they add nothing else: `flags` has UAEX if the authorizer answered, and
# `upstream_host` is set if the upstream did. So such a line has no details.
_UNAUTHORIZED: Final = 401
_WITHOUT_DETAILS: Final = {"details": "unauthorized"}
_WITHOUT_HOST: Final = {"host": "with userinfo"}


def access_logs(plane: str, path: str, *, login: bool) -> list[AccessLog]:
    """The access log of one plane, to a file or (no path) to standard output; `login`: browsers log in there."""
    fields = {**FIELDS, "plane": plane, **({"instance": f"%CEL({_INSTANCE})%"} if plane == EXECUTION else {})}
    kinds: list[tuple[dict[str, str], list[AccessLogFilter]]] = [(fields, [])]
    if login:
        others = AccessLogFilter(status_code_filter=_status(ComparisonFilterOp.NE))
        one = AccessLogFilter(status_code_filter=_status(ComparisonFilterOp.EQ))
        kinds = [(fields, [others]), ({**fields, **_WITHOUT_DETAILS}, [one])]
    logs = [_access_log(said, path, [*when, _userinfo(there=False)]) for said, when in kinds]
    logs += [_access_log({**said, **_WITHOUT_HOST}, path, [*when, _userinfo(there=True)]) for said, when in kinds]
    return logs


def _userinfo(*, there: bool) -> AccessLogFilter:
    """Whether the Host contains an `@`, which it must not: the text before it is a secret."""
    at = HeaderMatcher(
        name=":authority",
        string_match=StringMatcher(contains="@"),
        invert_match=not there,
        treat_missing_header_as_empty=True,  # an unreadable request has no headers, but gets a line too
    )
    return AccessLogFilter(header_filter=HeaderFilter(header=at))


def _status(operator: ComparisonFilterOp) -> StatusCodeFilter:
    value = RuntimeUInt32(default_value=_UNAUTHORIZED, runtime_key="authz.access_log.unauthorized")
    return StatusCodeFilter(comparison=ComparisonFilter(op=operator, value=value))


def _access_log(fields: Mapping[str, str], path: str, conditions: list[AccessLogFilter]) -> AccessLog:
    only = conditions[0] if len(conditions) == 1 else AccessLogFilter(and_filter=AndFilter(filters=conditions))
    line = SubstitutionFormatString(json_format=Struct.from_dict({**fields}))
    if path:
        config = Any.pack(FileAccessLog(path=path, log_format=line))
        return AccessLog(name="envoy.access_loggers.file", filter=only, typed_config=config)
    config = Any.pack(StdoutAccessLog(log_format=line))
    return AccessLog(name="envoy.access_loggers.stdout", filter=only, typed_config=config)
