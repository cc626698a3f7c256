"""All ways out at once: base URLs, the forward proxy and its tunnels, in a real Envoy with a scripted authorizer."""

import contextlib
import ssl
from pathlib import Path
from typing import Any, Self

from authz.settings import Settings
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy
from tests.e2e.raw_http import Connection, RawResponse, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz
from tests.support import envoy_settings
from tests.support.ports import loopback

ORDERS, BANK = "orders.internal", "bank.internal"


class EgressSite:
    """`orders` speaks plain HTTP, `bank` TLS and may be tunnelled to; nothing leads to `stranger`."""

    def __init__(self, folder: Path, binary: Path, *endpoints: str) -> None:
        """`endpoints` are those of a real gate, instead of the scripted authorizer."""
        self._endpoints = endpoints
        self._folder = folder
        self._binary = binary
        self._running = contextlib.ExitStack()
        self.authority = Authority(folder)
        self.server_names: list[str | None] = []

    def __enter__(self) -> Self:
        enter = self._running.enter_context
        with contextlib.ExitStack() as starting:
            self._running = starting
            enter = starting.enter_context
            self.orders, self.stranger = enter(EchoUpstream()), enter(EchoUpstream())
            self.bank = enter(EchoUpstream(self._bank_tls()))
            self.authz = enter(ScriptedAuthz())
            self.envoy = enter(Envoy(self._settings(), self._folder, self._binary))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def reset(self) -> None:
        for upstream in (self.orders, self.bank, self.stranger):
            upstream.reset()
        self.authz.reset()
        self.server_names.clear()

    @property
    def tunnel(self) -> str:
        """What may be tunnelled to."""
        return f"{BANK}:{self.bank.address.rpartition(':')[2]}"

    def base(self, name: str) -> tuple[str, int]:
        """The address of a destination's own."""
        assert self.envoy.section.egress
        (found,) = [one.listen or "" for one in self.envoy.section.egress.destinations if one.name == name]
        host, _, port = found.rpartition(":")
        return host, int(port)

    def get(self, target: str | bytes, *headers: str | bytes, **parts: Any) -> RawResponse:
        """One request to the egress listener."""
        return exchange(self.envoy.egress, request(target, *headers, **parts))

    @property
    def judged(self) -> tuple[str, str, str]:
        """Method, host and path of the only check."""
        http = self.authz.only.attributes.request.http
        return http.method, http.host, http.path

    @property
    def told(self) -> dict[str, str]:
        """What Envoy said beside that."""
        return dict(self.authz.only.attributes.context_extensions)

    @property
    def asked_bank_for(self) -> set[str | None]:
        """The names that the bank's TLS was asked for; none where an earlier connection was used again."""
        return set(self.server_names) or {BANK}

    @property
    def untouched(self) -> bool:
        """Whether nothing came to any server."""
        return not (self.orders.requests or self.bank.requests or self.stranger.requests or self.server_names)

    def open(self, authority: str, *headers: str, version: str = "1.1") -> Connection:
        """A connection on which a CONNECT was sent."""
        connection = Connection(self.envoy.egress)
        lines = [f"CONNECT {authority} HTTP/{version}", *headers]
        connection.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        return connection

    def inside(self, connection: Connection, server_name: str | None) -> None:
        """Speak TLS in a tunnel from now on, asking for this name."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        context.check_hostname = False
        connection.upgrade(context, server_name)

    def _bank_tls(self) -> ssl.SSLContext:
        pair = self.authority.issue(BANK)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        context.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        return context

    def _settings(self) -> Settings:
        orders = {
            "name": "orders",
            "address": self.orders.address,
            "hosts": [ORDERS, "*.orders.internal"],
            "listen": loopback(),
            "path": "/orders",
            "audience": "aud-orders",
        }
        bank = {
            "name": "bank",
            "address": self.bank.address,
            "hosts": [BANK],
            "listen": loopback(),
            "path": "/team/bank",
            "tls": True,
            "tls_ca": str(self.authority.ca),
            "tunnel": True,
        }
        kept = {
            "name": "kept",
            "address": self.orders.address,
            "hosts": ["kept.internal"],
            "keep_authorization": True,
        }
        section = {
            "egress": {"listen": loopback(), "destinations": [orders, bank, kept]},
            "admin": loopback(),
            "access_log": "access.log",
        }
        return envoy_settings.load(self._folder, section, self._endpoints or (self.authz.endpoint,))
