from dataclasses import replace

import pytest

from authz.core.decision.decide import UNSURE, evaluate, route_of
from authz.core.model import Allow, DagGrant, Deny
from authz.core.policy.dags import grant_json, reference_of
from authz.core.reasons import Reason
from tests.support.factories.policies import caller, identity, load, narrowing, request

POLICY = load(
    """{id: version, public: true, methods: [GET], paths: [/api/v2/version]}
{id: health, public: true, operations: [health:read]}
{id: readers, plane: inbound, roles: [viewer], operations: [dags:read, dag_runs:read]}
{id: sales-trigger, plane: inbound, roles: [sales-etl], operations: [dag_runs:create], dags: ["sales_*"]}
{id: any-dag, plane: inbound, roles: [op], operations: [dag_runs:bulk, dag_runs:create], dags: ["*"]}
{id: everything, plane: inbound, roles: [admin], operations: ["*"]}
{id: token, plane: inbound, roles: [user], operations: [tokens:create]}
{id: hello, plane: inbound, roles: [authenticated], paths: [/hello, /hello/world], methods: [GET]}
{id: paths, plane: inbound, roles: [admin], paths: ["/ui/**"]}
{id: one-host, plane: inbound, roles: [copilot], operations: [dags:read], hosts: ["*.test.example.com"]}
{id: orders, plane: egress, roles: [sales-etl], hosts: [orders.internal],
  methods: [GET], paths: [/v1/orders, "/v1/orders/{id}"]}
{id: orders-dag, plane: egress, roles: [sales-etl], hosts: [orders.internal], paths: [/v2/orders], dags: ["sales_*"]}
{id: agents-never-delete, deny: true, roles: [copilot, admin], methods: [DELETE]}
{id: nobody-internal, deny: true, hosts: [internal.example.com]}
{id: secret-dags, deny: true, plane: inbound, roles: [op, admin], dags: ["secret_*"]}
{id: secret-egress, deny: true, plane: egress, hosts: [vault.internal], dags: ["secret_*"]}"""
)
_SALES = True, Reason.RULE, "sales-trigger"
_AGENTS = False, Reason.DENY_RULE, "agents-never-delete"


def decide(who, method, target, **kw):
    decision = evaluate(request(method, target, **kw), who, POLICY)
    return isinstance(decision, Allow), decision.reason, decision.rule


