"""Which DAGs an assertion is for: globs with `*` alone, compared with the whole id, in linear time."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.airflow.dag_grant import FEW, NO_DAGS, DagGrant, grant_of
from authz.core.policy.patterns import parse_glob

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


@pytest.mark.parametrize("count", [FEW, FEW + 1, 5000])
def test_many_beginnings_and_ends_are_compared_as_few_are(count):
    beginnings = [f"team{number}{'x' * (number % 7)}_*" for number in range(count)]
    ends = [f"*_{number}{'y' * (number % 5)}" for number in range(count)]
    ids = [
        "team3xxx_a",
        "team3_",
        "team3xxx_",
        "team3xx_a",
        "team3xxx",
        "a_3yyy",
        "_3yyy",
        "a_3yy",
        "3yyy",
        "",
        "_",
        "t",
    ]
    grant = DagGrant((*beginnings, *ends))
    assert grant.narrow(ids) == {"team3xxx_a", "team3xxx_", "a_3yyy", "_3yyy"}
    assert DagGrant(("*",), (*beginnings, *ends)).narrow(ids) == {*ids} - grant.narrow(ids)


def test_ten_thousand_patterns_cost_little_for_each_dag():
    grant = DagGrant(tuple(f"team{number}{'x' * (number % 50)}_*" for number in range(10_000)))
    ids = [f"other{number}" for number in range(1000)]
    began = time.thread_time()
    assert grant.narrow(ids) == set()
    assert time.thread_time() - began < 1.0  # 20 ms here; 300 ms when compared one by one


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
