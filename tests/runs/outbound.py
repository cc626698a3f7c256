"""The gate and Envoy in front of a destination, for the tasks of one Airflow. All of it real, rendered from settings.

    with Outbound(folder, site, keys) as way:
        way.orders                       the destination's base URL at the gate, as tasks know it
        way.execution                    the execution API through the gate
        way.upstream.requests            what the destination got, byte for byte

Two worker processes serve, so that what one of them has seen has to be known to the other.
"""

import contextlib
import ssl
import time
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz import settings as settings_file
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, wait_for
from tests.e2e.gate import Gate, token
from tests.support.factories import task_keys
from tests.support.factories.tokens import make_key
from tests.support.ports import free_port, loopback
from tests.support.simulators.idp import IdP
from tests.support.sites import airflow as airflow_site

KEY = make_key("ES256", kid="k1")
HOST = "orders.internal"
TUNNELLED = "secure.internal"
RECHECK_S = 5
PATIENCE_S = 60  # on a busy machine

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [ES256]
    max_lifetime: 1h
    groups: [groups]
roles:
  workers: {{clients: [airflow-worker]}}
rules:
  - {{id: sales-orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/orders", "/v1/orders/**"],
     dags: ["sales_*"], tasks: ["extract_*"], identity: verified}}
  - {{id: sales-bearer, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/bearer"],
     dags: ["sales_*"], identity: verified-bearer}}
  - {{id: said, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/said"],
     dags: ["*"], identity: asserted}}
  - {{id: staff, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/staff"], roles: [workers]}}
  - {{id: tunnel, plane: egress, destinations: [secure], methods: [CONNECT],
     dags: ["sales_*"], identity: verified-bearer}}
"""


class Outbound:
    """One of each.

    `isolated` is what the deployment declares of Airflow's signing key; `airflow` is where the gate asks about tasks.
    """

    def __init__(self, folder: Path, site, keys, *, isolated=True, airflow=None):
        self.folder = folder
        folder.mkdir()
        self.keys = keys
        self._site = site
        self.idp = IdP([KEY])
        self.authority = Authority(folder)
        self.upstream = EchoUpstream()
        self.secure = EchoUpstream(_server_tls(self.authority.issue(TUNNELLED)))
        ports = {name: free_port() for name in ("egress", "orders", "execution")}
        self.orders = f"http://127.0.0.1:{ports['orders']}"
        self.by_path = f"http://127.0.0.1:{ports['egress']}/orders"
        self.tunnelled = f"https://{TUNNELLED}:{self.secure.address.rpartition(':')[2]}"
        self.proxy = f"http://127.0.0.1:{ports['egress']}"
        self.proxy_address = ("127.0.0.1", ports["egress"])
        self.execution = f"http://127.0.0.1:{ports['execution']}/execution/"
        self._declared = {
            "run_identity": self._run_identity(airflow or site.url, isolated=isolated),
            "envoy": self._envoy(ports),
        }
        self._running = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as starting:
            for part in (self.idp, self.upstream, self.secure):
                starting.enter_context(part)
            self.gate = Gate(self.folder, self.idp, policy=POLICY, settings=self._settings(), ready=False)
            key = self._site.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            signing = self.folder / "assertion.pem"
            signing.touch(mode=0o600)
            signing.write_bytes(key)
            starting.callback(self._end_gate)
            self.gate.start()
            wait_for(self.gate.is_ready, "the gate is not ready", pause=time.sleep, seconds=PATIENCE_S)
            self.loaded = settings_file.load(self.gate.settings)
            self.envoy = starting.enter_context(Envoy(self.loaded, self.folder))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_error):
        self._running.close()

    @property
    def received(self):
        """Whether a destination was called since the last `reset`."""
        return [*self.upstream.requests, *self.secure.requests]

    def reset(self):
        self.upstream.reset()
        self.secure.reset()

    def record(self, answer):
        """What the gate recorded of an answer: (status, headers, text)."""
        return self.gate.decision(answer[1]["x-authz-decision"])

    @contextlib.contextmanager
    def only_worker(self, index):
        """The forward proxy of another Envoy, which asks one of the gate's workers alone."""
        folder = self.folder / f"worker-{index}"
        folder.mkdir(exist_ok=True)
        port = free_port()
        whole = yaml.safe_load(self.gate.settings.read_text())
        envoy = whole["envoy"]
        envoy.pop("execution")
        envoy |= {"admin": loopback(), "access_log": str(folder / "access.log")}
        envoy["egress"]["listen"] = f"127.0.0.1:{port}"
        for destination in envoy["egress"]["destinations"]:
            destination.pop("listen", None)
        whole |= {"workers": 1, "listen": [self.gate.endpoints[index]]}
        file = self.folder / f"worker-{index}.yaml"
        file.write_text(yaml.safe_dump(whole))
        with Envoy(settings_file.load(file), folder):
            yield "127.0.0.1", port

    def service_token(self, **changes):
        """A token of the workers' service account."""
        claims = {"client_id": "airflow-worker", "aud": "airflow-egress", "sub": "worker", "groups": None}
        return token(
            KEY, **{"iss": self.idp.url, "preferred_username": None, "realm_access": None, **claims, **changes}
        )

    def until(self, check, what):
        wait_for(check, what, pause=self.envoy.pause, seconds=PATIENCE_S)

    def _end_gate(self):
        """How a gate ends well is tested elsewhere."""
        if self.gate.process is not None:
            self.gate.kill()

    def _settings(self):
        """The text of the settings file, for `Gate` to put its own addresses into."""
        return yaml.safe_dump(
            {
                "version": 1,
                "workers": 2,
                "policy": "policy.yaml",
                "listen": ["{listen}"],
                "admin": {"listen": "127.0.0.1:{admin}"},
                "assertion": {"issuer": airflow_site.ISSUER, "keys": ["assertion.pem"]},
                "log": {"decisions": "decisions.jsonl"},
                "keys": {"refresh": "3s", "min_interval": "1s", "timeout": "2s"},
                **self._declared,
            },
            default_flow_style=False,
        )

    def _run_identity(self, airflow, *, isolated):
        return {
            "airflow": airflow,
            "audience": airflow_site.AUDIENCE,
            "issuer": task_keys.ISSUER,
            "jwks_uri": self.keys.url,
            "algorithms": ["EdDSA"],
            "signing_key_isolated": isolated,
            "recheck": f"{RECHECK_S}s",
            "timeout": "2500ms",  # Airflow shares two processors with everything else here
        }

    def _envoy(self, ports):
        return {
            "egress": {
                "listen": f"127.0.0.1:{ports['egress']}",
                "destinations": [
                    {
                        "name": "orders",
                        "address": self.upstream.address,
                        "hosts": [HOST],
                        "listen": f"127.0.0.1:{ports['orders']}",
                        "path": "/orders",
                    },
                    {
                        "name": "secure",
                        "address": self.secure.address,
                        "hosts": [TUNNELLED],
                        "tls": True,
                        "tls_ca": str(self.authority.ca),
                        "tunnel": True,
                    },
                ],
            },
            "execution": {
                "listen": f"127.0.0.1:{ports['execution']}",
                "address": f"127.0.0.1:{self._site.port}",
            },
            "admin": loopback(),
            "access_log": str(self.folder / "access.log"),
        }


def _server_tls(pair):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context