@pytest.mark.parametrize(
    ("who", "method", "target", "expected"),
    [
        # allowed by a rule
        (identity("viewer"), "GET", "/api/v2/dags", (True, Reason.RULE, "readers")),
        (identity("viewer"), "HEAD", "/api/v2/dags", (True, Reason.RULE, "readers")),
        (identity("viewer"), "GET", "/api/v2/dags?limit=1", (True, Reason.RULE, "readers")),
        (identity("viewer"), "GET", "/api/v2/dags/x/dagRuns", (True, Reason.RULE, "readers")),
        (identity("sales-etl"), "POST", "/api/v2/dags/sales_daily/dagRuns", (True, Reason.RULE, "sales-trigger")),
        (identity("sales-etl"), "POST", "/api/v2/dags/other/dagRuns", (False, Reason.NO_RULE, "")),
        (identity("viewer"), "POST", "/api/v2/dags/sales_daily/dagRuns", (False, Reason.NO_RULE, "")),
        (identity("viewer", "sales-etl"), "POST", "/api/v2/dags/sales_daily/dagRuns", _SALES),
        # all DAGs
        (identity("op"), "POST", "/api/v2/dags/x/dagRuns", (True, Reason.RULE, "any-dag")),
        (identity("sales-etl"), "POST", "/api/v2/dags/~/dagRuns", (False, Reason.NO_RULE, "")),
        # public, for everyone alike
        (None, "GET", "/api/v2/version", (True, Reason.PUBLIC, "version")),
        (None, "HEAD", "/api/v2/version", (True, Reason.PUBLIC, "version")),
        (None, "GET", "/api/v2/monitor/health", (True, Reason.PUBLIC, "health")),
        (identity("viewer"), "GET", "/api/v2/version", (True, Reason.PUBLIC, "version")),
        # nobody: the same on known, unknown, forbidden and nearly public routes
        (None, "POST", "/api/v2/version", (False, Reason.NO_TOKEN, "")),
        (None, "GET", "/api/v2/version/", (False, Reason.NO_TOKEN, "")),
        (None, "GET", "/api/v2/dags", (False, Reason.NO_TOKEN, "")),
        (None, "GET", "/no/such/route", (False, Reason.NO_TOKEN, "")),
        (None, "GET", "/api/v2/dags/secret_x", (False, Reason.NO_TOKEN, "")),
        (None, "GET", "/hello", (False, Reason.NO_TOKEN, "")),
        # deny rules win
        (identity("admin"), "DELETE", "/api/v2/dags/x", (False, Reason.DENY_RULE, "agents-never-delete")),
        (identity("admin"), "GET", "/api/v2/dags/secret_x", (False, Reason.DENY_RULE, "secret-dags")),
        (identity("op"), "POST", "/api/v2/dags/secret_x/dagRuns", (False, Reason.DENY_RULE, "secret-dags")),
        (identity("admin"), "POST", "/api/v2/dags/~/dagRuns", (False, Reason.DENY_RULE, "secret-dags")),
        # a list reaches all DAGs, so a deny rule about some of them applies to it
        (identity("op", "viewer"), "GET", "/api/v2/dags", (False, Reason.DENY_RULE, "secret-dags")),
        (identity("admin"), "GET", "/api/v2/pools", (True, Reason.RULE, "everything")),
        # the smallest id is reported
        (identity("admin", "viewer"), "GET", "/api/v2/version", (True, Reason.PUBLIC, "version")),
        (identity("admin", "op"), "POST", "/api/v2/dags/x/dagRuns", (True, Reason.RULE, "any-dag")),
        # what must be named is allowed by its name only
        (identity("admin"), "POST", "/ui/auth/token", (False, Reason.NO_RULE, "")),
        (identity("user"), "POST", "/ui/auth/token", (True, Reason.RULE, "token")),
        (identity("admin"), "GET", "/ui/config", (True, Reason.RULE, "everything")),
        (identity("admin"), "GET", "/ui/no/such", (True, Reason.RULE, "paths")),
        # paths outside of the catalogue
        (identity(), "GET", "/hello", (True, Reason.RULE, "hello")),
        (identity(), "GET", "/hello/world", (True, Reason.RULE, "hello")),
        (identity(), "GET", "/hello/", (False, Reason.NO_ROLE, "")),
        (identity("viewer"), "POST", "/hello", (False, Reason.NO_RULE, "")),
        (identity("viewer"), "GET", "/hello/", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("viewer"), "POST", "/api/v2/version", (False, Reason.NO_RULE, "")),
        (identity("viewer"), "GET", "/no/such/route", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("viewer"), "OPTIONS", "/api/v2/dags", (False, Reason.UNKNOWN_ROUTE, "")),
        # no role
        (identity(), "GET", "/api/v2/dags", (False, Reason.NO_ROLE, "")),
        (identity(), "GET", "/no/such/route", (False, Reason.NO_ROLE, "")),
        (identity("gone"), "GET", "/api/v2/dags", (False, Reason.NO_RULE, "")),
        # a role of the name of everyone does not help
        (identity("viewer"), "GET", "/api/v2/pools", (False, Reason.NO_RULE, "")),
    ],
)  # fmt: skip
def test_inbound(who, method, target, expected):
    assert decide(who, method, target) == expected


