import json

import pytest

from authz.core.decision.decide import UNSURE, evaluate
from authz.core.decision.explain import explain
from authz.core.policy import Effect
from authz.core.policy import load as load_bundle
from authz.core.reasons import Reason
from tests.support.factories import included
from tests.support.factories.policies import caller, claims, identity, load, narrowing, request, run

POLICY = load(
    """{id: version, public: true, methods: [GET], paths: [/api/v2/version]}
{id: readers, plane: inbound, roles: [viewer], operations: [dags:read, dag_runs:read]}
{id: sales-trigger, plane: inbound, roles: [sales-etl], operations: [dag_runs:create], dags: ["sales_*", "eu"]}
{id: ops, plane: inbound, roles: [op], operations: ["*"], hosts: [airflow.example.com], dags: ["*"]}
{id: token, plane: inbound, roles: [user], operations: [tokens:create]}
{id: paths, plane: inbound, roles: [authenticated], paths: ["/ui/**"]}
{id: orders, plane: egress, roles: [sales-etl], hosts: [orders.internal], methods: [GET], paths: [/v1/orders],
  dags: ["sales_*"]}
{id: no-delete, deny: true, roles: [op], methods: [DELETE]}
{id: vault, deny: true, plane: egress, hosts: [vault.internal], dags: [x]}
{id: no-secrets, deny: true, plane: inbound, operations: [dag_runs:create], dags: ["secret_*"]}"""
)


def ask(method, target, who=None, **kw):
    return explain(request(method, target, **kw), who, POLICY)


def rule(explanation, name):
    return next(considered for considered in explanation.considered if considered.rule == name)


def condition(explanation, name, key):
    return next((c.holds, c.text) for c in rule(explanation, name).conditions if c.name == key)


@pytest.mark.parametrize(
    ("who", "method", "target"),
    [
        (None, "GET", "/api/v2/version"), (None, "GET", "/api/v2/dags"), (identity("viewer"), "GET", "/api/v2/dags"),
        (identity("op"), "DELETE", "/api/v2/dags/x"), (identity(), "GET", "/x"), (identity("viewer"), "GET", "/x"),
    ],
)  # fmt: skip
def test_the_decision_is_the_servers(who, method, target):
    assert ask(method, target, who).decision == evaluate(request(method, target), who, POLICY)


def test_every_rule_of_the_plane_is_considered_the_nearest_first_and_deny_rules_last():
    inbound = ask("POST", "/api/v2/dags/sales_a/dagRuns", identity("viewer"))
    assert [(considered.rule, considered.distance) for considered in inbound.considered] == [
        ("ops", 2), ("sales-trigger", 2), ("paths", 8), ("readers", 8), ("token", 10), ("version", 16),
        ("no-secrets", 1), ("no-delete", 10),
    ]  # fmt: skip
    egress = ask("GET", "/v1/orders", identity("viewer"), plane="egress")
    assert {considered.rule for considered in egress.considered} == {"orders", "no-delete", "vault"}


def test_what_applies_comes_first_the_deny_rule_before_the_others():
    explanation = ask("POST", "/api/v2/dags/secret_x/dagRuns", identity("op"))
    assert [(c.rule, c.applies) for c in explanation.considered[:3]] == [
        ("no-secrets", True), ("ops", True), ("sales-trigger", False),
    ]  # fmt: skip


def test_what_applies_has_nothing_missing():
    explanation = ask("GET", "/api/v2/dags", identity("viewer"))
    assert explanation.considered[0].rule == "readers"
    assert explanation.considered[0].applies
    assert explanation.nearest is None


def test_the_nearest_rule_and_what_is_missing():
    explanation = ask("POST", "/api/v2/dags/sales_a/dagRuns", identity("viewer", "user"))
    assert explanation.decision.reason is Reason.NO_RULE
    assert explanation.nearest.rule == "ops"  # only the role is missing, as in sales-trigger; the smaller id
    assert [c.text for c in explanation.nearest.missing] == ["role `op` — your roles are `user`, `viewer`"]


