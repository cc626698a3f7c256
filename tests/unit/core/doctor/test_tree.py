"""Messages are read in either spelling, and nothing that stands in a document stops the reader."""

import pytest

from authz.core.doctor import tree
from authz.core.doctor.tree import Typed

FULL = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"


@pytest.mark.parametrize("spelling", ["failure_mode_allow", "failureModeAllow"])
def test_both_spellings_of_a_field_are_one(spelling):
    assert tree.pick({spelling: 1}, "failure_mode_allow") == 1


@pytest.mark.parametrize("node", [None, [], "text", 1, {"a": []}, {"a": {"b": "x"}}])
def test_what_is_no_message_has_no_fields(node):
    assert tree.path(node, "a", "c") is None
    assert tree.message(node, "a", "c") == {}
    assert tree.items(node, "a", "c") == []
    assert tree.text(node, "a", "c") == ""


@pytest.mark.parametrize(
    ("value", "says_true", "beyond_doubt"),
    [
        (True, True, True),
        (False, False, False),
        (None, False, False),
        ("true", True, True),
        ("yes", True, True),
        ("odd", True, False),
        ("False", False, False),
        (1, True, False),
        ({"value": True}, True, True),
        ({"value": False}, False, False),
        ({}, False, False),
        ([], False, False),
    ],
)
def test_an_unclear_bool_counts_against_the_configuration(value, says_true, beyond_doubt):
    assert tree.truth(value) is says_true
    assert tree.is_set(value) is beyond_doubt


@pytest.mark.parametrize(("value", "length"), [("3600s", 3600.0), ("1.5s", 1.5), ("1h", 0.0), (5, 0.0), (None, 0.0)])
def test_durations_are_in_seconds(value, length):
    assert tree.seconds(value) == length


def test_a_typed_struct_is_read_as_what_it_holds():
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": FULL, "value": {"a": 1}}
    assert tree.typed(struct) == Typed(FULL.rpartition("/")[2], {"a": 1})
    assert tree.typed({"@type": FULL, "a": 1}).is_a("http.ext_authz", "ExtAuthz")
    assert tree.typed([]) == Typed("", {})


def test_the_network_filter_of_the_same_name_is_another():
    network = FULL.replace(".http.", ".network.")
    assert not tree.typed({"@type": network}).is_a("http.ext_authz", "ExtAuthz")
    assert tree.typed({"@type": "x/envoy.config.filter.http.ext_authz.v2.ExtAuthz"}).is_a("http.ext_authz", "ExtAuthz")


def test_shared_and_circular_nodes_are_visited_once():
    shared = {"x": [1]}
    shared["self"] = shared
    assert [*tree.every({"a": [shared, shared], "b": shared})] == [{"a": [shared, shared], "b": shared}, shared]


def test_a_label_is_one_bounded_line():
    assert tree.label("a\nb") == "a b"
    assert len(tree.label("x" * 500)) == 80
