"""The engine of a process, from the settings: for Envoy's checks, or for those over HTTP.

Law: one place reads the settings for an engine; what is served is the same for both.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from authz.authn.sessions import Authenticator
from authz.check.wire import over_fastcgi
from authz.check.wire.over_http import Route, Routes
from authz.core import edge
from authz.core.model import HttpRequest
from authz.engine import Engine, EngineOptions, Handler, TlsFiles
from authz.engine.choose import choose
from authz.ops.metrics import Metrics
from authz.settings import Settings
from authz.settings.http_check import Audience, AuthZen, HttpCheck

if TYPE_CHECKING:
    from authz.check.wire.over_authzen import AuthZen as Api


def engine_of(settings: Settings, handler: Handler, metrics: Metrics, *, over_http: bool = False) -> Engine:
    """The engine that the settings name, or its fall-back; `over_http`, that for fronts which ask over HTTP."""
    section = settings.http_check
    if not over_http or section is None:
        name, engine = choose(settings.engine, handler, engine_options(settings), load=metrics)
        metrics.engine(name)
        return engine
    from authz.engine.http import HttpEngine  # noqa: PLC0415 few gates have other fronts

    metrics.engine("http")
    options = engine_options(settings, over_http=True)
    most_head = settings.headers_kib * 1024
    return HttpEngine(
        handler,
        options,
        load=metrics,
        routes=http_routes(section),
        most_head=most_head,
        fastcgi=fastcgi_routes(section),
        api=_authzen(section, section.authzen) if section.authzen is not None else None,
    )


def engine_options(settings: Settings, *, over_http: bool = False) -> EngineOptions:
    """Addresses, TLS, limits and the time to drain."""
    tls = settings.http_check.tls if over_http and settings.http_check is not None else settings.tls
    return EngineOptions(
        listen=settings.listen,
        tls=TlsFiles(certificate=tls.certificate, key=tls.key, client_ca=tls.client_ca) if tls else None,
        max_message_bytes=settings.limits.message_bytes,
        max_parked=settings.limits.parked,
        max_wait=settings.limits.wait,
        drain_delay=settings.shutdown.drain_delay,
        drain_grace=settings.shutdown.drain_grace,
        traced=settings.tracing is not None,
    )


def http_routes(section: HttpCheck) -> Routes:
    """What fronts may ask about."""
    return Routes(_routes(section))


def _routes(section: HttpCheck) -> dict[str, Route]:
    header = (section.client_address or "").encode()
    return {
        one.name: Route(_extensions(one), simple=one.statuses == "simple", client_address=header)
        for one in section.audiences
    }


def _authzen(section: HttpCheck, authzen: AuthZen) -> "Api":
    from authz.check.wire.over_authzen import AuthZen as Api  # noqa: PLC0415 few gates have it

    routes = _routes(section)
    return Api({name: routes[name] for name in authzen.audiences}, authzen.url or "")


def asking(
    settings: Settings, parse: Callable[[bytes], HttpRequest], *, over_http: bool
) -> tuple[Callable[..., Authenticator], Callable[[bytes], HttpRequest]]:
    """What makes the authenticator, and what reads messages; AuthZEN's questions need others than checks."""
    section = settings.http_check
    if not over_http or section is None or section.authzen is None:
        return Authenticator, parse
    from authz.authn.asked import AskingAuthenticator  # noqa: PLC0415 few gates have it
    from authz.check.wire.over_authzen import parse_with  # noqa: PLC0415

    clients = {(one.issuer, one.subject): one.name for one in section.authzen.decision_clients}
    return partial(AskingAuthenticator, clients), parse_with(parse)


def fastcgi_routes(section: HttpCheck) -> list[tuple[str, over_fastcgi.ParamsRoute]]:
    """Where FastCGI servers ask, and about what. Over TCP no caller has an address: anyone here may ask there."""
    audiences = {one.name: one for one in section.audiences}
    made = []
    for one in section.fastcgi:
        audience = audiences[one.audience]
        address = over_fastcgi.ADDRESS if one.listen.startswith("unix:") else b""
        route = Route(_extensions(audience), simple=audience.statuses == "simple", client_address=address)
        made.append((one.listen, over_fastcgi.ParamsRoute(route)))
    return made


def _extensions(audience: Audience) -> dict[str, str]:
    """What the rendered Envoy configuration says of such a route."""
    return {
        edge.EXT_PLANE: audience.plane,
        edge.EXT_AUDIENCE: audience.audience or "",
        edge.EXT_BASE: audience.base_path or "",
        edge.EXT_DAGS: edge.NARROWED if audience.narrows_dags else "",
        edge.EXT_DESTINATION: audience.destination or "",
        edge.EXT_AUTHORIZATION: edge.KEEP if audience.keep_authorization else "",
    }
