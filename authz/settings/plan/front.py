"""Plan of the two planes: the input of `authz.envoy_config.render`.

Law: data and its checks only, and no import of the Envoy types: settings may import this module at no cost. A plan that
exists can be rendered; one that could not be is refused here with a `ValueError` that names the value.

Egress is in `egress`. An address is `unix:/path` or `host:port` (`[::1]:port` for IPv6). Times are in seconds.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from authz.core.addresses import HostPort, parse_address
from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.core.model import SERVICE_NAME
from authz.core.request.path import is_base
from authz.settings.plan.egress import Egress
from authz.settings.plan.execution import Execution
from authz.settings.plan.login import LoginPlan
from authz.settings.plan.peers import ClientTls, ServerTls, check_endpoints, check_listen, check_unique

SHORTEST_CHECK: Final = 0.05
_DOMAIN: Final = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_NAME: Final = re.compile(SERVICE_NAME)
_MOST_HEADERS_KIB: Final = 8192 - 64  # Envoy's own bound, and room for ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One Airflow, or another service, behind the inbound listener.

    `hosts` are the Host values (without port) that lead here, exact, `*.suffix`, or `*` for all that no other upstream
    of the listener names. `audience` goes to the authorizer as `context_extensions["audience"]` and becomes
    the `aud` of the assertion. `timeout` limits the whole response, 0 leaves only the listener's idle limit.
    `health_path` turns on active health checks (a 200 is healthy). `host_rewrite` replaces the Host that the upstream
    sees (never the one that is evaluated). `websockets` lets WebSocket upgrades through; they are evaluated once, at
    their start. `base_path` is the path that an Airflow is served under (`/airflow`): it gets what is below, nothing
    else, and the authorizer evaluates the rest of the path. `narrows_dags` says that it is an Airflow that keeps to the
    DAGs of the assertion, so that the authorizer may leave lists to it.
    """

    name: str
    addresses: tuple[str, ...]
    hosts: tuple[str, ...] = ("*",)
    audience: str = ""
    tls: ClientTls | None = None
    timeout: float = 0
    health_path: str = ""
    host_rewrite: str = ""
    websockets: bool = False
    base_path: str = ""
    narrows_dags: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: an upstream's name is lower-case letters, digits, - and _")
        check_endpoints(self.addresses, f"upstream {self.name}")
        if not self.hosts:
            raise ValueError(f"upstream {self.name}: at least one host (or *) is needed")
        for host in self.hosts:
            if not _DOMAIN.fullmatch(host):
                raise ValueError(f"{host!r}: a host is a lower-case name, *.suffix or *, without port")
        if self.health_path and not self.health_path.startswith("/"):
            raise ValueError(f"{self.health_path!r}: a health path starts with /")
        if self.host_rewrite and not re.fullmatch(r"[A-Za-z0-9_.:\[\]-]+", self.host_rewrite):
            raise ValueError(f"{self.host_rewrite!r}: not a Host value")
        if self.base_path and not is_base(self.base_path):
            raise ValueError(f"{self.base_path!r}: a base path is plain and ends without a slash, as /airflow does")
        if self.narrows_dags and not self.audience:
            raise ValueError(
                f"upstream {self.name}: it cannot narrow DAGs without an audience: the assertion names them"
            )
        if self.timeout < 0:
            raise ValueError(f"upstream {self.name}: the timeout cannot be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """The inbound front: where Envoy listens and what is behind it.

    `trusted_hops` is the number of your own proxies in front of Envoy that append to `x-forwarded-for`; what is before
    their entries is dropped. `idle` cuts a stream without traffic, `longest_stream` any stream (a decision is made
    once, when a stream starts: this limits how long it may be used). `login` is the browser login, for the one upstream
    that serves the login's public URL. `branding` is shown on Envoy's own pages.
    """

    listen: str
    upstreams: tuple[Upstream, ...]
    tls: ServerTls | None = None
    trusted_hops: int = 0
    idle: float = 300
    longest_stream: float = 3600
    login: LoginPlan | None = None
    branding: Branding = NO_BRANDING

    def __post_init__(self) -> None:
        check_listen(self.listen)
        if not self.upstreams:
            raise ValueError(f"{self.listen!r}: a listener needs an upstream")
        if self.idle <= 0 or self.longest_stream <= 0:
            raise ValueError(f"{self.listen!r}: idle and longest_stream must be more than 0")
        check_unique([upstream.name for upstream in self.upstreams], "upstream name")
        check_unique([host for upstream in self.upstreams for host in upstream.hosts], "host")
        if self.login and self.logs_in_to is None:
            raise ValueError(f"{self.login.public_url!r}: no upstream serves the host of the login's public URL")
        if self.login and self.tls and not self.login.is_secure:
            raise ValueError(f"{self.login.public_url!r}: the listener has TLS, so its public URL is https")

    @property
    def logs_in_to(self) -> Upstream | None:
        """The upstream that people log in to: the one that Envoy chooses for the host of the public URL."""
        if self.login is None:
            return None
        name = self.login.public.host
        by_host = {host: upstream for upstream in self.upstreams for host in upstream.hosts}
        suffixes = [f"*{name[dot:]}" for dot, letter in enumerate(name) if letter == "."]
        return next((by_host[host] for host in (name, *suffixes, "*") if host in by_host), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyPlan:
    """Both planes and the authorizer that guards them.

    `authz_endpoints` are the worker processes of `authz serve`, one address each. `authz_timeout` is the deadline of
    one check: long enough for a key that must be fetched first. `access_log` is a file; "" is standard output.
    `max_connections` and `max_heap_bytes` limit one Envoy, `max_request_headers_kib` the headers of one request. `sds`
    is a folder on Envoy's machine with the files of `authz.envoy_config.secrets`: a login needs it, and with it the
    listener's certificate is reloaded when replaced.
    """

    authz_endpoints: tuple[str, ...]
    authz_tls: ClientTls | None = None
    authz_timeout: float = 1.0
    inbound: Listener | None = None
    egress: Egress | None = None
    execution: Execution | None = None
    admin_listen: str = "127.0.0.1:9901"
    access_log: str = ""
    max_connections: int = 10_000
    max_heap_bytes: int = 1024 * 1024 * 1024
    sds: str = ""
    max_request_headers_kib: int = 128

    def __post_init__(self) -> None:
        check_endpoints(self.authz_endpoints, "the authorizer")
        if not (self.inbound or self.egress or self.execution):
            raise ValueError("the plan has neither an inbound nor an egress listener")
        if self.inbound and self.inbound.login and not self.sds:
            raise ValueError("a login needs `sds`, the folder of the files that name its secrets")
        if self.egress and any(destination.credential for destination in self.egress.destinations) and not self.sds:
            raise ValueError("a credential needs `sds`, the folder of the file that names its secret")
        check_unique(self._listens, "address of a listener")
        if not 1 <= self.max_request_headers_kib <= _MOST_HEADERS_KIB:
            raise ValueError(f"max_request_headers_kib must be 1 to {_MOST_HEADERS_KIB}")
        if self.authz_timeout < SHORTEST_CHECK:
            raise ValueError(f"authz_timeout must be at least {SHORTEST_CHECK} s")
        admin = parse_address(self.admin_listen)
        if isinstance(admin, HostPort) and not (admin.is_ip and ipaddress.ip_address(admin.host).is_loopback):
            raise ValueError(f"{self.admin_listen!r}: Envoy's admin interface has no login: only loopback or unix:")

    @property
    def _listens(self) -> list[str]:
        fronts = [front.listen for front in (self.inbound, self.execution) if front]
        return [*fronts, *(self.egress.listens if self.egress else ()), self.admin_listen]
