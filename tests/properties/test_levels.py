"""What a caller is to Airflow itself, for every policy: the level never decides, and more never makes it less."""

from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision.decide import evaluate
from authz.core.decision.rights import airflow_role
from authz.core.model import Allow
from authz.core.policy import AIRFLOW_ROLES
from tests.support.examples import examples
from tests.support.factories.policies import claims, load, request

FEW = examples(150)
GROUPS = ("g0", "g1", "g2", "g3")
RANK = {"": -1, **{role: rank for rank, role in enumerate(AIRFLOW_ROLES)}}
names = st.sampled_from([f"r{number}" for number in range(len(GROUPS))])
words = st.sampled_from(["dags:read", "dag_runs:create", "connections:*", "event_logs:read", "*:read", "*", "pools:*"])
levels = st.sampled_from(["", *AIRFLOW_ROLES])
role_levels = st.lists(levels, min_size=len(GROUPS), max_size=len(GROUPS))
included = st.lists(st.sets(st.integers(0, 3), max_size=2), min_size=len(GROUPS), max_size=len(GROUPS))
operation_rules = st.tuples(st.lists(names, min_size=1, max_size=2, unique=True), st.just("operations"), words)
paths = st.sampled_from(["/api/v2/connections", "/api/v2/**", "/api/v2/eventLogs", "/nothing"])
path_rules = st.tuples(st.lists(names, min_size=1, max_size=2, unique=True), st.just("paths"), paths)
rules = st.lists(operation_rules | path_rules, min_size=1, max_size=6)
held = st.sets(st.sampled_from(GROUPS), max_size=3)
ASKED = [
    request(*line.split())
    for line in (
        "GET /api/v2/connections",
        "DELETE /api/v2/connections/x",
        "GET /api/v2/eventLogs",
        "GET /api/v2/dags",
        "POST /api/v2/dags/x/dagRuns",
        "PATCH /api/v2/pools/x",
        "GET /nothing",
        "GET /ui/auth/menus",
    )
]


def policy_of(own_levels, includes, drawn):
    roles = ""
    for number, (level, others) in enumerate(zip(own_levels, includes, strict=True)):
        more = f", airflow: {level}" if level else ""
        below = sorted(f"r{other}" for other in others if other < number)  # no circles
        more += f", includes: {below}" if below else ""
        roles += f"\n  r{number}: {{groups: [g{number}]{more}}}"
    lines = [
        f"{{id: i{number}, plane: inbound, roles: {who}, {kind}: ['{what}']}}"
        for number, (who, kind, what) in enumerate(drawn)
    ]
    return load("\n".join(lines), roles=roles + "\n")


def level(policy, groups, asked):
    """What the assertion says of the level where the request is allowed; None where it is denied."""
    who = policy.identify(claims(groups=groups))
    decision = evaluate(asked, who, policy)
    return airflow_role(who, decision) if isinstance(decision, Allow) else None


@FEW
@given(role_levels, included, rules, held)
def test_the_level_is_at_least_what_the_allowed_operation_needs(own_levels, includes, drawn, groups):
    policy = policy_of(own_levels, includes, drawn)
    for asked in ASKED:
        got = level(policy, groups, asked)
        route = policy.catalogue.match(asked.segments, asked.method)
        if got is not None and route is not None:
            assert RANK[got] >= RANK[policy.catalogue.operations[route.operation].airflow_role]


@FEW
@given(role_levels, included, rules, held, st.sampled_from(GROUPS))
def test_one_more_group_never_lowers_the_level_and_never_turns_an_allow(own_levels, includes, drawn, groups, group):
    policy = policy_of(own_levels, includes, drawn)
    for asked in ASKED:
        before, after = level(policy, groups, asked), level(policy, groups | {group}, asked)
        assert before is None or (after is not None and RANK[after] >= RANK[before])


@FEW
@given(role_levels, included, rules, held, operation_rules | path_rules)
def test_one_more_allow_rule_never_lowers_the_level_and_never_turns_an_allow(own_levels, includes, drawn, groups, more):
    before, after = policy_of(own_levels, includes, drawn), policy_of(own_levels, includes, [*drawn, more])
    for asked in ASKED:
        was, now = level(before, groups, asked), level(after, groups, asked)
        assert was is None or (now is not None and RANK[now] >= RANK[was])
