"""Inbound routes: by Host to an upstream, and what is refused before any upstream is chosen.

Law: every request, even one without a route, passes its plane to the authorizer, so that the answer to an anonymous
caller does not depend on whether a host or a route exists. Airflow's task API (`/execution`) is never reachable from
the inbound plane, whatever the policy says. An upstream with a base path gets only what is at or below it, in exactly
that spelling.
"""

import re
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from authz.core.addresses import SocketPath, parse_address
from authz.core.model import Plane
from authz.core.stripped import UPSTREAM_RESPONSE_HEADERS
from authz.envoy_config.ext_authz import inbound_settings
from authz.envoy_config.inbound.clusters import cluster_name
from authz.envoy_config.inbound.login import STATUS_HEADERS
from authz.envoy_config.inbound.login_routes import login_routes, marker, no_login, without_cookies
from authz.envoy_config.route_parts import nowhere, second_try
from authz.settings import Settings
from authz.settings.inbound import Inbound, Upstream

_NOT_FOUND: Final = 404


def route_configuration(settings: Settings, listener: Inbound) -> RouteConfiguration:
    """All the routes of the inbound listener. Ports in Host are ignored.

    An upstream learns the client's address; a listener on a Unix socket has none to pass.
    """
    tell_client = not isinstance(parse_address(listener.listen), SocketPath) or bool(listener.trusted_hops)
    hosts = [_virtual_host(settings, listener, upstream) for upstream in listener.upstreams]
    if not any("*" in upstream.hosts for upstream in listener.upstreams):
        hosts.append(
            VirtualHost(name="nowhere", domains=["*"], routes=[nowhere()], typed_per_filter_config=no_login(listener))
        )
    return RouteConfiguration(
        name=Plane.INBOUND.value,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        validate_clusters=True,
        request_headers_to_add=[_real_client()] if tell_client else [],
        request_headers_to_remove=[] if tell_client else ["x-forwarded-for"],
        response_headers_to_remove=list(UPSTREAM_RESPONSE_HEADERS),
        typed_per_filter_config=inbound_settings(),
    )


def _virtual_host(settings: Settings, listener: Inbound, upstream: Upstream) -> VirtualHost:
    login = listener.login if upstream is listener.logs_in_to else None
    forward = _forward(upstream)
    base = upstream.base_path or ""
    heard = settings.revocation.backchannel is not None
    return VirtualHost(
        name=upstream.name,
        domains=list(upstream.hosts),
        routes=[
            *(login_routes(login, base, settings.pages.branding, heard=heard) if login else []),
            _no_execution(base),
            *(without_cookies(forward) if login else []),
            forward,
            *([nowhere()] if base else []),
        ],
        request_headers_to_remove=list(STATUS_HEADERS) if login else [],
        typed_per_filter_config={
            **inbound_settings(
                upstream.audience or "",
                base=base,
                signout=login.signout_path if login else "",
                marker=marker(login) if login else "",
                narrowed=upstream.narrows_dags,
            ),
            **({} if login else no_login(listener)),
        },
    )


def _forward(upstream: Upstream) -> Route:
    action = RouteAction(
        cluster=cluster_name(upstream),
        timeout=timedelta(seconds=upstream.timeout),
        host_rewrite_literal=upstream.host_rewrite or None,
        upgrade_configs=[RouteActionUpgradeConfig(upgrade_type="websocket", enabled=upstream.websockets)],
        retry_policy=second_try(),
    )
    base = upstream.base_path
    # Airflow answers `/api/…` like `/airflow/api/…`. Only the latter was evaluated, so only that gets there.
    match = RouteMatch(path_separated_prefix=base) if base else RouteMatch(prefix="/")
    return Route(name=f"{upstream.name}.forward", match=match, route=action)


def execution(base: str) -> str:
    """The pattern of Airflow's task API below a base path.

    It matches in upper and lower case, and with encoded slashes before and after: uvicorn decodes before it routes.
    """
    return f"(?is){re.escape(base)}(?:/|%2f)+execution(?:[^a-z0-9_-].*)?"


def _no_execution(base: str) -> Route:
    return Route(
        name="no-execution-api",
        match=RouteMatch(safe_regex=RegexMatcher(regex=execution(base))),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
    )


def _real_client() -> HeaderValueOption:
    """The one address that Envoy takes for the client's: what the client wrote into `x-forwarded-for` is dropped."""
    return HeaderValueOption(
        header=HeaderValue(key="x-forwarded-for", value="%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