def test_a_rule_that_lacks_only_the_dag_is_nearer_than_one_for_another_role():
    explanation = ask("POST", "/api/v2/dags/other/dagRuns", identity("sales-etl"))
    assert explanation.nearest.rule == "sales-trigger"
    assert [c.text for c in explanation.nearest.missing] == ["needs one of `sales_*`, `eu` — the request has `other`"]


def test_when_a_deny_rule_won_no_rule_would_help():
    explanation = ask("DELETE", "/api/v2/dags/x", identity("op"))
    assert (explanation.decision.reason, explanation.decision.rule) == (Reason.DENY_RULE, "no-delete")
    assert explanation.nearest is None
    assert not [line for line in explanation.lines() if "nearest" in line]


def test_without_rules_nothing_is_near():
    assert explain(request("GET", "/x"), None, load()).nearest is None


def test_roles():
    anonymous = ask("GET", "/api/v2/dags")
    assert condition(anonymous, "readers", "roles") == (False, "role `viewer` — the request has no valid token")
    without = ask("GET", "/api/v2/dags", identity())
    assert condition(without, "readers", "roles") == (False, "role `viewer` — you have no role")
    assert condition(without, "paths", "roles") == (True, "you have `authenticated`")
    assert condition(ask("GET", "/x", identity("viewer")), "readers", "roles") == (True, "you have `viewer`")


def test_operations():
    reads = ask("GET", "/api/v2/dags", identity())
    assert condition(reads, "readers", "operations") == (True, "`dags:read` is covered by `dags:read`, `dag_runs:read`")
    assert condition(reads, "sales-trigger", "operations") == (
        False,
        "needs one of `dag_runs:create` — the request has `dags:read`",
    )
    unknown = ask("GET", "/nothing", identity())
    assert condition(unknown, "ops", "operations") == (False, "needs one of `*` — it is no known route")


def test_what_must_be_named_is_a_condition_of_every_allow_rule():
    explanation = ask("POST", "/ui/auth/token", identity("op"))
    text = "`tokens:create` is allowed only by a rule that names it"
    assert condition(explanation, "paths", "operations") == (False, text)
    assert condition(explanation, "ops", "operations") == (False, text)
    assert condition(explanation, "token", "operations") == (True, "`tokens:create` is named")
    assert explanation.nearest.rule == "token"


def test_hosts_methods_and_paths():
    explanation = ask("POST", "/api/v2/versions", None, host="other.example.com")
    assert condition(explanation, "ops", "hosts") == (
        False,
        "needs one of `airflow.example.com` — the request has `other.example.com`",
    )
    assert condition(explanation, "version", "methods") == (False, "needs one of `GET` — the request has `POST`")
    assert condition(explanation, "version", "paths") == (
        False,
        "needs one of `/api/v2/version` — the request has `/api/v2/versions`",
    )
    assert condition(ask("HEAD", "/x"), "version", "methods") == (True, "`HEAD` is covered by `GET`")


def test_dags():
    own = ask("POST", "/api/v2/dags/sales_a/dagRuns", identity())
    assert condition(own, "sales-trigger", "dags") == (True, "`sales_a` is covered by `sales_*`, `eu`")
    none = ask("GET", "/api/v2/pools", identity())
    assert condition(none, "ops", "dags") == (False, "DAG `*` — this request is about no DAG")
    every = ask("POST", "/api/v2/dags/~/dagRuns", identity())
    assert condition(every, "ops", "dags") == (True, "DAG `*` — the request may reach any DAG (`~`)")
    assert condition(every, "sales-trigger", "dags")[0] is False
    assert condition(every, "no-secrets", "dags")[0] is True


