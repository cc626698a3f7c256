"""Certificates: what both engines need before they can listen."""

import grpc

from authz.engine.contract import TlsFiles
from authz.system.regular_file import read_secret


def credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Server credentials from PEM files; a client certificate is demanded when `client_ca` is given."""
    chain = read_secret(tls.certificate)
    key = read_secret(tls.key)
    authority = read_secret(tls.client_ca) if tls.client_ca else None
    return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=authority is not None)
