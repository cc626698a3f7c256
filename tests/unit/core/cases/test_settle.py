"""A team's mistake is a matter of its file alone, and nothing comes into force that a strict load would not take."""

import pytest

from authz.core import cases
from authz.core.decision.decide import evaluate
from authz.core.errors import PolicyError, Problem
from authz.core.model import Allow
from authz.core.policy import Bundle
from authz.core.policy.bundle import LAST_GOOD, LEFT_OUT, Part
from tests.support.factories.included import GOOD_HR, GOOD_SALES, HR, SALES, SECRET, VIEW, bundle, main, rules
from tests.support.factories.policies import claims, request

NEWER = rules(VIEW.replace("view", "newer", 1) % "hr")
BROKEN = rules(VIEW % "sales", "{id: view}")
SEES = "tests:\n  - {who: {groups: [airflow-%s-viewers]}, operation: %s, dag: %s, expect: %s}\n"
GOOD = {SALES: GOOD_SALES.encode(), HR: GOOD_HR.encode()}


def settled(found, good=(), load=cases.load):
    return cases.settled(found, load, lambda: dict(good))


def faults(result):
    return {fault.name: fault.status for fault in result.faults}


def allowed(result, method, path, *groups):
    policy = result.suite.policy
    return isinstance(evaluate(request(method, path), policy.identify(claims(groups=groups)), policy), Allow)


def refused(*arguments, **options):
    with pytest.raises(PolicyError) as caught:
        settled(*arguments, **options)
    return [str(problem) for problem in caught.value.problems]


def test_files_without_mistakes_come_into_force_as_they_are():
    result = settled(bundle())
    assert (result.bundle, result.faults) == (bundle(), ())


def test_a_policy_without_files_of_teams_is_loaded_or_refused_as_ever():
    with pytest.raises(PolicyError):
        settled(Bundle(b"version: 7", "policy.yaml"))


@pytest.mark.parametrize("broken", [BROKEN, "rules: [", None, rules(VIEW % "hr")])
def test_a_mistake_keeps_the_last_good_content_of_that_file_and_nothing_else(broken):
    result = settled(bundle(broken, NEWER), GOOD)
    assert faults(result) == {SALES: LAST_GOOD}
    assert {f"view/{SALES}", f"secret/{SALES}", f"newer/{HR}"} <= result.suite.policy.rules.keys()
    assert result.suite.policy.revision == bundle(GOOD_SALES, NEWER).revision
    assert all(problem.file == SALES for problem in result.faults[0].problems)
    assert "last good content" in result.faults[0].consequence


def test_a_file_without_a_last_good_content_is_left_out_and_its_roles_are_denied_what_it_might_deny():
    result = settled(bundle(BROKEN, NEWER))
    assert faults(result) == {SALES: LEFT_OUT}
    assert "might forbid is denied" in result.faults[0].consequence
    assert not allowed(result, "GET", "/api/v2/dags/sales_a", "airflow-sales-viewers")
    assert allowed(result, "GET", "/api/v2/dags/hr_a/dagRuns/x", "airflow-hr-viewers")
    assert result.suite.policy.revision not in {bundle(BROKEN, NEWER).revision, bundle(None, NEWER).revision}


def test_what_was_good_under_another_policy_is_not_used_if_it_is_not_good_now():
    text = main().replace("team: sales, destinations", "roles: [sales-viewer], dags: [sales_other], destinations")
    result = settled(bundle(BROKEN, text=text), GOOD)
    assert faults(result) == {SALES: LEFT_OUT}
    assert result.bundle.parts[1].data == GOOD_SALES.encode()  # it stays the last good one
    unchanged = settled(bundle(text=text), GOOD)
    assert faults(unchanged) == {SALES: LEFT_OUT}


def test_a_failing_test_of_a_team_keeps_that_teams_last_good_file():
    failing = rules(VIEW % "sales", more=SEES % ("sales", '"dag_runs:read"', "hr_a", "allow"))
    result = settled(bundle(failing, NEWER), GOOD)
    assert faults(result) == {SALES: LAST_GOOD}
    assert f"newer/{HR}" in result.suite.policy.rules
    assert "fails" in str(result.faults[0].problems[0])


