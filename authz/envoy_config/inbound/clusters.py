"""The clusters of the upstreams, and those of a login: the provider's token endpoint and the back-channel's server.

Law: each upstream has a cluster of its own; a destination of the egress plane may have the same name. Anyone can make
Envoy call the servers of a login, so few calls to them may be under way at a time.
"""

from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from authz.core.model import Plane
from authz.envoy_config.clusters import airflow_cluster, bounded_cluster, http_health, token_endpoint_cluster
from authz.envoy_config.inbound.login import BACKCHANNEL
from authz.envoy_config.inbound.login import CLUSTER as PROVIDER
from authz.settings import Settings
from authz.settings.inbound import Inbound, Upstream
from authz.settings.login import Login

TOKEN_REQUESTS: Final = 128  # under way at the provider at a time
BACKCHANNEL_REQUESTS: Final = 24  # more than may wait for a key there, fewer than that port takes


def inbound_clusters(settings: Settings, inbound: Inbound) -> list[Cluster]:
    """One for each upstream, and those of a login."""
    login = login_clusters(inbound.login, settings.revocation.backchannel) if inbound.login else []
    return [*(upstream_cluster(upstream) for upstream in inbound.upstreams), *login]


def cluster_name(upstream: Upstream) -> str:
    """The cluster of an upstream. An egress destination may have the same name."""
    return f"{Plane.INBOUND.value}.{upstream.name}"


def upstream_cluster(upstream: Upstream) -> Cluster:
    """The cluster of one Airflow."""
    named = [upstream.host_rewrite or "", *(host for host in upstream.hosts if not host.startswith("*"))]
    health = [http_health(upstream.health_path, *named)] if upstream.health_path else []
    return airflow_cluster(upstream, cluster_name(upstream), health)


def login_clusters(login: Login, backchannel: str | None) -> list[Cluster]:
    """The provider's token endpoint, and the server for the provider's back-channel calls, if there is one.

    Anyone who sends a refresh token makes Envoy call the former, and anyone who knows its path reaches the latter, so
    few calls may be under way at once.
    """
    clusters = [token_endpoint_cluster(PROVIDER, login.tokens, login.authority, TOKEN_REQUESTS)]
    if backchannel:
        clusters.append(bounded_cluster(BACKCHANNEL, backchannel, BACKCHANNEL_REQUESTS))
    return clusters
