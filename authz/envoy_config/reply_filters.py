"""Which of Envoy's own answers an entry of `local_reply_config` matches: by status, by flag, by Envoy's details."""

from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    RuntimeUInt32,
)
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.google.protobuf import Any

AUTHORIZER: Final = "UAEX"  # the flag of whatever the authorizer answered, and of an authorizer that did not answer


def flagged(*flags: str) -> AccessLogFilter:
    """Answers with one of these response flags."""
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(flags)))


def status(code: int) -> AccessLogFilter:
    """Answers with this status."""
    wanted = ComparisonFilter(
        op=ComparisonFilterOp.EQ, value=RuntimeUInt32(default_value=code, runtime_key="authz.login.status")
    )
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=wanted))


def details(*beginnings: str) -> AccessLogFilter:
    """Answers whose details begin with one of these words."""
    expression = " || ".join(f"response.code_details.startsWith('{words}')" for words in beginnings)
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=Any.pack(ExpressionFilter(expression=expression)),
        )
    )


def all_of(conditions: list[AccessLogFilter]) -> AccessLogFilter:
    """Answers that match all of these."""
    return conditions[0] if len(conditions) == 1 else AccessLogFilter(and_filter=AndFilter(filters=conditions))


def header(name: str, value: str) -> HeaderValueOption:
    """A header that is in the answer once, whatever was there before."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
