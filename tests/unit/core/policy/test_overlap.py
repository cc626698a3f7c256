"""What two patterns match together, against brute force over all short values."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import TooLargeError
from authz.core.policy.overlap import Shape, glob_of, globs, hosts, segments, shape_of, shapes
from authz.core.policy.patterns import parse_glob, parse_host, parse_path, segment_matches

WORDS = ["".join(letters) for size in range(7) for letters in product("ab", repeat=size)]
GLOBS = st.text("ab*", min_size=1, max_size=6).filter(lambda text: "**" not in text).map(parse_glob)


def texts(found):
    return sorted(glob.text for glob in found)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("sales_*", "*", ["sales_*"]),
        ("*", "sales_*", ["sales_*"]),
        ("sales_*", "sales_*", ["sales_*"]),
        ("sales_*", "sales_eu_*", ["sales_eu_*"]),
        ("sales_*", "stock_*", []),
        ("sales_*", "*_eu", ["sales_*_eu", "sales_eu"]),
        ("ab*", "*bc", ["ab*bc", "abc"]),
        ("*a*", "*b*", ["*a*b*", "*b*a*"]),
        ("sales", "s*s", ["sales"]),
        ("s*t", "sales", []),
        ("a*a", "a", []),
        ("a*x", "*b", []),
    ],
)
def test_two_globs(one, other, both):
    assert texts(globs(glob_of(one), glob_of(other))) == both


@given(GLOBS, GLOBS)
def test_the_overlap_of_globs_is_exact(one, other):
    found = globs(one, other)
    for word in WORDS:
        assert any(glob.matches(word) for glob in found) == (one.matches(word) and other.matches(word)), word


def test_patterns_with_a_character_for_private_use():
    both = texts(globs(glob_of("*\ue000*"), glob_of("\ue000\ue000*\ue000")))
    assert both == ["\ue000\ue000*\ue000"]
    found = globs(glob_of("*\ue000*"), glob_of("*a\ue000*\ue000"))
    for word in ("a\ue000\ue000", "ba\ue000b\ue000", "\ue000"):
        assert any(glob.matches(word) for glob in found) == ("a" in word), word


@given(GLOBS, GLOBS)
def test_no_glob_of_an_overlap_covers_another(one, other):
    found = globs(one, other)
    assert not any(a != b and a.matches(b.text.replace("*", "\ue000")) for a in found for b in found)


SEGMENTS = st.one_of(
    st.none(), st.sampled_from(["", "a", "ab", "ba"]), GLOBS.filter(lambda glob: "*" in glob.text and glob.text != "*")
)


@given(SEGMENTS, SEGMENTS)
def test_the_overlap_of_segments_is_exact(one, other):
    found = segments(one, other)
    for word in WORDS:
        both = segment_matches(one, word) and segment_matches(other, word)
        assert any(segment_matches(made, word) for made in found) == both, word


def matches(shape, path):
    if len(path) <= len(shape.segments) if shape.rest else len(path) != len(shape.segments):
        return False
    return all(segment_matches(want, have) for want, have in zip(shape.segments, path, strict=False))


PATHS = [
    (*segments, last)
    for size in range(4)
    for segments in product(["a", "ab", "b"], repeat=size)
    for last in ["", "a", "b", "ab"]
]
PATTERNS = st.lists(st.sampled_from(["a", "b", "ab", "{x}", "a*", "*b"]), max_size=3).flatmap(
    lambda words: st.sampled_from(["/" + "/".join(words), "/" + "/".join([*words, "**"]), "/" + "/".join([*words, ""])])
)


@given(PATTERNS.map(parse_path), PATTERNS.map(parse_path))
def test_the_overlap_of_paths_is_exact(one, other):
    found = [*shapes(shape_of(one), shape_of(other))]
    for path in PATHS:
        assert any(matches(shape, path) for shape in found) == (one.matches(path) and other.matches(path)), path


def test_the_rest_of_a_path_is_at_least_one_segment():
    assert [*shapes(Shape(("a",), rest=True), Shape(("a",)))] == []
    assert [*shapes(Shape(("a",), rest=True), Shape(("a", "")))] == [Shape(("a", ""))]
    assert [*shapes(Shape((), rest=True), Shape(("a",), rest=True))] == [Shape(("a",), rest=True)]


HOSTS = ["a", "x.a", "b.a", "x.b.a", "y.x.b.a", "b"]


@given(*[st.sampled_from(["a", "x.a", "*.a", "*.b.a", "b", "*.b"]).map(parse_host)] * 2)
def test_the_overlap_of_hosts_is_exact(one, other):
    found = hosts(one, other)
    for host in HOSTS:
        assert any(made.matches(host) for made in found) == (one.matches(host) and other.matches(host)), host


def test_a_rule_without_hosts_is_for_every_host():
    name = parse_host("a")
    assert hosts(None, name) == hosts(name, None) == (name,)
    assert hosts(None, None) == (None,)


def test_globs_that_overlap_in_too_many_ways_are_refused():
    """Each of them would be compared with all others: of twelve and twelve parts there are 2.7 million."""
    one, other = ("*" + "*".join(parts) + "*" for parts in ("abcdefghijkl", "mnopqrstuvwx"))
    with pytest.raises(TooLargeError, match=r"write patterns with fewer `\*`"):
        globs(parse_glob(one), parse_glob(other))
    assert len(globs(parse_glob("*a*b*c*d*"), parse_glob("*m*n*o*p*"))) == 70
