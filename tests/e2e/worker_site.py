"""The Worker in the real workerd, before gates and an upstream that a test chooses.

with WorkerSite(folder, gates=[gate.address], upstream=upstream.address, issuers=[...]) as site:
    site.get("/api/v2/dags", "Authorization: Bearer …")
    site.change(wait_ms=100)                      its configuration in KV, from the next request on

`EdgeSite` has a gate that allows everything, and a provider.
"""

import contextlib
import json
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from authz.core.addresses import parse_address
from authz.core.edge import ASSERTION, DECISION
from authz.core.model import Issuer
from authz.fronts import worker
from authz.fronts.plan import Plan
from authz.settings import Keys
from demo.fronts import add_files
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST, command
from tests.e2e.raw_http import Connection, RawResponse, request
from tests.support.factories.tokens import FactoryKey, access_claims, make_key, sign
from tests.support.factories.tokens import issuer as an_issuer
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

DAGS = "/api/v2/dags"
PSS = make_key("PS256", kid="p", named_alg=False)  # of an algorithm that the issuer does not have
RSA, EC, ED, OTHER = (
    make_key(alg, kid=kid) for alg, kid in (("RS256", "r"), ("ES256", "e"), ("EdDSA", "d"), ("ES256", "o"))
)
ALLOWED = (f"{DECISION}: decided-1", "X-Authz-Roles: viewer", f"{ASSERTION}: a.b.c", "X-Authz-User: ann")


class WorkerSite:
    """Starts workerd on entry. `changes` are of the plan that is rendered, `keys` how key sets are fetched.

    `client` is where the Worker reads the caller's address; `over_tls` is how the gate is reached instead of in clear
    text: an `https = (…)` of workerd's configuration; `kv` is where another KV than the folder is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gates: Sequence[str],
        upstream: str,
        issuers: Iterable[Issuer] = (),
        keys: Keys | None = None,
        names: Sequence[str] = (HOST,),
        over_tls: str = "",
        client: str = "connection",
        kv: str = "",
        **changes: Any,
    ) -> None:
        self._command = command("worker", folder)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder)
        pair = self.authority.issue(*names)
        self.tls = ssl.create_default_context(cafile=str(self.authority.ca))
        self.port = free_port()
        values = {
            "name": "airflow", "base": "", "listen": parse_address(f"127.0.0.1:{self.port}"),
            "certificate": str(pair.certificate), "key": str(pair.key), "client_ca": "",
            "gate": [parse_address(one) for one in gates], "fastcgi": (), "client_address": "x-real-ip",
            "check_s": 20.0,
            "airflow": [parse_address(upstream)], "airflow_name": "", "airflow_ca": "", "header_kib": 128,
            "request_bytes": 1 << 20, "idle_s": 300, "access_log": "", **changes,
        }  # fmt: skip
        self.name = values["name"]
        files = worker.render([Plan(**values)], folder)
        # Each request reads the configuration again.
        again = '(name = "REREAD_SECONDS", text = "0"),\n        (name = "NAME"'
        files[worker.FILE] = files[worker.FILE].replace('(name = "NAME"', again)
        files[worker.FILE] = files[worker.FILE].replace('text = "connection"', f'text = "{client}"')
        if kv:
            disk = f'disk = (path = "{folder}/config")'
            assert disk in files[worker.FILE]
            files[worker.FILE] = files[worker.FILE].replace(disk, f'external = (address = "{kv}", http = ())')
        if over_tls:
            at = files[worker.FILE].index('(name = "gate-0"')
            files[worker.FILE] = files[worker.FILE][:at] + files[worker.FILE][at:].replace("http = ()", over_tls, 1)
        files[worker.ISSUERS] = worker.issuers(issuers, keys or Keys())
        for file, text in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        add_files("worker", folder)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self.folder / "lines").open("wb") as lines, (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=lines, stderr=errors, cwd=self.folder
            )
        try:
            wait_for(self._is_up, "workerd did not start", pause=self.pause)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self, seconds: float) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "errors").read_text()
        threading.Event().wait(seconds)

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError), self.connect():
            return True
        return False

    def connect(self) -> Connection:
        return Connection(("127.0.0.1", self.port), self.tls)

    def send(self, data: bytes) -> RawResponse:
        with self.connect() as connection:
            connection.send(data)
            return connection.response(head=data.startswith(b"HEAD "))

    def get(self, target: str | bytes, *lines: str | bytes, **parts: Any) -> RawResponse:
        return self.send(request(target, *lines, **{"host": HOST, **parts}))

    def write(self, key: str, text: str) -> None:
        """A value in KV, put in place at once."""
        made = self.folder / f"{key}.new"
        made.write_text(text)
        made.rename(self.folder / "config" / key)

    def change(self, **changes: Any) -> None:
        """Change this front's configuration; None removes a key."""
        whole = {**json.loads((self.folder / "config" / f"{self.name}.json").read_text()), **changes}
        self.write(f"{self.name}.json", json.dumps({key: value for key, value in whole.items() if value is not None}))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the Worker has logged of requests."""
        return [json.loads(line) for line in (self.folder / "lines").read_text().splitlines() if line.endswith("}")]

    @property
    def logged(self) -> str:
        return (self.folder / "lines").read_text() + (self.folder / "errors").read_text()


def claims(idp: Any, **changes: Any) -> dict[str, Any]:
    """Those of a good access token for this very moment."""
    now = int(time.time())
    return access_claims(**{"iss": idp.url, "iat": now - 5, "exp": now + 300, **changes})


def trusted(idp: Any, **changes: Any) -> Issuer:
    """The provider as the policy has it."""
    algorithms = frozenset({"RS256", "ES256", "EdDSA"})
    return an_issuer(**{"issuer": idp.url, "algorithms": algorithms, "discovery": True, **changes})


class EdgeSite(WorkerSite):
    """With a gate that remembers and allows everything, and a provider of some keys."""

    def __init__(
        self,
        folder: Path,
        *,
        keys: Keys | None = None,
        trust: Callable[[Any], Issuer] = trusted,
        **changes: Any,
    ) -> None:
        self.idp: Any = IdP([RSA, EC, ED, PSS])  # type: ignore[no-untyped-call]
        self.gate, self.upstream = EchoUpstream(), EchoUpstream()
        options = {"gates": [self.gate.address], "upstream": self.upstream.address, **changes}
        keys = keys or Keys.model_validate({"min_interval": "60s", "timeout": "10s"})
        super().__init__(folder, issuers=[trust(self.idp)], keys=keys, **options)
        self.reset()

    def __enter__(self) -> Self:
        self.idp.__enter__()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.idp.__exit__()
        self.gate.close()
        self.upstream.close()

    def reset(self) -> None:
        self.gate.reset()
        self.upstream.reset()
        self.gate.extra_headers = ALLOWED

    def bearer(self, key: FactoryKey = EC, **changes: Any) -> str:
        return f"Authorization: Bearer {sign(claims(self.idp, **changes), key)}"
