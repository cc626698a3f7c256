"""The gate in front of this Airflow, as the section `[authz]` describes it: its keys, its addresses, its middleware.

Law: configuration errors are reported before Airflow serves anything. The gate itself may come up later.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow.api_fastapi.app import AUTH_MANAGER_FASTAPI_APP_PREFIX
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from authz.airflow import options, pages
from authz.airflow.grant_source import GrantSource
from authz.airflow.jwks_client import FetchError, KeySource, Pace, fetch_file, fetch_url
from authz.airflow.middleware import SCHEME, AssertionMiddleware
from authz.airflow.verifier import Asserted, KeySetError

try:
    from airflow.api_fastapi.core_api.security import USER_INJECTED_BY_TRUSTED_MIDDLEWARE
except ImportError as error:
    raise ImportError("authz.airflow's auth managers need Airflow 3.3: an older one takes no user from them") from error

PAGE = "/gate"
FILE_PACE = Pace(refresh_s=2.0, min_interval_s=1.0)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What Airflow has to know about its gate."""

    options: options.Options
    source: KeySource
    grants: GrantSource

    @property
    def url_login(self) -> str:
        """Where to send a browser without identity: `[authz] login_url`, else a page that names the gate."""
        return self.options.login_url or AUTH_MANAGER_FASTAPI_APP_PREFIX + PAGE

    @property
    def url_logout(self) -> str | None:
        """`[authz] logout_url`, for example Envoy's sign-out path."""
        return self.options.logout_url or None

    def middlewares(
        self, mark: Callable[[Asserted], dict[str, Any]], *, mark_blocks: bool = False, dags: bool = True
    ) -> list[tuple[Any, dict[str, Any]]]:
        """Return the middleware that verifies assertions.

        `mark` makes the state of a request; if it blocks, it runs in threads, several at a time.
        With `dags=False` the DAGs of an assertion are not fetched.
        """
        settings = {
            "source": self.source,
            "grants": self.grants if dags else None,
            "expected": self.options.expected,
            "mark": mark,
            "mark_blocks": mark_blocks,
            "branding": self.options.branding,
        }
        return [(AssertionMiddleware, settings)]


def open_gate() -> Gate:
    """Read the configuration and the gate's keys."""
    if conf.getboolean("core", "multi_team"):
        raise AirflowConfigException("This auth manager does not support `[core] multi_team`.")
    try:
        configured = options.read(lambda name: conf.get(options.SECTION, name, fallback=None), _given())
    except options.OptionsError as error:
        raise AirflowConfigException(str(error)) from error
    return Gate(options=configured, source=_open_keys(configured), grants=GrantSource(configured.grants_urls))


def mark(user: object) -> dict[str, Any]:
    """Return what Airflow's `get_user` looks for in the state of a request."""
    return {"user": user, "user_authenticated_via": USER_INJECTED_BY_TRUSTED_MIDDLEWARE}


def page_app(branding: pages.Branding) -> FastAPI:
    """Return an application with the one page that says to use the gate."""
    app = FastAPI(title="Behind the gate", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(PAGE, response_class=HTMLResponse)
    def gate() -> HTMLResponse:
        html = pages.GATE.html(branding=branding, at=time.time())
        return HTMLResponse(html, status_code=401, headers={"www-authenticate": SCHEME, **pages.HEADERS})

    return app


def _given() -> set[str]:
    """Return the names of the options that are set, in a file or (where Airflow lists none) in the environment."""
    prefix = options.PREFIX
    named = {name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)}
    return named | (conf.getsection(options.SECTION) or {}).keys()


def _open_keys(configured: options.Options) -> KeySource:
    """Open the key source. A file must be valid at start; the gate itself may come up later than Airflow."""
    if configured.jwks_file is not None:
        source = KeySource(fetch_file(configured.jwks_file), FILE_PACE)
        try:
            source.load()
        except (FetchError, KeySetError) as error:
            raise AirflowConfigException(f"[authz] jwks_file cannot be used: {error}") from error
        _say(configured, source)
        return source
    source = KeySource(fetch_url(configured.jwks_url, clock_skew_s=configured.expected.clock_skew), Pace())
    try:
        source.load()
    except FetchError as error:
        log.warning("[authz] jwks_url does not answer yet, requests get 503 until it does: %s", error)
    except KeySetError as error:
        raise AirflowConfigException(f"[authz] jwks_url: {configured.jwks_url}: {error}") from error
    else:
        _say(configured, source)
    return source


def _say(configured: options.Options, source: KeySource) -> None:
    """Log what an assertion must say here, for comparison with the gate's settings."""
    expected = configured.expected
    log.info(
        "Assertions of the gate are accepted with issuer %r, audience %r, up to %d s of clock difference, and the keys"
        " %s of %s.",
        expected.issuer,
        expected.audience,
        expected.clock_skew,
        ", ".join(sorted(source.keys())),
        configured.jwks_file or configured.jwks_url,
    )
