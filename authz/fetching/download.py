"""One bounded request, a GET or a POST: a limited number of bytes out, within a limited time.

Law: everything about the answer is bounded before it is trusted (size as sent *and* as decoded, time, redirects),
no credentials are sent but those that the caller gives `ask`, proxies and `.netrc` of the environment are not used. A
redirect of `get` may not leave the host, and that of any other request is not followed. An error message never has a
body, a query or a header of the answer.
"""

import contextlib
import re
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from types import MappingProxyType
from typing import Final

import certifi
import httpcore

from authz.core.errors import FetchError
from authz.core.loopback import names_loopback
from authz.core.urls import Url
from authz.core.version import __version__
from authz.fetching.guard import Deadline, GuardedBackend, Resolver
from authz.fetching.limits import Limits
from authz.system.regular_file import read_secret

JSON: Final = "application/json, application/jwk-set+json"
ANYTHING: Final = "*/*"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})(?![0-9])", re.ASCII | re.IGNORECASE)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the fetches of one issuer may use: plain HTTP anywhere, and addresses of this machine."""

    insecure_http: bool
    loopback: bool


def read_url(text: str) -> Url:
    """Parse a URL that keys or answers come from.

    Raises:
        FetchError: it is not a URL; the message does not quote it.
    """
    try:
        return Url.parse(text)
    except ValueError as error:
        raise FetchError(str(error)) from None


def check(url: Url, reach: Reach) -> None:
    """Refuse plain HTTP to anywhere but this machine (RFC 8725 §2.8 has no meaning without an authentic key set).

    Raises:
        FetchError: the scheme is http, and the issuer does not set `insecure_http`.
    """
    if url.scheme == "https" or reach.insecure_http or (reach.loopback and names_loopback(url.host)):
        return
    raise FetchError(f"{url}: http is refused (only loopback, or with insecure_http)")