@pytest.mark.parametrize(
    ("host", "who", "target", "expected"),
    [
        ("a.test.example.com", identity("copilot"), "/api/v2/dags", (True, Reason.RULE, "one-host")),
        ("a.b.test.example.com", identity("copilot"), "/api/v2/dags", (True, Reason.RULE, "one-host")),
        ("test.example.com", identity("copilot"), "/api/v2/dags", (False, Reason.NO_RULE, "")),
        ("atest.example.com", identity("copilot"), "/api/v2/dags", (False, Reason.NO_RULE, "")),
        ("internal.example.com", identity("admin"), "/api/v2/dags", (False, Reason.DENY_RULE, "nobody-internal")),
        # denied for everyone: that a route is public does not help; and nobody learns about other routes
        ("internal.example.com", None, "/api/v2/version", (False, Reason.DENY_RULE, "nobody-internal")),
        ("internal.example.com", None, "/api/v2/dags", (False, Reason.NO_TOKEN, "")),
    ],
)
def test_hosts(host, who, target, expected):
    assert decide(who, "GET", target, host=host) == expected


@pytest.mark.parametrize(
    ("who", "method", "host", "target", "expected"),
    [
        (identity("sales-etl"), "GET", "orders.internal", "/v1/orders", (True, Reason.RULE, "orders")),
        (identity("sales-etl"), "GET", "orders.internal", "/v1/orders/7", (True, Reason.RULE, "orders")),
        (identity("sales-etl"), "GET", "orders.internal", "/v1/orders/", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("sales-etl"), "POST", "orders.internal", "/v1/orders", (False, Reason.NO_RULE, "")),
        (identity("sales-etl"), "GET", "other.internal", "/v1/orders", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("sales-etl"), "GET", "orders.internal.evil.test", "/v1/orders", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("viewer"), "GET", "orders.internal", "/v1/orders", (False, Reason.NO_RULE, "")),
        (identity("sales-etl"), "DELETE", "orders.internal", "/v1/orders", (False, Reason.NO_RULE, "")),
        (identity("copilot"), "DELETE", "orders.internal", "/v1/orders", _AGENTS),
        (None, "GET", "orders.internal", "/v1/orders", (False, Reason.NO_TOKEN, "")),
        # inbound rules are not for egress, whatever the host and path say
        (identity("viewer"), "GET", "airflow.example.com", "/api/v2/dags", (False, Reason.UNKNOWN_ROUTE, "")),
        (None, "GET", "airflow.example.com", "/api/v2/version", (False, Reason.NO_TOKEN, "")),
        # who has no run: an allow rule about DAGs does not apply, a deny rule does
        (identity("sales-etl"), "GET", "orders.internal", "/v2/orders", (False, Reason.NO_RULE, "")),
        (identity("sales-etl"), "GET", "vault.internal", "/x", (False, Reason.DENY_RULE, "secret-egress")),
    ],
)  # fmt: skip
def test_egress(who, method, host, target, expected):
    assert decide(who, method, target, plane="egress", host=host) == expected


def test_what_the_decision_carries():
    allowed = evaluate(request("POST", "/api/v2/dags/sales_a/dagRuns"), identity("sales-etl"), POLICY)
    assert allowed == Allow(
        reason=Reason.RULE,
        rule="sales-trigger",
        operation="dag_runs:create",
        dag_id="sales_a",
        dags=DagGrant(("sales_*",)),
        level="user",
    )
    denied = evaluate(request("POST", "/api/v2/dags/other/dagRuns"), identity("sales-etl"), POLICY)
    assert denied == Deny(reason=Reason.NO_RULE, operation="dag_runs:create", dag_id="other")
    anonymous = evaluate(request("GET", "/api/v2/dags/a"), None, POLICY)
    assert anonymous == Deny(reason=Reason.NO_TOKEN, operation="dags:read", dag_id="a")
    forbidden = evaluate(request("GET", "/api/v2/dags/secret_a"), identity("viewer", "op"), POLICY)
    assert forbidden == Deny(reason=Reason.DENY_RULE, rule="secret-dags", operation="dags:read", dag_id="secret_a")


