"""Small policies and requests for tests: what is not the point of a test is left to the defaults."""

from dataclasses import replace
from functools import cache
from importlib.resources import files

from authz.core import catalogue, policy
from authz.core.catalogue.build import build
from authz.core.documents import yaml_document
from authz.core.model import Claims, Identity, Level, Plane, Request, Run
from authz.core.request import path

ISSUER = "https://idp.example.com/realms/data"

ISSUERS = f"""
  - name: corp
    issuer: {ISSUER}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [RS256, ES256]
    groups: [groups]
"""

ROLES = """
  viewer: {groups: [data-readers]}
  user: {groups: [data-users], includes: [viewer]}
  op: {groups: [data-ops], includes: [user]}
  admin: {groups: [data-admins], includes: [op]}
  sales-etl: {clients: [sales-etl]}
  copilot: {clients: [copilot], agent: true}
"""


SHORT = """
version: 1
issuers:
  - {name: corp, issuer: "https://corp.example.com", audiences: {inbound: [a]}, algorithms: [RS256]}
roles: {r: {groups: [g]}, s: {groups: [g, h]}, t: {groups: [t]}}
rules:
"""
"""A policy as far as its rules, for `below`."""


def below(head, *rules):
    """The compiled policy of a file that begins so, and goes on with these rules: each is a flow mapping's inside."""
    listed = "".join(f"  - {{{rule}}}\n" for rule in rules)
    return policy.load(policy.Bundle(f"{head}{listed}".encode(), "p.yaml"))


def text(rules="", roles=ROLES, issuers=ISSUERS, top="version: 1", grantable=""):
    """A policy file; its entries are flow mappings, one a line, indented lines go on with the one before."""
    also = f"grantable:{_entries(grantable)}\n" if grantable else ""
    return f"{top}\nissuers:{issuers}roles:{roles}rules:{_entries(rules) or ' []'}\n{also}"


def _entries(lines):
    return "".join(f"\n  - {line}" for line in lines.replace("\n  ", " ").splitlines() if line)


def load(rules="", **parts):
    """The compiled policy of `rules`, one flow mapping per line."""
    return policy.load(policy.Bundle(text(rules, **parts).encode(), "policy.yaml"))


def request(method, target, *, plane="inbound", host="airflow.example.com", narrowed=False, destination=""):
    if method == "CONNECT":
        return tunnel(target, destination=destination)
    canonical = path.canonicalise(target)
    return Request(
        plane=Plane(plane),
        method=method,
        host=host,
        port=None,
        path=canonical.path,
        segments=canonical.segments,
        narrowed=narrowed,
        destination=destination,
    )


def tunnel(target, *, destination=""):
    """A CONNECT to `host:port`."""
    host, port = path.tunnel(target, target)
    return Request(
        plane=Plane.EGRESS, method="CONNECT", host=host, port=port, path="", segments=(), destination=destination
    )


NARROWED = {
    ("GET", "/api/v2/dags"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns"),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails"),
}
"""Routes that Airflow narrows in these tests, whatever the data say: so that the data are free to change."""


def narrowing(loaded, marked=frozenset(NARROWED)):
    """The policy with a catalogue in which exactly these routes are narrowed."""
    return replace(loaded, catalogue=narrowing_catalogue(loaded.catalogue.version, frozenset(marked)))


@cache
def narrowing_catalogue(version, marked):
    name = f"airflow-{version}.yaml"
    data = yaml_document.parse(files(catalogue).joinpath(name).read_bytes(), name).data
    routes = [
        {**route, "methods": {method: operation}, "narrowed": (method, route["path"]) in marked}
        for route in data["routes"]
        for method, operation in route["methods"].items()
    ]
    return build({**data, "routes": tuple(routes)}, version)


def claims(*, groups=(), client="", subject="s-1", issuer="corp"):
    return Claims(
        issuer_name=issuer,
        issuer=ISSUER,
        subject=subject,
        client_id=client,
        username=subject,
        full_name="",
        groups=frozenset(groups),
        audiences=frozenset(),
        expires_at=0,
        issued_at=None,
        not_before=None,
    )


def identity(*roles, agent=False, run=None):
    return Identity(claims=claims(), roles=frozenset(roles), agent=agent, run=run)


def run(dag="sales_daily", task="extract", level="verified", *, run_id="r1", map_index=-1, try_number=1):
    return Run(dag, run_id, task, map_index, try_number, Level(level))


def caller(dag="sales_daily", task="extract", level="verified", *, roles=()):
    """A run as the caller; with a token of its own it has no roles."""
    return identity(*roles, run=run(dag, task, level))
