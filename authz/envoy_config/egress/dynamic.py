"""Hosts that belong to no destination, and the SSRF guard for them: Envoy connects to public addresses only.

Law: the address that is checked is the one connected to. Addresses are filtered before they enter the cache that
connections use, so a name can never mean something else, and there is no second address to fall back to. The chosen
address is checked again before a connection is requested; that alone would not be enough. Tunnels do not lead to such
hosts. This needs Envoy 1.39; an older one refuses the configuration.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCustomClusterType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    DnsResolverOptions,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    TypedExtensionConfig,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    PermissionSet,
    Policy,
    Principal,
    RbacAction,
)
from envoy_data_plane.envoy.config.rbac.v3 import Rbac as Rules
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.clusters.dynamic_forward_proxy.v3 import ClusterConfig
from envoy_data_plane.envoy.extensions.common.dynamic_forward_proxy.v3 import DnsCacheConfig
from envoy_data_plane.envoy.extensions.filters.http.dynamic_forward_proxy.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import CaresDnsResolverConfig
from envoy_data_plane.envoy.extensions.rbac.matchers.upstream_ip_port.v3 import UpstreamIpPortMatcher
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as ClusterHttp
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.matcher.v3 import AddressMatcher, RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import CidrRange as RangeOfAnswers

from authz.core.public_addresses import NOT_PUBLIC
from authz.envoy_config.addresses import envoy_address
from authz.envoy_config.route_parts import no_upgrades
from authz.envoy_config.tls import host_socket
from authz.settings.egress import Dynamic

TLS: Final = "egress.dynamic.tls"
PLAIN: Final = "egress.dynamic.plain"
MOST_HOSTS: Final = 1024
MOST_REQUESTS: Final = 256
_PLAIN_PORT: Final = 80
_REFRESH: Final = timedelta(seconds=60)
_FORGET: Final = timedelta(minutes=5)
_LOOKUP: Final = timedelta(seconds=5)
_CONNECT: Final = timedelta(seconds=5)
_TIMEOUT: Final = timedelta(seconds=30)
_IDLE: Final = timedelta(seconds=4)
_HOST: Final = r"(?:[^:\[\]]+|\[[^\[\]]+\])"


def dynamic_filters(dynamic: Dynamic) -> list[HttpFilter]:
    """After the check: look up the host and check its address."""
    lookup = FilterConfig(dns_cache_config=_dns(dynamic), save_upstream_address=True)
    refused = Policy(
        permissions=[Permission(or_rules=PermissionSet(rules=[_leads_to(block) for block in _ranges()]))],
        principals=[Principal(any=True)],
    )
    judge = Rbac(rules=Rules(action=RbacAction.DENY, policies={"address": refused}), rules_stat_prefix="dynamic")
    return [
        HttpFilter(name="envoy.filters.http.dynamic_forward_proxy", typed_config=Any.pack(lookup)),
        HttpFilter(name="envoy.filters.http.rbac", typed_config=Any.pack(judge)),
    ]


def dynamic_routes(dynamic: Dynamic) -> list[Route]:
    """By port: TLS, or plain HTTP on 80, which is the default port. Envoy refuses `https://` by itself."""
    tls = [port for port in dynamic.ports if port != _PLAIN_PORT]
    routes = []
    if tls:
        routes.append(_route("dynamic.tls", TLS, f"{_HOST}:(?:{'|'.join(map(str, tls))})"))
    if _PLAIN_PORT in dynamic.ports:
        routes.append(_route("dynamic.plain", PLAIN, f"{_HOST}(?::{_PLAIN_PORT})?"))
    return routes


def dynamic_clusters(dynamic: Dynamic) -> list[Cluster]:
    """One cluster for each protocol. Each request names the host to connect to."""
    return [_cluster(TLS, dynamic), _cluster(PLAIN, dynamic)]


def _ranges() -> list[CidrRange]:
    return [
        CidrRange(address_prefix=prefix, prefix_len=int(length))
        for prefix, _, length in (block.partition("/") for block in NOT_PUBLIC)
    ]


def _leads_to(block: CidrRange) -> Permission:
    matcher = TypedExtensionConfig(
        name="envoy.rbac.matchers.upstream_ip_port", typed_config=Any.pack(UpstreamIpPortMatcher(upstream_ip=block))
    )
    return Permission(matcher=matcher)


def _dns(dynamic: Dynamic) -> DnsCacheConfig:
    """The cache that filter and clusters share: they must configure it identically."""
    resolver = CaresDnsResolverConfig(
        resolvers=[envoy_address(address) for address in dynamic.resolvers],
        dns_resolver_options=DnsResolverOptions(no_default_search_domain=True),
    )
    return DnsCacheConfig(
        name="egress",
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        dns_refresh_rate=_REFRESH,
        host_ttl=_FORGET,
        max_hosts=MOST_HOSTS,
        dns_query_timeout=_LOOKUP,
        typed_dns_resolver_config=TypedExtensionConfig(
            name="envoy.network.dns_resolver.cares", typed_config=Any.pack(resolver)
        ),
        resolved_address_filter=AddressMatcher(
            ranges=[RangeOfAnswers(address_prefix=one.address_prefix, prefix_len=one.prefix_len) for one in _ranges()]
        ),
    )


def _route(name: str, cluster: str, authority: str) -> Route:
    host = HeaderMatcher(name=":authority", string_match=StringMatcher(safe_regex=RegexMatcher(regex=authority)))
    return Route(
        name=name,
        match=RouteMatch(prefix="/", headers=[host]),
        route=RouteAction(
            cluster=cluster,
            timeout=_TIMEOUT,
            upgrade_configs=no_upgrades(),
        ),
    )


def _cluster(name: str, dynamic: Dynamic) -> Cluster:
    tls = name == TLS
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=_IDLE),
        upstream_http_protocol_options=UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=True),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    bounds = CircuitBreakersThresholds(
        max_connections=MOST_REQUESTS, max_pending_requests=MOST_REQUESTS, max_requests=MOST_REQUESTS
    )
    return Cluster(
        name=name,
        cluster_type=ClusterCustomClusterType(
            name="envoy.clusters.dynamic_forward_proxy",
            typed_config=Any.pack(ClusterConfig(dns_cache_config=_dns(dynamic))),
        ),
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=_CONNECT,
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(options),
        },
        transport_socket=host_socket(dynamic.authority, _no_names(), "http/1.1") if tls else None,
        circuit_breakers=CircuitBreakers(thresholds=[bounds]),
    )


def _no_names() -> Sequence[str]:
    """The host is known only with each request."""
    return ()
