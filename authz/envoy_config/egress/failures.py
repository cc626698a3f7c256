"""The answers to a task whose call was allowed but cannot be made: which destination failed, and why.

Law: fixed words only; nothing from the destination is repeated. The header `x-authz-destination-error`, which
destinations cannot send, distinguishes such an answer from the destination's own, and from the authorizer's refusal,
which has no such header. It says when to try again, where that helps, and has the time and ids of the access log line.
"""

from dataclasses import dataclass
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption, Metadata, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import ResponseMapper
from envoy_data_plane.google.protobuf import Struct

from authz.envoy_config.reply_bodies import json_fields
from authz.envoy_config.reply_filters import all_of, details, flagged, header, status

HEADER: Final = "x-authz-destination-error"
_NAMESPACE: Final = "authz"
_WORD: Final = "destination"
_UNAUTHORIZED: Final = 401
_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One cause. `after` is how many seconds to wait before the next try; 0: trying again does not help."""

    word: str
    status: int
    message: str
    after: int = 0

    def body(self) -> SubstitutionFormatString:
        """The JSON of the answer."""
        fields = json_fields(self.word, self.message, decided=True) | {
            "destination": f"%METADATA(CLUSTER:{_NAMESPACE}:{_WORD})%",
            "host": "%REQ(:AUTHORITY):255%",
        }
        return SubstitutionFormatString(json_format=Struct.from_dict(fields), content_type="application/json")

    def headers(self) -> list[HeaderValueOption]:
        """The headers of the answer, for programs."""
        said = {HEADER: self.word, "cache-control": "no-store"}
        if self.after:
            said["retry-after"] = str(self.after)
        return [header(name, value) for name, value in said.items()]


CREDENTIAL: Final = Failure(
    word="credential_unavailable",
    status=503,
    message="The gate has no credential for this destination: its secret is missing or unusable, or its token endpoint"
    " issued no token. Nothing was sent.",
    after=2,
)
OVERFLOW: Final = Failure(
    word="circuit_open",
    status=503,
    message="This destination has reached its limit of active and waiting calls. Nothing was sent.",
    after=1,
)
UNHEALTHY: Final = Failure(
    word="no_healthy_host",
    status=503,
    message="This destination failed several times in a row or fails its health check, and is left alone for some"
    " seconds. Nothing was sent.",
    after=2,
)
NO_NAME: Final = Failure(
    word="no_address",
    status=503,
    message="The name of this destination cannot be looked up. Nothing was sent.",
    after=5,
)
UNREACHABLE: Final = Failure(
    word="connect_failure",
    status=503,
    message="This destination does not accept connections, or its certificate is not for its name. Nothing was sent.",
    after=2,
)
LOST: Final = Failure(
    word="connection_lost",
    status=503,
    message="This destination ended the connection before it answered. It may have received the call.",
    after=2,
)
TIMEOUT: Final = Failure(
    word="timeout",
    status=504,
    message="This destination did not answer in time. It may have received the call.",
    after=5,
)
NOT_HTTP: Final = Failure(
    word="invalid_response",
    status=502,
    message="This destination's answer is not HTTP that the gate can read, or its headers are too many or too long.",
)
REQUEST_TOO_LARGE: Final = Failure(
    word="request_too_large", status=413, message="The body is larger than the limit for this destination."
)
REDIRECT: Final = Failure(
    word="redirect_refused",
    status=502,
    message="This destination redirects to another host. The gate does not pass that on: call the other host by itself,"
    " if you may.",
)
FAILURES: Final = (
    *(CREDENTIAL, OVERFLOW, UNHEALTHY, NO_NAME, UNREACHABLE, LOST, TIMEOUT, NOT_HTTP),
    *(REQUEST_TOO_LARGE, REDIRECT),
)


def named(destination: str) -> Metadata:
    """The name of a cluster in these answers."""
    return Metadata(filter_metadata={_NAMESPACE: Struct.from_dict({_WORD: destination})})


def destination_replies() -> list[ResponseMapper]:
    """Entries for Envoy's own egress answers, after those for the authorizer. The first that matches is used.

    A call that was retried has several flags.
    """
    secret = [details("failed_to_inject_credential")]
    # The secret cannot be sent as a header: it contains a newline or another forbidden character.
    unusable = [details("filter_removed_required_request_headers")]
    return [
        _entry(CREDENTIAL, [status(_UNAUTHORIZED), *secret]),
        _entry(CREDENTIAL, unusable),
        _entry(REQUEST_TOO_LARGE, [status(_TOO_LARGE)]),
        _entry(OVERFLOW, [flagged("UO")]),
        _entry(UNHEALTHY, [flagged("UH")]),
        _entry(NO_NAME, [flagged("DF")]),
        _entry(TIMEOUT, [flagged("UT", "SI", "UMSDR")]),
        _entry(UNREACHABLE, [flagged("UF")]),
        _entry(NOT_HTTP, [flagged("UPE")]),
        _entry(LOST, [flagged("UC", "UR", "LR", "URX")]),
    ]


def _entry(failure: Failure, conditions: list[AccessLogFilter]) -> ResponseMapper:
    return ResponseMapper(
        filter=all_of(conditions),
        status_code=failure.status,
        body_format_override=failure.body(),
        headers_to_add=failure.headers(),
    )