def test_the_route_is_airflows_own():
    assert route_of(request("GET", "/api/v2/dags/a"), POLICY).template == "/api/v2/dags/{dag_id}"
    assert route_of(request("GET", "/nothing/here"), POLICY) is None
    assert route_of(request("GET", "/api/v2/dags/a", plane="egress"), POLICY) is None


def test_a_policy_without_rules_denies_everything():
    empty = load()
    for plane in ("inbound", "egress"):
        for who in (None, identity(), identity("admin")):
            decision = evaluate(request("GET", "/api/v2/dags", plane=plane), who, empty)
            assert isinstance(decision, Deny)


def test_an_egress_rule_about_dags_alone_denies_all():
    policy = load('{id: x, deny: true, plane: egress, dags: ["a"]}')
    decision = evaluate(request("GET", "/x", plane="egress"), identity("admin"), policy)
    assert (decision.reason, decision.rule) == (Reason.DENY_RULE, "x")


# --- calls of runs

RUNS = load(
    """{id: any-run, plane: egress, destinations: [status], paths: [/ping], identity: asserted}
{id: bearer, plane: egress, destinations: [status], paths: [/bearer], identity: verified-bearer}
{id: everyone, plane: egress, roles: [authenticated], hosts: [pypi.internal], methods: [GET], paths: ["/**"]}
{id: orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**"], dags: ["sales_*"]}
{id: orders-write, plane: egress, destinations: [orders], methods: [POST], paths: ["/v1/**"], dags: ["sales_*"],
  tasks: ["load.*"], identity: verified}
{id: loose, plane: egress, destinations: [orders], paths: [/health], tasks: ["extract*"], identity: asserted}
{id: host, plane: egress, hosts: ["*.files.internal"], paths: ["/**"], dags: ["*"]}
{id: role, plane: egress, roles: [sales-etl], hosts: [a.files.internal], paths: ["/**"]}
{id: role-run, plane: egress, roles: [sales-etl], hosts: [b.internal], paths: ["/**"], identity: asserted}
{id: tunnel, plane: egress, hosts: [db.internal], methods: [CONNECT], dags: [sales_daily]}
{id: tunnel-role, plane: egress, roles: [sales-etl], destinations: [db], methods: [CONNECT]}
{id: db, plane: egress, roles: [sales-etl], hosts: [db.internal], paths: ["/**"]}
{id: no-hr, deny: true, plane: egress, hosts: [hr.files.internal], dags: ["sales_*"]}
{id: no-cleanup, deny: true, plane: egress, destinations: [orders], tasks: [cleanup]}
{id: no-orders, deny: true, plane: egress, roles: [copilot], destinations: [orders]}
{id: no-delete, deny: true, roles: [copilot], methods: [DELETE]}
{id: no-admin, deny: true, plane: egress, hosts: [admin.db.internal], paths: [/admin]}"""
)
_WEAK = False, Reason.IDENTITY_TOO_WEAK, ""
_NONE = False, Reason.NO_RULE, ""


