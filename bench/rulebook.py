"""The policy of the benchmark with any number of rules, for us and for Envoy's own RBAC filter.

The first rule is the one that allows the measured request. The others never match it, and most begin like it: the same
role on other DAGs, other paths, and rules that deny other paths to the same role. Each third of them is of one kind.
"""

import json

ISSUER = "https://idp.bench.test/realms/data"
AUDIENCE = "airflow"
GROUP = "data-readers"
EGRESS_AUDIENCE = "airflow-egress"
CLIENT = "sales-etl"
DAG = "sales_daily"
ORDERS = "orders.internal"
ORDERS_PATH = "/v1/orders"
ALLOWED = "/api/v2/dags/sales_daily/dagRuns?limit=25&order_by=-start_date"
DENIED = "/api/v2/dags/finance_close/dagRuns?limit=25&order_by=-start_date"

_HEAD = """version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [{audience}], egress: [{egress}]}}
    algorithms: [RS256, ES256, EdDSA]
    max_lifetime: 2h
    username: preferred_username
    groups: [groups]
    jwks_file: {jwks}
roles:
  viewer: {{groups: [{group}]}}
{roles}rules:
  - {{id: sales, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"], dags: ["sales_*"]}}
"""

_OUTBOUND = """\
  - {{id: etl, plane: egress, roles: [etl], hosts: [{host}], methods: [GET], paths: ["{path}"]}}
  - {{id: runs, plane: egress, dags: ["sales_*"], identity: verified-bearer, hosts: [{host}], methods: [GET],
     paths: ["{path}"]}}
"""

_GRANTABLE = """\
grantable:
  - {{id: brief, requesters: [viewer], approvers: none, longest: 30d, operations: ["pools:read"]}}
"""


def _rule(number):
    if number % 3 == 0:
        return (
            f'{{id: t{number}, deny: true, plane: inbound, roles: [viewer], paths: ["/api/v2/dags/team{number}/**"]}}'
        )
    if number % 3 == 1:
        target = f'operations: ["dag_runs:read"], dags: ["team{number}_*"]'
        return f"{{id: t{number}, plane: inbound, roles: [viewer], {target}}}"
    return (
        f'{{id: t{number}, plane: inbound, roles: [viewer], methods: [GET], paths: ["/team{number}/items/{{item}}"]}}'
    )


def grants(holders, now):
    """The grants file in which each of these subjects holds a grant until long after the measurement."""
    events = (
        {
            "event": "request",
            "id": f"{number:020}",
            "at": now,
            "entry": "brief",
            "issuer": ISSUER,
            "subject": holder,
            "seconds": 86_400,
            "reason": "benchmark",
            "open": True,
        }
        for number, holder in enumerate(holders)
    )
    return "".join(json.dumps(event) + "\n" for event in events)


def policy(rules, jwks, *, egress=False, grantable=False):
    """The policy file with that many rules; `jwks` is the file with the issuer's keys.

    With `egress`, two more let a service account and the runs of a DAG call out. With `grantable` it has an entry.
    """
    roles = f"  etl: {{clients: [{CLIENT}]}}\n" if egress else ""
    head = _HEAD.format(issuer=ISSUER, audience=AUDIENCE, egress=EGRESS_AUDIENCE, group=GROUP, roles=roles, jwks=jwks)
    outbound = _OUTBOUND.format(host=ORDERS, path=ORDERS_PATH) if egress else ""
    others = "".join(f"  - {_rule(number)}\n" for number in range(1, rules))
    return head + outbound + others + (_GRANTABLE.format() if grantable else "")


def _path(regex):
    return {"url_path": {"path": {"safe_regex": {"regex": regex}}}}


def _method(name):
    return {"header": {"name": ":method", "string_match": {"exact": name}}}


def _in_group():
    return {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "groups"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": GROUP}}}},
        }
    }


def _rbac(action, permissions):
    policies = {
        name: {"permissions": [{"and_rules": {"rules": rules}}], "principals": [_in_group()]}
        for name, rules in permissions.items()
    }
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": action, "policies": policies},
    }
    return {"name": f"envoy.filters.http.rbac.{action.lower()}", "typed_config": config}


def native_filters(rules, jwks):
    """Envoy's jwt_authn with its cache of verified tokens, and the same rules as two RBAC filters; `jwks` is text.

    What they tell the upstream is what we tell it without a signature: subject, user name, client.
    """
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 1000},
        "claim_to_headers": [
            {"header_name": f"x-authz-{name}", "claim_name": claim}
            for name, claim in (("subject", "sub"), ("user", "preferred_username"), ("client", "client_id"))
        ],
    }
    authentication = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"corp": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "corp"}}],
    }
    deny = {f"t{n}": [_path(f"/api/v2/dags/team{n}/.+")] for n in range(3, rules, 3)}
    allow = {"sales": [_method("GET"), _path("/api/v2/dags/sales_[^/]*(?:|/dagRuns(?:/[^/]+)?)")]}
    for number in range(1, rules):
        if number % 3 == 1:
            allow[f"t{number}"] = [_method("GET"), _path(f"/api/v2/dags/team{number}_[^/]*/dagRuns(?:/[^/]+)?")]
        elif number % 3 == 2:
            allow[f"t{number}"] = [_method("GET"), _path(f"/team{number}/items/[^/]+")]
    return [
        {"name": "envoy.filters.http.jwt_authn", "typed_config": authentication},
        _rbac("DENY", deny),
        _rbac("ALLOW", allow),
    ]
