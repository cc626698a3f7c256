"""The section `envoy.inbound` of the settings file: Envoy's listener in front of Airflow.

Law: data and its checks only, as in `authz.settings`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from authz.core.addresses import shown
from authz.core.documents.quantities import Duration
from authz.core.documents.wording import Mistake
from authz.settings.login import Login
from authz.settings.named_files import Authority
from authz.settings.sections import (
    BasePath,
    Disagreement,
    HealthPath,
    IdleTimeout,
    ListenAddress,
    LongestStream,
    Places,
    Section,
    ServiceName,
    Tls,
    duplicates,
)
from authz.settings.to_airflow import ToAirflow

_MOST_HOPS: Final = 16
_DOMAIN: Final = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9_.:\[\]-]+")


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise Mistake(
            f"{shown(text)}: a host is a lower-case name, *.suffix or *, without port",
            "write airflow.example.com, *.example.com, or * for hosts that no other upstream has",
        )
    return text


def _authority(text: str) -> str:
    if not _AUTHORITY.fullmatch(text):
        raise Mistake(f"{shown(text)}: not a Host value", "write a name, with a port if it has one")
    return text


class Upstream(ToAirflow, Section):
    """One Airflow behind Envoy."""

    name: ServiceName = Field(description="name of the Envoy cluster")
    address: Places = Field(description="host:port of the service, or a list of them")
    hosts: tuple[Annotated[str, AfterValidator(_domain)], ...] = Field(
        ("*",), min_length=1, description="Host values that are routed to it"
    )
    audience: str | None = Field(None, description="`aud` of its assertions; without one it gets no identity")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `address`")
    timeout: Duration = Field(
        0.0, description="longest time for a whole response; 0s: no limit, as Airflow streams logs"
    )
    health_path: HealthPath | None = Field(None, description="path of its health check; without one: no active check")
    base_path: BasePath | None = Field(
        None, description="path that Airflow is served under, as in its `base_url`: `/airflow`"
    )
    narrows_dags: bool = Field(
        False,
        description="this Airflow has `AuthzAuthManager`, which keeps to the DAGs that the rules name",
    )
    host_rewrite: Annotated[str, AfterValidator(_authority)] | None = Field(
        None, description="Host that Airflow gets; rules are about the Host that the caller sent"
    )
    websockets: bool = Field(False, description="let WebSockets through; each is evaluated once, when it begins")

    def disagreements(self) -> Iterator[Disagreement]:
        """TLS options without TLS, and `narrows_dags` without an audience."""
        yield from self.about_tls()
        if self.narrows_dags and not self.audience:
            yield Disagreement(
                ("narrows_dags",),
                f"upstream {self.name}: it cannot narrow DAGs without an audience: the assertion names them",
                "write its `audience`",
                without=(("audience",),),
            )


class Inbound(Section):
    """Envoy's listener in front of Airflow."""

    listen: ListenAddress = Field("127.0.0.1:8080", description="address of the listener")
    tls: Tls | None = Field(None, description="certificate of the listener; read again when a new one is moved there")
    trusted_hops: int = Field(
        0,
        ge=0,
        le=_MOST_HOPS,
        description="your own proxies in front of Envoy that append to `x-forwarded-for`; the rest of it is dropped",
    )
    login: Login | None = Field(None, description="people log in with a browser")
    upstreams: tuple[Upstream, ...] = Field(min_length=1, description="the Airflows behind it")
    idle_timeout: IdleTimeout = 300.0
    longest_stream: LongestStream = 3600.0

    @property
    def logs_in_to(self) -> Upstream | None:
        """The upstream that people log in to: the one that Envoy chooses for the host of the public URL."""
        if self.login is None:
            return None
        name = self.login.public.host
        by_host = {host: upstream for upstream in self.upstreams for host in upstream.hosts}
        suffixes = [f"*{name[dot:]}" for dot, letter in enumerate(name) if letter == "."]
        return next((by_host[host] for host in (name, *suffixes, "*") if host in by_host), None)

    def disagreements(self) -> Iterator[Disagreement]:
        """Duplicates, and a login whose public URL is not served here."""
        named = [(("upstreams", at, "name"), one.name) for at, one in enumerate(self.upstreams)]
        yield from duplicates(named, "upstream name")
        hosts = [
            (("upstreams", at, "hosts", position), host)
            for at, one in enumerate(self.upstreams)
            for position, host in enumerate(one.hosts)
        ]
        yield from duplicates(hosts, "host")
        if self.login is not None and self.logs_in_to is None:
            yield Disagreement(
                ("login", "public_url"),
                f"{self.login.public_url!r}: no upstream serves the host of the login's public URL",
                "add the host to the `hosts` of an upstream",
                without=(("upstreams",),),
            )
        if self.login is not None and self.tls is not None and not self.login.is_secure:
            yield Disagreement(
                ("login", "public_url"),
                f"{self.login.public_url!r}: the listener has TLS, so its public URL is https",
                "write https://, or remove `tls`",
            )