@pytest.mark.parametrize(
    ("who", "asked", "expected"),
    [
        # by destination, DAG and task; `verified` is meant where a rule does not say
        (caller(), "GET orders /v1/orders", (True, Reason.RULE, "orders")),
        (caller("hr"), "GET orders /v1/orders", _NONE),
        (caller("Sales_daily"), "GET orders /v1/orders", _NONE),
        (caller(), "GET other /v1/orders", _NONE),
        (caller(), "GET - /v1/orders", _NONE),
        (caller(), "POST orders /v1/orders", _NONE),
        (caller(task="load.orders"), "POST orders /v1/orders", (True, Reason.RULE, "orders-write")),
        (caller("hr", "load.orders"), "POST orders /v1/orders", _NONE),
        (caller(task="load"), "POST orders /v1/orders", _NONE),
        # levels
        (caller(level="verified-bearer"), "GET orders /v1/orders", _WEAK),
        (caller(level="asserted"), "GET status /ping", (True, Reason.RULE, "any-run")),
        (caller(level="verified-bearer"), "GET status /ping", (True, Reason.RULE, "any-run")),
        (caller(), "GET status /ping", (True, Reason.RULE, "any-run")),
        (caller(level="asserted"), "GET status /bearer", _WEAK),
        (caller(level="verified-bearer"), "GET status /bearer", (True, Reason.RULE, "bearer")),
        (caller("hr", level="verified-bearer"), "GET orders /v1/orders", _NONE),
        # a deny rule about tasks concerns whoever may be meant
        (caller(task="cleanup"), "GET orders /v1/orders", (False, Reason.DENY_RULE, "no-cleanup")),
        (caller(task="cleanup", level="verified-bearer"), "GET orders /x", (False, Reason.DENY_RULE, "no-cleanup")),
        (caller(level="asserted"), "GET orders /health", (False, Reason.DENY_RULE, "no-cleanup")),
        (caller(task="extract_2"), "GET orders /health", (True, Reason.RULE, "loose")),
        (identity("sales-etl"), "GET orders /health", (False, Reason.DENY_RULE, "no-cleanup")),
        (identity("copilot"), "GET orders /health", (False, Reason.DENY_RULE, "no-cleanup")),
        # by host; every caller is authenticated
        (caller("hr"), "GET hr.files.internal /x", (True, Reason.RULE, "host")),
        (caller(), "GET hr.files.internal /x", (False, Reason.DENY_RULE, "no-hr")),
        (caller("hr", level="asserted"), "GET hr.files.internal /x", (False, Reason.DENY_RULE, "no-hr")),
        (caller("hr", level="asserted"), "GET a.files.internal /x", _WEAK),
        (caller("hr", level="asserted"), "GET pypi.internal /simple", (True, Reason.RULE, "everyone")),
        (identity(), "GET pypi.internal /simple", (True, Reason.RULE, "everyone")),
        # runs have no roles with tokens of their own; one that is asserted may have those of its service account
        (caller(), "GET b.internal /x", _NONE),
        (caller(level="asserted", roles=["sales-etl"]), "GET b.internal /x", (True, Reason.RULE, "role-run")),
        (identity("sales-etl"), "GET b.internal /x", _NONE),
        (identity("sales-etl"), "GET a.files.internal /x", (True, Reason.RULE, "role")),
        # without a run
        (identity(), "GET orders /v1/orders", (False, Reason.DENY_RULE, "no-cleanup")),
        (identity(), "GET status /ping", (False, Reason.NO_ROLE, "")),
        (identity("op"), "GET status /ping", _NONE),
        (identity("op"), "GET other.internal /nothing", (False, Reason.UNKNOWN_ROUTE, "")),
        (caller(), "GET other.internal /nothing", _NONE),
        (None, "GET orders /v1/orders", (False, Reason.NO_TOKEN, "")),
        # tunnels
        (caller(), "CONNECT - db.internal:5432", (True, Reason.RULE, "tunnel")),
        (caller("hr"), "CONNECT - db.internal:5432", _NONE),
        (caller(level="verified-bearer"), "CONNECT - db.internal:5432", _WEAK),
        (identity("sales-etl"), "CONNECT - db.internal:5432", _NONE),
        (identity("sales-etl"), "CONNECT - other.internal:5432", (False, Reason.UNKNOWN_ROUTE, "")),
        (identity("sales-etl"), "CONNECT db other.internal:5432", (True, Reason.RULE, "tunnel-role")),
        (identity("sales-etl"), "GET db.internal /x", (True, Reason.RULE, "db")),
        (caller("hr"), "CONNECT - pypi.internal:443", _NONE),
        (None, "CONNECT - db.internal:5432", (False, Reason.NO_TOKEN, "")),
        # what goes through a tunnel is not known: deny rules about methods and paths concern it
        (identity("copilot"), "CONNECT - db.internal:5432", (False, Reason.DENY_RULE, "no-delete")),
        (caller(), "CONNECT - admin.db.internal:80", (False, Reason.DENY_RULE, "no-admin")),
        (identity("sales-etl"), "GET admin.db.internal /x", (False, Reason.UNKNOWN_ROUTE, "")),
    ],
)  # fmt: skip
def test_calls_of_runs(who, asked, expected):
    method, where, target = asked.split(" ")
    named = where if "." not in where and where != "-" else ""
    host = where if "." in where else f"{where.strip('-') or 'x'}.internal"
    decision = evaluate(request(method, target, plane="egress", host=host, destination=named), who, RUNS)
    assert (isinstance(decision, Allow), decision.reason, decision.rule) == expected


