"""Grants in proofs: a membership like the others, and what two policies say about the same entry."""

import pytest

from authz.core import cases
from authz.core.errors import PolicyError
from authz.core.model import Plane
from authz.core.policy import Bundle
from authz.core.proof.access import cells, roles, titles
from authz.core.proof.callers import Caller, Kind, Membership, callers
from authz.core.proof.conditions import conditions
from authz.core.proof.diff import changes
from authz.core.proof.wording import name_of
from tests.support.factories.policies import ROLES, load, text

RULES = """{id: read, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: edit, plane: inbound, roles: [editor], operations: ["dag_runs:create"], dags: ["sales_*"]}
{id: orders, plane: egress, roles: [editor], hosts: [orders.internal], paths: ["/v1/**"]}"""
EDITOR = ROLES + "  editor: {clients: [ci]}\n"
ONCALL = "{id: oncall, requesters: [viewer], approvers: [op], longest: 3d, roles: [editor]}"
DELETE = '{id: purge, requesters: [op], approvers: none, longest: 1h, operations: ["connections:delete"]}'


def policy(grantable="", rules=RULES, roles=EDITOR):
    return load(rules, roles=roles, grantable=grantable)


def about(before, after):
    """What is said about entries; the level in Airflow, which grants can raise, is said too."""
    return [(one.text, one.widens) for one in conditions(before, after) if "grants of" in one.text]


def granted(*entries):
    return Caller("corp", tuple(Membership(Kind.GRANT, entry) for entry in entries))


def test_each_entry_is_a_caller_of_its_own_on_both_planes():
    for plane in Plane:
        found = [one for one in callers(plane, policy(f"{ONCALL}\n{DELETE}")) if one.memberships[:1] and one.issuer]
        names = [name_of(one) for one in found if one.memberships[0].kind is Kind.GRANT]
        assert names == ["grant `oncall`", "grant `purge`"]


def test_a_caller_may_hold_several_grants_beside_a_group_and_a_client():
    both = granted("oncall").also(granted("purge"))
    assert name_of(both) == "grant `oncall` and grant `purge`"
    assert both.also(Caller("corp", (Membership(Kind.CLIENT, "ci"),))).memberships[-1].kind is Kind.CLIENT
    held = both.held(policy(f"{ONCALL}\n{DELETE}"))
    assert held == {"authenticated", "grant/oncall", "grant/purge", "editor"}


def test_what_a_new_entry_gives_is_a_gain_of_its_grant_and_what_a_removed_one_gave_a_loss():
    before, after = policy(), policy(f"{ONCALL}\n{DELETE}")
    found = [(one.gained, one.plane.value, *map(name_of, one.callers), one.rule) for one in changes(before, after)]
    assert found == [
        (True, "inbound", "grant `oncall`", "edit"),
        (True, "inbound", "grant `purge`", "grant/purge"),
        (True, "egress", "grant `oncall`", "orders"),
    ]
    assert about(before, after) == []
    assert {one.gained for one in changes(after, before)} == {False}


def test_the_request_to_try_names_the_grant():
    (found,) = changes(policy(), policy(DELETE))
    assert found.witness.words[-4:] == ("--grant", "purge", "--issuer", "corp")


def test_a_deny_rule_that_goes_is_a_gain_of_who_holds_two_grants():
    entries = f"{ONCALL}\n{{id: muted, requesters: [op], approvers: none, longest: 1h, roles: [muted]}}"
    roles = EDITOR + "  muted: {}\n"
    deny = '{id: mute, deny: true, plane: inbound, roles: [muted], operations: ["dag_runs:create"]}'
    before, after = (policy(entries, f"{RULES}\n{also}", roles) for also in (deny, ""))
    names = {name_of(caller) for one in changes(before, after) for caller in one.callers}
    assert "grant `oncall` and grant `muted`" in names


