"""An entry of `never` that the new policy does not say any more is found, whatever the rules allow."""

import pytest

from authz.core import cases
from authz.core.policy import Bundle
from authz.core.proof.promises import Lost, lost

POLICY = """
version: 1
issuers:
  - {name: corp, issuer: "https://i.test", audiences: {inbound: [a], egress: [b]}, algorithms: [RS256], groups: [g]}
roles: {viewer: {groups: [v]}, op: {groups: [o]}, guest: {groups: [x]}, aux: {groups: [y]}}
rules:
  - {id: r, plane: inbound, roles: [viewer], operations: ["dags:read"]}
never:
"""
HEALTH = 'name: health, except: [op], operations: ["health:read"]'
BASE = "name: secrets, roles: [guest, viewer], except: [op], plane: inbound"
VARIABLES = f'{BASE}, operations: ["variables:*", "connections:read"]'
CALLS = (
    "name: calls, plane: egress, destinations: [orders], hosts: [a.test, b.test], paths: [/v1/x, /v2/**], "
    "methods: [GET, DELETE], tasks: [load_*]"
)
DAGS = 'name: dags, plane: inbound, dags: ["sales_*", hr]'


def entries(*written):
    return cases.read(Bundle((POLICY + "".join(f"  - {{{one}}}\n" for one in written)).encode(), "p.yaml")).never


def lost_of(old, *new):
    """The names and keys of what is lost of one entry, and of another one that stays."""
    return [(one.entry.name, one.weaker) for one in lost(entries(old, HEALTH), entries(*new, HEALTH))]


@pytest.mark.parametrize("entry", [VARIABLES, CALLS, DAGS, 'operations: ["pools:*"]'])
def test_what_stays_is_kept_in_whatever_order_and_under_whatever_name(entry):
    assert lost_of(entry, entry) == []
    name, _, rest = entry.partition(", ")
    assert lost_of(entry, f"name: another name, {rest}" if rest else f"name: other, {name}") == []
    assert lost(entries(HEALTH, entry), entries(entry, HEALTH)) == []


def test_an_entry_that_is_gone_is_named_with_its_place():
    [one] = lost(entries(VARIABLES, HEALTH), entries(HEALTH))
    assert one == Lost(one.entry)
    assert (one.entry.name, one.entry.file, one.entry.line) == ("secrets", "p.yaml", 9)
    assert lost(entries(VARIABLES), []) == [Lost(entries(VARIABLES)[0])]


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        (VARIABLES, VARIABLES.replace("[op]", "[op, aux]"), ("except",)),
        (VARIABLES, VARIABLES.replace("[op]", "[op, anonymous]"), ("except",)),
        (VARIABLES, VARIABLES.replace("except: [op]", "except: [aux]"), ("except",)),
        (VARIABLES, VARIABLES.replace("[guest, viewer]", "[guest]"), ("roles",)),
        (VARIABLES, VARIABLES.replace(', "connections:read"', ""), ("operations",)),
        (VARIABLES, VARIABLES.replace("variables:*", "variables:read"), ("operations",)),
        (BASE + ', operations: ["dags:*"]', BASE + ', operations: ["dags:*"], dags: ["*"]', ("dags",)),
        (DAGS.replace("plane: inbound, ", ""), DAGS, ("plane",)),
        (DAGS, DAGS.replace(", hr", ""), ("dags",)),
        (DAGS, DAGS + ", roles: [viewer], except: [op]", ("roles", "except")),
        (CALLS, CALLS.replace("[orders]", "[stock]"), ("destinations",)),
        (CALLS, CALLS.replace("a.test, ", ""), ("hosts",)),
        (CALLS, CALLS.replace("/v2/**", "/v2"), ("paths",)),
        (CALLS, CALLS.replace(", DELETE", ""), ("methods",)),
        (CALLS, CALLS.replace("load_*", "load_1"), ("tasks",)),
    ],
)
def test_an_entry_that_says_less_is_named_with_its_keys(old, new, keys):
    assert lost_of(old, new) == [(old.partition(",")[0].removeprefix("name: "), keys)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (VARIABLES, VARIABLES.replace("except: [op], ", "")),
        (VARIABLES, VARIABLES.replace("plane: inbound, ", "")),
        (VARIABLES, VARIABLES.replace("roles: [guest, viewer], ", "")),
        (VARIABLES, f'{BASE}, operations: ["*"]'),
        (VARIABLES, VARIABLES.replace("viewer]", "viewer, aux]")),
        (VARIABLES.replace("[op]", "[op, anonymous]"), VARIABLES),
        (DAGS, DAGS.replace("hr", '"*"')),
        (DAGS, DAGS.replace("plane: inbound, ", "")),
        (CALLS, CALLS.replace("/v1/x", '"/**"')),
        (CALLS, CALLS.replace(", tasks: [load_*]", "")),
    ],
)
def test_an_entry_that_says_more_keeps_the_old_one(old, new):
    assert lost_of(old, new) == []


def test_of_entries_with_one_name_the_nearest_is_compared():
    """A name is unique in its file only."""
    weak = VARIABLES.replace("[op]", "[op, aux]").replace(', "connections:read"', "")
    near = VARIABLES.replace("[op]", "[op, aux]")
    assert [one.weaker for one in lost(entries(VARIABLES), [*entries(weak), *entries(near)])] == [("except",)]


def test_what_two_entries_say_together_is_for_a_person_to_compare():
    first, second = (VARIABLES.replace(word, "") for word in ('"variables:*", ', ', "connections:read"'))
    second = second.replace("name: secrets", "name: rest")
    assert lost_of(VARIABLES, first, second) == [("secrets", ("operations",))]