def test_what_the_decision_says_of_a_run():
    def ask(who, target="/v1/orders", **more):
        return evaluate(request("GET", target, plane="egress", **{"destination": "orders", **more}), who, RUNS)

    assert ask(caller()) == Allow(reason=Reason.RULE, rule="orders", dag_id="sales_daily")
    assert ask(caller(), "/x") == Deny(reason=Reason.NO_RULE, dag_id="sales_daily")
    assert ask(caller(level="verified-bearer")) == Deny(
        reason=Reason.IDENTITY_TOO_WEAK,
        dag_id="sales_daily",
        detail="the rule `orders` asks for `verified`, and the run is `verified-bearer`",
    )
    denied = Deny(reason=Reason.DENY_RULE, rule="no-cleanup", dag_id="sales_daily")
    assert ask(caller(task="cleanup")) == denied
    assert ask(caller(level="asserted")) == replace(denied, detail=UNSURE)
    assert ask(identity("op")) == replace(denied, dag_id="", detail=UNSURE)
    assert ask(identity("copilot"), host="hr.files.internal", destination="") == Deny(
        reason=Reason.DENY_RULE, rule="no-hr", detail=UNSURE
    )


def test_a_deny_rule_about_no_runs_says_nothing_of_them():
    policy = load("{id: x, deny: true, plane: egress, destinations: [orders]}")
    asked = request("GET", "/", plane="egress", destination="orders")
    assert evaluate(asked, caller(level="asserted"), policy).detail == ""


@pytest.mark.parametrize("target", ["/api/v2/version", "/api/v2/dags", "/ui/x", "/hello"])
def test_what_is_outside_the_base_path_is_no_route_and_no_rule_is_about_it(target):
    outside = replace(request("GET", target), base="/airflow", outside=True)
    assert route_of(outside, POLICY) is None
    assert evaluate(outside, None, POLICY) == Deny(reason=Reason.NO_TOKEN)
    assert evaluate(outside, identity("admin", "op", "viewer"), POLICY) == Deny(reason=Reason.UNKNOWN_ROUTE)


# --- where Airflow narrows

SALES = '{id: sales, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"], dags: ["sales_*"]}\n'
HR = '{id: hr, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["hr_*", "hr", "sales_*"]}\n'
ALL = "{id: all, plane: inbound, roles: [op], operations: [dags:read]}\n"
NO_SECRETS = '{id: no-secrets, deny: true, plane: inbound, dags: ["*_secret"]}\n'
NO_HR = '{id: no-hr, deny: true, plane: inbound, roles: [viewer], operations: ["dags:*"], dags: ["hr_*"]}\n'
NO_LISTS = "{id: no-lists, deny: true, plane: inbound, paths: [/api/v2/dags]}\n"
PUBLIC = "{id: open, public: true, methods: [GET], paths: [/api/v2/dags]}\n"


