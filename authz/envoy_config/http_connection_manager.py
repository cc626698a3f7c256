"""The HTTP connection manager of a listener: one reading of each request, limits on all of it, filters in order.

Law: client headers are dropped first, the check is last (except that a name may be looked up after it), and an
ambiguous request is refused before it is evaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    SchemeHeaderTransformation,
)
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any

from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.core.model import EXECUTION, Plane
from authz.envoy_config.access_log import access_logs
from authz.envoy_config.egress.answer_guards import answer_guard
from authz.envoy_config.egress.clusters import destination_name
from authz.envoy_config.egress.dynamic import dynamic_filters
from authz.envoy_config.egress.execution import execution_routes
from authz.envoy_config.egress.routes import base_url_routes, egress_routes
from authz.envoy_config.egress.task_instance import task_instance_filter
from authz.envoy_config.ext_authz import ext_authz_filter
from authz.envoy_config.header_room import MAX_HEADERS, ROOM, ROOM_KIB, header_room
from authz.envoy_config.headers import client_header_filter, own_request_id
from authz.envoy_config.inbound.login import csrf_filter, oauth2_filter
from authz.envoy_config.inbound.made_run import made_run_filter
from authz.envoy_config.inbound.routes import route_configuration
from authz.envoy_config.local_replies import local_replies
from authz.envoy_config.tracing import tracer
from authz.settings import Settings
from authz.settings.egress import Destination, Egress
from authz.settings.envoy import Execution
from authz.settings.inbound import Inbound
from authz.settings.login import Login

HEADERS_TIMEOUT: Final = timedelta(seconds=10)
REQUEST_TIMEOUT: Final = timedelta(minutes=5)
# Envoy's advice for an edge: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
STREAMS_PER_CONNECTION: Final = 100
STREAM_WINDOW: Final = 64 * 1024
CONNECTION_WINDOW: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSpec:
    """What differs between the listeners; everything else is the same for all of them.

    `filters` are those between the first filter, which drops client headers, and the router. `idle` and
    `longest_stream` are in seconds. `to_strangers`: what is behind it is not ours, and learns nothing about the caller.
    `proxy`: it is a forward proxy that gets CONNECT requests, from some clients (Python before 3.12) in HTTP/1.0.
    `slashes`: double slashes stay, because they mean something to what is behind it.
    """

    name: str
    plane: str
    first: HttpFilter
    filters: Sequence[HttpFilter]
    routes: RouteConfiguration
    idle: float
    longest_stream: float
    trusted_hops: int = 0
    login: Login | None = None
    to_strangers: bool = False
    proxy: bool = False
    slashes: bool = False
    branding: Branding = NO_BRANDING


def inbound(settings: Settings, section: Inbound) -> ListenerSpec:
    """In front of Airflow: client headers, the origin of changes, the login, the check."""
    login = [csrf_filter(), oauth2_filter(section.login, settings.edge.sds)] if section.login else []
    return ListenerSpec(
        name=Plane.INBOUND.value,
        plane=Plane.INBOUND.value,
        first=client_header_filter(Plane.INBOUND),
        filters=[made_run_filter(), *login, ext_authz_filter(settings, Plane.INBOUND)],
        routes=route_configuration(settings, section),
        idle=section.idle_timeout,
        longest_stream=section.longest_stream,
        trusted_hops=section.trusted_hops,
        login=section.login,
        branding=settings.pages.branding,
    )


def outbound(settings: Settings, egress: Egress) -> ListenerSpec:
    """In front of everything that tasks call."""
    dynamic = dynamic_filters(egress.dynamic) if egress.dynamic else []
    return ListenerSpec(
        name=Plane.EGRESS.value,
        plane=Plane.EGRESS.value,
        first=client_header_filter(Plane.EGRESS),
        filters=[answer_guard(), ext_authz_filter(settings, Plane.EGRESS), *dynamic],
        routes=egress_routes(egress),
        idle=egress.idle_timeout,
        longest_stream=egress.longest_stream,
        to_strangers=True,
        proxy=True,
    )


def base_url(settings: Settings, egress: Egress, destination: Destination) -> ListenerSpec:
    """In front of one destination, at an address of its own."""
    return ListenerSpec(
        name=destination_name(destination),
        plane=Plane.EGRESS.value,
        first=client_header_filter(Plane.EGRESS),
        filters=[answer_guard(), ext_authz_filter(settings, Plane.EGRESS)],
        routes=base_url_routes(egress, destination),
        idle=egress.idle_timeout,
        longest_stream=egress.longest_stream,
        to_strangers=True,
    )


def for_tasks(settings: Settings, execution: Execution) -> ListenerSpec:
    """In front of Airflow's execution API."""
    return ListenerSpec(
        name=EXECUTION,
        plane=EXECUTION,
        first=client_header_filter(EXECUTION),
        filters=[task_instance_filter(), ext_authz_filter(settings, EXECUTION)],
        routes=execution_routes(),
        idle=execution.idle_timeout,
        longest_stream=execution.longest_stream,
        slashes=True,
    )


def http_connection_manager(settings: Settings, spec: ListenerSpec) -> HttpConnectionManager:
    """Everything that happens to a request of one listener."""
    return HttpConnectionManager(
        stat_prefix=spec.name,
        codec_type=HttpConnectionManagerCodecType.AUTO,
        # one reading of the path and the host
        normalize_path=True,
        merge_slashes=not spec.slashes,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        strip_trailing_host_dot=True,
        # who the client is: the peer, or what our own `trusted_hops` proxies say; no address is "internal"
        use_remote_address=True,
        xff_num_trusted_hops=spec.trusted_hops,
        skip_xff_append=spec.to_strangers,
        internal_address_config=HttpConnectionManagerInternalAddressConfig(),
        generate_request_id=True,
        early_header_mutation_extensions=[own_request_id()],
        # a client that asks first (Expect: 100-continue) sends its body after the check, and none when it is refused
        proxy_100_continue=not spec.to_strangers,
        # a proxy that ends TLS in front of us need not say so: if the public URL is https, every request is https
        scheme_header_transformation=_https() if spec.login and spec.login.is_secure else None,
        # limits
        max_request_headers_kb=settings.headers_kib + ROOM_KIB,
        request_headers_timeout=HEADERS_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
        stream_idle_timeout=timedelta(seconds=spec.idle),
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(seconds=spec.idle),
            max_headers_count=MAX_HEADERS + ROOM,
            max_stream_duration=timedelta(seconds=spec.longest_stream),
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http_protocol_options=Http1ProtocolOptions(accept_http_10=spec.proxy, allow_chunked_length=False),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=STREAMS_PER_CONNECTION,
            initial_stream_window_size=STREAM_WINDOW,
            initial_connection_window_size=CONNECTION_WINDOW,
            # a token is one header, and without this one of more than 64 KiB ends the connection
            max_header_field_size_kb=settings.headers_kib,
        ),
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="CONNECT")] if spec.proxy else [],
        # say nothing about our software
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        http_filters=[spec.first, header_room(settings.headers_kib), *spec.filters, _router()],
        route_config=spec.routes,
        local_reply_config=local_replies(
            login=spec.login is not None, outbound=spec.to_strangers, branding=spec.branding
        ),
        access_log=access_logs(spec.plane, settings.edge.access_log, login=spec.login is not None),
        tracing=tracer(settings.tracing) if settings.tracing else None,
    )


def _https() -> SchemeHeaderTransformation:
    return SchemeHeaderTransformation(scheme_to_overwrite="https")


def _router() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True)))