def test_dags_where_airflow_narrows():
    rules = """{id: sales, plane: inbound, roles: [viewer], operations: [dags:read], dags: ["sales_*"]}
{id: no-secrets, deny: true, plane: inbound, dags: ["secret_*"]}"""
    policy = narrowing(load(rules))
    asked = request("GET", "/api/v2/dags", narrowed=True)
    explanation = explain(asked, identity("viewer"), policy)
    reach = "the request may reach any DAG (`~`), Airflow keeps to"
    assert condition(explanation, "sales", "dags") == (True, f"DAG `sales_*` — {reach} these")
    assert condition(explanation, "no-secrets", "dags") == (False, f"DAG `secret_*` — {reach} all others")
    lines = explanation.lines()
    assert "  DAGs       Airflow shows only sales_*, not secret_*" in lines
    assert "  in Airflow user" not in lines
    assert "  in Airflow viewer" in lines
    assert explanation.as_json()["dags"] == {"allowed": ["sales_*"], "denied": ["secret_*"]}
    assert explanation.as_json()["airflow_role"] == "viewer"
    nobody = explain(asked, None, policy)
    assert condition(nobody, "no-secrets", "dags") == (True, "DAG `secret_*` — the request may reach any DAG (`~`)")
    assert nobody.as_json()["dags"] is None
    assert nobody.as_json()["airflow_role"] == ""


def test_more_dags_than_fit_into_an_assertion_are_shown_like_any_others():
    globs = ", ".join(f'"{"x" * 90}{number:03}_*"' for number in range(100))
    policy = narrowing(load(f"{{id: many, plane: inbound, roles: [viewer], operations: [dags:read], dags: [{globs}]}}"))
    explanation = explain(request("GET", "/api/v2/dags", narrowed=True), identity("viewer"), policy)
    assert explanation.decision.reason is Reason.RULE
    assert len(explanation.as_json()["dags"]["allowed"]) == 100
    (line,) = [line for line in explanation.lines() if line.startswith("  DAGs ")]
    assert line.count("_*") == 100


def test_runs_that_are_not_known():
    explanation = ask("GET", "/v1/orders", identity("sales-etl"), plane="egress", host="orders.internal")
    assert condition(explanation, "orders", "dags") == (False, "DAG `sales_*` — it is not known which run calls")
    assert condition(explanation, "orders", "identity") == (
        False,
        "needs a run that is at least `verified` — it is not known which run calls",
    )
    assert condition(explanation, "vault", "dags") == (
        True,
        "DAG `x` — it is not known which run calls, so it is denied",
    )
    assert explanation.nearest.rule == "orders"


OUTBOUND = load(
    """{id: orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**"], dags: ["sales_*"],
  tasks: ["extract*"]}
{id: bearer, plane: egress, hosts: [files.internal], paths: ["/**"], identity: verified-bearer}
{id: tunnel, plane: egress, hosts: [db.internal], methods: [CONNECT], dags: [sales_daily]}
{id: plain, plane: egress, roles: [sales-etl], hosts: [db.internal], paths: [/x]}
{id: no-delete, deny: true, plane: egress, hosts: ["*.internal"], methods: [DELETE], tasks: [cleanup]}"""
)


def call(who, method="GET", target="/v1/orders", **kw):
    return explain(request(method, target, plane="egress", **kw), who, OUTBOUND)


def test_the_run_that_calls_is_held_against_every_condition():
    explanation = call(caller(), destination="orders", host="orders.internal")
    assert explanation.decision.rule == "orders"
    assert [(c.name, c.text) for c in rule(explanation, "orders").conditions] == [
        ("destinations", "`orders` is covered by `orders`"),
        ("methods", "`GET` is covered by `GET`"),
        ("paths", "`/v1/orders` is covered by `/v1/**`"),
        ("dags", "`sales_daily` is covered by `sales_*`"),
        ("tasks", "`extract` is covered by `extract*`"),
        ("identity", "the run is `verified`, at least `verified` is needed"),
    ]
    lines = explanation.lines()
    assert "  goes to    orders" in lines
    assert "  run        verified: DAG `sales_daily`, task `extract`, run `r1`, try 1" in lines
    assert explanation.as_json()["destination"] == "orders"
    assert explanation.as_json()["run"] == {
        "dag_id": "sales_daily", "run_id": "r1", "task_id": "extract", "map_index": -1, "try_number": 1,
        "level": "verified",
    }  # fmt: skip


