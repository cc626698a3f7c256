"""Map the settings file to the plan of Envoy's configuration: no decisions and no Envoy types.

What is not in the file is asked for here: a login's endpoints, from its provider. Importing this does not import
`envoy-data-plane`; only rendering does.
"""

from collections.abc import Callable
from dataclasses import replace

from authz.core.errors import ConfigError, Problem
from authz.envoy_config.provider import DiscoveryError, Provider, discover
from authz.settings import Settings, endpoints
from authz.settings.destinations import Credential as CredentialSettings
from authz.settings.envoy import Destination as DestinationSettings
from authz.settings.envoy import Dynamic as DynamicSettings
from authz.settings.envoy import Egress as EgressSettings
from authz.settings.envoy import Execution as ExecutionSettings
from authz.settings.envoy import Inbound, Login
from authz.settings.envoy import Upstream as UpstreamSettings
from authz.settings.plan.credentials import AUTHORIZATION, BEARER, ClientCredentials, Credential, HeaderSecret
from authz.settings.plan.egress import Destination, Dynamic, Egress, HostTls
from authz.settings.plan.execution import Execution
from authz.settings.plan.front import EnvoyPlan, Listener, Upstream
from authz.settings.plan.limits import Limits
from authz.settings.plan.login import SYSTEM_CA, LoginPlan
from authz.settings.plan.peers import ClientTls, ServerTls
from authz.settings.sections import Tls

_BESIDE_THE_TOKEN_KIB = 32  # cookies, and everything else that a browser sends
_UNREACHABLE = (
    "where it cannot be reached, write `authorization_endpoint`, `token_endpoint` and `end_session_endpoint` instead of"
    " `issuer`"
)


