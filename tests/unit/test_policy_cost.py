"""Loading and lint take time that is linear in the file, whatever is in it; of many mistakes a thousand are listed."""

import time

import pytest

from authz import policy, review
from authz.errors import MOST_PROBLEMS, PolicyError

HEAD = """version: 1
issuers:
  - {name: corp, issuer: "https://idp.test", audiences: {inbound: [a], egress: [b]}, algorithms: [RS256]}
"""
ONE_ROLE = "roles: {viewer: {groups: [g]}}\n"
RULE = "rules:\n  - {id: a, plane: inbound, roles: [r0], operations: ['dags:read']}\n"


def rules(line):
    return lambda n: HEAD + ONE_ROLE + "rules:\n" + "".join(line.replace("N", f"{i:06}") + "\n" for i in range(n))


def roles(line):
    return lambda n: HEAD + "roles:\n" + "".join(f"  r{i}: {line(i, n)}\n" for i in range(n)) + RULE


def letters(number):
    return "".join(chr(97 + number // 26**place % 26) for place in range(4))


SHAPES = {
    "two slips in each rule": rules("  - {id: xN, plane: inbound, rolles: [viewer], operations: ['dags:reed']}"),
    "other unknown names in each rule": lambda n: (
        HEAD
        + ONE_ROLE
        + "rules:\n"
        + "".join(
            f"  - {{id: x{i}, plane: inbound, roles: [viewer{i}], operations: ['dags:{letters(i)}']}}\n"
            for i in range(n)
        )
    ),
    "equal ids": rules("  - {id: same, plane: inbound, roles: [viewer], operations: ['dags:read']}"),
    "a circle of roles": roles(lambda i, n: f"{{groups: [g], includes: [r{(i + 1) % n}]}}"),
    "unknown roles": roles(lambda i, n: f"{{groups: [g], includes: [x{i}]}}"),
    "one group": roles(lambda i, n: "{groups: [g]}"),
    "rules for other DAGs": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: [tN]}"
    ),
    "rules for other paths": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], operations: ['*'], paths: ['/api/v2/N*']}"
    ),
    "deny rules beside allow rules": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], paths: ['/pN/**']}\n"
        "  - {id: dN, plane: inbound, deny: true, roles: [viewer], paths: ['/qN/**']}"
    ),
}


def cpu(data):
    """Seconds of processor time for loading, and lint of what loads; and the mistakes."""
    began = time.process_time()
    try:
        review.lint(policy.load(data, "policy.yaml"))
    except PolicyError as error:
        return time.process_time() - began, error.problems
    return time.process_time() - began, ()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_four_times_the_file_takes_about_four_times_as_long(shape):
    count = 400
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


def test_of_many_mistakes_the_first_thousand_are_listed_and_the_others_counted():
    text = SHAPES["two slips in each rule"](MOST_PROBLEMS)
    problems = cpu(text.encode())[1]
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1].message == f"and {MOST_PROBLEMS} more mistakes"
    assert [problem.line for problem in problems[:4]] == [6, 6, 7, 7]
    assert all(problem.hint for problem in problems[:-1])
    exactly = cpu(SHAPES["two slips in each rule"](MOST_PROBLEMS // 2).encode())[1]
    assert len(exactly) == MOST_PROBLEMS
