"""Entries of `never` in a policy and its files: names, places, problems, and what a load does with them."""

import pytest

from authz.core import cases
from authz.core.cases.invariants import check_line, over_time, proofs, reason
from authz.core.errors import PolicyError
from authz.core.policy import NEVER, Bundle, rule_checks
from authz.core.proof.never import Violation
from tests.support.factories.suites import bundle, read

NAMES = 'version: 1\ntest_files: ["never/*.yaml"]'
HOLDS = '{name: only viewers read, except: [viewer, sales-etl], operations: ["dags:read"]}'
BROKEN = '{name: no one reads, operations: ["dags:read"]}'
FAILS = "{name: readers write, who: reader, request: POST /api/v2/pools, expect: allow}"


def with_never(*entries, tests="", parts=(), **options):
    made = bundle(tests, parts=[(name, never(*theirs).decode()) for name, theirs in parts], **options)
    return Bundle(made.data + never(*entries) if entries else made.data, made.file, made.parts)


def never(*entries):
    return ("never:\n" + "".join(f"  - {entry}\n" for entry in entries)).encode()


def refused(made):
    with pytest.raises(PolicyError) as caught:
        cases.load(made)
    return caught.value


def test_a_policy_that_keeps_its_entries_is_loaded_with_them():
    assert [one.name for one in cases.load(with_never(HOLDS)).never] == ["only viewers read"]
    assert cases.load(with_never()).never == ()


def test_an_entry_that_does_not_hold_is_a_problem_with_its_place_for_each_rule():
    made = with_never(HOLDS, BROKEN)
    error = refused(made)
    assert error.test == "no one reads"
    assert [problem.message.partition(" does not hold: ")[2] for problem in error.problems] == [
        "client `sales-etl` may dags:read, DAG sales_*, by rule `sales` at policy.yaml:18:5",
        "group `data-admins` may dags:read, DAG *, by rule `readers` at policy.yaml:17:5",
    ]
    first = error.problems[0]
    assert (first.file, first.column) == ("policy.yaml", 5)
    assert "no one reads" in made.data.decode().splitlines()[first.line - 1]


def test_failing_tests_and_broken_entries_are_reported_together_and_the_first_is_named():
    error = refused(with_never(BROKEN, tests=FAILS))
    assert [problem.message.partition(" ")[0] for problem in error.problems] == ["the"] * 3
    assert error.test == "readers write"
    other = refused(with_never(tests=FAILS, top=NAMES, parts=[("never/a.yaml", [BROKEN])]))
    assert {problem.file for problem in other.problems} == {"policy.yaml", "never/a.yaml"}


def test_files_that_the_policy_names_have_entries_too():
    loaded = cases.load(with_never(HOLDS, top=NAMES, parts=[("never/a.yaml", [HOLDS])]))
    assert [(one.file, one.line) for one in loaded.never][1] == ("never/a.yaml", 2)
    error = refused(with_never(HOLDS, top=NAMES, parts=[("never/a.yaml", [BROKEN])]))
    assert {problem.file for problem in error.problems} == {"never/a.yaml"}


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ('{operations: ["users:*"]}'.replace("users", "pools"), "anyone: pools:*"),
        (
            '{roles: [viewer, sales-etl], except: [anonymous], plane: inbound, methods: [GET], dags: ["hr_*", pay]}',
            "viewer, sales-etl but anonymous: GET DAG hr_*, DAG pay",
        ),
        (
            '{plane: egress, destinations: [x], hosts: [y.example], paths: ["/v2"], tasks: ["load"]}',
            "anyone: x y.example /v2 task load",
        ),
    ],
)
def test_an_entry_without_a_name_is_called_by_what_it_says(entry, name):
    assert [one.name for one in cases.read(with_never(entry)).never] == [name]


def test_mistakes_keep_entries_from_being_proven():
    error = refused(with_never(BROKEN, '{roles: [viewr], operations: ["dags:read"]}'))
    assert [problem.message for problem in error.problems] == ["unknown role `viewr`"]
    assert error.test == ""


def test_entries_times_rules_are_bounded(monkeypatch):
    monkeypatch.setattr(rule_checks, "MOST_COMPARED", 20)  # seven rules
    assert len(cases.read(with_never(HOLDS, '{operations: ["pools:*"]}')).never) == 2
    error = refused(with_never(HOLDS, top=NAMES, parts=[("never/a.yaml", [HOLDS, '{operations: ["pools:*"]}'])]))
    assert [(problem.file, problem.line) for problem in error.problems] == [("never/a.yaml", 3)]
    assert error.problems[0].message.startswith("with this entry `never` and the rules have more than 20 combinations")


def test_an_entry_can_be_asked_without_being_in_the_policy():
    made = with_never(BROKEN, tests=FAILS)
    suite = cases.read_with(made, never(HOLDS), "elsewhere")
    assert [(one.name, one.file) for one in suite.never] == [("only viewers read", "elsewhere")]
    for text in (b"never:\n  - {roles: [viewr], operations: [x]}\n", b"never: x\n", b"never: ["):
        with pytest.raises(PolicyError) as caught:
            cases.read_with(made, text, "elsewhere")
        assert {problem.file for problem in caught.value.problems} == {"elsewhere"}


