"""The index finds every rule that covers another one, and compares few that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.policy import Effect
from authz.core.policy.coverage import Covering
from authz.core.policy.covering_index import CoveringIndex
from tests.support.examples import examples
from tests.support.factories.policies import load

CONDITIONS = {
    "roles": ["viewer", "op", "authenticated"],
    "operations": ["dags:read", "dags:*", "*:read", "*", "dag_runs:create"],
    "hosts": ["a.test", "'*.test'", "'*.a.test'"],
    "methods": ["GET", "POST"],
    "paths": ["/a", "'/a/{x}'", "'/a/b*'", "'/a/**'", "/a/b"],
    "dags": ["'*'", "a", "'a*'", "'a*b'"],
}
OF_CALLS = {name: CONDITIONS[name] for name in ("roles", "hosts", "methods", "paths", "dags")} | {
    "destinations": ["orders", "billing"],
    "tasks": ["load", "'load*'"],
}


def conditions(of):
    return st.fixed_dictionaries(
        {},
        optional={
            name: st.lists(st.sampled_from(each), min_size=1, max_size=2, unique=True) for name, each in of.items()
        },
    )


def text(number, given_, plane, effect):
    said = "".join(f", {name}: [{', '.join(entries)}]" for name, entries in given_.items())
    return f"{{id: r{number}, plane: {plane}{effect}{said}}}"


def policy_of(rules):
    from authz.core.errors import PolicyError

    try:
        return load("\n".join(rules))
    except PolicyError:
        return None


@examples(40)
@given(
    st.lists(conditions(CONDITIONS), min_size=1, max_size=6),
    st.lists(conditions(OF_CALLS), max_size=6),
    st.booleans(),
)
def test_the_index_agrees_with_comparing_each_rule_with_each(inbound, egress, tunnels):
    rules = [text(n, one, "inbound", ", deny: true") for n, one in enumerate(inbound)]
    rules += [text(n + 50, one, "egress", ", deny: true") for n, one in enumerate(egress)]
    if tunnels:
        rules.append("{id: t, plane: egress, deny: true, methods: [CONNECT], destinations: [orders]}")
    kept = [rule for rule in rules if policy_of([rule]) is not None]
    policy = policy_of(kept) if kept else None
    if policy is None:
        return
    covering = Covering(policy)
    denying = [rule for rule in policy.rules.values() if rule.effect is Effect.DENY]
    index = CoveringIndex(denying, covering)
    for narrow in policy.rules.values():
        first = narrow.roles[0] if narrow.roles else "authenticated"
        held = {"authenticated", first, *(policy.roles[first].includes if first in policy.roles else ())}
        wide = [rule for rule in denying if covering.covers(rule, narrow)]
        expected = {rule.id for rule in wide if held & set(rule.roles or ("authenticated",))}
        found = index.first(narrow)
        assert (found is not None) == bool(expected)
        assert found is None or found.id in expected


@pytest.mark.parametrize("path", ["'/a/{x}'", "'/a/b*'", "'/a/**'", "/a/b"])
def test_a_wide_path_is_found_whatever_the_narrow_one_is_made_of(path):
    """By itself, so that each kind of segment is tried in every run."""
    paths = ["'/a/**'", path]
    policy = policy_of([text(n, {"paths": [one]}, "inbound", ", deny: true") for n, one in enumerate(paths, 1)])
    index = CoveringIndex([policy.rules["r1"]], Covering(policy))
    assert index.first(policy.rules["r2"]) is policy.rules["r1"]


@pytest.mark.parametrize(
    ("condition", "more"),
    [
        ("paths: [/a/N/x]", ""),
        ("paths: ['/a/N*/**']", ", methods: [DELETE]"),
        ("dags: ['sales_N_*']", ""),
        ("hosts: [hN.test]", ", paths: ['/**']"),
        ("destinations: [dN]", ", plane: egress"),
        ("tasks: [tN]", ", plane: egress, destinations: [orders]"),
    ],
)
def test_rules_that_differ_in_one_condition_are_not_compared_with_each_other(condition, more):
    count = 300
    plane = "" if "egress" in more else ", plane: inbound"
    rules = [
        f"{{id: x{n}, deny: true, roles: [viewer]{plane}{more}, {condition.replace('N', f'{n:03}')}}}"
        for n in range(count)
    ]
    policy = load("\n".join(rules))
    compared = 0

    class Counted(Covering):
        def covers(self, wide, narrow):
            nonlocal compared
            compared += 1
            return super().covers(wide, narrow)

    index = CoveringIndex(policy.rules.values(), Counted(policy))
    for rule in policy.rules.values():
        assert index.first(rule).id == rule.id
    assert compared <= 3 * count
