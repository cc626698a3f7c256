"""The engine for fronts that ask over HTTP or FastCGI: one event loop in the calling thread, checks answered inline.

Law: as for the others: bytes are moved, nothing is decided. A check that waits holds up no other one. What is asked and
how an answer looks say the routes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from authz.engine.contract import EngineOptions, Handler, Load, TlsFiles
from authz.engine.fastcgi_connection import FastCgiConnection, ParamsRoute
from authz.engine.front_connection import Api, FrontConnection, Routes, Shared
from authz.engine.http_connection import HttpConnection
from authz.engine.waiting_checks import WaitingChecks
from authz.system.listening import clear_the_way
from authz.system.regular_file import read_secret

_BACKLOG: Final = 1024
_MOST_CONNECTIONS: Final = 8192


class HttpEngine:
    """HTTP/1.1 behind the engine's contract; a message is that of `Routes`.

    `most_head` is the longest head of a request, in bytes. `fastcgi` are the addresses where FastCGI servers ask, each
    with what its requests are about. `api` are questions with a body.
    """

    def __init__(
        self,
        handler: Handler,
        options: EngineOptions,
        *,
        load: Load,
        routes: Routes,
        most_head: int,
        fastcgi: Sequence[tuple[str, ParamsRoute]] = (),
        api: Api | None = None,
    ) -> None:
        self._fastcgi, self._api = fastcgi, api
        self._options, self._routes, self._most_head = options, routes, most_head
        self._waiting = WaitingChecks(handler, options, load)
        self._handler = handler
        self._serving = self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._connections: set[FrontConnection] = set()
        self._gone = asyncio.Event()

    def run(self, started: Callable[[Sequence[str]], None]) -> None:
        """See `Engine.run`."""
        asyncio.run(self._run(started))

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def set_serving(self, *, serving: bool) -> None:
        """See `Engine.set_serving`: what `/healthz` says."""
        self._serving = serving

    async def _run(self, started: Callable[[Sequence[str]], None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        shared = Shared(
            self._handler,
            self._routes,
            self._waiting,
            self._most_head,
            lambda: self._serving,
            lambda: self._stopping,
            self._connections,
            self._gone,
            self._api,
        )
        tls = _tls(self._options.tls) if self._options.tls is not None else None
        over_http = partial(self._connection, partial(HttpConnection, shared))
        over_fastcgi = [
            (address, partial(self._connection, partial(FastCgiConnection, shared, route)), None)
            for address, route in self._fastcgi
        ]
        servers, bound = [], []
        for address, make, secured in [*((one, over_http, tls) for one in self._options.listen), *over_fastcgi]:
            server, where = await _listen(loop, make, address, secured)
            servers.append(server)
            bound.append(where)
        if self._stopping:
            self._stop.set()
        started(bound)
        await self._stop.wait()
        self.set_serving(serving=False)
        await asyncio.sleep(self._options.drain_delay)
        for server in servers:
            server.close()
        for one in [*self._connections]:
            one.end_if_idle()
        self._gone.clear()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), self._options.drain_grace)

    def _connection(self, make: Callable[[], FrontConnection]) -> asyncio.Protocol:
        return make() if len(self._connections) < _MOST_CONNECTIONS else _Full()


class _Full(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        transport.close()


async def _listen(
    loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol], address: str, tls: ssl.SSLContext | None
) -> tuple[asyncio.Server, str]:
    """Listen at an address; also returns it with its real port.

    Raises:
        OSError: it cannot be bound, with the address in the text.
    """
    clear_the_way(address)
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        try:
            return await loop.create_unix_server(make, path, ssl=tls, backlog=_BACKLOG), address
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None
    host, _, port = address.rpartition(":")
    try:
        server = await loop.create_server(make, host.strip("[]"), int(port), ssl=tls, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None
    return server, f"{host}:{server.sockets[0].getsockname()[1]}"


def _tls(files: TlsFiles) -> ssl.SSLContext:
    """A server's context; a client's certificate is demanded where `client_ca` is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (files.certificate, files.key):
        read_secret(path)  # OpenSSL would wait for ever for what is no file
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca:
        context.load_verify_locations(cadata=read_secret(files.client_ca).decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context
