"""Which DAGs an assertion is for: globs with `*` alone, compared with the whole id, in linear time."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.airflow.dag_grant import NO_DAGS, DagGrant, grant_of
from authz.policy.patterns import parse_glob

IDS = ["sales", "sales_a", "sales_a_b", "a_sales", "my_sales_dag", "Sales", "finance.close", "~", "", "s*s", "[s]ales"]


def matched(*patterns):
    return DagGrant(patterns).narrow(IDS)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", set(IDS)),
        ("**", set(IDS)),
        ("sales", {"sales"}),
        ("sales*", {"sales", "sales_a", "sales_a_b"}),
        ("sales_*", {"sales_a", "sales_a_b"}),
        ("*sales", {"sales", "a_sales"}),
        ("*sales*", {"sales", "sales_a", "sales_a_b", "a_sales", "my_sales_dag"}),
        ("s*s", {"sales", "s*s"}),
        ("sales_*_*", {"sales_a_b"}),
        ("*a*a*", {"sales_a", "sales_a_b", "a_sales", "my_sales_dag"}),
        ("sales*sales", set()),
        ("[s]ales", {"[s]ales"}),
        ("sale?", set()),
        ("finance.close", {"finance.close"}),
        ("finance?close", set()),
        (".*", set()),
    ],
)
def test_only_the_star_is_special(pattern, expected):
    assert matched(pattern) == expected
    assert DagGrant(("*",), (pattern,)).narrow(IDS) == set(IDS) - expected


def test_several_patterns_are_a_union_and_denied_ones_win():
    grant = DagGrant(("sales", "*_sales", "my_*", "s*b"), ("my_*",))
    assert grant.narrow(IDS) == {"sales", "a_sales", "sales_a_b"}
    assert not DagGrant(("sales",), ("*",)).permits("sales")


def test_without_patterns_there_is_no_dag():
    assert NO_DAGS.narrow(IDS) == set()
    assert DagGrant((), ("x",)).narrow(IDS) == set()


def test_a_grant_is_made_once_and_compares_by_its_patterns():
    assert grant_of(("a*",), ()) is grant_of(("a*",), ())
    assert grant_of(("a*",), ()) == DagGrant(("a*",)) != DagGrant(("b*",))
    assert repr(DagGrant(("a*",))) == "DagGrant(allowed=('a*',), denied=())"


@given(st.lists(st.text("ab*", min_size=1, max_size=8), max_size=5), st.text("ab", max_size=10))
def test_it_agrees_with_another_matcher_and_with_the_gate_itself(patterns, dag_id):
    expected = any(fnmatch.fnmatchcase(dag_id, pattern) for pattern in patterns)
    assert DagGrant(tuple(patterns)).permits(dag_id) == expected
    assert any(parse_glob(pattern).matches(dag_id) for pattern in patterns if "**" not in pattern) <= expected


def test_no_pattern_makes_it_slow():
    grant = DagGrant(("*a" * 250 + "*b",) * 50)
    started = time.process_time()
    assert not grant.permits("a" * 100_000)
    assert time.process_time() - started < 1  # a backtracking matcher would not end