def test_a_test_of_a_team_that_a_change_of_the_policy_breaks_does_not_keep_that_change_out():
    """Its rules stay: they are within its confines. That its test fails is reported."""
    file = rules(VIEW % "sales", more=SEES % ("sales", '"dags:read"', "sales_a", "allow"))
    result = settled(bundle(file, text=without_all_see()), {**GOOD, SALES: file.encode()})
    assert faults(result) == {SALES: LAST_GOOD}
    assert f"view/{SALES}" in result.suite.policy.rules
    assert not allowed(result, "GET", "/api/v2/dags/sales_a", "airflow-sales-viewers")
    assert result.suite.policy.revision == bundle(file, text=without_all_see()).revision


def without_all_see():
    return "\n".join(line for line in main().splitlines() if "all-see" not in line) + "\n"


NEVER = 'never:\n  - {roles: [sales-viewer], except: [admin], operations: ["dag_runs:delete"]}\n'
DELETES = '{id: deletes, plane: inbound, roles: [sales-viewer], operations: ["dag_runs:delete"], dags: team}'


def test_a_team_whose_rule_breaks_a_promise_of_the_policy_is_the_one_that_is_kept_back():
    result = settled(bundle(rules(VIEW % "sales", DELETES), NEWER, text=main(more=NEVER)), GOOD)
    assert faults(result) == {SALES: LAST_GOOD}
    assert f"newer/{HR}" in result.suite.policy.rules
    [problem] = result.faults[0].problems
    assert (problem.file, problem.line) == (SALES, 0)
    assert "with this file the policy has a mistake: policy.yaml:" in problem.message
    assert f"by rule `deletes/{SALES}` at {SALES}:3:5" in problem.message


def test_a_promise_that_the_last_good_files_break_is_a_mistake_of_the_policy():
    good = {**GOOD, SALES: rules(VIEW % "sales", DELETES).encode()}
    found = bundle(good[SALES].decode(), "rules: [", text=main(more=NEVER))
    told = refused(found, good)
    assert any("`never` does not hold" in text for text in told)
    assert any(text.startswith(f"{HR}:") for text in told)


@pytest.mark.parametrize("good", [(), GOOD])
def test_a_mistake_in_the_policy_file_keeps_everything(good):
    text = main().replace("roles: [admin]", "roles: [admni]")
    assert refused(bundle(text=text), good) == [str(problem) for problem in strict(text)]
    assert len(refused(bundle(BROKEN, text=text), good)) > len(strict(text))


def strict(text):
    with pytest.raises(PolicyError) as caught:
        cases.load(bundle(text=text))
    return caught.value.problems


def test_a_new_content_is_in_force_although_the_last_good_one_is_not_good_any_more():
    """The policy file takes a DAG from one team, which follows, and another team breaks a promise of it."""
    text = main(more=NEVER).replace("team: hr}", "roles: [hr-viewer], dags: [hr_a]}")
    hr = GOOD_HR.replace("dags: team", "dags: [hr_a]")
    result = settled(
        bundle(rules(VIEW % "sales", DELETES), hr, text=text),
        {**GOOD, HR: GOOD_HR.replace("team", '["hr_b"]').encode()},
    )
    assert faults(result) == {SALES: LAST_GOOD}
    assert result.suite.policy.rules[f"view/{HR}"].dags[0].text == "hr_a"


def test_the_file_that_breaks_the_policy_is_found_among_many():
    names = [f"teams/t{number}.yaml" for number in range(9)]
    entries = (f"{{file: {name}, roles: [sales-viewer], dags: [sales_{at}]}}" for at, name in enumerate(names))
    include = "".join(f"\n  - {entry}" for entry in entries)
    for at in (0, 4, 8):
        bad = rules(DELETES.replace("dags: team", f"dags: [sales_{at}]"))
        parts = tuple(Part(name, (bad if name == names[at] else "rules: []\n").encode()) for name in names)
        found = Bundle(main(include=f"{include}\n", more=NEVER).encode(), "policy.yaml", parts)
        assert faults(settled(found)) == {names[at]: LEFT_OUT}


def test_two_files_that_break_the_policy_are_both_kept_back():
    never = NEVER.replace("[sales-viewer]", "[sales-viewer, hr-viewer]")
    bad = [rules(VIEW % team, DELETES.replace("sales", team)) for team in ("sales", "hr")]
    result = settled(bundle(*bad, text=main(more=never)), GOOD)
    assert faults(result) == {SALES: LAST_GOOD, HR: LAST_GOOD}


