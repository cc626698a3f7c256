"""What takes too long to prove is a matter of the file that makes it so: no other team's changes are kept back."""

import pytest

from authz.core import cases
from authz.core.cases import invariants as proving
from authz.core.errors import PolicyError
from authz.core.policy import rule_checks
from authz.core.policy.bundle import LAST_GOOD, LEFT_OUT
from authz.core.proof import never as prover
from tests.support.factories.included import GOOD_HR, GOOD_SALES, HR, SALES, VIEW, bundle, main, rules
from tests.unit.core.cases.test_settle import GOOD, faults, settled

MANY = ", ".join(f'"sales_{number}"' for number in range(40))
WIDE = rules(
    f"{{id: wide, plane: inbound, roles: [sales-viewer], operations: [\"*:read\"], paths: ['/api/**'], dags: [{MANY}]}}"
)
PROMISE = "never:\n  - {name: options, plane: inbound, methods: [OPTIONS], except: [admin]}\n"
EMERGENCY = "  - {id: emergency, deny: true, plane: inbound, roles: [hr-viewer], operations: ['*']}\n"


@pytest.fixture(autouse=True)
def _less(monkeypatch):
    monkeypatch.setattr(prover, "MOST_OF_FILE", 1500)
    monkeypatch.setattr(prover, "MOST_ASKED", 1500)


def test_a_rule_that_the_promises_of_the_policy_cannot_be_proven_with_is_its_files_mistake():
    """Also if it was in force: a deny rule in the policy file must not wait for a team."""
    assert settled(bundle(WIDE)).faults == ()
    text = main(more=PROMISE) + EMERGENCY
    result = settled(bundle(WIDE, text=text), {**GOOD, SALES: WIDE.encode()})
    assert faults(result) == {SALES: LEFT_OUT}
    assert "emergency" in result.suite.policy.rules
    [problem] = result.faults[0].problems
    assert (problem.file, problem.line) == (SALES, 2)
    assert "`wide/teams/sales.yaml` is too much for the entry `options` of `never` at policy.yaml:" in problem.message
    assert faults(settled(bundle(WIDE, text=text), GOOD)) == {SALES: LAST_GOOD}


def test_of_two_files_that_are_too_much_together_the_one_that_changed_is_kept_back():
    promising = rules(VIEW % "hr", more=PROMISE)
    good = {**GOOD, HR: promising.encode()}
    assert settled(bundle(hr=promising), good).faults == ()
    assert settled(bundle(WIDE)).faults == ()
    result = settled(bundle(WIDE, promising), good)
    assert faults(result) == {SALES: LAST_GOOD}
    assert "is not proven with the rule `wide/teams/sales.yaml` at teams/sales.yaml:2" in str(result.faults[0].problems)
    assert faults(settled(bundle(WIDE, promising), {HR: GOOD_HR.encode(), SALES: WIDE.encode()})) == {HR: LAST_GOOD}


def test_entries_that_are_too_much_are_their_files_mistake(monkeypatch):
    monkeypatch.setattr(prover, "MOST_OF_FILE", 30)
    entries = "".join(f"  - {{name: n{n}, plane: inbound, methods: [OPTIONS], except: [admin]}}\n" for n in range(40))
    many = rules(VIEW % "sales", more=f"never:\n{entries}")
    result = settled(bundle(many, rules(VIEW % "hr", more=PROMISE)), GOOD)
    assert faults(result) == {SALES: LAST_GOOD}
    assert "of `never` is not proven: the entry is about too much" in result.faults[0].problems[0].message


def test_entries_of_the_policy_file_that_are_too_much_are_its_own_mistake():
    """Its rules are asked about first: they come before those of teams."""
    text = main(more=PROMISE).replace(
        "rules:\n", f"rules:\n  - {{id: wide, plane: inbound, roles: [everyone], paths: ['/api/**'], dags: [{MANY}]}}\n"
    )
    with pytest.raises(PolicyError, match="the entry `options` of `never` is not proven") as caught:
        settled(bundle(text=text), GOOD)
    assert {problem.file for problem in caught.value.problems} == {"policy.yaml"}


def test_a_files_entries_have_no_mistake_by_what_another_team_writes(monkeypatch):
    monkeypatch.setattr(rule_checks, "MOST_COMPARED", 100)
    hosts = ", ".join(f"h{number}.example" for number in range(20))
    entry = f"never:\n  - {{plane: inbound, hosts: [{hosts}], operations: ['dags:delete'], except: [admin]}}\n"
    monkeypatch.setattr(prover, "MOST_OF_FILE", 150_000)
    monkeypatch.setattr(prover, "MOST_ASKED", 150_000)
    assert faults(settled(bundle(WIDE, rules(VIEW % "hr", more=entry)), GOOD)) == {}


def test_comparing_patterns_counts_too(monkeypatch):
    hosts = ", ".join(f"h{number}.example" for number in range(40))
    entry = f"never:\n  - {{plane: inbound, hosts: [{hosts}], operations: ['dags:delete'], except: [admin]}}\n"
    asked = ", ".join(f"x{number}.example" for number in range(40))
    calls = rules(
        f"{{id: calls, plane: inbound, roles: [sales-viewer], hosts: [{asked}], operations: ['dags:read'], dags: team}}"
    )
    assert settled(bundle(calls, rules(VIEW % "hr", more=entry)), GOOD).faults == ()
    monkeypatch.setattr(prover, "MOST_ASKED", 40)
    assert faults(settled(bundle(calls, rules(VIEW % "hr", more=entry)), GOOD)) == {SALES: LAST_GOOD}


ENDING = """
  denied: {groups: [{name: denied, until: 2027-01-01}]}
  shown: {groups: [{name: shown, until: 2028-01-01}, {name: others, until: 2029-01-01}]}
"""


def test_only_ends_that_let_callers_do_more_are_looked_at():
    text = main().replace("  everyone:", f"{ENDING.strip(chr(10))}\n  everyone:", 1) + (
        "  - {id: d, deny: true, plane: inbound, roles: [denied], operations: ['pools:*']}\n"
        "  - {id: e, deny: true, plane: inbound, operations: ['pools:*'], until: 2026-12-31}\n"
        "  - {id: s, plane: inbound, roles: [shown], operations: ['pools:read'], until: 2027-06-01}\n"
    )
    suite = cases.read(bundle(GOOD_SALES, text=text))
    assert len(proving._loosening(suite.policy, ())) == 2
    entry = b"never:\n  - {operations: ['pools:delete'], except: [shown]}\n"
    asked = cases.read_with(bundle(GOOD_SALES, text=text), entry, "entry.yaml")
    assert len(proving._loosening(asked.policy, asked.never)) == 4
