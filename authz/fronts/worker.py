"""A Cloudflare Worker: its configuration, and what runs it, `worker.capnp` for workerd or `wrangler-NAME.jsonc`.

Law: as in `authz.fronts`. The modules of the Worker are written by hand, in `deploy/fronts/worker/`; rendered is what
they have in common with the rest: which headers cross (`headers.js`), what a front is (`config/NAME.json`) and whose
tokens count (`config/issuers.json`, from the policy). The Worker verifies tokens with the latter to refuse bad ones
early; the gate verifies each of them again, so a mistake there cannot allow anything.
Source: `workerd.capnp` of workerd 2026-11-17; developers.cloudflare.com/workers.
"""

import json
import os.path
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Final

from authz.core import edge, stripped
from authz.core.addresses import SocketPath
from authz.core.errors import ConfigError, Problem
from authz.core.model import Issuer
from authz.core.request.path import METHODS
from authz.fronts import crossing
from authz.fronts.plan import Place, Plan
from authz.settings import Keys
from authz.settings.sections import SYSTEM_CA

FILE: Final = "worker.capnp"
HEADERS: Final = "headers.js"
ISSUERS: Final = "config/issuers.json"
MODULES: Final = ("worker.js", "config.js", "errors.js", HEADERS, "keys.js", "token.js")
"""Of the Worker, the main one first. All but `headers.js` are in `deploy/fronts/worker/`."""
COMPATIBILITY_DATE: Final = "2026-11-01"
_OF_CLOUDFLARE: Final = (
    "cdn-loop",
    "cf-connecting-ipv6",
    "cf-ew-via",
    "cf-ipcountry",
    "cf-ray",
    "cf-visitor",
    "cf-worker",
)
"""What its edge adds, about the caller and the way here. Not all of `cf-`: a task may need `cf-access-client-id`."""
_ALL: Final = Template(
    """\
# workerd serve worker.capnp$log

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
$services    # KV namespace of the Worker: a folder whose files are its keys. A new file counts within ten seconds.
    (name = "config", disk = (path = "$folder/config")),
    # Where key sets are fetched: the addresses in config/issuers.json, and nowhere else.
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [
$sockets  ],
);

const modules :List(Workerd.Worker.Module) = [
$modules];
"""
)
_WORKER: Final = Template(
    """\
    (name = "worker-$number", worker = (
      modules = .modules,
      compatibilityDate = "$date",
      bindings = [
        (name = "NAME", text = "$name"),
        (name = "CLIENT", text = "connection"),
        (name = "CONFIG", kvNamespace = "config"),
$gates        (name = "UPSTREAM", service = "upstream-$number"),
      ],
    )),
    (name = "upstream-$number", external = (address = "$upstream", $upstream_protocol)),
"""
)


def render(plans: Sequence[Plan], folder: Path) -> dict[str, str]:
    """The files of this front by their names; `issuers` makes one more.

    Raises:
        ConfigError: what a Worker cannot do.
    """
    if len({plan.name for plan in plans}) < len(plans):
        _refuse(
            "fronts: two Workers of one name share its configuration", "give each a name of its own in `http_check`"
        )
    if len(logs := {plan.access_log for plan in plans}) > 1:
        _refuse("fronts.access_log: all Workers of one workerd have one log", "write the same file for each")
    services = [_service(f"gate-{at}", place) for at, place in enumerate(plans[0].gate)]
    workers = [_worker(plan, at, folder) for at, plan in enumerate(plans)]
    sockets = [_socket(plan, at, folder) for at, plan in enumerate(plans)]
    return {
        FILE: _ALL.substitute(
            log=f" >> {log}" if (log := logs.pop()) else "",
            services="".join((*services, *workers)),
            folder=folder,
            sockets="".join(sockets),
            modules="".join(f'  (name = "{name}", esModule = embed "{name}"),\n' for name in MODULES),
        ),
        HEADERS: _headers(),
        **{f"config/{plan.name}.json": _route(plan) for plan in plans},
        **{f"wrangler-{plan.name}.jsonc": _wrangler(plan) for plan in plans},
    }


def _wrangler(plan: Plan) -> str:
    """The Worker for Cloudflare's network, where gate and Airflow are reached through a tunnel (Workers VPC)."""
    gates = ["GATE", *(f"GATE_{at}" for at in range(1, len(plan.gate)))]
    return f"// wrangler deploy --config wrangler-{plan.name}.jsonc\n" + _json(
        {
            "name": f"authz-{plan.name}",
            "main": MODULES[0],
            "compatibility_date": COMPATIBILITY_DATE,
            "workers_dev": False,
            "preview_urls": False,
            "routes": [{"pattern": "<airflow.example.com>", "custom_domain": True}],
            "vars": {"NAME": plan.name, "CLIENT": "cf-connecting-ip"},
            "kv_namespaces": [{"binding": "CONFIG", "id": "<id of the namespace>"}],
            "vpc_services": [
                {"binding": name, "service_id": f"<id of the service for {name}>"} for name in (*gates, "UPSTREAM")
            ],
            "observability": {"enabled": True},
            "logpush": True,
        }
    )