def test_what_only_other_files_show_is_a_mistake_of_the_file_that_has_it():
    def load(found):
        suite = cases.load(found)
        unknown = [rule for rule in suite.policy.rules.values() if rule.id == f"view/{SALES}"]
        if unknown:
            raise PolicyError([Problem(*suite.policy.place_of(unknown[0]), "there is no such destination")])
        return suite

    result = settled(bundle(hr=NEWER), load=load)
    assert faults(result) == {SALES: LEFT_OUT}
    assert f"newer/{HR}" in result.suite.policy.rules


MAIN_TESTS = """callers:
  sales: {groups: [airflow-sales-viewers]}
  hr: {groups: [airflow-hr-viewers]}
tests:
  - {who: sales, request: GET /api/v2/dags/sales_a/dagRuns, expect: allow, rule: view/teams/sales.yaml}
  - {who: sales, request: GET /api/v2/dags/sales_secret, expect: deny, rule: secret/teams/sales.yaml}
  - {who: hr, operation: "dags:read", dag: sales_a, expect: allow}
  - {who: sales, operation: "dags:delete", dag: hr_a, expect: deny, reason: no_rule}
"""


def test_tests_of_the_policy_may_rely_on_a_file_that_is_left_out():
    text = main(more=MAIN_TESTS)
    assert settled(bundle(text=text)).faults == ()
    assert faults(settled(bundle(BROKEN, text=text))) == {SALES: LEFT_OUT}


@pytest.mark.parametrize(
    "wrong",
    [
        "{who: {groups: [all]}, request: GET /api/v2/pools, expect: allow}",
        "{who: {groups: [admins]}, request: GET /api/v2/pools, expect: deny}",
        "{who: {groups: [admins]}, request: GET /api/v2/dags, hides: [x], expect: allow}",
    ],
)
def test_a_test_that_fails_whatever_the_file_would_say_is_a_mistake_of_the_policy(wrong):
    text = main(more=f"{MAIN_TESTS}  - {wrong}\n")
    assert any("fails" in problem for problem in refused(bundle(BROKEN, text=text)))


def test_a_first_content_that_does_not_give_what_the_policy_asks_of_it_is_left_out():
    asked = '{who: hr, operation: "dags:delete", dag: hr_a, expect: allow}'
    result = settled(bundle(text=main(more=f"{MAIN_TESTS}  - {asked}\n")))
    assert faults(result) == {HR: LEFT_OUT}


def test_what_a_list_shows_counts_while_a_file_is_left_out_unless_it_is_denied():
    fine = "{who: sales, request: GET /api/v2/dags, hides: [marketing], expect: allow}"
    text = main(more=f"{MAIN_TESTS}  - {fine}\n").replace('dags: ["*"]', 'dags: ["hr_*", "sales_*"]')
    assert faults(settled(bundle(BROKEN, text=text))) == {SALES: LEFT_OUT}


def test_tests_of_each_file_have_a_limit_of_their_own():
    from authz.core.cases.compile import MOST_INCLUDED_REQUESTS

    row = "  - {who: {groups: [a]}, request: GET /x, expect: deny}\n"
    many = rules(VIEW % "hr", more=f"tests:\n{row * MOST_INCLUDED_REQUESTS}")
    one = rules(VIEW % "sales", SECRET % "sales", more=f"tests:\n{row}")
    result = settled(bundle(one, many))
    assert (result.faults, len(result.suite.cases)) == ((), MOST_INCLUDED_REQUESTS + 1)
    result = settled(bundle(one, f"{many}{row}"), GOOD)
    assert faults(result) == {HR: LAST_GOOD}
    assert f"more than {MOST_INCLUDED_REQUESTS} requests" in result.faults[0].problems[0].message


def test_the_last_good_contents_are_those_in_force_and_those_that_are_kept_for_later():
    parts = (Part(HR, b"hr", status=LEFT_OUT), Part(SALES, b"sales"), Part("tests.yaml", b"t"))
    assert cases.good_parts(Bundle(main().encode(), "policy.yaml", parts)) == {HR: b"hr", SALES: b"sales"}
