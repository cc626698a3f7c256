"""The whole gate as a company would run it for people: TLS, browser login, `authz serve`, and Airflow behind.

with Edge(folder, url, provider, site, relay.address) as edge:
    edge.url                     what people type
    edge.gate.decisions          what the gate recorded
"""

import contextlib
import json
import secrets
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz import settings as settings_file
from authz.envoy_config.provider import complete
from tests.browser.providers import SECRET
from tests.e2e.envoy_harness import Envoy
from tests.e2e.gate import Gate
from tests.support.factories.certificates import Authority
from tests.support.ports import loopback
from tests.support.sites.airflow import AUDIENCE, ISSUER

# `sales-team` sees and runs its own DAGs only.
POLICY = """
version: 1
issuers:
  - name: provider
    issuer: {issuer}
    audiences: {{inbound: [airflow]}}
    algorithms: [RS256]
    max_lifetime: 1h
    username: preferred_username
    groups: [groups]
roles:
  airflow.viewer: {{groups: [data-readers]}}
  airflow.user: {{groups: [data-engineers]}}
  airflow.op: {{groups: [data-ops]}}
  airflow.admin: {{groups: [airflow-admins]}}
  sales-team: {{groups: [sales-analysts]}}
rules:
  - {{id: health, plane: inbound, public: true, operations: ["health:read"]}}
  - {{id: sales-team, plane: inbound, roles: [sales-team], operations: [airflow.user], dags: ["sales_*"]}}
  - {{id: team-ui, plane: inbound, roles: [sales-team], operations: ["ui:pages", "ui:static", "ui:shell"]}}
"""


def _settings(url, provider, upstream, tls, folder):
    """As JSON, which is YAML; `{listen}` and `{admin}` are left to the `Gate`."""
    login = {
        "client_id": "airflow-gate",
        "client_secret_file": str(_secret(folder / "client.secret", SECRET)),
        "cookie_secret_file": str(_secret(folder / "cookie.secret", secrets.token_urlsafe(32))),
        "issuer": provider.issuer,
        "public_url": url,
        "split_cookies": True,
    }
    airflow = {"name": "airflow", "address": upstream, "audience": AUDIENCE, "narrows_dags": True}
    whole = {
        "version": 1,
        "workers": 1,
        "policy": "policy.yaml",
        "listen": ["LISTEN"],
        "admin": {"listen": "127.0.0.1:ADMIN"},
        "assertion": {"issuer": ISSUER, "keys": ["assertion.pem"]},
        "log": {"decisions": "decisions.jsonl"},
        "shutdown": {"drain_delay": "0s", "drain_grace": "1s"},
        "revocation": {"backchannel": loopback()},
        "envoy": {
            "admin": loopback(),
            "access_log": str(folder / "access.log"),
            "sds": str(folder / "sds"),
            "inbound": {
                "listen": f"127.0.0.1:{urlsplit(url).port}",
                "tls": {"certificate": str(tls.certificate), "key": str(tls.key)},
                "login": login,
                "upstreams": [airflow],
            },
        },
    }
    text = json.dumps(whole).replace("{", "{{").replace("}", "}}")
    return text.replace("LISTEN", "{listen}").replace("ADMIN", "{admin}")


def _secret(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


class Edge:
    """Starts on entry; people can log in then."""

    def __init__(self, folder: Path, url: str, provider, site, upstream: str) -> None:
        self.folder = folder
        self.url = url
        self.provider = provider
        tls = Authority(folder / "tls").issue("localhost")
        gate = folder / "gate"
        gate.mkdir()
        pem = site.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _secret(gate / "assertion.pem", pem.decode())
        settings = _settings(url, provider, upstream, tls, folder)
        self.gate = Gate(gate, provider, policy=POLICY, settings=settings)
        self.envoy = Envoy(complete(settings_file.load(self.gate.settings), "authz.yaml"), folder)
        self._running = contextlib.ExitStack()

    def __repr__(self) -> str:
        return self.provider.name

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.gate)
            starting.enter_context(self.envoy)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def sign_in(self, page, role: str, path: str = "/"):
        """Ask for a page of Airflow's, log in on the way, and wait until the page is there."""
        page.goto(self.url + path)
        self.provider.sign_in(page, role)
        page.wait_for_url(self.url + path)
        return page
