"""What people call an operation leads to its name in the catalogue; a regular expression is told as one."""

import pytest

from authz.core.errors import PolicyError
from tests.support.factories.policies import load


def assert_hint(word, hint, *, deny=False):
    with pytest.raises(PolicyError) as caught:
        load(f'{{id: x, deny: {str(deny).lower()}, plane: inbound, roles: [viewer], operations: ["{word}"]}}')
    [problem] = caught.value.problems
    assert problem.hint == hint


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("dag_runs:trigger", "dag_runs:create"),
        ("dag_run:trigger", "dag_runs:create"),
        ("dag_runs:start", "dag_runs:create"),
        ("dag_runs:run", "dag_runs:create"),
        ("dags:view", "dags:read"),
        ("dags:list", "dags:read"),
        ("dags:pause", "dags:update"),
        ("dags:trigger", "dag_runs:create"),
        ("assets:trigger", "assets:materialize"),
        ("pools:edit", "pools:update"),
        ("variables:remove", "variables:delete"),
        ("task_instances:edit", "task_instances:update"),
    ],
)
def test_an_operation_by_another_name(word, meant):
    assert_hint(word, f"did you mean `{meant}`?")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("varaibles:*", "variables:*"),
        ("varaibles:change", "variables:change"),
        ("varaibles:chnage", "variables:change"),
        ("varaibles:raed", "variables:read"),
        ("dag:*", "dags:*"),
        ("dag_run:change", "dag_runs:change"),
        ("pools:chnage", "pools:change"),
        ("*:raed", "*:read"),
        ("*:view", "*:read"),
        ("*:trigger", "dag_runs:create"),
        ("*:chnage", "*:change"),
    ],
)
def test_a_slip_in_one_part_leaves_what_the_other_stands_for(word, meant):
    assert_hint(word, f"did you mean `{meant}`?")


def test_what_stands_for_nothing_in_an_allow_rule_is_no_hint_there():
    assert_hint("token:*", "did you mean `tokens:*`?", deny=True)
    assert_hint("token:*", "did you mean `tokens:create`?")


@pytest.mark.parametrize("glob", ["^sales", "sales_[a-z]+", "sales$", "(a|b)"])
def test_a_regular_expression_for_dags(glob):
    with pytest.raises(PolicyError) as caught:
        load(f'{{id: x, plane: inbound, roles: [viewer], operations: [dags:read], dags: ["{glob}"]}}')
    [problem] = caught.value.problems
    assert problem.hint == "there are no regular expressions here: `*` stands for any characters, as in sales_*"
