"""Where a request goes: by Host to an upstream, and what is refused before any upstream is chosen.

Law: every request, also one that leads nowhere, tells the authorizer its plane, so that the answer to an anonymous
caller does not depend on whether a host or a route exists. Airflow's task API (`/execution`) is never reachable from
the inbound plane, whatever the policy says. An upstream with a base path gets what is at or below it, in that very
spelling, and nothing else.
"""

import re
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from authz.envoy_config.ext_authz import told
from authz.envoy_config.headers import UPSTREAM_RESPONSE_HEADERS
from authz.envoy_config.login import STATUS_HEADERS
from authz.envoy_config.login_routes import login_routes, marker, no_login, without_cookies
from authz.envoy_config.plan import Listener, SocketPath, Upstream, parse_address
from authz.model import Plane

_NOT_FOUND: Final = 404


def route_configuration(plane: Plane, listener: Listener) -> RouteConfiguration:
    """All the routes of one listener. Ports in Host take no part.

    An upstream of ours learns the client's address. A foreign one (egress) must not, and behind a Unix socket of ours
    there is none to tell.
    """
    nameless = isinstance(parse_address(listener.listen), SocketPath) and not listener.trusted_hops
    tell_client = plane is Plane.INBOUND and not nameless
    hosts = [_virtual_host(plane, listener, upstream) for upstream in listener.upstreams]
    if not any("*" in upstream.hosts for upstream in listener.upstreams):
        hosts.append(
            VirtualHost(name="nowhere", domains=["*"], routes=[_nowhere()], typed_per_filter_config=no_login(listener))
        )
    return RouteConfiguration(
        name=plane.value,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        validate_clusters=True,
        request_headers_to_add=[_real_client()] if tell_client else [],
        request_headers_to_remove=[] if tell_client else ["x-forwarded-for"],
        response_headers_to_remove=list(UPSTREAM_RESPONSE_HEADERS),
        typed_per_filter_config=told(plane),
    )


def _virtual_host(plane: Plane, listener: Listener, upstream: Upstream) -> VirtualHost:
    login = listener.login if upstream is listener.logs_in_to else None
    forward = _forward(plane, upstream)
    return VirtualHost(
        name=upstream.name,
        domains=list(upstream.hosts),
        routes=[
            *(login_routes(login, upstream.base_path) if login else []),
            *([_no_execution(upstream.base_path)] if plane is Plane.INBOUND else []),
            *(without_cookies(forward) if login else []),
            forward,
            *([_nowhere()] if upstream.base_path else []),
        ],
        request_headers_to_remove=list(STATUS_HEADERS) if login else [],
        typed_per_filter_config={
            **told(
                plane,
                upstream.audience,
                base=upstream.base_path,
                signout=login.signout if login else "",
                marker=marker(login) if login else "",
                narrowed=upstream.narrows_dags,
            ),
            **({} if login else no_login(listener)),
        },
    )


def _forward(plane: Plane, upstream: Upstream) -> Route:
    action = RouteAction(
        cluster=cluster_name(plane, upstream),
        timeout=timedelta(seconds=upstream.timeout),
        host_rewrite_literal=upstream.host_rewrite or None,
        upgrade_configs=[RouteActionUpgradeConfig(upgrade_type="websocket", enabled=upstream.websockets)],
        retry_policy=RetryPolicy(retry_on="connect-failure,refused-stream,reset-before-request", num_retries=1),
    )
    base = upstream.base_path
    # Airflow answers `/api/…` as it does `/airflow/api/…`. Only the latter was asked about, so only that gets there.
    match = RouteMatch(path_separated_prefix=base) if base else RouteMatch(prefix="/")
    return Route(name=f"{upstream.name}.forward", match=match, route=action)


def execution(base: str) -> str:
    """The pattern of Airflow's task API below a base path.

    Upper and lower case, and with the slashes before and after it encoded: uvicorn decodes them before it routes.
    """
    return f"(?is){re.escape(base)}(?:/|%2f)+execution(?:[^a-z0-9_-].*)?"


def cluster_name(plane: Plane, upstream: Upstream) -> str:
    """The cluster of an upstream; both planes may use the same upstream names."""
    return f"{plane.value}.{upstream.name}"


def _no_execution(base: str) -> Route:
    return Route(
        name="no-execution-api",
        match=RouteMatch(safe_regex=RegexMatcher(regex=execution(base))),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
    )


def _nowhere() -> Route:
    return Route(
        name="nowhere",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
    )


def _real_client() -> HeaderValueOption:
    """The one address that Envoy holds for the client's: whatever the client wrote into `x-forwarded-for` is gone."""
    return HeaderValueOption(
        header=HeaderValue(key="x-forwarded-for", value="%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
