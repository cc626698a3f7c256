"""The credential of a destination: Envoy's `credential_injector` in the filters of that one cluster.

Law: a credential is injected after the decision, when the call is on its way to its own cluster, so that no other
destination, no refused call and no answer can carry it. It replaces what the task sent under that name, however often
and however spelt. Without a credential the call is not made. Nothing here holds a secret: Envoy reads it from the
user's file, which a file made by `authz.envoy_config.secrets` names.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HttpUri, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.http.injected_credentials.oauth2.v3 import OAuth2 as InjectedOAuth2
from envoy_data_plane.envoy.extensions.http.injected_credentials.oauth2.v3 import (
    OAuth2AuthType,
    OAuth2ClientCredentials,
    OAuth2EndpointParameter,
)
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.secrets import credential_name, sds_secret
from authz.settings.destinations import Credential, OAuth2

NAME: Final = "authz.credential"
TOKEN_TIMEOUT: Final = timedelta(seconds=5)
TOKEN_RETRY: Final = timedelta(seconds=1)  # Envoy's minimum: also how long a start waits for the client's secret
_AUTH: Final = {"basic": OAuth2AuthType.BASIC_AUTH, "post": OAuth2AuthType.URL_ENCODED_BODY}


def injector(destination: str, credential: Credential, sds: str) -> HttpFilter:
    """The filter of the destination's cluster that injects its credential."""
    if credential.oauth2 is None:
        kind, config = "generic", Any.pack(_generic(destination, credential, sds))
    else:
        kind, config = "oauth2", Any.pack(_oauth2(destination, credential.oauth2, sds))
    made = TypedExtensionConfig(name=f"envoy.http.injected_credentials.{kind}", typed_config=config)
    filter_config = CredentialInjector(overwrite=True, allow_request_without_credential=False, credential=made)
    return HttpFilter(name=NAME, typed_config=Any.pack(filter_config))


def token_cluster_name(destination: str) -> str:
    """The cluster of the destination's token endpoint; a destination's own name has no dot."""
    return f"egress.{destination}.token"


def _generic(destination: str, credential: Credential, sds: str) -> Generic:
    header, prefix = credential.sent_in
    return Generic(
        credential=sds_secret(sds, credential_name(destination)),
        header=header,
        header_value_prefix=prefix,
    )


def _oauth2(destination: str, oauth2: OAuth2, sds: str) -> InjectedOAuth2:
    """A token is fetched at start and again after half of its lifetime; an expired one is dropped."""
    return InjectedOAuth2(
        token_endpoint=HttpUri(
            uri=oauth2.token_endpoint, cluster=token_cluster_name(destination), timeout=TOKEN_TIMEOUT
        ),
        scopes=list(oauth2.scopes),
        client_credentials=OAuth2ClientCredentials(
            client_id=oauth2.client_id,
            client_secret=sds_secret(sds, credential_name(destination)),
            auth_type=_AUTH[oauth2.client_auth],
        ),
        token_fetch_retry_interval=TOKEN_RETRY,
        endpoint_params=[_parameter(pair) for pair in oauth2.parameters],
    )


def _parameter(pair: str) -> OAuth2EndpointParameter:
    name, _, value = pair.partition("=")
    return OAuth2EndpointParameter(name=name, value=value)