def test_what_is_missing_of_a_run_and_of_its_level():
    explanation = call(caller("hr", "load", "asserted"), destination="orders", host="orders.internal")
    assert [(c.name, c.text) for c in rule(explanation, "orders").missing] == [
        ("dags", "needs one of `sales_*` — the request has `hr`"),
        ("tasks", "needs one of `extract*` — the request has `load`"),
        ("identity", "needs a run that is at least `verified` — the run is `asserted`"),
    ]
    weak = call(caller(level="asserted"), destination="orders", host="orders.internal")
    assert weak.decision.reason is Reason.IDENTITY_TOO_WEAK
    assert weak.nearest.rule == "orders"
    assert [c.name for c in weak.nearest.missing] == ["identity"]
    assert "  because    the rule `orders` asks for `verified`, and the run is `asserted`" in weak.lines()


def test_a_run_that_is_only_asserted_may_be_the_one_that_is_denied():
    explanation = call(caller(level="asserted"), "DELETE", host="a.internal")
    assert explanation.decision.rule == "no-delete"
    assert condition(explanation, "no-delete", "tasks") == (
        True,
        "task `cleanup` — `extract` is only asserted and may be another one, so it is denied",
    )
    assert f"  because    {UNSURE}" in explanation.lines()


def test_requests_that_go_to_no_named_destination():
    explanation = call(caller(), host="orders.internal")
    assert condition(explanation, "orders", "destinations") == (
        False,
        "needs one of `orders` — the request goes to no named destination",
    )


def test_tunnels():
    explanation = call(caller(task="cleanup"), "CONNECT", "db.internal:5432")
    assert explanation.decision.rule == "no-delete"
    assert condition(explanation, "no-delete", "methods") == (True, "a tunnel (CONNECT) may carry any method and path")
    assert condition(explanation, "tunnel", "methods") == (True, "`CONNECT` is covered by `CONNECT`")
    text = "needs `CONNECT` — only a rule that says so allows a tunnel"
    assert condition(explanation, "plain", "methods") == (False, text)
    assert "  request    egress CONNECT db.internal:5432" in explanation.lines()
    assert call(caller(), "CONNECT", "db.internal:5432").decision.rule == "tunnel"
    assert condition(call(caller(), host="db.internal"), "tunnel", "methods")[0] is False


def test_a_mapped_task():
    who = identity(run=run(map_index=3))
    assert "  run        verified: DAG `sales_daily`, task `extract[3]`, run `r1`, try 1" in call(who).lines()


def test_a_run_of_which_no_task_is_named():
    who = identity(run=run(task=""))
    assert "  run        verified: DAG `sales_daily`, no task named, run `r1`, try 1" in call(who).lines()


def test_operations_on_egress():
    policy = load("{id: x, deny: true, operations: [dags:read]}")
    explanation = explain(request("GET", "/api/v2/dags", plane="egress"), None, policy)
    assert condition(explanation, "x", "operations") == (
        False,
        "needs one of `dags:read` — operations are on the inbound plane",
    )


def test_text_for_a_person():
    lines = ask("POST", "/api/v2/dags/sales_a/dagRuns?token=hunter2", identity("viewer")).lines()
    assert lines[:10] == [
        "DENY (no_rule): No rule allows this request for the identity's roles.",
        "  request    inbound POST airflow.example.com/api/v2/dags/sales_a/dagRuns",
        "  operation  dag_runs:create (/api/v2/dags/{dag_id}/dagRuns), DAG `sales_a`",
        "  identity   s-1 of corp",
        "  groups     none",
        "  roles      viewer",
        "  in Airflow no role",
        f"  policy     revision {POLICY.revision[:12]}",
        "rules considered:",
        "  allow `ops` (policy.yaml:19:5): does not apply",
    ]
    assert "    ✗ roles: role `op` — your roles are `viewer`" in lines
    assert "    ✓ dags: `sales_a` is covered by `*`" in lines
    assert lines[-2:] == [
        "nearest rule that would allow: `ops` (policy.yaml:19:5)",
        "  missing roles: role `op` — your roles are `viewer`",
    ]
    assert "hunter2" not in "\n".join(lines)


