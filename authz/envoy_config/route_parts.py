"""Parts that the routes of both planes use: the route that answers 404, no upgrades, one retry.

Law: nothing here knows a plane. A retry never repeats a request that can have arrived.
"""

from typing import Final

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RetryPolicy,
    Route,
    RouteActionUpgradeConfig,
    RouteMatch,
)

_NOT_FOUND: Final = 404


def no_upgrades() -> list[RouteActionUpgradeConfig]:
    """The gate evaluates no byte streams. `CONNECT` also counts as an Upgrade, if tunnels are known at all."""
    return [RouteActionUpgradeConfig(upgrade_type=kind, enabled=False) for kind in ("websocket", "CONNECT")]


def second_try() -> RetryPolicy:
    """Retry once, where nothing of the request can have arrived."""
    return RetryPolicy(retry_on="connect-failure,refused-stream,reset-before-request", num_retries=1)


def nowhere() -> Route:
    """Every request that comes here gets 404."""
    return Route(
        name="nowhere",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
    )
