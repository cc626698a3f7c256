"""Transport sockets: what a listener shows, and how Envoy makes sure of a server.

Law: TLS 1.2 is the least; a server's certificate is always checked against a CA *and* a name.
"""

import ipaddress
from collections.abc import Iterable

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.peers import ClientTls, ServerTls
from authz.envoy_config.secrets import LISTENER_CERTIFICATE, sds_secret


def listener_socket(tls: ServerTls, sds: str) -> TransportSocket:
    """The TLS of a listener; HTTP/2 is offered first. With the folder `sds` the certificate is read again when new."""
    common = CommonTlsContext(
        tls_params=_versions(),
        tls_certificates=[] if sds else [_certificate(tls.certificate, tls.key)],
        tls_certificate_sds_secret_configs=[sds_secret(sds, LISTENER_CERTIFICATE)] if sds else [],
        alpn_protocols=["h2", "http/1.1"],
    )
    return _socket(Any.pack(DownstreamTlsContext(common_tls_context=common)))


def cluster_socket(tls: ClientTls, *alpn: str) -> TransportSocket:
    """The TLS of a cluster: CA and subject alternative name are both checked."""
    context = CertificateValidationContext(
        trusted_ca=DataSource(filename=tls.ca),
        match_typed_subject_alt_names=[_subject(tls.server_name)],
    )
    common = CommonTlsContext(
        tls_params=_versions(),
        tls_certificates=[_certificate(tls.certificate, tls.key)] if tls.certificate else [],
        alpn_protocols=list(alpn),
        validation_context=context,
    )
    sni = "" if _is_ip(tls.server_name) else tls.server_name
    return _socket(Any.pack(UpstreamTlsContext(common_tls_context=common, sni=sni)))


def host_socket(ca: str, hosts: Iterable[str], *alpn: str) -> TransportSocket:
    """The TLS of a cluster whose server is asked for by the Host of each request.

    The cluster sets server name and subject alternative name for each request. What is said here counts besides: the
    certificate names one of the hosts, also where there is no request (a health check).
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


def _certificate(certificate: str, key: str) -> TlsCertificate:
    return TlsCertificate(certificate_chain=DataSource(filename=certificate), private_key=DataSource(filename=key))


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