def test_text_about_anonymous_callers_and_unknown_routes():
    lines = ask("GET", "/nothing").lines()
    assert "  operation  none: the path and method are no route of the catalogue" in lines
    assert "  identity   anonymous: no valid token" in lines
    egress = ask("GET", "/v1/orders", identity(), plane="egress").lines()
    assert not [line for line in egress if line.startswith("  operation")]
    assert "  roles      none" in egress


def test_text_of_an_allowed_request():
    lines = ask("GET", "/api/v2/version").lines()
    assert lines[0] == "ALLOW (public) by rule `version`: A public rule allows it for everyone."
    assert lines[2] == "  operation  version:read (/api/v2/version)"
    assert not [line for line in lines if line.startswith("nearest")]


def test_plain_data():
    found = ask("POST", "/api/v2/dags/sales_a/dagRuns", identity("viewer")).as_json()
    assert json.loads(json.dumps(found)) == found
    considered, nearest = found.pop("considered"), found.pop("nearest")
    assert found == {
        "decision": "deny", "reason": "no_rule", "rule": "",
        "help": "No rule allows this request for the identity's roles.",
        "plane": "inbound", "method": "POST", "host": "airflow.example.com", "path": "/api/v2/dags/sales_a/dagRuns",
        "route": "/api/v2/dags/{dag_id}/dagRuns", "operation": "dag_runs:create", "dag": "sales_a",
        "subject": "s-1", "roles": ["viewer"], "revision": POLICY.revision, "dags": None, "airflow_role": "",
        "destination": "", "run": None, "issuer": "corp", "groups": [], "port": None,
    }  # fmt: skip
    assert nearest == considered[0]
    assert nearest == {
        "rule": "ops", "team": None, "effect": "allow", "place": "policy.yaml:19:5", "applies": False,
        "conditions": [
            {"name": "roles", "holds": False, "text": "role `op` — your roles are `viewer`"},
            {"name": "operations", "holds": True, "text": "`dag_runs:create` is covered by `*`"},
            {"name": "hosts", "holds": True, "text": "`airflow.example.com` is covered by `airflow.example.com`"},
            {"name": "dags", "holds": True, "text": "`sales_a` is covered by `*`"},
        ],
    }  # fmt: skip


def test_plain_data_of_an_anonymous_allowed_request():
    found = ask("GET", "/api/v2/version").as_json()
    assert (found["decision"], found["subject"], found["roles"], found["nearest"]) == ("allow", None, [], None)


def test_plain_data_names_the_callers_groups_in_order():
    who = POLICY.identify(claims(groups=["z", "data-ops", "a"]))
    assert ask("GET", "/x", who).as_json()["groups"] == ["a", "data-ops", "z"]
    assert ask("GET", "/x").as_json()["groups"] == []
    assert ask("GET", "/x").as_json()["issuer"] is None


def test_a_rule_of_a_built_in_role_names_the_role_that_the_operation_is_for():
    policy = load(roles="\n  airflow.viewer: {groups: [data-readers]}\n")
    who = policy.identify(claims(groups=["data-readers"]))
    explanation = explain(request("POST", "/api/v2/pools"), who, policy)
    assert condition(explanation, "airflow.viewer", "operations") == (
        False,
        "needs one of `airflow.viewer` — the request has `pools:create`, which is for `airflow.op`",
    )
    reads = explain(request("GET", "/api/v2/pools"), who, policy)
    assert condition(reads, "airflow.viewer", "operations")[0] is True