def issuers(trusted: Iterable[Issuer], keys: Keys) -> str:
    """`config/issuers.json`: whose tokens count, and where their keys are."""
    return _json(
        {
            "version": 1,
            "keys": {
                "refresh_ms": round(keys.refresh * 1000),
                "min_interval_ms": round(keys.min_interval * 1000),
                "max_stale_ms": round(keys.max_stale * 1000),
                "timeout_ms": round(keys.timeout * 1000),
                "max_bytes": keys.max_bytes,
            },
            "issuers": [
                {
                    "issuer": one.issuer,
                    "audiences": {plane.value: sorted(values) for plane, values in sorted(one.audiences.items())},
                    "algorithms": sorted(one.algorithms),
                    "clock_skew": one.clock_skew,
                    "jwks_uri": one.jwks_uri or "",
                    "discovery": one.discovery,
                    "insecure_http": one.insecure_http,
                }
                for one in sorted(trusted, key=lambda one: one.issuer)
            ],
        }
    )


def _headers() -> str:
    more = ("authorization", "host", "x-forwarded-for", "x-forwarded-proto", *_OF_CLOUDFLARE)
    removed = {*crossing.SET, *stripped.CLIENT_HEADERS, *stripped.RUN_HEADERS, *more}
    families = stripped.CLIENT_PREFIXES
    lists = {
        "SET": crossing.SET,
        "PASSED": crossing.PASSED,
        "REMOVED": sorted(name for name in removed if not name.startswith(families)),
        "FAMILIES": families,
        "HIDDEN": crossing.HIDDEN,
        "READ": [name for name in edge.READ_HEADERS if name != "cookie"],
        "READ_ON_EGRESS": [name for name in edge.READ_ON_EGRESS if name != "cookie"],
        "METHODS": sorted(METHODS),
    }
    text = {"DECISION": edge.DECISION, "ROLES": edge.ROLES}
    lines = [f"export const {name} = {json.dumps(value)};\n" for name, value in text.items()]
    lines += [f"export const {name} = {json.dumps([*value], indent=2)};\n" for name, value in lists.items()]
    return "// Made by `authz front worker`: which headers cross.\n\n" + "".join(lines)


def _route(plan: Plan) -> str:
    return _json(
        {
            "version": 1,
            "name": plan.name,
            "plane": "inbound",
            "base": plan.base,
            "gate_scheme": "http",
            "upstream_scheme": "https" if plan.airflow_name else "http",
            "upstream_host": "",
            "keep_authorization": False,
            "client_address": plan.client_address,
            "wait_ms": round(plan.check_s * 1000),
            "idle_ms": plan.idle_s * 1000,
            "header_bytes": plan.header_kib * 1024,
            "request_bytes": plan.request_bytes,
        }
    )


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _worker(plan: Plan, number: int, folder: Path) -> str:
    if len(plan.airflow) != 1:
        _refuse("fronts.airflow.address: a Worker is rendered for one Airflow", "write one address")
    protocol = "http = ()"
    if plan.airflow_name:
        own = f"trustedCertificates = [{_file(plan.airflow_ca, folder)}]"
        trust = "trustBrowserCas = true" if plan.airflow_ca == SYSTEM_CA else own
        protocol = f'https = (certificateHost = "{plan.airflow_name}", tlsOptions = ({trust}))'
    gates = [(f"GATE_{at}" if at else "GATE", f"gate-{at}") for at in range(len(plan.gate))]
    return _WORKER.substitute(
        number=number,
        date=COMPATIBILITY_DATE,
        name=plan.name,
        gates="".join(f'        (name = "{name}", service = "{service}"),\n' for name, service in gates),
        upstream=_place(plan.airflow[0]),
        upstream_protocol=protocol,
    )


def _service(name: str, place: Place) -> str:
    return f'    (name = "{name}", external = (address = "{_place(place)}", http = ())),\n'


def _socket(plan: Plan, number: int, folder: Path) -> str:
    pair = f"privateKey = {_file(plan.key, folder)}, certificateChain = {_file(plan.certificate, folder)}"
    tls = f"keypair = ({pair}), minVersion = tls1Dot2"
    if plan.client_ca:
        tls += f", requireClientCerts = true, trustedCertificates = [{_file(plan.client_ca, folder)}]"
    return (
        f'    (name = "front-{number}", address = "{_place(plan.listen)}", service = "worker-{number}",\n'
        f"      https = (options = (), tlsOptions = ({tls}))),\n"
    )


def _file(path: str, folder: Path) -> str:
    """A file's content, when workerd starts. Cap'n Proto takes a path from the configuration's folder."""
    return f'embed "{os.path.relpath(path, folder)}"'


def _place(place: Place) -> str:
    if isinstance(place, SocketPath):
        return f"unix:{place.path}"
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _refuse(text: str, hint: str) -> None:
    raise ConfigError([Problem(FILE, 0, 0, text, hint)])
