"""The limits of a destination in Envoy's terms: circuit breakers, outlier detection, retries, body length.

Law: calls to a broken destination fail at once, and it is ejected so that it can recover. No more connections than
allowed reach it, retries are a small part of the active calls, and only calls that cannot have arrived are retried.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy, RetryPolicyRetryBackOff, RetryPolicyRetryHostPredicate
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.ext_authz import PICKS
from authz.settings.destinations import DestinationLimits

# Of what is under way: a broken destination gets a fifth more tries, not twice as many.
RETRY_SHARE: Final = Percent(value=20.0)
RETRIES_AT_LEAST: Final = 3  # where little is under way
LONGEST_PAUSE: Final = 5  # times the first
_LOOK: Final = 1.0  # seconds between checks of which hosts may come back
_BACK_OFF: Final = RetryPolicyRetryBackOff(
    base_interval=timedelta(milliseconds=25), max_interval=timedelta(milliseconds=250)
)


def breakers(limits: DestinationLimits) -> CircuitBreakers:
    """How many calls to a destination may be active. Over HTTP/1.1 every call has its own connection."""
    budget = CircuitBreakersThresholdsRetryBudget(budget_percent=RETRY_SHARE, min_retry_concurrency=RETRIES_AT_LEAST)
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=limits.connections,
                max_pending_requests=limits.pending,
                max_requests=limits.connections,
                retry_budget=budget,
                track_remaining=True,
            )
        ]
    )


def outliers(limits: DestinationLimits) -> OutlierDetection:
    """When a destination counts as broken. A plain 500 does not count: one broken page must not close all the others.

    Failed and broken connections, timeouts, 502, 503 and 504 have one counter. Counted separately
    (`split_external_local_origin_errors`), a host that accepts connections and never answers is never found: each
    connection that it accepts resets the counter of calls without an answer (seen).
    """
    return OutlierDetection(
        enforcing_consecutive_5xx=0,
        enforcing_success_rate=0,
        consecutive_gateway_failure=limits.failures,
        enforcing_consecutive_gateway_failure=100,
        interval=timedelta(seconds=min(_LOOK, limits.pause)),
        base_ejection_time=timedelta(seconds=limits.pause),
        max_ejection_time=timedelta(seconds=limits.pause * LONGEST_PAUSE),
        max_ejection_percent=100,
    )


def body_bound(limits: DestinationLimits) -> HttpFilter:
    """The filter that holds a request's body until it is whole, or answers 413."""
    return HttpFilter(name="authz.body_bound", typed_config=Any.pack(Buffer(max_request_bytes=limits.request_bytes)))


def further_tries(limits: DestinationLimits) -> RetryPolicy | None:
    """Retry only if nothing of the request can have arrived: no call is made twice, whatever its method.

    It goes to another host if there is one: a dead host has the fewest calls, so it would be picked first every time.
    """
    if not limits.retries:
        return None
    elsewhere = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(PreviousHostsPredicate())
    )
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=limits.retries,
        retry_back_off=_BACK_OFF,
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=PICKS,
    )
