"""Egress routes: by Host, by one of Envoy's own addresses or paths, or through a tunnel.

Law: every request, even one without a route, is evaluated on the egress plane, for the place where it goes: the Host
that the authorizer sees chooses the destination, and the check names it; where the Host is one of Envoy's addresses,
the authorizer gets the destination's host, and the request is sent with exactly that host. Run-identity headers are
removed before the request reaches the destination. A redirect goes back to the caller, which has to call again.
"""

import re
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteActionUpgradeConfigConnectConfig,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.core.model import Plane
from authz.core.stripped import RUN_HEADERS, UPSTREAM_RESPONSE_HEADERS
from authz.envoy_config.egress.answer_guards import guarded
from authz.envoy_config.egress.clusters import destination_name
from authz.envoy_config.egress.dynamic import dynamic_routes
from authz.envoy_config.egress.limits import further_tries
from authz.envoy_config.egress.tunnels import tunnel_name
from authz.envoy_config.ext_authz import check_settings, egress_settings
from authz.envoy_config.route_parts import no_upgrades, nowhere
from authz.settings.egress import Destination, Egress

# Destinations do not learn the caller's address.
_STAYS_HERE: Final = ("x-forwarded-for", *RUN_HEADERS)
_FORBIDDEN: Final = 403


def egress_routes(egress: Egress) -> RouteConfiguration:
    """All the routes of the egress listener. Ports in Host are ignored, except for tunnels."""
    others = dynamic_routes(egress.dynamic) if egress.dynamic else []
    return _configuration(
        Plane.EGRESS.value,
        [
            *(_virtual_host(destination) for destination in egress.destinations),
            *_own_address(egress),
            VirtualHost(
                name="dynamic" if others else "nowhere",
                domains=["*"],
                routes=[_no_tunnel(), *others, nowhere()],
                request_headers_to_remove=["authorization"],
                typed_per_filter_config=guarded((), ()),
            ),
        ],
    )


def base_url_routes(egress: Egress, destination: Destination) -> RouteConfiguration:
    """The routes of a listener for one destination, whatever Host a request names.

    Other destinations' hosts get 404: a caller that names one is at the wrong listener, with a proof for another.
    """
    others = [host for other in egress.destinations if other is not destination for host in other.hosts]
    host = VirtualHost(
        name=destination.name,
        domains=["*"],
        routes=[_forward(destination, rewrite=True)],
        request_headers_to_remove=_credentials(destination),
        typed_per_filter_config={**egress_settings(destination, host=destination.hosts[0]), **_guard(destination)},
    )
    elsewhere = [VirtualHost(name="elsewhere", domains=others, routes=[nowhere()])] if others else []
    return _configuration(destination_name(destination), [host, *elsewhere])


def _configuration(name: str, hosts: list[VirtualHost]) -> RouteConfiguration:
    return RouteConfiguration(
        name=name,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        validate_clusters=True,
        request_headers_to_remove=list(_STAYS_HERE),
        response_headers_to_remove=list(UPSTREAM_RESPONSE_HEADERS),
        typed_per_filter_config=check_settings(Plane.EGRESS, {}),
    )


def _guard(destination: Destination) -> dict[str, Any]:
    """The limits on the destination's answers."""
    return guarded(destination.hosts, destination.ports)


def _credentials(destination: Destination) -> list[str]:
    """The authorizer's answer removes the task's credentials too; this holds whatever it says."""
    return [] if destination.keep_authorization else ["authorization"]


def _virtual_host(destination: Destination) -> VirtualHost:
    return VirtualHost(
        name=destination.name,
        domains=list(destination.hosts),
        routes=[*_tunnels(destination), _no_tunnel(), _forward(destination)],
        request_headers_to_remove=_credentials(destination),
        typed_per_filter_config={**egress_settings(destination), **_guard(destination)},
    )


def _own_address(egress: Egress) -> list[VirtualHost]:
    """The listener's own address, with the base URLs that are paths there."""
    with_path = [(destination, destination.path) for destination in egress.destinations if destination.path]
    if not with_path:
        return []
    routes = [_below_path(destination, path) for destination, path in with_path]
    return [VirtualHost(name="own-address", domains=list(egress.own_hosts), routes=[_no_tunnel(), *routes, nowhere()])]


def _below_path(destination: Destination, path: str) -> Route:
    """The route at and below a base URL's path; the destination gets the rest of it, which is what was evaluated."""
    forward = _forward(destination, rewrite=True, cut=path)
    return Route(
        name=f"{destination.name}.path",
        match=RouteMatch(path_separated_prefix=path),
        route=forward.route,
        request_headers_to_remove=_credentials(destination),
        typed_per_filter_config={
            **egress_settings(destination, host=destination.hosts[0], base=path),
            **_guard(destination),
        },
    )


def _forward(destination: Destination, *, rewrite: bool = False, cut: str = "") -> Route:
    """`rewrite`: the Host was our address, so the destination gets its own. `cut`: our part of the path."""
    rest = RegexMatchAndSubstitute(pattern=RegexMatcher(regex=f"^{re.escape(cut)}(?:/|$)"), substitution="/")
    action = RouteAction(
        cluster=destination_name(destination),
        timeout=timedelta(seconds=destination.timeout),
        idle_timeout=timedelta(seconds=destination.limits.idle_timeout),
        host_rewrite_literal=destination.hosts[0] if rewrite else None,
        regex_rewrite=rest if cut else None,
        upgrade_configs=no_upgrades(),
        retry_policy=further_tries(destination.limits),
    )
    return Route(name=f"{destination.name}.forward", match=RouteMatch(prefix="/"), route=action)


def _tunnels(destination: Destination) -> list[Route]:
    """One route for each host and port that may be tunnelled to."""
    if not destination.tunnel:
        return []
    return [
        Route(
            name=f"{destination.name}.tunnel",
            match=RouteMatch(
                connect_matcher=RouteMatchConnectMatcher(),
                headers=[
                    HeaderMatcher(
                        name=":authority", string_match=StringMatcher(exact=f"{host}:{port}", ignore_case=True)
                    )
                ],
            ),
            route=RouteAction(
                cluster=tunnel_name(destination, host),
                timeout=timedelta(0),
                upgrade_configs=[
                    RouteActionUpgradeConfig(
                        upgrade_type="CONNECT", connect_config=RouteActionUpgradeConfigConnectConfig()
                    )
                ],
            ),
        )
        for host in destination.names
        for port in destination.ports
    ]


def _no_tunnel() -> Route:
    """Every other tunnel target."""
    return Route(
        name="no-tunnel",
        match=RouteMatch(connect_matcher=RouteMatchConnectMatcher()),
        direct_response=DirectResponseAction(status=_FORBIDDEN),
    )