def listed(rules, who, target="/api/v2/dags", method="GET", *, narrowed=True):
    decision = evaluate(request(method, target, narrowed=narrowed), who, narrowing(load(rules)))
    return decision.rule, decision.dags if isinstance(decision, Allow) else decision.reason


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (SALES, ("sales", DagGrant(("sales_*",)))),
        (SALES + HR, ("hr", DagGrant(("hr", "hr_*", "sales_*")))),
        (SALES + ALL, ("sales", DagGrant(("sales_*",)))),
        (SALES + ALL.replace("[op]", "[viewer]"), ("all", DagGrant(("*",)))),
        (SALES + NO_SECRETS, ("sales", DagGrant(("sales_*",), ("*_secret",)))),
        (SALES + HR + NO_SECRETS + NO_HR, ("hr", DagGrant(("hr", "hr_*", "sales_*"), ("*_secret", "hr_*")))),
        (SALES + NO_SECRETS.replace("*_secret", "*"), ("sales", DagGrant(("sales_*",), ("*",)))),
        (ALL, ("", Reason.NO_RULE)),
        (NO_SECRETS, ("", Reason.NO_RULE)),
        (SALES + NO_LISTS, ("no-lists", Reason.DENY_RULE)),
        (SALES + NO_LISTS + NO_HR, ("no-lists", Reason.DENY_RULE)),
        (SALES + PUBLIC + NO_SECRETS, ("open", DagGrant(("*",), ("*_secret",)))),
    ],
)
def test_a_list_that_airflow_narrows_is_allowed_for_some_dags_and_the_grant_says_which(rules, expected):
    assert listed(rules, identity("viewer")) == expected


@pytest.mark.parametrize(
    ("target", "method", "narrowed", "expected"),
    [
        ("/api/v2/dags", "HEAD", True, DagGrant(("sales_*",), ("*_secret",))),
        ("/api/v2/dags/~/dagRuns", "GET", True, DagGrant(("sales_*",), ("*_secret",))),
        ("/api/v2/dags/%7E/dagRuns", "GET", True, DagGrant(("sales_*",), ("*_secret",))),
        ("/api/v2/dags/%7e/dagRuns?limit=1", "GET", True, DagGrant(("sales_*",), ("*_secret",))),
        ("/api/v2/dags/x/dagRuns/list", "POST", True, DagGrant(("sales_*",), ("*_secret",))),
        # not marked in the catalogue, or behind an Airflow that does not narrow, or one DAG
        ("/api/v2/dagStats", "GET", True, Reason.DENY_RULE),
        ("/api/v2/dags/~/dagRuns/~", "GET", True, Reason.DENY_RULE),
        ("/api/v2/dags", "GET", False, Reason.DENY_RULE),
        ("/api/v2/dags/~/dagRuns", "GET", False, Reason.DENY_RULE),
        ("/api/v2/dags/~~/dagRuns", "GET", True, Reason.NO_RULE),
        ("/api/v2/dags/sales_a/dagRuns", "GET", True, DagGrant(("sales_*",), ("*_secret",))),
        ("/api/v2/dags/sales_secret/dagRuns", "GET", True, Reason.DENY_RULE),
        ("/api/v2/dags/hr_a/dagRuns", "GET", True, Reason.NO_RULE),
    ],
)
def test_what_is_narrowed(target, method, narrowed, expected):
    assert listed(SALES + NO_SECRETS, identity("viewer"), target, method, narrowed=narrowed)[1] == expected


def test_an_anonymous_list_is_never_narrowed_and_a_deny_rule_about_dags_denies_it():
    assert listed(PUBLIC, None) == ("open", None)
    assert listed(PUBLIC + NO_SECRETS, None) == ("no-secrets", Reason.DENY_RULE)
    assert listed(SALES, None) == ("", Reason.NO_TOKEN)


