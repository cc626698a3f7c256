from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.policy.patterns import parse_glob, parse_host, parse_path
from authz.core.policy.tables import GlobTable, HostTable, PathTable
from tests.support.examples import examples

globs = st.text("ab*", min_size=1, max_size=6).filter(lambda text: "**" not in text)
words = st.text("ab", max_size=8)
labels = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)
pattern_segments = st.sampled_from(["a", "b", "{x}", "{y}", "*", "a*", "*b", "a*b", "ab"])
path_patterns = st.tuples(st.lists(pattern_segments, max_size=4), st.booleans()).map(
    lambda parts: "/" + "/".join([*parts[0], "**"] if parts[1] else parts[0])
)
segments = st.lists(st.sampled_from(["a", "b", "ab", "aab", "c"]), max_size=5).map(tuple) | st.lists(
    st.sampled_from(["a", "b"]), max_size=3
).map(lambda items: (*items, ""))


@examples(300)
@given(st.lists(globs, max_size=12), words)
@example(["a*b*a", "a*a", "a*bb*a"], "aba")
def test_a_glob_table_finds_what_matches(patterns, word):
    table = GlobTable()
    for pattern in patterns:
        assert table.setdefault(parse_glob(pattern), pattern) == pattern
    found = table.find(word)
    assert sorted(found) == sorted({pattern for pattern in patterns if parse_glob(pattern).matches(word)})


def test_a_glob_keeps_its_first_value():
    table = GlobTable()
    for pattern in ("a", "a*", "a*b*c"):
        assert table.setdefault(parse_glob(pattern), 1) == 1
        assert table.setdefault(parse_glob(pattern), 2) == 1
    assert table.find("a") == [1, 1]


@examples(200)
@given(st.lists(st.tuples(st.sampled_from(["", "*."]), labels).map("".join), max_size=8), labels)
def test_a_host_table_finds_what_matches(patterns, host):
    parsed = [parse_host(pattern) for pattern in patterns]
    assert sorted(HostTable(parsed).find(host)) == sorted({p.text for p in parsed if p.matches(host)})


@examples(400)
@given(st.lists(path_patterns, max_size=12), segments.filter(bool))
def test_a_path_table_finds_what_matches(patterns, path):
    parsed = [parse_path(pattern) for pattern in patterns]
    assert sorted(PathTable(parsed).find(path)) == sorted({p.key for p in parsed if p.matches(path)})


def test_the_root_path():
    table = PathTable([parse_path("/"), parse_path("/**"), parse_path("/{x}")])
    assert table.find(("",)) == ["/**", "/"]
    assert table.find(("a",)) == ["/**", "/{}"]
