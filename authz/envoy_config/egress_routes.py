"""Where an outbound request goes: by Host to a destination, or nowhere.

Law: every request, also one that leads nowhere, is judged as one of the egress plane. What is judged is where it goes:
the destination is chosen by the Host that the authorizer is shown, and told to it by name. No destination sees by what
a task said which run it is, and a redirect goes back to the caller, who has to ask again.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.answer_guards import guarded
from authz.envoy_config.egress_plan import Destination, Egress
from authz.envoy_config.ext_authz import said_of, told_out
from authz.envoy_config.headers import RUN_HEADERS, UPSTREAM_RESPONSE_HEADERS
from authz.envoy_config.limits import further_tries
from authz.envoy_config.peers import HostPort, parse_address
from authz.envoy_config.routes import nowhere
from authz.model import Plane

# The caller's address is nobody's business out there.
_STAYS_HERE: Final = ("x-forwarded-for", *RUN_HEADERS)


def egress_routes(egress: Egress) -> RouteConfiguration:
    """All the routes of the egress listener. Ports in Host take no part."""
    return RouteConfiguration(
        name=Plane.EGRESS.value,
        virtual_hosts=[
            *(_virtual_host(destination) for destination in egress.destinations),
            VirtualHost(name="nowhere", domains=["*"], routes=[nowhere()]),
        ],
        ignore_port_in_host_matching=True,
        validate_clusters=True,
        request_headers_to_remove=list(_STAYS_HERE),
        response_headers_to_remove=list(UPSTREAM_RESPONSE_HEADERS),
        typed_per_filter_config=said_of(Plane.EGRESS, {}),
    )


def destination_name(destination: Destination) -> str:
    """The cluster of a destination."""
    return f"{Plane.EGRESS.value}.{destination.name}"


def _virtual_host(destination: Destination) -> VirtualHost:
    return VirtualHost(
        name=destination.name,
        domains=list(destination.hosts),
        routes=[_forward(destination)],
        # The answer says it too; this holds whatever the answer says.
        request_headers_to_remove=[] if destination.keep_authorization else ["authorization"],
        typed_per_filter_config={**told_out(destination), **_guard(destination)},
    )


def _guard(destination: Destination) -> dict[str, Any]:
    """What it may not answer."""
    addresses = [parse_address(address) for address in destination.addresses]
    ports = [address.port for address in addresses if isinstance(address, HostPort)]
    return guarded(destination.hosts, ports, destination.limits.response_bytes)


def _forward(destination: Destination) -> Route:
    action = RouteAction(
        cluster=destination_name(destination),
        timeout=timedelta(seconds=destination.timeout),
        idle_timeout=timedelta(seconds=destination.limits.idle_timeout),
        upgrade_configs=[RouteActionUpgradeConfig(upgrade_type="websocket", enabled=False)],
        retry_policy=further_tries(destination.limits),
    )
    return Route(name=f"{destination.name}.forward", match=RouteMatch(prefix="/"), route=action)
