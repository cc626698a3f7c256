"""What holds for the built-in roles beside any other rules: they are the sum of their operations, and each is more."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from authz.core import catalogue
from authz.core.decision.decide import evaluate
from authz.core.model import Allow
from authz.core.policy import BUILT_IN
from authz.core.policy.operations import expand
from tests.properties.test_policies import policies, rule, valid, written
from tests.support.examples import examples
from tests.support.factories.policies import ROLES, claims, load, request

TABLE = catalogue.load("3.3")
SETS = tuple(BUILT_IN)
FEW = examples(60)
GROUPS = ("data-readers", "data-users", "data-ops", "built-in")


def target(template, dag):
    return template.replace("{dag_id}", dag).replace(":path}", "").replace("{", "").replace("}", "")


ROUTES = sorted(
    (route.method, target(route.template, dag))
    for operation in TABLE.operations.values()
    for route in operation.routes
    for dag in ("s_a", "~")
)
odd = st.sampled_from(
    [("HEAD", "/api/v2/dags"), ("OPTIONS", "/api/v2/dags"), ("GET", "/api/v2/nothing"), ("GET", "/x")]
)
requests = (st.sampled_from(ROUTES) | odd).map(lambda asked: request(*asked))
asks = st.lists(requests, min_size=5, max_size=30)
groups = st.lists(st.sampled_from(GROUPS), unique=True)
built_in = st.sampled_from(SETS)


@cache
def operations(name):
    return sorted(expand(name, TABLE, never=False))


def policy_of(table, *lines, role=""):
    rules = [written(name, table[name]) for name in table]
    return load("\n".join([*rules, *lines]), roles=ROLES + role)


def allowed(policy, asked, *names):
    return isinstance(evaluate(asked, policy.identify(claims(groups=names)), policy), Allow)


@FEW
@given(policies, built_in, asks, groups)
def test_a_built_in_role_is_the_rule_with_all_of_its_operations(table, name, asked, names):
    given_role = policy_of(table, role=f"  {name}: {{groups: [built-in]}}\n")
    by_hand = policy_of(
        table,
        f"{{id: by-hand, plane: inbound, roles: [mine], operations: {operations(name)}}}",
        role="  mine: {groups: [built-in]}\n",
    )
    for one in asked:
        assert allowed(given_role, one, *names) == allowed(by_hand, one, *names)


@FEW
@given(policies, built_in, st.sampled_from(['["*"]', '["s_*"]', '["s_a", "b"]', ""]), asks)
def test_a_set_in_a_rule_is_the_list_of_its_operations(table, name, dags, asked):
    rest = f", dags: {dags}" if dags else ""
    by_set, by_list = (
        policy_of(table, f"{{id: mine, plane: inbound, roles: [user], operations: {words}{rest}}}")
        for words in (f"[{name}]", operations(name))
    )
    for one in asked:
        assert allowed(by_set, one, "data-users") == allowed(by_list, one, "data-users")


@FEW
@given(policies, asks)
def test_each_built_in_role_may_what_the_weaker_ones_may(table, asked):
    """Rules of one's own do not concern them here, so deny rules concern all of them or none."""
    roles = "".join(f"  {name}: {{groups: [{name}]}}\n" for name in SETS)
    policy = policy_of(table, role=roles)
    for one in asked:
        ladder = [allowed(policy, one, name) for name in SETS]
        assert ladder == sorted(ladder)


@FEW
@given(policies, built_in, built_in, asks, groups)
def test_more_members_never_lose_a_right(table, name, other, asked, names):
    """Rules name no built-in role here: those are the only ones that could take something away from its members."""
    fewer = policy_of(table, role=f"  {name}: {{groups: [built-in]}}\n")
    more_members = f"  {name}: {{groups: [built-in, {', '.join(GROUPS[:3])}]}}\n"
    included = f"  more: {{groups: [{GROUPS[0]}], includes: [{other}]}}\n"
    more = policy_of(table, role=more_members + included)
    for one in asked:
        assert allowed(more, one, *names) >= allowed(fewer, one, *names)


denials = rule(
    "deny", "operations", plane="inbound", operations=st.lists(built_in, min_size=1, max_size=2, unique=True)
)


@FEW
@given(policies, denials, asks)
def test_a_deny_rule_takes_its_sets_away_from_everyone(table, denial, asked):
    assert valid(written("x", denial))
    policy = policy_of({**table, "x": denial}, role="  airflow.admin: {groups: [built-in]}\n")
    denied = set().union(*(expand(word, TABLE, never=True) for word in denial["operations"]))
    for one in asked:
        route = TABLE.match(one.segments, one.method)
        assert not (route is not None and route.operation in denied and allowed(policy, one, *GROUPS))
