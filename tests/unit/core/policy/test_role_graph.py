"""Circles and closures: compared with the plain definition, and what they cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.policy import role_graph
from authz.core.policy.role_graph import circles, closures, components, reached

GRAPHS = st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefgx"), max_size=4).map(tuple))


def leads(includes, start):
    """By the definition: what one can walk to from here, in one step or more."""
    found, waiting = set(), [*includes[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += includes.get(name, ())
    return found


@given(GRAPHS)
def test_closures_components_and_circles_agree_with_the_plain_definition(includes):
    mentioned = {name for names in includes.values() for name in names}
    walks = {name: leads(includes, name) if name in includes else set() for name in {*includes, *mentioned}}
    in_circles = {name for name in includes if name in walks[name]}
    assert reached(includes, includes) == {*includes, *mentioned}
    parts = [*components(includes)]
    assert sorted(name for part in parts for name in part) == sorted(includes)
    for part in parts:
        for name in part:
            assert {other for other in walks[name] if name in walks[other]} | {name} == set(part)
    found = circles(includes)
    assert {name for name, _back in found} <= in_circles
    for name, back in found:
        assert back == name or name in walks[back]
    assert bool(found) == bool(in_circles)
    if not in_circles:
        assert closures(includes) == {name: walks[name] | {name} for name in includes}


def test_a_circle_is_named_at_its_first_role_and_the_way_back():
    assert circles({"a": ("d",), "b": ("d", "c"), "c": ("b",), "d": (), "e": ("e",)}) == [("b", "c"), ("e", "e")]


@pytest.mark.parametrize("shape", ["chain", "circle", "every later one"])
def test_a_thousand_roles_are_looked_at_once(shape):
    """Counted by what is read of the includes: a constant number of times, whatever the shape."""
    names = [str(number) for number in range(800)]
    later = {"chain": lambda at: names[at + 1 : at + 2], "circle": lambda at: [names[(at + 1) % len(names)]]}
    each = later.get(shape, lambda at: names[at + 1 :])
    read = 0

    class Counted(tuple):
        __slots__ = ()

        def __iter__(self):
            nonlocal read
            for item in tuple.__iter__(self):
                read += 1
                yield item

    includes = {name: Counted(each(at)) for at, name in enumerate(names)}
    edges = sum(map(len, includes.values()))
    circles(includes)
    assert read <= 2 * edges
    if shape != "circle":
        read = 0
        assert closures(includes) is not None
        assert read <= 2 * edges
    read = 0
    assert len(reached(names[:1], includes)) == len(names)
    assert read <= edges


def test_the_members_of_all_closures_together_are_bounded():
    chain = {str(number): (str(number + 1),) for number in range(10)}
    assert closures(chain, most=55) is not None
    assert closures(chain, most=54) is None
    assert role_graph.MOST >= 100_000
