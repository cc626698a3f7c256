"""Addresses and certificates: what both engines need before they can listen."""

import contextlib
import socket
import stat
from pathlib import Path

import grpc

from authz.engine.contract import TlsFiles
from authz.regular_file import read_secret


def clear_the_way(address: str) -> None:
    """Take away the socket file of a crashed process; leave what is alive or no socket. TCP addresses need nothing.

    Raises:
        OSError: somebody listens there, or the path is something else.
    """
    if not address.startswith("unix:"):
        return
    path = Path(address.removeprefix("unix:"))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"cannot listen on {address}: a file that is no socket is in the way")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise OSError(f"cannot listen on {address}: another process does")


def credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Server credentials from PEM files; a client certificate is demanded when `client_ca` is given."""
    chain = read_secret(tls.certificate)
    key = read_secret(tls.key)
    authority = read_secret(tls.client_ca) if tls.client_ca else None
    return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=authority is not None)
