"""One Envoy with a listener for each system, and a second Envoy as the upstream. One worker thread each.

Every listener is the one that `authz envoy` renders: the same routes, header rules and access log (to /dev/null). Only
the filter that authorizes differs: none, Envoy's own jwt_authn and RBAC, or ext_authz with our servers behind it.
"""

import contextlib
import http.client
import json
import subprocess
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType

from authz.core.edge import READ_HEADERS
from authz.envoy_config.render import render, render_sds
from bench import machine
from bench.rulebook import ORDERS
from demo.ports import free_ports
from tests.e2e.envoy_harness import newest
from tests.support import envoy_settings

_NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
_EXT_AUTHZ = "envoy.filters.http.ext_authz"
_START_S = 20.0
_STOP_S = 10.0
_BODY = '{"dag_runs":[],"total_entries":0}'


class Envoy:
    """A process with one configuration; ready on entry, ended on exit."""

    def __init__(self, name, config, folder):
        self._name, self._config, self._folder = name, config, folder
        self._admin = config["admin"]["address"]["socket_address"]["port_value"]
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def start(self):
        """Start, also again after its end."""
        file, log = self._folder / f"{self._name}.json", self._folder / f"{self._name}.log"
        file.write_text(json.dumps(self._config))
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        with log.open("wb") as out:
            command = [newest(), "-c", file, *options]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + _START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise RuntimeError(f"Envoy ({self._name}) is not ready: {log.read_text()}")
            time.sleep(0.02)

    def reap(self):
        """It was killed."""
        self._process.wait()

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pids(self):
        return [self._process.pid]

    def peak_mb(self):
        return machine.memory_mb(self._process.pid)

    def _ready(self):
        with contextlib.suppress(OSError), contextlib.closing(_connect(self._admin)) as connection:
            if _get(connection, "/ready")[0] != http.client.OK:
                return False
            flags = [line for line in _get(connection, "/clusters")[1].splitlines() if "::health_flags::" in line]
            return all(line.endswith("::healthy") for line in flags)
        return False


def _connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=5)


def _get(connection, target, headers=None):
    connection.request("GET", target, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode("utf-8", "replace")


def status(port, target, headers):
    """The status of one request."""
    with contextlib.closing(_connect(port)) as connection:
        return _get(connection, target, headers)[0]


def _settings(envoy, authz, admin):
    return envoy_settings.parsed({**envoy, "admin": f"127.0.0.1:{admin}", "access_log": "/dev/null"}, authz)


def _rendered(port, authz, upstream, admin):
    airflow = {"name": "airflow", "address": f"127.0.0.1:{upstream}", "audience": "airflow"}
    inbound = {"listen": f"127.0.0.1:{port}", "upstreams": [airflow]}
    return render(_settings({"inbound": inbound}, authz, admin))


def _rendered_egress(port, authz, upstream, admin, secret=None):
    """With the file `secret` Envoy adds a credential to each call; its SDS file is written beside it."""
    orders = {"name": "orders", "address": f"127.0.0.1:{upstream}", "hosts": [ORDERS]}
    keyed = {**orders, "name": "keyed", "credential": {"secret_file": str(secret)}}
    egress = {"listen": f"127.0.0.1:{port}", "destinations": [keyed if secret else orders]}
    sds = {"sds": str(secret.parent / "sds")} if secret else {}
    settings = _settings({"egress": egress, **sds}, authz, admin)
    for path, content in render_sds(settings).items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(json.dumps(content))
    return render(settings)


def _renamed(value, old, new):
    """The configuration with every string that is exactly `old` replaced."""
    if isinstance(value, dict):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value


def _without_ext_authz(value):
    if isinstance(value, dict):
        return {key: _without_ext_authz(item) for key, item in value.items() if key != _EXT_AUTHZ}
    return [_without_ext_authz(item) for item in value] if isinstance(value, list) else value


def _manager(listener):
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


class OverHttp:
    """ext_authz over HTTP, to a server at a Unix socket: the same headers, the same answers."""

    def __init__(self, path):
        self._path = path

    def filters(self, name):
        """What takes the place of the filter that asks over gRPC."""
        headers = [{"exact": header} for header in READ_HEADERS]
        config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "http_service": {
                "server_uri": {"uri": "http://authz", "cluster": f"authz-{name}", "timeout": "1s"},
                "path_prefix": "/check/airflow",
                "authorization_response": {"allowed_upstream_headers": {"patterns": [{"prefix": "x-authz-"}]}},
            },
            "allowed_headers": {"patterns": headers},
            "status_on_error": {"code": "ServiceUnavailable"},
        }
        return [{"name": _EXT_AUTHZ, "typed_config": config}]

    def cluster(self, name):
        """Where that server is."""
        place = {"endpoint": {"address": {"pipe": {"path": self._path}}}}
        where = {"cluster_name": f"authz-{name}", "endpoints": [{"lb_endpoints": [place]}]}
        return {"name": f"authz-{name}", "type": "STATIC", "connect_timeout": "1s", "load_assignment": where}


def gate(systems, upstream, folder, *, egress=False, secrets=MappingProxyType({})):
    """The Envoy under measurement, on the way in or on the way out.

    Args:
        systems: by name (listener port, what authorizes): the endpoints of ext_authz servers, a list of filters, or
            a server that is asked over HTTP.
        upstream: the port of the upstream.
        folder: for its files.
        egress: on the way out.
        secrets: by name, the file of the credential that Envoy adds to what goes out.
    """
    admin = free_ports(1)[0]
    config, listeners, clusters = None, [], {}
    for name, (port, wanted) in systems.items():
        authorizer = wanted
        if isinstance(wanted, OverHttp):
            authorizer, clusters[f"authz-{name}"] = wanted.filters(name), wanted.cluster(name)
        is_ours = authorizer and all(isinstance(item, str) for item in authorizer)
        rendered = partial(_rendered_egress, secret=secrets.get(name)) if egress else _rendered
        config = rendered(port, authorizer if is_ours else ["127.0.0.1:1"], upstream, admin)
        listener = config["static_resources"]["listeners"][0]
        if is_ours:
            listener = _renamed(listener, "authz", f"authz-{name}")
        else:
            listener = _without_ext_authz(listener)
            filters = _manager(listener)["http_filters"]
            place = next(index for index, item in enumerate(filters) if item["name"] == _EXT_AUTHZ)
            filters[place : place + 1] = authorizer
        listeners.append({**listener, "name": name})
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] != "authz":
                clusters[cluster["name"]] = cluster
            elif is_ours:
                clusters[f"authz-{name}"] = _renamed(cluster, "authz", f"authz-{name}")
    config["static_resources"] = {"listeners": listeners, "clusters": list(clusters.values())}
    return Envoy("egress" if egress else "gate", config, folder)


def upstream(port, folder, name="upstream"):
    """A fast upstream: Envoy answering every request itself."""
    manager = {
        "@type": f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": _BODY}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    config = {
        "static_resources": {"listeners": [{"name": "upstream", "address": _address(port), "filter_chains": [chain]}]},
        "admin": {"address": _address(free_ports(1)[0])},
    }
    return Envoy(name, config, folder)


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
