"""Render the samples in `envoy/`, or (`--check`) fail when the committed files differ."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from authz.envoy_config.render import render, render_sds, to_yaml
from authz.settings.plan.credentials import ClientCredentials, HeaderSecret
from authz.settings.plan.egress import Destination, Dynamic, Egress, HostTls
from authz.settings.plan.execution import Execution
from authz.settings.plan.front import EnvoyPlan, Listener, Upstream
from authz.settings.plan.limits import Limits
from authz.settings.plan.login import LoginPlan
from authz.settings.plan.peers import ClientTls, ServerTls

FOLDER: Final = Path(__file__).resolve().parent.parent / "envoy"
HEADER: Final = "# Rendered by scripts/envoy_samples.py; do not edit. See README.md beside this file.\n"

_AIRFLOW: Final = Upstream(
    name="airflow",
    addresses=("127.0.0.1:8081",),
    audience="airflow",
    health_path="/api/v2/monitor/health",
)
_ORDERS: Final = Destination(name="orders", addresses=("127.0.0.1:8082",), hosts=("orders.internal",), timeout=60)

_TCP: Final = EnvoyPlan(
    authz_endpoints=("127.0.0.1:9190", "127.0.0.1:9191"),
    inbound=Listener(listen="127.0.0.1:8080", upstreams=(_AIRFLOW,)),
    egress=Egress(listen="127.0.0.1:8090", destinations=(_ORDERS,)),
)

_TLS: Final = EnvoyPlan(
    authz_endpoints=("authz-0.authz:9190", "authz-1.authz:9190"),
    authz_tls=ClientTls(
        server_name="authz.internal",
        ca="/etc/envoy/tls/internal-ca.pem",
        certificate="/etc/envoy/tls/envoy.pem",
        key="/etc/envoy/tls/envoy-key.pem",
    ),
    inbound=Listener(
        listen="0.0.0.0:8443",
        tls=ServerTls(certificate="/etc/envoy/tls/edge.pem", key="/etc/envoy/tls/edge-key.pem"),
        upstreams=(
            Upstream(
                name="airflow-prod",
                addresses=("airflow-prod.internal:8443",),
                hosts=("airflow.example.com",),
                audience="airflow-prod",
                tls=ClientTls(server_name="airflow-prod.internal", ca="/etc/envoy/tls/internal-ca.pem"),
                health_path="/api/v2/monitor/health",
            ),
            Upstream(
                name="airflow-dev",
                addresses=("airflow-dev.internal:8080",),
                hosts=("airflow-dev.example.com", "*.dev.example.com"),
                audience="airflow-dev",
                health_path="/api/v2/monitor/health",
            ),
        ),
    ),
    egress=Egress(
        listen="127.0.0.1:8090",
        destinations=(
            Destination(
                name="payments",
                addresses=("api.payments.example:443",),
                hosts=("api.payments.example",),
                tls=HostTls(),
                timeout=60,
            ),
        ),
    ),
)

_UNIX: Final = EnvoyPlan(
    authz_endpoints=("unix:/run/authz/worker-0.sock", "unix:/run/authz/worker-1.sock"),
    inbound=Listener(listen="0.0.0.0:8080", upstreams=(_AIRFLOW,), trusted_hops=1),
    admin_listen="unix:/run/envoy/admin.sock",
    access_log="/var/log/envoy/access.log",
)

_LOGIN: Final = EnvoyPlan(
    authz_endpoints=("unix:/run/authz/worker-0.sock",),
    inbound=Listener(
        listen="0.0.0.0:8443",
        tls=ServerTls(certificate="/etc/envoy/tls/edge.pem", key="/etc/envoy/tls/edge-key.pem"),
        upstreams=(_AIRFLOW,),
        login=LoginPlan(
            client_id="airflow-gate",
            client_secret="/etc/envoy/secrets/client.secret",  # noqa: S106 a path
            cookie_secret="/etc/envoy/secrets/cookie.secret",  # noqa: S106 a path
            authorization_endpoint="https://idp.example.com/realms/data/protocol/openid-connect/auth",
            token_endpoint="https://idp.example.com/realms/data/protocol/openid-connect/token",  # noqa: S106 a URL
            end_session_endpoint="https://idp.example.com/realms/data/protocol/openid-connect/logout",
            public_url="https://airflow.example.com",
        ),
    ),
    sds="/etc/envoy/sds",
)

_OUT: Final = EnvoyPlan(
    authz_endpoints=("unix:/run/authz/worker-0.sock",),
    egress=Egress(
        listen="127.0.0.1:8090",
        destinations=(
            Destination(
                name="orders",
                addresses=("orders.internal:8443",),
                hosts=("orders.internal",),
                listen="127.0.0.1:9101",
                path="/orders",
                audience="orders",
                tls=HostTls(ca="/etc/envoy/tls/internal-ca.pem"),
            ),
            Destination(
                name="warehouse",
                addresses=("warehouse.internal:443",),
                hosts=("warehouse.internal",),
                tls=HostTls(ca="/etc/envoy/tls/internal-ca.pem"),
                tunnel=True,
            ),
            Destination(
                name="tickets",
                addresses=("tickets.example.com:443",),
                hosts=("tickets.example.com",),
                tls=HostTls(),
                credential=HeaderSecret(secret="/etc/envoy/secrets/tickets.secret", header="x-api-key", prefix=""),  # noqa: S106 a file
                limits=Limits(connections=8, pending=8, response_bytes=16 * 1024 * 1024),
            ),
            Destination(
                name="crm",
                addresses=("crm.example.com:443",),
                hosts=("crm.example.com",),
                tls=HostTls(),
                credential=ClientCredentials(
                    token_endpoint="https://idp.example.com/oauth2/token",  # noqa: S106 a URL
                    client_id="airflow-tasks",
                    secret="/etc/envoy/secrets/crm.secret",  # noqa: S106 a file
                    scopes=("crm.read",),
                ),
            ),
        ),
    ),
    execution=Execution(listen="127.0.0.1:8091", addresses=("airflow-api.internal:8080",)),
    sds="/etc/envoy/sds",
)

_DYNAMIC: Final = EnvoyPlan(
    authz_endpoints=("unix:/run/authz/worker-0.sock",),
    egress=Egress(listen="127.0.0.1:8090", destinations=(), dynamic=Dynamic(ports=(443,))),
)

SAMPLES: Final[Mapping[str, EnvoyPlan]] = {
    "tcp.yaml": _TCP,
    "tls.yaml": _TLS,
    "unix.yaml": _UNIX,
    "login.yaml": _LOGIN,
    "egress.yaml": _OUT,
    "dynamic.yaml": _DYNAMIC,
}


def text(plan: EnvoyPlan) -> str:
    """What the file of a sample holds."""
    return HEADER + to_yaml(render(plan))


def files() -> dict[str, str]:
    """All that lies in the folder: each sample, and what its Envoy finds in the folder that `sds` names."""
    named = {**render_sds(_LOGIN), **render_sds(_OUT)}
    secrets = {f"sds/{Path(path).name}": HEADER + to_yaml(content) for path, content in named.items()}
    return {name: text(plan) for name, plan in SAMPLES.items()} | secrets


def main() -> None:
    """Command line: write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    check = parser.parse_args().check
    (FOLDER / "sds").mkdir(parents=True, exist_ok=True)
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.yaml")}
    wanted = files()
    if check:
        if found != wanted:
            sys.exit("envoy/ is out of step with the renderer: run scripts/envoy_samples.py and commit the result")
        return
    for name in found.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