@pytest.mark.parametrize(
    ("old", "new", "said", "widens"),
    [
        ("longest: 3d", "longest: 36h", "the longest time of grants of `oncall` has changed: 3d → 36h", False),
        ("longest: 90m", "longest: 2h", "the longest time of grants of `oncall` has changed: 90m → 2h", True),
        ("longest: 1s", "longest: 1500ms", "the longest time of grants of `oncall` has changed: 1s → 1500ms", True),
        ("approvers: [op]", "approvers: none", "grants of `oncall` no longer need approval", True),
        ("approvers: none", "approvers: [op]", "grants of `oncall` now need approval", False),
        (
            "approvers: [admin]",
            "approvers: [op]",
            "callers with the role op (group `data-ops`) may now approve grants of `oncall`",
            True,
        ),
        (
            "approvers: [op]",
            "approvers: [admin]",
            "callers with the role op (group `data-ops`) may no longer approve grants of `oncall`",
            False,
        ),
        (
            "requesters: [viewer]",
            "requesters: [authenticated]",
            "callers with the role authenticated (callers of corp) may now ask for grants of `oncall`",
            True,
        ),
    ],
)
def test_another_who_or_how_long_of_an_entry_is_said_by_itself(old, new, said, widens):
    def entry(words):
        terms = ["id: oncall", "requesters: [viewer]", "approvers: [op]", "longest: 3d", "roles: [editor]"]
        kept = [one for one in terms if one.partition(":")[0] != words.partition(":")[0]]
        return policy(f"{{{', '.join([*kept, words])}}}")

    assert about(entry(old), entry(new)) == [(said, widens)]


def test_who_may_ask_changes_with_who_has_the_role():
    wider = EDITOR.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [data-readers, all]}")
    said = ("callers with the role viewer (group `all`) may now ask for grants of `oncall`", True)
    assert about(policy(ONCALL, rules=""), policy(ONCALL, rules="", roles=wider)) == [said]


def test_a_role_that_only_other_letters_name_changes_nothing():
    listed = ONCALL.replace("[viewer]", "[viewer, user]")  # every user is a viewer
    assert [*conditions(policy(ONCALL), policy(listed))] == []


def test_of_an_entry_without_approval_only_who_may_ask_counts():
    others = DELETE.replace("[op]", "[admin]")
    assert about(policy(DELETE), policy(DELETE)) == []
    said = ("callers with the role op (group `data-ops`) may no longer ask for grants of `purge`", False)
    assert about(policy(DELETE), policy(others)) == [said]


def test_the_matrix_has_a_column_for_each_entry():
    known = policy(DELETE)
    found = [*roles(known, Plane.INBOUND)]
    assert titles(found)[-1] == "grant purge"
    assert [*cells(known, [found[-1]])[found[-1]]] == ["connections:delete"]


STOCK = """{id: stock, requesters: [op], approvers: [admin], longest: 1d, plane: egress, hosts: [stock.internal],
  paths: ["/**"]}"""
NEVERS = [
    ('operations: ["connections:*"]', DELETE, "grant `purge`"),
    ('operations: ["connections:*"], except: [viewer]', DELETE, "grant `purge`"),
    ('operations: ["connections:*"], roles: [viewer]', DELETE, "grant `purge` and group `data-admins`"),
    ('operations: ["dag_runs:create"], except: [editor]', ONCALL, ""),
    ('operations: ["dag_runs:create"], dags: [sales_x]', ONCALL, "grant `oncall`"),
    ("plane: egress, hosts: [orders.internal], except: [admin]", ONCALL, "grant `oncall`"),
    ("plane: egress, hosts: [stock.internal]", STOCK, "grant `stock`"),
    ("plane: egress, hosts: [stock.internal], roles: [viewer]", STOCK, "grant `stock` and group `data-admins`"),
    ("plane: egress, hosts: [stock.internal], roles: [editor]", f"{STOCK}\n{ONCALL}", "`stock` and grant `oncall`"),
]


def proven(entry, grantable=""):
    """The policy with the entry of `never`; who can be an editor can only by a grant."""
    rules, roles = (RULES, ROLES + "  editor: {}\n") if ONCALL in grantable else (RULES.splitlines()[0], ROLES)
    whole = text(rules, roles=roles, grantable=grantable)
    return cases.load(Bundle(f"{whole}never: [{{{entry}}}]\n".encode(), "policy.yaml"))


@pytest.mark.parametrize(("entry", "grantable", "who"), NEVERS)
def test_never_holds_with_everything_that_can_be_granted(entry, grantable, who):
    if not who:
        assert proven(entry, grantable)
        return
    with pytest.raises(PolicyError) as caught:
        proven(entry, grantable)
    assert who in str(caught.value.problems[0])


def test_what_only_an_entry_breaks_holds_without_it():
    for entry, *_ in NEVERS:
        if "editor" not in entry:
            assert proven(entry)
