"""Loading and lint take time that is linear in the file, whatever is in it; of many mistakes a thousand are listed."""

import re
import time

import pytest

from authz.core import cases, policy
from authz.core.documents.yaml_document import parse
from authz.core.errors import MOST_PROBLEMS, PolicyError
from authz.core.lint import review
from authz.core.policy.draft import draft
from authz.core.policy.rule_checks import check_rules
from tests.support.factories.policy_shapes import HEAD, SHAPES, plain, roles


def cpu(data):
    """Seconds of processor time for loading, its tests included, and lint of what loads; and the mistakes."""
    began = time.process_time()
    try:
        review.lint(cases.load(policy.Bundle(data, "policy.yaml")).policy)
    except PolicyError as error:
        return time.process_time() - began, error.problems
    return time.process_time() - began, ()


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_four_times_the_file_takes_about_four_times_as_long(shape):
    count = 100 if shape is plain else 400
    small = min(cpu(shape(count).encode())[0] for _ in range(3))
    large = min(cpu(shape(4 * count).encode())[0] for _ in range(2))
    assert large <= 9 * small + 0.05  # what is quadratic takes sixteen times as long


def test_roles_that_each_include_all_later_ones():
    def dense(count):
        later = [", ".join(f"r{j}" for j in range(i + 1, count)) for i in range(count)]
        return roles(lambda i, _n: "{groups: [g]" + (f", includes: [{later[i]}]" if later[i] else "") + "}")(count)

    small, large = dense(60), dense(120)
    times = [min(cpu(text.encode())[0] for _ in range(3)) for text in (small, large)]
    assert times[1] / times[0] <= 2.5 * len(large) / len(small)
    assert cpu(small.encode())[1] == ()


def test_roles_that_include_more_than_anybody_can_read():
    text = roles(lambda i, n: "{groups: [g]" + (f", includes: [r{i + 1}]" if i + 1 < n else "") + "}")(1100)
    [problem] = cpu(text.encode())[1]
    assert problem.message == "the roles include more than 500000 roles, directly or through others"
    assert problem.line == 5


def crossed(count):
    """Rules of 99,000 combinations each: 300 roles and 330 paths in 8 kB."""
    names = [f"r{number}" for number in range(300)]
    listed = HEAD + "roles:\n" + "".join(f"  {name}: {{groups: [g]}}\n" for name in names) + "rules:\n"
    for rule in range(count):
        paths = ", ".join(f"/api/v2/dags/{rule}x{path}" for path in range(330))
        listed += f"  - {{id: x{rule:02}, plane: inbound, roles: [{', '.join(names)}], paths: [{paths}]}}\n"
    return listed.encode()


def test_rules_that_together_have_too_many_combinations_are_refused_at_the_rule_that_passes_the_limit():
    """164 kB of such rules took 700 MB, and 10 MB of them would take all there is."""
    [problem] = cpu(crossed(12))[1]
    assert problem.message == "with the rule `x10` the rules have more than 1000000 combinations of entries in all"
    assert problem.line == 5 + 300 + 1 + 10
    assert problem.hint.startswith("use wildcards, or one role for many")


def test_rules_with_many_combinations_are_fine_below_the_limit():
    drafted, problems = draft(parse(crossed(10), "policy.yaml"))
    assert [*problems, *check_rules(drafted)] == []


def test_a_rule_that_has_too_many_combinations_itself_is_the_one_mistake():
    text = crossed(10).decode().replace("paths: [/api", "paths: [" + "".join(f"/y{n}, " for n in range(9)) + "/api", 1)
    [problem] = cpu(text.encode())[1]
    assert problem.message == "the rule has more than 100000 combinations of entries"


def test_dags_of_inbound_rules_make_no_combinations_in_the_index():
    text = crossed(12).decode().replace("paths: [", "operations: ['dags:read'], dags: [").replace("/api/v2/dags/", "d")
    drafted, problems = draft(parse(text.encode(), "policy.yaml"))
    assert [*problems, *check_rules(drafted)] == []


def test_what_many_roles_list_alike_is_one_set():
    """400,000 roles of one group took 900 MB."""
    loaded = policy.load(policy.Bundle(SHAPES["one group"](50).encode(), "policy.yaml"))
    kept = {id(part) for role in loaded.roles.values() for part in (role.groups, role.clients, role.subjects)}
    assert len(kept) == 2  # that of the group, and the empty one


def test_of_many_mistakes_the_first_thousand_are_listed_and_the_others_counted():
    text = SHAPES["two slips in each rule"](MOST_PROBLEMS)
    problems = cpu(text.encode())[1]
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1].message == f"and {MOST_PROBLEMS} more mistakes"
    assert [problem.line for problem in problems[:4]] == [6, 6, 7, 7]
    assert all(problem.hint for problem in problems[:-1])
    exactly = cpu(SHAPES["two slips in each rule"](MOST_PROBLEMS // 2).encode())[1]
    assert len(exactly) == MOST_PROBLEMS


def test_of_mistakes_all_over_the_file_the_listed_ones_are_the_first_with_their_exact_places():
    """Roles are checked before rules, and stand below them here."""
    rule = "  - {{id: x{0:04}, plane: inbound, roles: [ok, wrong{0:04}], operations: ['dags:read']}}\n"
    role = "  r{0:04}: {{groups: [g], includes: [ok, wrong{0:04}, bad{0:04}]}}\n"
    text = HEAD + "rules:\n" + "".join(map(rule.format, range(700))) + "roles:\n  ok: {groups: [g]}\n"
    text += "".join(map(role.format, range(1200)))
    wrong = [
        (line, match.start() + 1)
        for line, words in enumerate(text.splitlines(), start=1)
        for match in re.finditer("wrong|bad", words)
    ]
    problems = cpu(text.encode())[1]
    assert [(problem.line, problem.column) for problem in problems[:-1]] == wrong[:MOST_PROBLEMS]
    assert problems[-1].message == f"and {len(wrong) - MOST_PROBLEMS} more mistakes"


def test_of_many_findings_of_lint_the_first_thousand_of_each_severity_are_listed_and_the_others_counted():
    text = SHAPES["one group"](MOST_PROBLEMS + 6)  # no rule names any of them but the first
    found = review.lint(policy.load(policy.Bundle(text.encode(), "policy.yaml")))
    notes = [finding.problem for finding in found if finding.severity is review.Severity.NOTE]
    assert [note.line for note in notes[:-1]] == [*range(6, 6 + MOST_PROBLEMS)]
    assert str(notes[-1]) == "policy.yaml: and 5 more notes (look at these first)"
    assert [finding.problem.message for finding in found if finding.severity is review.Severity.WARNING] == [
        "no rule allows anything on egress, though tokens are accepted there"
    ]