def plan_of(settings: Settings, file: str, discover: Callable[..., Provider] = discover) -> EnvoyPlan:
    """The plan; `file` is the settings file's name, for messages; `discover` asks a login's provider for its endpoints.

    Raises:
        ConfigError: there is no `envoy` section, or what it says cannot be rendered.
    """
    envoy = settings.envoy
    if envoy is None:
        problem = Problem(file, 0, 0, "there is no `envoy` section", "say at least envoy.inbound.upstreams")
        raise ConfigError([problem])
    if settings.assertion is None and envoy.inbound and any(one.narrows_dags for one in envoy.inbound.upstreams):
        problem = Problem(file, 0, 0, "narrows_dags without `assertion`", "Airflow learns the DAGs from the assertion")
        raise ConfigError([problem])
    authz_tls = None
    if settings.tls is not None:
        authz_tls = replace(
            _client_tls(envoy.authz_tls_name, envoy.authz_tls_ca),
            certificate=envoy.authz_tls_certificate or "",
            key=envoy.authz_tls_key or "",
        )
    try:
        return EnvoyPlan(
            authz_endpoints=endpoints.of_all(settings.listen, settings.worker_count),
            authz_tls=authz_tls,
            authz_timeout=envoy.authz_timeout,
            inbound=_inbound(envoy.inbound, settings, discover) if envoy.inbound else None,
            egress=_egress(envoy.egress) if envoy.egress else None,
            execution=_execution(envoy.execution) if envoy.execution else None,
            admin_listen=envoy.admin,
            access_log=envoy.access_log,
            sds=envoy.sds,
            max_request_headers_kib=-(-settings.limits.token_bytes // 1024) + _BESIDE_THE_TOKEN_KIB,
        )
    except (ValueError, DiscoveryError) as error:
        raise ConfigError([Problem(file, 0, 0, f"envoy: {error}")]) from None


def _inbound(inbound: Inbound, settings: Settings, discover: Callable[..., Provider]) -> Listener:
    backchannel = settings.revocation.backchannel or ""
    return Listener(
        listen=inbound.listen,
        upstreams=tuple(_upstream(upstream) for upstream in inbound.upstreams),
        tls=_server_tls(inbound.tls) if inbound.tls else None,
        login=_login(inbound.login, discover, backchannel) if inbound.login else None,
        branding=settings.pages.branding,
    )


def _egress(egress: EgressSettings) -> Egress:
    return Egress(
        listen=egress.listen,
        destinations=tuple(_destination(one) for one in egress.destinations),
        dynamic=_dynamic(egress.dynamic) if egress.dynamic else None,
    )


def _dynamic(dynamic: DynamicSettings) -> Dynamic:
    return Dynamic(ports=dynamic.ports, ca=dynamic.ca or SYSTEM_CA, resolvers=dynamic.resolvers)


def _execution(execution: ExecutionSettings) -> Execution:
    name = execution.tls_name or _host(execution.address)
    return Execution(
        listen=execution.listen,
        addresses=(execution.address,),
        tls=_client_tls(name, execution.tls_ca) if execution.tls else None,
    )


def _destination(destination: DestinationSettings) -> Destination:
    return Destination(
        name=destination.name,
        addresses=(destination.address,),
        hosts=destination.hosts,
        audience=destination.audience or "",
        tls=_destination_tls(destination) if destination.tls else None,
        timeout=destination.timeout,
        health_path=destination.health_path or "",
        keep_authorization=destination.keep_authorization,
        listen=destination.listen or "",
        path=destination.path or "",
        tunnel=destination.tunnel,
        credential=_credential(destination.credential) if destination.credential else None,
        insecure_credential=destination.insecure_credential,
        limits=Limits(**destination.limits.model_dump()),
    )


def _credential(credential: CredentialSettings) -> Credential:
    oauth2 = credential.oauth2
    if oauth2 is None:
        header = credential.header or AUTHORIZATION
        usual = BEARER if header == AUTHORIZATION else ""
        prefix = usual if credential.prefix is None else credential.prefix
        return HeaderSecret(secret=credential.secret_file or "", header=header, prefix=prefix)
    return ClientCredentials(
        token_endpoint=oauth2.token_endpoint,
        client_id=oauth2.client_id,
        secret=oauth2.client_secret_file,
        scopes=oauth2.scopes,
        ca=oauth2.ca or SYSTEM_CA,
        client_auth=oauth2.client_auth,
        parameters=oauth2.parameters,
    )


def _destination_tls(destination: DestinationSettings) -> ClientTls | HostTls:
    if destination.tls_name:
        return _client_tls(destination.tls_name, destination.tls_ca)
    return HostTls(ca=destination.tls_ca) if destination.tls_ca else HostTls()


def _login(login: Login, discover: Callable[..., Provider], backchannel: str) -> LoginPlan:
    """The settings take precedence over what the provider says."""
    said = Provider(authorization_endpoint="", token_endpoint="")
    if login.issuer:
        try:
            said = discover(login.issuer, login.provider_ca)
        except DiscoveryError as error:
            raise DiscoveryError(f"{error}; {_UNREACHABLE}") from None
    ending = said.end_session_endpoint if login.end_session_endpoint is None else login.end_session_endpoint
    return LoginPlan(
        client_id=login.client_id,
        client_secret=login.client_secret_file,
        cookie_secret=login.cookie_secret_file,
        authorization_endpoint=login.authorization_endpoint or said.authorization_endpoint,
        token_endpoint=login.token_endpoint or said.token_endpoint,
        end_session_endpoint=ending,
        public_url=login.public_url,
        scopes=login.scopes,
        parameters=login.parameters,
        callback=login.callback_path,
        signout=login.signout_path,
        provider_ca=login.provider_ca or SYSTEM_CA,
        client_auth=login.client_auth or ("basic" if said.basic else "post"),
        keep_id_token=login.keep_id_token,
        split_cookies=login.split_cookies,
        backchannel=backchannel,
    )


def _server_tls(tls: Tls) -> ServerTls:
    return ServerTls(certificate=tls.certificate, key=tls.key, client_ca=tls.client_ca or "")


def _client_tls(server_name: str, ca: str | None) -> ClientTls:
    return ClientTls(server_name=server_name, ca=ca) if ca else ClientTls(server_name=server_name)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _upstream(upstream: UpstreamSettings) -> Upstream:
    return Upstream(
        name=upstream.name,
        addresses=(upstream.address,),
        hosts=upstream.hosts,
        audience=upstream.audience or "",
        tls=_client_tls(upstream.tls_name or _host(upstream.address), upstream.tls_ca) if upstream.tls else None,
        timeout=upstream.timeout,
        health_path=upstream.health_path or "",
        base_path=upstream.base_path or "",
        narrows_dags=upstream.narrows_dags,
    )