def test_of_equally_near_rules_the_policys_own_come_first_then_the_weakest_built_in_role():
    built_in = "\n  airflow.op: {groups: [ops]}\n  airflow.viewer: {groups: [readers]}\n  own: {groups: [own]}\n"
    policy = load("{id: zzz, plane: inbound, roles: [own], operations: [dags:read]}", roles=built_in)
    explanation = explain(request("GET", "/api/v2/dags"), policy.identify(claims(groups=[])), policy)
    nearest = [(rule.distance, rule.rule) for rule in explanation.considered[:3]]
    assert [name for _, name in nearest] == ["zzz", "airflow.viewer", "airflow.op"]
    assert len({distance for distance, _ in nearest}) == 1


def test_a_denied_caller_is_in_airflow_what_its_roles_say():
    policy = load(roles="\n  airflow.viewer: {groups: [data-readers]}\n")
    who = policy.identify(claims(groups=["data-readers"]))
    denied = explain(request("POST", "/api/v2/pools"), who, policy)
    assert denied.airflow_role == who.airflow_role == "viewer"
    assert explain(request("POST", "/api/v2/pools"), None, policy).airflow_role == ""


def test_deny_rules_are_never_the_nearest():
    for method, target in (("GET", "/x"), ("POST", "/api/v2/dags/x/dagRuns")):
        assert ask(method, target, identity("viewer")).nearest.effect is not Effect.DENY


def test_the_identity_is_the_callers():
    who = POLICY.identify(claims(groups=["data-ops"]))
    assert ask("GET", "/x", who).identity is who


def test_a_deny_rule_about_tasks_spares_a_verified_run_of_another():
    explanation = call(caller(), "DELETE", host="a.internal")
    assert condition(explanation, "no-delete", "tasks") == (
        False,
        "needs one of `cleanup` — the request has `extract`",
    )


def test_what_does_not_hold_of_a_runs_level_is_false():
    weak = call(caller(level="asserted"), destination="orders", host="orders.internal")
    assert condition(weak, "orders", "identity")[0] is False


def teams():
    rules = """{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team}
{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"]}"""
    roles = '\n  viewer: {groups: [v]}\n  "{team}-viewer": {groups: ["{team}-viewers"]}\n'
    return load(rules, roles=roles, top='version: 1\nteams: [{names: [it, hr, sales], dags: ["{team}_*"]}]')


@pytest.mark.parametrize(
    ("dag", "roles", "listed"),
    [
        (
            "hr_x",
            ["hr-viewer"],
            ["allow `view/hr` (policy.yaml:13:5): applies", "and for 2 other teams, whose `view` does not apply"],
        ),
        (
            "hr_x",
            ["it-viewer"],
            [
                "allow `view/it` (policy.yaml:13:5): does not apply",
                "and for 2 other teams, whose `view` does not apply",
            ],
        ),
    ],
)
def test_a_rule_for_all_teams_is_listed_once_where_it_does_not_apply(dag, roles, listed):
    made = explain(request("GET", f"/api/v2/dags/{dag}"), identity(*roles), teams())
    lines = [line.strip() for line in made.lines() if "allow `view/" in line or "other team" in line]
    assert lines == listed
    assert [one["rule"] for one in made.as_json()["considered"] if one["team"]] == [
        f"view/{name}" for name in (["hr", "it", "sales"] if roles == ["hr-viewer"] else ["it", "hr", "sales"])
    ]


def test_one_other_team():
    made = explain(request("GET", "/api/v2/dags/hr_x"), identity("hr-viewer", "it-viewer"), teams())
    assert "    and for 2 other teams, whose `view` does not apply" in made.lines()


def test_a_rule_of_a_file_hides_no_rule_for_all_teams_of_the_same_id():
    line = '{id: see, plane: inbound, roles: [hr-viewer], operations: ["dags:read"], dags: team}'
    text = included.main().replace("id: team-see", "id: see")
    policy = load_bundle(included.bundle(hr=included.rules(line), sales=included.rules(), text=text))
    made = explain(request("GET", "/api/v2/dags/other"), identity("hr-viewer"), policy)
    lines = [line.strip().partition(" (")[0] for line in made.lines() if "see/" in line or "other team" in line]
    assert lines == [f"allow `see/{included.HR}`", "allow `see/hr`", "and for 1 other team, whose `see` does not apply"]
