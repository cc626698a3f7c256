"""From the settings file to the plan of Envoy's configuration: mapping only, no decisions and no Envoy types.

Importing this costs the import of the plan, not of `envoy-data-plane`; who renders pays for that.
"""

from authz import endpoints
from authz.envoy_config.plan import ClientTls, EnvoyPlan, Listener, ServerTls, Upstream
from authz.errors import ConfigError, Problem
from authz.settings import Egress, Inbound, Settings, Tls
from authz.settings import Upstream as UpstreamSettings


def plan_of(settings: Settings, file: str) -> EnvoyPlan:
    """The plan; `file` is the settings file's name, for messages.

    Raises:
        ConfigError: there is no `envoy` section, or what it says cannot be rendered.
    """
    envoy = settings.envoy
    if envoy is None:
        problem = Problem(file, 0, 0, "there is no `envoy` section", "say at least envoy.inbound.upstreams")
        raise ConfigError([problem])
    authz_tls = None
    if settings.tls is not None:
        authz_tls = _client_tls(envoy.authz_tls_name, envoy.authz_tls_ca)
    try:
        return EnvoyPlan(
            authz_endpoints=endpoints.of_all(settings.listen, settings.worker_count),
            authz_tls=authz_tls,
            authz_timeout=envoy.authz_timeout,
            inbound=_listener(envoy.inbound) if envoy.inbound else None,
            egress=_listener(envoy.egress) if envoy.egress else None,
            admin_listen=envoy.admin,
            access_log=envoy.access_log,
        )
    except ValueError as error:
        raise ConfigError([Problem(file, 0, 0, f"envoy: {error}")]) from None


def _listener(section: Inbound | Egress) -> Listener:
    return Listener(
        listen=section.listen,
        upstreams=tuple(_upstream(upstream) for upstream in section.upstreams),
        tls=_server_tls(section.tls) if isinstance(section, Inbound) and section.tls else None,
    )


def _server_tls(tls: Tls) -> ServerTls:
    return ServerTls(certificate=tls.certificate, key=tls.key)


def _client_tls(server_name: str, ca: str | None) -> ClientTls:
    return ClientTls(server_name=server_name, ca=ca) if ca else ClientTls(server_name=server_name)


def _upstream(upstream: UpstreamSettings) -> Upstream:
    host = upstream.address.rpartition(":")[0].strip("[]")
    return Upstream(
        name=upstream.name,
        addresses=(upstream.address,),
        hosts=upstream.hosts,
        audience=upstream.audience or "",
        tls=_client_tls(upstream.tls_name or host, upstream.tls_ca) if upstream.tls else None,
        timeout=upstream.timeout,
        health_path=upstream.health_path or "",
        base_path=upstream.base_path or "",
    )
