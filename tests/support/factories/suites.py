"""Small policies with tests in them, for tests."""

from authz.core import cases
from authz.core.policy import Bundle
from authz.core.policy.bundle import Part
from tests.support.factories.policies import text

RULES = """
{id: health, public: true, plane: inbound, operations: ["health:read"]}
{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: sales, plane: inbound, roles: [sales-etl], operations: ["dag_runs:*", "dags:read"], dags: ["sales_*"]}
{id: no-secrets, deny: true, plane: inbound, roles: [sales-etl], dags: ["*_secret"]}
{id: orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**"], dags: ["sales_*"]}
{id: reports, plane: egress, roles: [sales-etl], hosts: ["*.reports.internal"], paths: ["/daily/**"]}
{id: warehouse, plane: egress, hosts: [warehouse.internal], methods: [CONNECT], dags: ["sales_*"], identity: asserted}
"""
CALLERS = """
  reader: {groups: [data-readers]}
  etl: {client: sales-etl}
  sales-run: {run: {dag: sales_daily, task: extract}}
  asserted: {run: {dag: sales_daily, identity: asserted}}
  etl-run: {client: sales-etl, run: {dag: sales_daily}}
"""


def bundle(tests="", *, rules=RULES, callers=CALLERS, top="version: 1", parts=(), **more):
    """A policy with tests; `parts` are pairs of names and texts of files that it names."""
    listed = "".join(f"\n  - {line}" for line in tests.replace("\n  ", " ").splitlines() if line)
    whole = text(rules, top=top, **more) + f"callers:{callers}tests:{listed or ' []'}\n"
    return Bundle(whole.encode(), "policy.yaml", tuple(Part(name, content.encode()) for name, content in parts))


def read(tests="", **parts):
    """The policy and its cases, which are not run."""
    return cases.read(bundle(tests, **parts))
