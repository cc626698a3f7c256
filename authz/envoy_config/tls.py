"""Transport sockets: what a listener presents, and how Envoy verifies a server.

Law: TLS 1.2 is the minimum; a server's certificate is always checked against a CA *and* a name.
"""

import ipaddress
from collections.abc import Iterable
from typing import TypedDict

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.secrets import LISTENER_CERTIFICATE, LISTENER_CLIENT_CA, sds_secret
from authz.settings.sections import Tls


def listener_socket(tls: Tls, sds: str) -> TransportSocket:
    """The TLS of a listener; HTTP/2 is offered first. With the folder `sds` the files are read again when new.

    With `client_ca`, the handshake fails for a client without a certificate from that authority.
    """
    common = CommonTlsContext(
        tls_params=_versions(),
        **shown_certificate(tls.certificate, tls.key, sds, LISTENER_CERTIFICATE),
        **(_clients(tls.client_ca, sds) if tls.client_ca else {}),
        alpn_protocols=["h2", "http/1.1"],
    )
    wanted = True if tls.client_ca else None
    return _socket(Any.pack(DownstreamTlsContext(common_tls_context=common, require_client_certificate=wanted)))


def cluster_socket(server_name: str, ca: str, *alpn: str, shown: "ShownCertificate | None" = None) -> TransportSocket:
    """The TLS of a cluster: the certificate must be signed by `ca` and name `server_name`; `shown` is Envoy's own."""
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=ca),
        match_typed_subject_alt_names=[_subject(server_name)],
    )
    common = CommonTlsContext(
        tls_params=_versions(),
        **(shown or {}),
        alpn_protocols=list(alpn),
        validation_context=context,
    )
    sni = "" if _is_ip(server_name) else server_name
    return _socket(Any.pack(UpstreamTlsContext(common_tls_context=common, sni=sni)))


def host_socket(ca: str, hosts: Iterable[str], *alpn: str) -> TransportSocket:
    """The TLS of a cluster whose server name is the Host of each request.

    The cluster sets server name and subject alternative name for each request. The settings here apply in addition:
    the certificate names one of the hosts, even without a request (a health check).
    """
    known = list(hosts)
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=ca), match_typed_subject_alt_names=[_subject(host) for host in known]
    )
    common = CommonTlsContext(tls_params=_versions(), alpn_protocols=list(alpn), validation_context=context)
    named = next((host for host in known if not host.startswith("*") and not _is_ip(host)), "")
    return _socket(Any.pack(UpstreamTlsContext(common_tls_context=common, sni=named)))


def _versions() -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
    )


class ShownCertificate(TypedDict, total=False):
    """Envoy's own certificate in a TLS context."""

    tls_certificates: list[TlsCertificate]
    tls_certificate_sds_secret_configs: list[SdsSecretConfig]


def shown_certificate(certificate: str, key: str, sds: str, name: str) -> ShownCertificate:
    """Envoy's own certificate, from the file of this name in the folder `sds`; without a folder, read only at start."""
    if sds:
        return {"tls_certificate_sds_secret_configs": [sds_secret(sds, name)]}
    pair = TlsCertificate(certificate_chain=DataSource(filename=certificate), private_key=DataSource(filename=key))
    return {"tls_certificates": [pair]}


class _Clients(TypedDict, total=False):
    """The CA of client certificates in a TLS context."""

    validation_context: CertificateValidationContext
    validation_context_sds_secret_config: SdsSecretConfig


def _clients(ca: str, sds: str) -> _Clients:
    if sds:
        return {"validation_context_sds_secret_config": sds_secret(sds, LISTENER_CLIENT_CA)}
    return {"validation_context": CertificateValidationContext(trusted_ca=DataSource(filename=ca))}


def _subject(name: str) -> SubjectAltNameMatcher:
    if name.startswith("*"):
        return SubjectAltNameMatcher(
            san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(suffix=name.removeprefix("*"))
        )
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if _is_ip(name) else SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name.strip("[]")))


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _socket(config: Any) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=config)
