"""What an OpenID provider says about itself (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).

Law: a document is accepted only if its `issuer` is the one that was asked for, to the letter (§4.3 and §3.3 there): one
provider cannot speak for another.
"""

from typing import Any

import orjson

from authz.core.errors import FetchError
from authz.core.urls import Url
from authz.fetching.download import Downloader, Reach, read_url
from authz.fetching.guard import Deadline


def place_of(issuer: str) -> Url:
    """Where an issuer's document is.

    Raises:
        FetchError: the issuer is no URL.
    """
    return read_url(issuer.removesuffix("/") + "/.well-known/openid-configuration")


def metadata_of(issuer: str, downloader: Downloader, *, reach: Reach, deadline: Deadline) -> dict[str, Any]:
    """The members of an issuer's document; their values are not checked.

    Raises:
        FetchError: there is none, or it is of another issuer.
    """
    place = place_of(issuer)
    document = downloader.get(place, reach=reach, deadline=deadline)
    try:
        found = orjson.loads(document.data)
    except orjson.JSONDecodeError:
        raise FetchError(f"{place} is not JSON") from None
    if not isinstance(found, dict):
        raise FetchError(f"{place} is not a JSON object")
    if found.get("issuer") != issuer:
        raise FetchError(f"{place}: its `issuer` is not {issuer}")
    return found