def test_calls_are_told_with_place_and_run():
    policy = read().policy
    wanted = never(
        "{plane: egress, destinations: [orders], dags: [sales_x], tasks: [load]}",
        '{plane: egress, roles: [sales-etl], paths: ["/daily/x"]}',
        "{plane: egress, methods: [CONNECT]}",
        '{plane: inbound, roles: [viewer], operations: ["health:read", "dags:*", "dag_runs:*", "task_instances:*"]}',
    )
    suite = cases.read_with(bundle(), wanted, "x")
    told = [[reason(found, policy) for found in proof.violations] for proof in proofs(suite.policy, suite.never)]
    assert any(
        "may GET orders /v1/**, as a run (verified), DAG sales_x, task load, by rule `orders`" in one for one in told[0]
    )
    assert told[1] == [
        "client `sales-etl` may GET *.reports.internal /daily/**, by rule `reports` at policy.yaml:21:5",
    ]
    assert any("may CONNECT warehouse.internal" in one for one in told[2])
    assert any("callers without a token may health:read" in one for one in told[3])


def test_a_violation_for_which_no_real_request_was_found_has_no_command():
    suite = cases.read_with(bundle(), never(BROKEN), "x")
    [proof] = proofs(suite.policy, suite.never)
    found = proof.violations[0]
    assert check_line(found).startswith("authz check GET /api/v2/dags")
    without = Violation(
        caller=found.caller, region=found.region, operations=found.operations, dags=(), rule=found.rule, witness=None
    )
    assert check_line(without) == ""


def test_an_entry_that_holds_before_and_after_an_end_is_proven_once():
    rules = "{id: ends, plane: inbound, roles: [viewer], operations: [pools:read], until: 2099-12-01}"
    suite = cases.load(with_never(HOLDS, rules=rules))
    [proof] = over_time(suite.policy, suite.never)
    assert (proof.violations, proof.since) == ((), -NEVER)


ISSUERS = (
    "version: 1\nissuers:\n  - {name: corp, issuer: 'https://idp.example.com',"
    " audiences: {inbound: [airflow]}, algorithms: [RS256], groups: [groups]}\n"
)
TEMPORARY = """
roles:
  operator: {groups: [operators]}
  contractor: {groups: [contractors]}
rules:
  - {id: operate, plane: inbound, roles: [operator], operations: ["dag_runs:*"]}
  - {id: contractors, deny: true, plane: inbound, roles: [contractor], operations: ["dag_runs:create"]}
never:
  - {name: a contractor triggers nothing, roles: [contractor], operations: ["dag_runs:create"]}
"""
LEFT = (
    "the entry `a contractor triggers nothing` of `never` does not hold: from 2027-02-01T00:00Z on group `operators`"
    " and group `contractors` may dag_runs:create, DAG *, by rule `operate` at policy.yaml:8:5; they no longer have"
    " the role `contractor`"
)


def temporary(*changes):
    text = ISSUERS + TEMPORARY.lstrip("\n")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return Bundle(text.encode(), "policy.yaml")


MEMBER_ENDS = "{groups: [contractors]}", "{groups: [{name: contractors, until: 2027-01-31}]}"
DENIAL_ENDS = '"dag_runs:create"]}', '"dag_runs:create"], until: 2027-01-31}'


def test_who_had_a_role_is_meant_after_the_end_of_the_membership_too():
    """Else the end of a membership that a deny rule is about would open what the entry forbids these people."""
    [problem] = refused(temporary(MEMBER_ENDS)).problems
    assert problem.message == LEFT
    assert problem.hint.startswith("authz check --at 2027-02-01T00:00Z POST ")
    assert problem.hint.endswith("--group operators --group contractors --issuer corp")


def test_the_end_of_a_membership_is_refused_as_that_of_the_deny_rule_is():
    [problem] = refused(temporary(DENIAL_ENDS)).problems
    assert problem.message == LEFT.partition("; they no")[0]


def test_an_end_on_what_they_may_do_keeps_the_entry():
    operators_end = "{groups: [operators]}", "{groups: [{name: operators, until: 2027-01-31}]}"
    assert cases.load(temporary(operators_end))
    assert cases.load(temporary(MEMBER_ENDS, operators_end)), "both end at once"


def test_a_role_that_includes_one_of_the_entry_counts_as_written_too():
    lead = (
        "{groups: [contractors]}",
        "{groups: [x]}\n  lead: {groups: [{name: leads, until: 2027-01-31}], includes: [contractor]}",
    )
    [problem] = refused(temporary(lead)).problems
    assert "group `operators` and group `leads` may dag_runs:create" in problem.message


def test_who_loses_an_excepted_role_is_excepted_no_longer():
    """Somebody counts as excepted only while the membership is in force."""
    excepted = (
        'roles: [contractor], operations: ["dag_runs:create"]}\n',
        'except: [boss], operations: ["dag_runs:create"]}\n',
    )
    text = ISSUERS + TEMPORARY.lstrip("\n")
    boss = text.replace("  operator:", "  boss: {groups: [{name: operators, until: 2027-01-31}]}\n  operator:")
    never_at = boss.index("never:")
    boss = boss[:never_at] + boss[never_at:].replace(*excepted)
    [problem] = refused(Bundle(boss.encode(), "policy.yaml")).problems
    assert "does not hold: from 2027-02-01T00:00Z on group `operators` may dag_runs:create" in problem.message
    assert "they no longer" not in problem.message


def test_an_end_in_the_past_is_refused_whatever_the_time_is():
    past = MEMBER_ENDS[0], MEMBER_ENDS[1].replace("2027-01-31", "2001-01-31")
    assert "from 2001-02-01T00:00Z on" in refused(temporary(past)).problems[0].message
