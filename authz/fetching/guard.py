"""SSRF guard: connections go only where a key fetch may go, and end when its time is up.

Law 1: the address that was checked is the address that is connected to. The name is resolved once, here; there is never
a second DNS query (rebinding). One forbidden address among several refuses the name. What is sent unencrypted because
the name says loopback goes to no other address: a resolver may take `x.localhost` for a name like others.
Law 2: one deadline covers resolving, connecting, the TLS handshake and every read and write, so that a server that
trickles bytes gains nothing by being slow.

Deadlines here are real time, not a `Clock`'s: the operating system's sockets use no other.

Why not the guards of an HTTP client: httpx, requests and urllib3 resolve the name themselves, after any check of it,
and their timeouts start again with each read. So the check is in the network backend of httpcore, which reads HTTP.
"""

import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore

from authz.core.errors import FetchError
from authz.core.public_addresses import METADATA
from authz.system.threads import Background

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122 §3.2.1.3


def system_resolver(host: str, port: int) -> list[str]:
    """Every address of `host`, in the order of the system's preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def forbidden(address: str, *, loopback: bool) -> str:
    """Why keys may not be fetched from `address`, or "" when they may. Private addresses are ordinary for an IdP."""
    try:
        ip = _unwrapped(ipaddress.ip_address(address))
    except ValueError:
        return "not an IP address"
    if ip in METADATA:
        return "a cloud metadata address"
    if ip.is_loopback:
        return "" if loopback else "a loopback address"
    verdicts = (
        (ip.is_link_local, "a link-local address"),
        (ip.is_multicast, "a multicast address"),
        (ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK), "an unspecified address"),  # noqa: PLR2004 IPv4
        (ip.is_reserved, "a reserved address"),
    )
    return next((why for applies, why in verdicts if applies), "")


def _unwrapped(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address stands for: mapped, NAT64, 6to4 or Teredo; else the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    teredo = ip.teredo
    return ip.ipv4_mapped or ip.sixtofour or (teredo[1] if teredo else ip)


class Deadline:
    """A moment at which every wait ends."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, more than zero.

        Raises:
            httpcore.ReadTimeout: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left


def _resolve(resolver: Resolver, host: str, port: int, deadline: Deadline) -> list[str]:
    """Run `resolver`, which has no timeout, in a thread that is abandoned when it takes too long."""
    answer: list[list[str]] = []

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            answer.append(resolver(host, port))

    thread = Background(ask, name="keys-resolver")
    thread.start()
    thread.join(deadline.left())
    if thread.is_alive():
        raise FetchError(f"resolving {host} takes too long")
    if not answer or not answer[0]:
        raise FetchError(f"cannot resolve {host}")
    return answer[0]


class GuardedBackend(httpcore.NetworkBackend):
    """The network as httpcore sees it during one fetch: checked addresses and one deadline.

    With `only_here` it connects to this machine alone.
    """

    def __init__(self, *, deadline: Deadline, loopback: bool, resolver: Resolver, only_here: bool = False) -> None:
        self._deadline = deadline
        self._only_here = only_here
        self._loopback = loopback
        self._resolver = resolver

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 the deadline is what counts
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of `host` that answers, if all of them may be connected to.

        Raises:
            FetchError: the name does not resolve, or resolves to a forbidden address.
            httpcore.ConnectError: no address answers.
            httpcore.TimeoutException: not in time.
        """
        addresses = _resolve(self._resolver, host, port, self._deadline)
        for address in addresses:
            why = forbidden(address, loopback=self._loopback)
            if self._only_here and not why and not _unwrapped(ipaddress.ip_address(address)).is_loopback:
                why = "not this machine, and plain http"
            if why:
                raise FetchError(f"refused: {host} resolves to {address} ({why})")
        failure: Exception = httpcore.ConnectError("no address")
        for tried, address in enumerate(addresses):
            share = self._deadline.left() / (len(addresses) - tried)
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 the deadline counts
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 the deadline counts
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 the deadline counts
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
