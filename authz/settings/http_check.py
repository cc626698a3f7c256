"""The section `http_check`: where fronts other than Envoy ask, over HTTP or FastCGI, and about what.

Law: data and its checks only, as in `authz.settings`. What a request is for comes from here, by the audience in the
path of the question; a caller says nothing of it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from authz.core.addresses import shown
from authz.core.documents.wording import Mistake
from authz.core.model import Plane
from authz.settings.sections import Address, BasePath, Disagreement, Section, ServiceName, Tls, duplicates
from authz.settings.urls import PublicUrl

_HEADER: Final = re.compile(r"[a-z0-9-]{1,64}")
_NOT_THE_ADDRESS: Final = frozenset({"authorization", "cookie", "host", "content-length", "transfer-encoding"})
_MOST_PROCESSES: Final = 64


def _known(names: Iterable[str]) -> str:
    return f"`http_check.audiences` has: {', '.join(names)}"


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text) or text in _NOT_THE_ADDRESS:
        raise Mistake(f"{shown(text)}: not the name of such a header", "write it in lower case, as x-real-ip")
    return text


class Audience(Section):
    """What fronts ask about under one name: `/check/<name>/…`."""

    name: ServiceName = Field(description="in the path of the question: `/check/airflow/api/v2/dags`")
    audience: str | None = Field(None, description="`aud` of the assertions; without one there is no identity")
    plane: Literal["inbound", "egress"] = Field("inbound", description="the side of Airflow that the requests are on")
    base_path: BasePath | None = Field(
        None, description="inbound: path that Airflow is served under, as in its `base_url`: `/airflow`"
    )
    narrows_dags: bool = Field(
        False,
        description="inbound: this Airflow has `AuthzAuthManager`, which keeps to the DAGs that the rules name",
    )
    destination: ServiceName | None = Field(None, description="egress: name of the destination, as rules have it")
    keep_authorization: bool = Field(
        False, description="egress: the task's Authorization is the destination's if another header says who calls"
    )
    statuses: Literal["all", "simple"] = Field(
        "all",
        description="simple: every refusal is 401 or 403, for fronts that know no others;"
        " the status that the caller should get is in `x-authz-status`",
    )

    def disagreements(self) -> Iterator[Disagreement]:
        """What belongs to the other plane, and DAGs that are narrowed without an assertion."""
        outward = self.plane == Plane.EGRESS.value
        for key in ("base_path", "narrows_dags") if outward else ("destination", "keep_authorization"):
            if getattr(self, key):
                text = f"`{key}` has no effect with `plane: {self.plane}`"
                yield Disagreement((key,), text, "remove it", without=(("plane",),))
        if outward and not self.destination:
            text = "`plane: egress` needs `destination`"
            yield Disagreement(("plane",), text, "name it", without=(("destination",),))
        if self.narrows_dags and not self.audience:
            text = "it cannot narrow DAGs without an audience: the assertion names them"
            yield Disagreement(("narrows_dags",), text, "write its `audience`", without=(("audience",),))


class FastCgi(Section):
    """An address where a FastCGI server asks about one audience: lighttpd, Apache httpd."""

    listen: Address = Field(description="lighttpd: a Unix socket; Apache httpd can only ask over TCP: a loopback port")
    audience: ServiceName = Field(description="`name` of one of `audiences`, inbound: what every request here is about")


class DecisionClient(Section):
    """A service that may state who the subject of a question is."""

    name: ServiceName = Field(description="name in the record: `stated_by`")
    issuer: str = Field(min_length=1, description="`iss` of its tokens")
    subject: str = Field(
        min_length=1,
        description="`sub` of its tokens; its client id would not do: tokens of people have it too",
    )


class AuthZen(Section):
    """AuthZEN 1.0: decisions in JSON, for any client."""

    audiences: tuple[ServiceName, ...] = Field(
        min_length=1, description="`name` of those `audiences` that may be asked about"
    )
    url: PublicUrl | None = Field(
        None, description="https origin where clients reach this; without it there is no metadata to discover"
    )
    decision_clients: tuple[DecisionClient, ...] = Field(
        (), description="clients that may ask about others than themselves without a token of theirs"
    )

    def disagreements(self) -> Iterator[Disagreement]:
        """Duplicates, and metadata that AuthZEN forbids."""
        yield from duplicates([(("audiences", at), name) for at, name in enumerate(self.audiences)], "audience")
        clients = [*enumerate(self.decision_clients)]
        yield from duplicates([(("decision_clients", at, "name"), one.name) for at, one in clients], "name")
        tokens = [(("decision_clients", at, "subject"), f"{one.issuer} {one.subject}") for at, one in clients]
        yield from duplicates(tokens, "subject")
        if self.url and not (self.url.startswith("https://") and not self.url.endswith("/")):
            text = "the identifier of a decision point is an https URL (AuthZEN 1.0 §9.1.1), here without a path"
            yield Disagreement(("url",), text, "write it as https://authz.example.com")


class HttpCheck(Section):
    """Checks over HTTP, for fronts other than Envoy."""

    listen: tuple[Address, ...] = Field(
        (), description="addresses where fronts ask; prefer a Unix socket: its permissions say who may"
    )
    fastcgi: tuple[FastCgi, ...] = Field((), description="addresses where FastCGI servers ask an authorizer")
    workers: int = Field(1, ge=1, le=_MOST_PROCESSES, description="processes that answer, each with its own address")
    tls: Tls | None = Field(None, description="TLS of `listen`")
    client_address: Annotated[str, AfterValidator(_header)] | None = Field(
        None,
        description="header in which the front says the caller's IP address, for the record;"
        " only over Unix sockets or with `tls.client_ca`",
    )
    audiences: tuple[Audience, ...] = Field(min_length=1, description="what fronts ask about")
    authzen: AuthZen | None = Field(None, description="AuthZEN 1.0 on `listen`")

    def disagreements(self) -> Iterator[Disagreement]:
        """Duplicates, and an address of the caller that anyone on this machine could make up."""
        yield from duplicates([(("audiences", at, "name"), one.name) for at, one in enumerate(self.audiences)], "name")
        yield from self._asked_somewhere()
        yield from self._fastcgi_is_inbound()
        yield from self._authzen_is_about_audiences()
        trusted = self.tls is not None and self.tls.client_ca is not None
        if self.client_address and not trusted and not all(one.startswith("unix:") for one in self.listen):
            yield Disagreement(
                ("client_address",),
                "`client_address` over TCP: anyone who can connect could make up the caller's address",
                "listen on Unix sockets only, or set `tls.client_ca`",
                without=(("tls",), ("listen",)),
            )

    def _asked_somewhere(self) -> Iterator[Disagreement]:
        if self.listen:
            return
        if not self.fastcgi:
            yield Disagreement((), "no address where fronts could ask", "set `listen` or `fastcgi`", (("listen",),))
        for key in ("tls", "client_address", "authzen"):
            if getattr(self, key):
                yield Disagreement((key,), f"`{key}` has no effect without `listen`", "remove it", (("listen",),))

    def _fastcgi_is_inbound(self) -> Iterator[Disagreement]:
        """Variables in upper case cannot tell `X-Run-Identity` from `X_Run_Identity`, so no call of a task is one."""
        planes = {one.name: one.plane for one in self.audiences}
        for at, one in enumerate(self.fastcgi):
            plane = planes.get(one.audience)
            if plane is None:
                text, hint = f"{one.audience!r}: no such audience", _known(planes)
            elif plane != Plane.INBOUND.value:
                text, hint = f"{one.audience!r} is for calls of tasks", "FastCGI is for requests to Airflow"
            else:
                continue
            yield Disagreement(("fastcgi", at, "audience"), text, hint, (("audiences",),))

    def _authzen_is_about_audiences(self) -> Iterator[Disagreement]:
        names = [one.name for one in self.audiences]
        for at, name in enumerate(self.authzen.audiences if self.authzen is not None else ()):
            if name not in names:
                loc = ("authzen", "audiences", at)
                yield Disagreement(loc, f"{name!r}: no such audience", _known(names), (("audiences",),))
