"""Secrets and certificates that Envoy reads from files again when they are replaced (SDS over the file system).

Law: the files made here name files, and never hold a secret. A file that is replaced by a rename takes effect within a
moment and fails no request. Source: `envoy.config.core.v3.PathConfigSource`.
"""

from pathlib import PurePosixPath
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    PathConfigSource,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    GenericSecret,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
)
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
from envoy_data_plane.google.protobuf import Any

from authz.settings import Settings

CLIENT_SECRET: Final = "login_client_secret"  # noqa: S105 a name
COOKIE_SECRET: Final = "login_cookie_secret"  # noqa: S105 a name
LISTENER_CERTIFICATE: Final = "listener_certificate"
LISTENER_CLIENT_CA: Final = "listener_client_ca"
AUTHZ_CERTIFICATE: Final = "authz_client_certificate"


def sds_secret(folder: str, name: str) -> SdsSecretConfig:
    """Where Envoy finds the secret of this name."""
    source = PathConfigSource(path=_file(folder, name))
    return SdsSecretConfig(
        name=name, sds_config=ConfigSource(path_config_source=source, resource_api_version=ApiVersion.V3)
    )


def sds_files(settings: Settings) -> dict[str, DiscoveryResponse]:
    """The content of the folder `envoy.sds`: by path, the resource that names the file of a secret."""
    envoy = settings.edge
    found: list[Secret] = []
    inbound = envoy.inbound
    if inbound and inbound.tls and envoy.sds:
        found.append(_certificate(LISTENER_CERTIFICATE, inbound.tls.certificate, inbound.tls.key))
        found += [_authority(LISTENER_CLIENT_CA, inbound.tls.client_ca)] if inbound.tls.client_ca else []
    if settings.tls and envoy.authz_tls_certificate and envoy.authz_tls_key and envoy.sds:
        found.append(_certificate(AUTHZ_CERTIFICATE, envoy.authz_tls_certificate, envoy.authz_tls_key))
    if inbound and inbound.login:
        found.append(_generic(CLIENT_SECRET, inbound.login.client_secret_file))
        found.append(_generic(COOKIE_SECRET, inbound.login.cookie_secret_file))
    found += [
        _generic(credential_name(destination.name), destination.credential.secret)
        for destination in (envoy.egress.destinations if envoy.egress else ())
        if destination.credential
    ]
    return {_file(envoy.sds, secret.name): DiscoveryResponse(resources=[Any.pack(secret)]) for secret in found}


def credential_name(destination: str) -> str:
    """The name of a destination's secret."""
    return f"credential_{destination}"


def _file(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / f"{name}.yaml")


def _generic(name: str, path: str) -> Secret:
    return Secret(name=name, generic_secret=GenericSecret(secret=DataSource(filename=path)))


def _certificate(name: str, certificate: str, key: str) -> Secret:
    """Key and certificate are reloaded together, when anything is moved into the certificate's folder."""
    pair = TlsCertificate(
        certificate_chain=DataSource(filename=certificate),
        private_key=DataSource(filename=key),
        watched_directory=_folder_of(certificate),
    )
    return Secret(name=name, tls_certificate=pair)


def _authority(name: str, path: str) -> Secret:
    """The CA whose certificates are accepted; reloaded when a new file is moved into the folder."""
    context = CertificateValidationContext(trusted_ca=DataSource(filename=path), watched_directory=_folder_of(path))
    return Secret(name=name, validation_context=context)


def _folder_of(path: str) -> WatchedDirectory:
    return WatchedDirectory(path=str(PurePosixPath(path).parent))
