"""Makes asking with httpx cheaper in tests, without changing what is asked or trusted."""

import os
from functools import cache
from pathlib import Path

import httpx._transports.default as transports

_made = transports.create_ssl_context


def share_authorities():
    """httpx reads all public authorities for each client, also for `http`: 17 ms of CPU whenever a test asks again.

    They are read once for each place that the environment names, and again once what is there was written again.
    What is for one client stays that client's own: a certificate, and other authorities.
    """
    transports.create_ssl_context = _context


def _context(verify=True, cert=None, trust_env=True):  # noqa: FBT002 the signature is httpx's
    if verify is True and cert is None:
        places = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return _public(trust_env, *((place, _written(place)) for place in places))
    return _made(verify=verify, cert=cert, trust_env=trust_env)


def _written(place):
    """What tells one content of this place from the next: date, size and inode."""
    try:
        status = Path(place).stat() if place else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino)


@cache
def _public(trust_env, *_places):
    return _made(verify=True, trust_env=trust_env)
