"""What holds for every request target, not only for the examples."""

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette._utils import get_route_path

from authz.core import catalogue
from authz.core.errors import RequestError
from authz.core.policy.operations import expand
from authz.core.request import path
from tests.support.examples import examples

NASTY = [
    "/", "//", "a", "dags", "api", "v2", ".", "..", "%2e", "%2E%2e", "%252e", "%2f", "%2F", "%5c", "\\", "%00", "%0a",
    "%", "%4", "%25", "%C3%A9", "%c0%ae", "%ff", "é", " ", "%20", "#", "%23", "?", "%3f", ";", "%3b", "~", ":", "+",
    "%E2%80%A8", "%C2%85", "{x}", "\t", "@",
]  # fmt: skip
targets = st.one_of(
    st.lists(st.sampled_from(NASTY), max_size=12).map("".join),
    st.lists(st.sampled_from(NASTY), max_size=12).map(lambda parts: "/" + "".join(parts)),
    st.text(max_size=30),
    st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).map(lambda text: "/" + text),
)
plain_segments = st.text(
    alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\%;"),
    min_size=1,
    max_size=8,
).filter(lambda text: text not in {".", ".."} and text == text.strip(" "))


def outcome(function, argument):
    """The value, or the refusal: its reason and words."""
    try:
        return function(argument)
    except RequestError as error:
        return (error.reason, error.detail)


@examples(250)
@given(targets)
@example("/api/v2/dags")
def test_canonicalising_is_total_and_idempotent(target):
    result = outcome(path.canonicalise, target)
    if isinstance(result, path.CanonicalPath):
        assert path.canonicalise(result.path) == result
        assert result.path.isascii()
        assert len(result.path) <= path.MAX_PATH_BYTES


@examples(250)
@given(targets.map(lambda target: target.partition("?")[0]))
@example("/a/./b")
@example("/a//b")
@example("/" + "a" * path.MAX_PATH_BYTES)
def test_the_fast_way_is_the_slow_way(raw):
    fast, slow = outcome(path.canonicalise, raw), outcome(path._canonicalise_any, raw)
    assert fast == slow
    if isinstance(fast, path.CanonicalPath):
        assert fast.encoded_slash == slow.encoded_slash


@examples(150)
@given(targets)
def test_what_is_accepted_is_what_uvicorn_routes(target):
    result = outcome(path.canonicalise, target)
    if isinstance(result, path.CanonicalPath):
        routed = unquote(target.partition("?")[0])
        assert "/" + "/".join(result.segments) == routed
        assert unquote(result.path) == routed


@examples(250)
@given(
    st.sampled_from(["", "/a", "/a/dags", "%2fa", "/A", "/a;x", "/dags"]), targets, st.sampled_from(["/a", "/a/dags"])
)
@example("/a", "", "/a")
@example("/a", "%2fdags", "/a/dags")
def test_what_is_below_a_base_path_is_what_starlette_routes_there(start, target, base):
    asked = outcome(path.canonicalise, start + target)
    if not isinstance(asked, path.CanonicalPath):
        return
    routed = unquote((start + target).partition("?")[0])
    inner = path.below(asked, base)
    assert (inner is not None) == (routed == base or routed.startswith(base + "/"))
    if inner is not None:
        assert "/" + "/".join(inner.segments) == get_route_path({"path": routed, "root_path": base}) or routed == base
        assert path.canonicalise(inner.path) == inner


@examples(150)
@given(targets.map(lambda target: target.replace("?", "")), st.text(max_size=20))
def test_the_query_never_takes_part(target, query):
    assert outcome(path.canonicalise, f"{target}?{query}") == outcome(path.canonicalise, target)


@examples(150)
@given(st.lists(plain_segments, min_size=1, max_size=5))
def test_every_segment_that_has_a_canonical_form_comes_back(segments):
    escaped = "/" + "/".join("".join(f"%{octet:02x}" for octet in segment.encode()) for segment in segments)
    assert path.canonicalise(escaped).segments == tuple(segments)


@examples(150)
@given(
    targets,
    st.sampled_from(["/../", "/./", "//", "/%2e%2e/", "%2F%2F", "\\", "%5C", "%00", "%0A", "%252F", "#"]),
    st.data(),
)
def test_a_trick_anywhere_in_the_path_is_refused(target, trick, data):
    raw = target.partition("?")[0]
    at = data.draw(st.integers(0, len(raw)))
    tricked = "/x" + raw[:at] + trick + raw[at:]
    result = outcome(path.canonicalise, tricked)
    # the trick may fall inside an escape and be another escape then (`%` + `//`), which is refused as well
    assert not isinstance(result, path.CanonicalPath)


@examples(150)
@given(st.one_of(st.text(max_size=20), st.from_regex(r"[A-Za-z0-9.\-_:\[\],@ ]{1,20}", fullmatch=True)))
def test_canonical_hosts_are_total_and_idempotent(authority):
    result = outcome(path.canonical_host, authority)
    if isinstance(result[0], str) and isinstance(result[1], int | None):
        assert path.canonical_host(result[0]) == (result[0], None)
        assert result[0] == result[0].lower()


@examples(150)
@given(
    st.lists(
        st.sampled_from(
            ["api", "v2", "dags", "~", "dagRuns", "list", "taskInstances", "tries", "pools", "ui", "x", "", "execution"]
        ),
        max_size=10,
    ),
    st.sampled_from(sorted(path.METHODS)),
)
def test_looking_up_is_total_and_names_only_what_exists(segments, method):
    airflow = catalogue.load(catalogue.versions()[-1])
    route = airflow.match(tuple(segments), method)
    if route is not None:
        assert any(
            listed.template == route.template and listed.method == ("GET" if method == "HEAD" else method)
            for listed in airflow.operations[route.operation].routes
        )


@pytest.mark.parametrize(
    "word", ["", "*", ":", "*:*", "dags", "dags:", ":read", "dags:read:x", "**", "d*:read", "dags:*read"]
)
def test_expanding_is_total(word):
    expanded = expand(word, catalogue.load("3.3"), never=False)
    assert "tokens:create" not in expanded
    assert "execution:call" not in expanded
    assert bool(expanded) == (word == "*")
