"""A gate that people log in to: real Envoy, the demo's real provider, an echoing upstream, scripted or real authorizer.

with LoginSite(folder, binary) as site, site.browser() as browser:
    answer = site.log_in(browser, "/dags")      as ann, through all redirects
    site.upstream.only                          what reached Airflow's place
"""

import contextlib
import ssl
from pathlib import Path
from typing import Any, Self

import httpx

from authz._generated.envoy.service.auth.v3.external_auth_pb2 import HeaderValue
from authz.settings import Settings
from tests.browser.providers import embedded
from tests.e2e.certificates import Authority
from tests.e2e.cookie_browser import CookieBrowser
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import LOG, Envoy
from tests.e2e.gate import Gate
from tests.e2e.raw_http import Connection, RawResponse, request
from tests.e2e.scripted_authz import ScriptedAuthz
from tests.support import envoy_settings
from tests.support.ports import free_port, loopback

CLIENT_SECRET = "airflow-gate-secret"
POLICY = """
version: 1
issuers:
  - {{name: demo, issuer: "{issuer}", audiences: {{inbound: [airflow]}}, algorithms: [RS256], max_lifetime: 1h,
      username: preferred_username, groups: [groups]}}
roles: {{viewer: {{groups: [data-readers]}}}}
rules:
  - {{id: health, public: true, plane: inbound, operations: ["health:read", "version:read"]}}
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}}
"""


class LoginSite:
    """One of each. `real` takes `authz serve` for the scripted authorizer; `secure` is TLS towards browsers.

    `provider` is another one than the demo's, which is not started here.
    """

    def __init__(
        self,
        folder: Path,
        binary: Path,
        *,
        real: bool = False,
        secure: bool = True,
        log: tuple[str, ...] = LOG,
        backchannel: str | None = None,
        policy: str = POLICY,
        provider: Any = None,
        **login: Any,
    ) -> None:
        self.folder = folder
        self.client_secret = folder / "client.secret"
        self.cookie_secret = folder / "cookie.secret"
        self.upstream = EchoUpstream()
        self.authz = None if real else ScriptedAuthz()
        self.secure = secure
        self.port = free_port()
        self._binary = binary
        self._log = log
        self._backchannel = backchannel
        self._policy = policy
        self._provider = provider
        self._login = login
        self._running = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.authority.ca) if self.secure else None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.upstream)
            self.provider = self._provider or starting.enter_context(embedded(self.folder))
            if self.authz:
                endpoint = starting.enter_context(self.authz).endpoint
            else:
                self.gate = starting.enter_context(Gate(self.folder / "gate", self.provider, policy=self._policy))
                endpoint = self.gate.endpoints[0]
            self.write_secrets()
            self.envoy = starting.enter_context(
                Envoy(self._settings(endpoint), self.folder, self._binary, log=self._log)
            )
            self._running = starting.pop_all()
        return self

    def write_secrets(self) -> None:
        """What lies on Envoy's machine when it starts."""
        self.client_secret.write_text(CLIENT_SECRET)
        self.cookie_secret.write_text("the first cookie secret of the test")

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _settings(self, endpoint: str) -> Settings:
        issuer = self.provider.issuer
        login = {
            "client_id": "airflow-gate",
            "client_secret_file": str(self.client_secret),
            "cookie_secret_file": str(self.cookie_secret),
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "end_session_endpoint": f"{issuer}/logout",
            "public_url": self.url,
            **self._login,
        }
        tls = {}
        if self.secure:
            self.authority = Authority(self.folder)
            pair = self.authority.issue("127.0.0.1", stem="edge")
            tls = {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}
        airflow = {"name": "airflow", "address": self.upstream.address, "audience": "airflow-test"}
        section = {
            "inbound": {"listen": f"127.0.0.1:{self.port}", "upstreams": [airflow], "login": login, **tls},
            "admin": loopback(),
            "access_log": "access.log",
        }
        heard = {"revocation": {"backchannel": self._backchannel}} if self._backchannel else {}
        return envoy_settings.load(self.folder, section, (endpoint,), **heard)

    def get(self, target: str | bytes, *headers: str | bytes) -> RawResponse:
        """One request of exactly these bytes."""
        with Connection(("127.0.0.1", self.port)) as connection:
            if self.tls:
                connection.upgrade(self.tls, "127.0.0.1")
            connection.send(request(target, *headers, host=f"127.0.0.1:{self.port}"))
            return connection.response()

    def browser(self) -> CookieBrowser:
        return CookieBrowser(self.tls)

    def begin(self, browser: CookieBrowser, target: str = "/dags") -> httpx.Response:
        """Open a page of the site without a session: the provider's sign-in page."""
        page = browser.open(self.url + target)
        assert str(page.url).startswith(f"{self.provider.issuer}/authorize"), page.url
        return page

    def sign_in(self, browser: CookieBrowser, page: httpx.Response, login: str = "ann") -> str:
        """Choose somebody on the sign-in page: where the provider sends the browser then."""
        answer = browser.navigate(str(page.url), "POST", data={"login": login})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def log_in(self, browser: CookieBrowser, target: str = "/dags", login: str = "ann") -> httpx.Response:
        """All of it."""
        return browser.open(self.sign_in(browser, self.begin(browser, target), login))

    def moods(self, **moods: int) -> None:
        """Change how the provider behaves."""
        httpx.post(f"{self.provider.issuer}/dev/moods", json=moods).raise_for_status()

    def cookies(self, browser: CookieBrowser) -> dict[str, str]:
        return browser.cookies.setdefault(self.url, {})

    def cookie(self, name: str) -> str:
        """The name of a session cookie on this site."""
        return ("__Host-" if self.secure else "") + name

    def reset(self) -> None:
        self.upstream.reset()
        self.moods(access_token_s=600, more_groups=0, token_status=0)
        if self.authz:
            self.authz.reset()


def replace(path: Path, text: str) -> None:
    """Replace a file by a rename, as one must."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


def shown(check):
    """The headers that the authorizer was shown."""
    entries = map(HeaderValue.FromString, check.attributes.request.http.header_map.headers)
    return {one.key.lower(): (one.raw_value or one.value.encode()).decode() for one in entries}