def test_what_concerns_no_dag_is_granted_all_dags_but_those_that_are_denied():
    rules = "{id: pools, plane: inbound, roles: [viewer], operations: [pools:read]}\n"
    assert listed(rules, identity("viewer"), "/api/v2/pools") == ("pools", DagGrant(("*",)))
    assert listed(rules + NO_SECRETS, identity("viewer"), "/api/v2/pools") == ("pools", DagGrant(("*",), ("*_secret",)))


def many(prefix):
    return [f"{prefix}{'x' * 90}{number:03}_*" for number in range(100)]


def quoted(globs):
    return ", ".join(f'"{glob}"' for glob in globs)


MANY = f"{{id: many, plane: inbound, roles: [viewer], operations: [dags:read], dags: [{quoted(many('a'))}, sales]}}\n"
MANY_DENIED = f"{{id: denied, deny: true, plane: inbound, dags: [{quoted(many('d'))}]}}\n"
ALL_READ = ALL.replace("[op]", "[viewer]")
ONE_OF_MANY = "a" + "x" * 90 + "007_"


@pytest.mark.parametrize(
    ("rules", "target", "rule", "allowed", "denied"),
    [
        (MANY, "/api/v2/dags", "many", (*many("a"), "sales"), ()),
        (MANY, "/api/v2/dags/sales", "many", (*many("a"), "sales"), ()),
        (MANY, f"/api/v2/dags/{ONE_OF_MANY}", "many", (*many("a"), "sales"), ()),
        (ALL_READ + MANY_DENIED, "/api/v2/dags", "all", ("*",), tuple(many("d"))),
        (MANY + MANY_DENIED, "/api/v2/dags/sales", "many", (*many("a"), "sales"), tuple(many("d"))),
    ],
)
def test_what_is_too_large_for_an_assertion_is_granted_by_reference(rules, target, rule, allowed, denied):
    found, grant = listed(rules, identity("viewer"), target)
    assert (found, grant.allowed, grant.denied) == (rule, allowed, denied)
    assert grant.reference == reference_of(grant_json(grant))
    assert listed(rules, identity("viewer"), target)[1] == grant


def test_what_is_too_large_denies_what_the_rules_deny():
    assert listed(MANY, identity("viewer"), "/api/v2/dags/hr") == ("", Reason.NO_RULE)
    assert listed(MANY, identity("user"), "/api/v2/dags") == ("", Reason.NO_RULE)
    assert listed(MANY_DENIED + ALL_READ, identity("viewer"), f"/api/v2/dags/d{ONE_OF_MANY[1:]}")[0] == "denied"


def test_a_right_on_all_dags_is_short_whatever_is_beside_it():
    assert listed(MANY + ALL_READ, identity("viewer"), "/api/v2/dags") == ("all", DagGrant(("*",)))


THREE = "".join(f"  r{team}: {{groups: [g{team}]}}\n" for team in range(3))
THREE_RULES = "".join(
    f"{{id: r{team}, plane: inbound, roles: [r{team}], operations: [dags:read], "
    f"dags: [{quoted(f'{team}{number:03}' + 'x' * 91 + '_*' for number in range(28))}]}}\n"
    for team in range(3)
)


def test_three_roles_may_list_what_each_of_them_may_list():
    """PROOF.md: any one or two of these groups were allowed, and all three denied."""
    policy = narrowing(load(THREE_RULES, roles="\n" + THREE))
    asked = request("GET", "/api/v2/dags", narrowed=True)
    for groups in ((0,), (0, 1), (0, 1, 2)):
        who = identity(*(f"r{group}" for group in groups))
        decision = evaluate(asked, who, policy)
        assert isinstance(decision, Allow)
        assert len(decision.dags.allowed) == 28 * len(groups)


def test_on_egress_nothing_is_said_of_dags():
    policy = load("{id: x, plane: egress, roles: [viewer], hosts: [a.test], paths: [/x]}")
    decision = evaluate(request("GET", "/x", plane="egress", host="a.test", narrowed=True), identity("viewer"), policy)
    assert (decision.rule, decision.dags, decision.level) == ("x", None, "")