def redirected(url: Url, location: str) -> Url:
    """The target of a redirect from `url`, which must be on the same host and port, or on that host over https.

    Raises:
        FetchError: it is not.
    """
    location = location.partition("#")[0]
    if location.startswith("/") and not location.startswith("//"):
        return read_url(url.origin + location)
    target = read_url(location)
    same = (target.scheme, target.port) == (url.scheme, url.port)
    upgraded = (url.scheme, target.scheme) == ("http", "https")
    if target.host != url.host or not (same or upgraded):
        raise FetchError(f"{url} redirects to another host or scheme, which is refused")
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The result of a GET: the decoded body, and for how long the server says it is fresh (None: it does not say)."""

    data: bytes = field(repr=False)
    max_age: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of any status: its headers by name in lower case, its media type likewise without parameters, its body.

    The body is decoded.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    media_type: str
    data: bytes = field(repr=False)


def default_tls() -> ssl.SSLContext:
    """Verify servers against the system's certificates (or `SSL_CERT_FILE`); against certifi's if there are none."""
    paths = ssl.get_default_verify_paths()
    return ssl.create_default_context(cafile=None if paths.cafile or paths.capath else certifi.where())


def tls_of(ca: str | None) -> ssl.SSLContext:
    """How servers are verified: only by the certificates in the file `ca`, or by the system's.

    Raises:
        OSError: the file cannot be read, or no certificate is in it.
    """
    if not ca:
        return default_tls()
    text = read_secret(ca).decode("ascii", "ignore")  # remarks between the certificates may be in any language
    if "-----BEGIN" not in text:
        raise OSError(EINVAL, "no certificate in it can be read", ca)
    return ssl.create_default_context(cadata=text)


class Downloader:
    """Fetches documents within `limits`.

    Args:
        limits: for one fetch.
        tls: how servers are verified.
        resolver: the system's, unless a test passes its own.
    """

    def __init__(self, *, limits: Limits, tls: ssl.SSLContext, resolver: Resolver) -> None:
        self._limits = limits
        self._tls = tls
        self._resolver = resolver

    def get(self, url: Url, *, reach: Reach, deadline: Deadline, accept: str = JSON) -> Document:
        """Fetch `url`, a document of one of the media types `accept`, following redirects on its host.

        Raises:
            FetchError: for any reason, there is no complete 200 answer within the limits.
        """
        for _ in range(self._limits.max_redirects + 1):
            answer = self._once(url, reach, deadline, accept)
            if isinstance(answer, Document):
                return answer
            url = redirected(url, answer)
        raise FetchError(f"{url}: more than {self._limits.max_redirects} redirects")

    def post(self, url: Url, body: bytes, *, media_type: str, reach: Reach, deadline: Deadline) -> Answer:
        """Send `body` to `url`; every status is an answer, also a redirect.

        Raises:
            FetchError: there is no complete answer within the limits.
        """
        more = {"content-type": media_type, "content-length": str(len(body))}
        with self._asked(url, reach, deadline, accept=ANYTHING, body=body, more=more) as (response, found):
            return self._answer(url, response, found)

    def ask(self, url: Url, *, reach: Reach, deadline: Deadline, more: Mapping[str, str] = NO_HEADERS) -> Answer:
        """GET `url` with these headers too; every status is an answer, also a redirect.

        Raises:
            FetchError: there is no complete answer within the limits.
        """
        with self._asked(url, reach, deadline, accept=JSON, more=more) as (response, found):
            return self._answer(url, response, found)

    def _answer(self, url: Url, response: httpcore.Response, found: dict[str, str]) -> Answer:
        data = self._bounded(url, response.iter_stream(), found.get("content-encoding", "identity").lower())
        kind = found.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(status=response.status, headers=found, media_type=kind, data=data)

    def _once(self, url: Url, reach: Reach, deadline: Deadline, accept: str) -> Document | str:
        """The document, or the target of the server's redirect."""
        with self._asked(url, reach, deadline, accept=accept) as (response, found):
            if response.status in _REDIRECTS and "location" in found:
                return found["location"]
            if response.status != _OK:
                raise FetchError(f"{url} answers with status {response.status}")
            data = self._bounded(url, response.iter_stream(), found.get("content-encoding", "identity").lower())
            return Document(data=data, max_age=_max_age(found))

    @contextlib.contextmanager
    def _asked(
        self,
        url: Url,
        reach: Reach,
        deadline: Deadline,
        *,
        accept: str,
        body: bytes | None = None,
        more: Mapping[str, str] = NO_HEADERS,
    ) -> Iterator[tuple[httpcore.Response, dict[str, str]]]:
        """The answer, whose body is not read yet, and its headers; a POST if there is a body."""
        check(url, reach)
        plain = url.scheme == "http" and not reach.insecure_http
        backend = GuardedBackend(deadline=deadline, loopback=reach.loopback, resolver=self._resolver, only_here=plain)
        target = httpcore.URL(scheme=url.scheme, host=url.host.strip("[]"), port=url.port, target=url.target)
        headers = {
            "accept": accept,
            "accept-encoding": "identity",
            "connection": "close",
            "host": url.authority,
            "user-agent": f"airflow-envoy-authz/{__version__}",
            **more,
        }
        method = "GET" if body is None else "POST"
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend, max_connections=1) as pool,
                pool.stream(method, target, headers=list(headers.items()), content=body) as response,
            ):
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                yield response, found
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise FetchError(f"{url}: {_reason_of(error)}") from None

    def _bounded(self, url: Url, chunks: Iterable[bytes], encoding: str) -> bytes:
        """The decoded body; at most one byte over the limit is held in memory."""
        ceiling = self._limits.max_bytes + 1
        if encoding not in {"identity", "gzip"}:
            raise FetchError(f"{url} uses a content encoding that was not asked for")
        gunzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        body = bytearray()
        received = 0
        for chunk in chunks:
            received += len(chunk)
            room = ceiling - len(body)
            try:
                body += gunzip.decompress(chunk, room) if gunzip else chunk[:room]
            except zlib.error:
                raise FetchError(f"{url} sends a body that is not gzip") from None
            if len(body) >= ceiling or received >= ceiling:
                raise FetchError(f"{url} sends more than {self._limits.max_bytes} bytes")
        if gunzip and not gunzip.eof:
            raise FetchError(f"{url} sends an incomplete body")
        return bytes(body)


def _max_age(headers: dict[str, str]) -> int | None:
    """For how many more seconds the answer is fresh (RFC 9111 §4.2.1: `max-age` less `Age`)."""
    match = _MAX_AGE.search(headers.get("cache-control", ""))
    if match is None:
        return None
    age = headers.get("age", "0").strip()
    return max(0, int(match.group(1)) - (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0))  # noqa: PLR2004 a decimal of at most nine digits


def _reason_of(error: Exception) -> str:
    """A network error for an operator: its kind, and the verdict on a certificate."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake fails"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.TimeoutException):
        return "takes too long"
    if isinstance(error, httpcore.ConnectError):
        return "cannot connect"
    if isinstance(error, httpcore.NetworkError):
        return "the connection breaks"
    return "does not speak HTTP"
