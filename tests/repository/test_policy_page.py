"""`docs/policy.md` is true where it says what an example forbids; test_docs.py loads all of its policies."""

import re

import pytest

from authz.core import catalogue
from authz.core.cases import load
from authz.core.errors import PolicyError
from authz.core.policy import Bundle
from tests.repository.test_docs import ROOT

PAGE = (ROOT / "docs" / "policy.md").read_text()
NAME = "without a token, only the health check"
[EXAMPLE] = [block for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if NAME in block]
OPERATIONS = catalogue.load(catalogue.versions()[-1]).operations
OTHERS = sorted(
    operation.name
    for operation in OPERATIONS.values()
    if operation.literal and not operation.never and operation.name != "health:read"
)


def refused(condition):
    """What the gate says of the example with one more public rule."""
    rule = f"  - {{id: more, public: true, plane: inbound, {condition}}}\n"
    with pytest.raises(PolicyError) as caught:
        load(Bundle(EXAMPLE.replace("never:\n", f"{rule}never:\n").encode(), "policy.yaml"))
    return [" ".join(str(problem).split()) for problem in caught.value.problems]


def test_without_a_token_the_example_allows_the_health_check():
    assert load(Bundle(EXAMPLE.encode(), "policy.yaml")).policy.rules["health"]


@pytest.mark.parametrize("operation", OTHERS)
def test_the_example_keeps_every_other_operation_from_callers_without_a_token(operation):
    [problem] = refused(f'operations: ["{operation}"]')
    assert f"the entry `{NAME}` of `never` does not hold" in problem
    route = OPERATIONS[operation].routes[0]
    assert f"the entry `{NAME}`" in refused(f'methods: [{route.method}], paths: ["{route.template}"]')[0]


def test_the_example_lists_every_area_of_the_catalogue_but_health():
    areas = {name.partition(":")[0] for name in OPERATIONS}
    assert set(re.findall(r'"([a-z_]+):\*"', EXAMPLE)) == areas - {"health"}


def test_the_example_keeps_a_plugin_from_callers_without_a_token():
    [problem] = refused("methods: [GET], paths: [/our_plugin/x]")
    assert "the entry `nor anything of our plugin` of `never` does not hold" in problem


def test_the_refusal_of_the_example_is_as_the_page_says():
    said = next(one for one in re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if NAME in one)
    rule = refused('operations: ["version:read"]')
    assert [problem.replace("`more`", "`version`") for problem in rule] == [" ".join(said.split())]
