"""What lint says of rules that change nothing; which they are is tested in `proof/test_idle.py`."""

import pytest

from authz.core.lint.review import Severity, lint
from tests.support.factories.policies import load

ROLES = "\n  r: {groups: [g]}\n  s: {groups: [g, h]}\n"
RULE = "{{id: {}, plane: inbound, roles: [r], operations: [{}]{}}}\n"
DENY = "{{id: {}, plane: inbound, deny: true, roles: [{}], operations: ['pools:*', 'variables:*']}}\n"
READS = RULE.format("reads", "pools:read", "")
WRITES = RULE.format("writes", "variables:read", "")
BOTH = RULE.format("both", "pools:read, variables:read", "")
SOME = RULE.format("some", "dags:read", ", dags: ['a*']")
ALL = RULE.format("all", "dags:read", "")


def findings(rules):
    """Severity, message and hint of what is said of rules that may be idle."""
    found = [(one.severity, one.problem.message, one.problem.hint) for one in lint(load(rules, roles=ROLES))]
    return [one for one in found if any(words in one[1] for words in SAID)]


SAID = "nothing more", "says the same", "limits nothing", "can never apply"
REMOVE = "remove it; if it is meant to limit something, narrow the others"


@pytest.mark.parametrize(
    ("rules", "message", "hint"),
    [
        (READS + BOTH, "the rule `reads` allows nothing more: the rule `both` allows it too", REMOVE),
        (
            READS + WRITES + BOTH,
            "the rule `both` allows nothing more: the rules `reads`, `writes` allow it together",
            REMOVE,
        ),
        (
            READS + BOTH + DENY.format("no", "s").replace("'pools:*', ", ""),
            "the rule `both` allows nothing more: the rule `reads` allows it too, but for what `no` denies",
            f"{REMOVE}; first write `airflow: op` for the role `r`, which has that from this rule",
        ),
        (
            DENY.format("d", "r") + DENY.format("e", "s"),
            "the rule `d` denies nothing more: the deny rule `e` denies it too",
            "remove it",
        ),
        (READS + READS.replace("reads", "more"), "the rule `more` says the same as `reads`", "remove one of them"),
    ],
)
def test_a_rule_that_changes_nothing_is_noted_with_the_rules_that_do_the_same(rules, message, hint):
    assert findings(rules) == [(Severity.NOTE, message, hint)]


def test_a_rule_for_some_dags_beside_one_for_all_is_a_warning():
    message = "the rule `some` limits nothing to its DAGs: `all` allows the same for every DAG"
    assert findings(SOME + ALL) == [(Severity.WARNING, message, "remove it, or give `all` some `dags` too")]
    every = SOME.replace("a*", "*")
    found = (Severity.NOTE, "the rule `some` allows nothing more: the rule `all` allows it too", REMOVE)
    assert findings(ALL + every) == [found]


def test_a_rule_that_no_request_meets_is_a_warning():
    never = RULE.format("never", "dags:read", ", paths: ['/api/v2/dags/a'], dags: ['b*']")
    [(severity, message, hint)] = findings(never)
    assert severity is Severity.WARNING
    assert message == "the rule `never` can never apply: no request meets all of its conditions"
    assert "exclude each other" in hint


def test_a_built_in_rule_is_never_the_one_to_go():
    rules = RULE.format("own", "airflow.viewer", "").replace("[r]", "[authenticated]")
    roles = ROLES + "  airflow.viewer: {groups: [g]}\n"
    found = [one.problem.message for one in lint(load(rules, roles=roles))]
    assert not [one for one in found if any(words in one for words in SAID)]


def test_a_role_that_has_its_role_in_airflow_from_the_rule_keeps_it():
    """A rule of paths allows as much, and says nothing of a role in Airflow."""
    changes = RULE.format("changes", "'variables:*'", "")
    paths = "{id: paths, plane: inbound, roles: [r], paths: ['/**']}\n"
    hint = f"{REMOVE}; first write `airflow: op` for the role `r`, which has that from this rule"
    message = "the rule `changes` allows nothing more: the rule `paths` allows it too"
    assert findings(changes + paths) == [(Severity.NOTE, message, hint)]
