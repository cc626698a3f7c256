"""A test of a policy says what the engine says: a case made from its answer passes, and the opposite case fails."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authz.core import cases
from authz.core.cases.callers import identity_of
from authz.core.cases.coverage import covered
from authz.core.cases.judge import Judge
from authz.core.decision.decide import evaluate
from authz.core.errors import PolicyError
from authz.core.model import Allow, Plane
from authz.core.policy import Bundle, load
from tests.properties.test_policies import FEW, policies, written
from tests.support.factories.policies import text
from tests.support.plain_coverage import uncovered

MEMBERSHIPS = {"groups": ("data-readers", "data-users", "data-ops", "strangers"), "client": ("copilot", "sales-etl")}
PATHS = (
    "/api/v2/dags/s_a/dagRuns", "/api/v2/dags/s_a", "/api/v2/dags", "/x", "/x/1", "/x/yes", "/api/v2/dags/~/dagRuns",
    "/api/v2/pools", "/ui/auth/token", "/", "/api/v2/dags/b/dagRuns", "/api/v2/pools/a%2Fb?x=1", "/api/v2/nothing",
)  # fmt: skip
accounts = st.fixed_dictionaries(
    {}, optional={"groups": st.lists(st.sampled_from(MEMBERSHIPS["groups"]), min_size=1, max_size=2, unique=True),
                  "client": st.sampled_from(MEMBERSHIPS["client"])},
).filter(bool)  # fmt: skip
runs = st.fixed_dictionaries(
    {"dag": st.sampled_from(["s_a", "x", "b_a"]), "identity": st.sampled_from(["verified", "asserted"])}
).map(lambda run: {"run": run})
asserted = st.builds(lambda account, dag: {**account, "run": {"dag": dag}}, accounts, st.sampled_from(["s_a", "x"]))
whos = st.sampled_from(["anonymous", "authenticated"]) | accounts | accounts | runs | asserted
hosts = st.sampled_from(["a.test", "b.a.test", "other"])


@st.composite
def questions(draw):
    """A test without its answer."""
    who = draw(whos)
    path = draw(st.sampled_from(PATHS))
    asked = {"who": who, "request": f"{draw(st.sampled_from(['GET', 'HEAD', 'POST', 'DELETE']))} {path}"}
    if (isinstance(who, dict) and "run" in who) or draw(st.booleans()):
        asked = {**asked, "request": asked["request"].replace("%2F", "%20"), "plane": "egress"}
    elif draw(st.booleans()):
        asked["narrowed"] = True
    return {**asked, "host": draw(hosts)}


def suite_of(table, tests):
    rules = text("\n".join(written(name, rule) for name, rule in table.items()))
    return Bundle((rules + f"tests: {json.dumps(tests)}\n").encode(), "policy.yaml")


def answers(table, asked):
    """What the engine says to each question, and each question's request and identity."""
    suite = cases.read(suite_of(table, [{**one, "expect": "deny"} for one in asked]))
    for case in suite.cases:
        [request] = case.requests
        identity = identity_of(case.caller, suite.policy, request.plane)
        yield evaluate(request, identity, suite.policy), request, identity


def told(decision):
    allow = isinstance(decision, Allow)
    exactly = {"expect": "allow" if allow else "deny", "reason": decision.reason.value}
    return {**exactly, "rule": decision.rule} if decision.rule else exactly


def fails(table, test):
    try:
        cases.load(suite_of(table, [test]))
    except PolicyError as error:
        return error.test != ""
    return False


@FEW
@given(policies, st.lists(questions(), min_size=1, max_size=6))
def test_a_case_made_from_the_answer_passes_and_the_opposite_fails(table, asked):
    decisions = [decision for decision, _request, _identity in answers(table, asked)]
    tests = [{**one, **told(decision)} for one, decision in zip(asked, decisions, strict=True)]
    assert len(cases.load(suite_of(table, tests)).cases) == len(asked)
    for one, decision in zip(asked, decisions, strict=True):
        opposite = "deny" if isinstance(decision, Allow) else "allow"
        assert fails(table, {**one, "expect": opposite})


@FEW
@given(policies, st.lists(questions(), min_size=2, max_size=6))
def test_a_table_a_matrix_and_single_tests_say_the_same(table, asked):
    who = asked[0]["who"]
    same = [{**asked[0], "request": one["request"].replace("%2F", "%20")} for one in asked]
    results = [isinstance(decision, Allow) for decision, _request, _identity in answers(table, same)]
    rows = {one["request"]: "allow" if allowed else "deny" for one, allowed in zip(same, results, strict=True)}
    common = {key: value for key, value in asked[0].items() if key != "request"}
    assert len(cases.load(suite_of(table, [{**common, "table": rows}])).cases) == len(rows)
    if who in ("anonymous", "authenticated"):
        exactly = {row: [who] if allowed == "allow" else "none" for row, allowed in rows.items()}
        bare = {key: value for key, value in common.items() if key != "who"}
        assert len(cases.load(suite_of(table, [{**bare, "among": [who], "matrix": exactly}])).cases) == len(rows)


@FEW
@given(policies, st.lists(questions(), max_size=8))
def test_coverage_is_what_its_definition_says(table, asked):
    pairs = [(request, identity) for _decision, request, identity in answers(table, asked)]
    policy = load(suite_of(table, []))
    assert [(one.rule.id, one.condition) for one in covered(policy, pairs).uncovered] == uncovered(policy, pairs)


@FEW
@given(policies, st.lists(questions(), min_size=1, max_size=4))
def test_a_covered_condition_is_one_that_a_request_notices(table, asked):
    """Of a rule whose only failing condition is dropped, the rule would apply: the law behind the coverage."""
    pairs = [(request, identity) for _decision, request, identity in answers(table, asked)]
    policy = load(suite_of(table, []))
    open_ones = {(one.rule.id, one.condition) for one in covered(policy, pairs).uncovered}
    for rule in policy.rules.values():
        if rule.roles and (rule.id, "roles") not in open_ones:
            wider = replace(policy, rules={**policy.rules, rule.id: replace(rule, roles=())})
            before = {name for name, condition in uncovered(policy, pairs) if not condition}
            after = {name for name, condition in uncovered(wider, pairs) if not condition}
            assert after <= before
            assert rule.id not in after


def test_the_questions_reach_both_planes_and_both_answers():
    suite = cases.read(suite_of({}, [{"who": {"run": {"dag": "a"}}, "request": "GET /x", "expect": "deny"}]))
    assert suite.cases[0].requests[0].plane is Plane.EGRESS
    assert Judge(suite.policy).run(suite.cases[0]).wrong == ""
