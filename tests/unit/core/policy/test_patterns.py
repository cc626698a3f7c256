import pytest

from authz.core.documents.wording import BROKEN, Mistake
from authz.core.policy.patterns import parse_dag, parse_glob, parse_host, parse_path


def seg(path):
    return tuple(path[1:].split("/"))


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("sales", "sales", True), ("sales", "sales2", False), ("sales", "sale", False), ("sales", "", False),
        ("*", "", True), ("*", "anything", True),
        ("sales_*", "sales_", True), ("sales_*", "sales_daily", True), ("sales_*", "sales", False),
        ("sales_*", "xsales_daily", False), ("sales_*", "Sales_daily", False),
        ("*_daily", "sales_daily", True), ("*_daily", "_daily", True), ("*_daily", "sales_daily2", False),
        ("a*b", "ab", True), ("a*b", "axxb", True), ("a*b", "a", False), ("a*b", "axxbc", False),
        ("ab*ba", "aba", False), ("ab*ba", "abba", True), ("a*a", "a", False), ("a*a", "aa", True),
        ("a*b*c", "abc", True), ("a*b*c", "axxbyyc", True), ("a*b*c", "acb", False), ("a*b*c", "axcbx", False),
        ("a*bb*b", "abb", False), ("a*bb*b", "abbb", True), ("*a*a*", "aa", True), ("*a*a*", "a", False),
        ("*ab*ba*", "aba", False), ("*ab*ba*", "abxba", True),
    ],
)  # fmt: skip
def test_globs(pattern, value, matches):
    assert parse_glob(pattern).matches(value) is matches


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("orders.internal", "orders.internal", True), ("Orders.Internal", "orders.internal", True),
        ("orders.internal", "xorders.internal", False), ("orders.internal", "orders.internal.evil.test", False),
        ("*.internal", "orders.internal", True), ("*.internal", "a.b.internal", True),
        ("*.internal", "internal", False),
        ("*.internal", ".internal", False), ("*.internal", "evilinternal", False),
        ("*.internal", "a.internal.x", False),
        ("[::1]", "[::1]", True), ("10.0.0.1", "10.0.0.1", True),
    ],
)  # fmt: skip
def test_hosts(pattern, host, matches):
    assert parse_host(pattern).matches(host) is matches


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", "/", True), ("/", "/a", False), ("/a", "/a", True), ("/a", "/a/", False), ("/a", "/ab", False),
        ("/a", "/A", False), ("/a/", "/a/", True), ("/a/", "/a", False), ("/a", "/a;x", False), ("/a", "/a.", False),
        ("/a/{id}", "/a/b", True), ("/a/{id}", "/a/", False), ("/a/{id}", "/a/b/c", False), ("/a/{id}", "/a", False),
        ("/a/{id}/c", "/a/b/c", True), ("/a/{id}/c", "/a/b/d", False), ("/a/*", "/a/b", True), ("/a/*", "/a/", False),
        ("/a/re-*", "/a/re-1", True), ("/a/re-*", "/a/re-", True), ("/a/re-*", "/a/x", False),
        ("/a/re-*", "/a/re-1/x", False),
        ("/a/*-x", "/a/", False), ("/a/x.*", "/a/x.json", True),
        ("/**", "/", True), ("/**", "/a/b", True), ("/a/**", "/a/b", True), ("/a/**", "/a/b/c/", True),
        ("/a/**", "/a/", True), ("/a/**", "/a", False), ("/a/**", "/ab/c", False), ("/a/{x}/**", "/a/b", False),
        ("/a/{x}/**", "/a/b/c", True), ("/ä b/*", "/ä b/x", True),
    ],
)  # fmt: skip
def test_paths(pattern, path, matches):
    assert parse_path(pattern).matches(seg(path)) is matches


@pytest.mark.parametrize(
    ("pattern", "literal", "key"),
    [
        ("/", True, "/"), ("/a/b", True, "/a/b"), ("/a/{id}", False, "/a/{}"), ("/a/{other}", False, "/a/{}"),
        ("/a/*", False, "/a/{}"), ("/a/b-*", False, "/a/b-*"), ("/a/**", False, "/a/**"), ("/**", False, "/**"),
    ],
)  # fmt: skip
def test_equal_meanings_have_equal_keys(pattern, literal, key):
    assert parse_path(pattern).literal is literal
    assert parse_path(pattern).key == key


@pytest.mark.parametrize("edge", ["x", " ", ".", "/", "*"])
def test_no_literal_segment_is_a_prefix(edge):
    """security.md d-34: one character more or less at each segment's edge is another path."""
    pattern = parse_path("/api/v2/dags")
    for position in range(3):
        segments = ["api", "v2", "dags"]
        assert pattern.matches(tuple(segments))
        for changed in (
            segments[position] + edge,
            edge + segments[position],
            segments[position][:-1],
            segments[position][1:],
        ):
            assert not pattern.matches((*segments[:position], changed, *segments[position + 1 :]))


@pytest.mark.parametrize("value", [None, 3, True, (), {}, BROKEN, ""])
@pytest.mark.parametrize("parse", [parse_dag, parse_host, parse_path])
def test_only_text_is_a_pattern(parse, value):
    with pytest.raises(Mistake):
        parse(value)


def test_a_number_or_boolean_gets_a_hint():
    with pytest.raises(Mistake) as caught:
        parse_path(3)
    assert (caught.value.message, caught.value.hint) == ("expected text, found a number", "put it in double quotes")


@pytest.mark.parametrize(
    ("parse", "pattern", "message"),
    [
        (parse_dag, "~", "not a pattern"), (parse_dag, "a b", "matches no DAG id"), (parse_dag, "a**", "two stars"),
        (parse_host, "a:80", "has a port"), (parse_host, "a/b", "not a host"), (parse_host, "*", "not a host"),
        (parse_host, "a,b", "not a host"), (parse_host, "*.*.b", "not a host"), (parse_host, "*.a:1", "has a port"),
        (parse_path, "a", "does not start"), (parse_path, "/a?b", "query"), (parse_path, "/a#b", "query"),
        (parse_path, "/%2F", "percent"), (parse_path, "/a\x00", "can never match"),
        (parse_path, "/a\u2028", "can never"),
        (parse_path, "/" + "a" * 8192, "can never match"), (parse_path, "/" + "é" * 4096, "can never match"),
        (parse_path, "/a//b", "empty segment"), (parse_path, "//**", "empty segment"),
        (parse_path, "/a/./b", "dot segment"),
        (parse_path, "/..", "dot segment"), (parse_path, "/a{b}", "parameter"), (parse_path, "/{}", "parameter"),
        (parse_path, "/{a:path}", "parameter"), (parse_path, "/}", "parameter"),
        (parse_path, "/**/a", "before its end"),
        (parse_path, "/a**", "two stars"), (parse_path, "/.*", "has `/.*`"), (parse_path, "/a\\b", "has `\\`"),
        (parse_path, "/a$", "has `$`"), (parse_path, "/[a]", "has `[`"), (parse_path, "/a|b", "has `|`"),
    ],
)  # fmt: skip
def test_what_could_never_match_or_is_no_pattern_is_a_mistake(parse, pattern, message):
    with pytest.raises(Mistake) as caught:
        parse(pattern)
    assert message in caught.value.message
    assert caught.value.hint or "can never match" in caught.value.message
