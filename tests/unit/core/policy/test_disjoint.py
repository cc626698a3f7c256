"""Patterns of two owners that match one DAG id, against what `overlap` says of each pair."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.policy.disjoint import Owned, shared
from authz.core.policy.overlap import glob_of, globs

GLOBS = st.text("ab*", min_size=1, max_size=5).filter(lambda text: "**" not in text).map(glob_of)
OWNED = st.lists(st.builds(Owned, st.integers(0, 4), GLOBS), max_size=12)


@given(OWNED)
def test_owners_share_a_dag_exactly_if_two_of_their_patterns_overlap(owned):
    pairs = [
        {one.owner, other.owner}
        for one, other in combinations(owned, 2)
        if one.owner != other.owner and globs(one.glob, other.glob)
    ]
    found = list(shared(owned))
    assert bool(found) == bool(pairs)
    assert all({pair.one.owner, pair.other.owner} in pairs for pair in found)


@given(OWNED)
def test_both_patterns_of_a_pair_match_its_dag(owned):
    for pair in shared(owned):
        assert pair.one in owned
        assert pair.other in owned
        assert pair.one.glob.matches(pair.dag_id)
        assert pair.other.glob.matches(pair.dag_id)


@given(OWNED)
def test_every_pattern_that_overlaps_is_in_a_pair_or_overlaps_with_one_that_is(owned):
    named = {item for pair in shared(owned) for item in (pair.one, pair.other)}
    for one, other in combinations(owned, 2):
        if one.owner != other.owner and globs(one.glob, other.glob):
            assert named & {one, other} or any(globs(one.glob, item.glob) for item in named)


@pytest.mark.parametrize(
    ("one", "other", "dag_id"),
    [
        ("sales_*", "sales_eu_*", "sales_eu_x"),
        ("sales_*", "*_eu", "sales_x_eu"),
        ("*a*", "*b*", "xab"),
        ("sales_*", "sales_eu", "sales_eu"),
        ("sales", "sales", "sales"),
        ("sales_*", "hr_*", None),
        ("sales.*", "sales_eu.*", None),
        ("*_sales", "*_hr", None),
        ("*_sales", "*_eu_sales", "x_eu_sales"),
        ("sales", "sales_eu", None),
    ],
)
def test_two_owners(one, other, dag_id):
    found = {pair.dag_id for pair in shared([Owned(0, glob_of(one)), Owned(1, glob_of(other))])}
    assert found == ({dag_id} if dag_id else set())


def test_the_patterns_of_one_owner_may_overlap():
    assert list(shared([Owned(0, glob_of(text)) for text in ("a*", "ab*", "ab", "a*", "*b", "ab")])) == []
