"""Routes from tasks to Airflow's execution API, with the one path on it that the gate answers itself.

Law: what is below `/execution/` goes to Airflow unchanged, and nothing else does. The gate is not asked about it:
Airflow checks its own tokens, and a task must not fail because the gate does. A request below the prefix of the
exchange, in any spelling that Airflow would read as that prefix, goes to the gate and never reaches Airflow, whatever
the gate answers.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from authz.core import edge
from authz.core.model import EXECUTION
from authz.envoy_config.ext_authz import check_disabled, check_settings
from authz.envoy_config.route_parts import no_upgrades, nowhere, second_try

# The key that a task asks Airflow for, and the gate answers: authz/core/runs/run_request.py.
EXCHANGE: Final = edge.VARIABLES + edge.RUN_IDENTITY
CLUSTER: Final = edge.EXECUTION_UPSTREAM
# Only we set it, and only on the way to Airflow: a request that arrives with it has come back in a loop.
ON_ITS_WAY: Final = "x-execution-gate"
CLIMBING: Final = r"(?is).*(?:/|%2f|%5c)\.\.?(?:(?:/|%2f|%5c|;).*)?"
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403  # never 404: Airflow's SDK would go on and ask others
_LOOP: Final = 508  # RFC 5842 §7.2


def execution_routes() -> RouteConfiguration:
    """All the routes of the execution listener."""
    return RouteConfiguration(
        name=EXECUTION,
        virtual_hosts=[
            VirtualHost(
                name=EXECUTION, domains=["*"], routes=[_exchange(), _loop(), _climbing(), _forward(), _nothing_else()]
            )
        ],
        validate_clusters=True,
        typed_per_filter_config=check_settings(EXECUTION, {}),
    )


def exchange_pattern() -> str:
    """The prefix in every spelling. Only slashes are still encoded after Envoy's decoding; there may be several."""
    return "(?is)" + EXCHANGE.replace("/", "(?:/|%2f)+") + ".*"


def _exchange() -> Route:
    return Route(
        name="exchange",
        match=RouteMatch(safe_regex=RegexMatcher(regex=exchange_pattern())),
        direct_response=DirectResponseAction(status=_FORBIDDEN),
    )


def _loop() -> Route:
    return Route(
        name="loop",
        match=RouteMatch(prefix="/", headers=[HeaderMatcher(name=ON_ITS_WAY, present_match=True)]),
        direct_response=DirectResponseAction(status=_LOOP),
        typed_per_filter_config=check_disabled(),
    )


def _climbing() -> Route:
    """A dot segment that Envoy has not resolved, because a slash beside it is encoded: it must not lead elsewhere."""
    return Route(
        name="climbing",
        match=RouteMatch(safe_regex=RegexMatcher(regex=CLIMBING)),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
        typed_per_filter_config=check_disabled(),
    )


def _forward() -> Route:
    return Route(
        name="forward",
        match=RouteMatch(prefix=edge.EXECUTION_API),
        route=RouteAction(
            cluster=CLUSTER,
            timeout=timedelta(0),
            upgrade_configs=no_upgrades(),
            retry_policy=second_try(),
        ),
        request_headers_to_add=[
            HeaderValueOption(
                header=HeaderValue(key=ON_ITS_WAY, value="1"),
                append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
            )
        ],
        typed_per_filter_config=check_disabled(),
    )


def _nothing_else() -> Route:
    route = nowhere()
    return Route(
        name=route.name,
        match=route.match,
        direct_response=route.direct_response,
        typed_per_filter_config=check_disabled(),
    )
