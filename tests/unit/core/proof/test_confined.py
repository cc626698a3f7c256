"""Confines of files of teams in proofs: what a team may write tomorrow is a part of what a change gives."""

from dataclasses import replace

import pytest

from authz.core import policy
from authz.core.policy.ends import as_of
from authz.core.proof.conditions import conditions
from tests.support.factories.included import HR, SALES, bundle, main, rules

ENTRY = '{file: teams/sales.yaml, roles: [sales-viewer], dags: ["sales_*"], operations: ["dags:*"], destinations: [wh]}'
MEANS = "what its team may give without another change of the policy file"


def loaded(sales, *, more="", teams='["{team}_*"]', also=f"\n  - {{file: {HR}, team: hr}}"):
    text = main(include=f"\n  - {sales}{also}" if sales else also, more=more).replace('["{team}_*"]', teams)
    made = bundle(rules(), rules(), text=text)
    return policy.load(replace(made, parts=tuple(part for part in made.parts if f"file: {part.name}" in text)))


def about(before, after):
    return [(one.text, one.widens) for one in conditions(before, after) if "teams/" in one.text]


def entry(old, new):
    assert old in ENTRY
    return ENTRY.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[sales-viewer]", "[sales-viewer, hr-viewer]", "roles: sales-viewer → hr-viewer, sales-viewer"),
        ("[sales-viewer]", "[hr-viewer]", "roles: sales-viewer → hr-viewer"),
        ('["sales_*"]', '["sales_*", "hr_*"]', "dags: sales_* → hr_*, sales_*"),
        ('["sales_*"]', '["*"]', "dags: sales_* → *"),
        ('["dags:*"]', '["dags:*", "tokens:create"]', "operations: dags:* → dags:*, tokens:create"),
        ('["dags:*"]', '["*"]', "operations: dags:* → *"),
        (' operations: ["dags:*"],', "", "operations: dags:* → any on the DAGs"),
        ("[wh]", "[wh, billing]", "destinations: wh → billing, wh"),
    ],
)
def test_wider_confines_are_a_finding_and_narrower_ones_are_said(old, new, said):
    narrow, wide = loaded(ENTRY), loaded(entry(old, new))
    start = f"the confines of `{SALES}`, {MEANS}, have become wider: "
    assert about(narrow, wide) == [(start + said, True)]
    ((text, widens),) = about(wide, narrow)
    if "[hr-viewer]" in new:  # another role is neither more nor less
        assert (text.startswith(start), widens) == (True, True)
    else:
        assert (text.startswith(f"the confines of `{SALES}` have become narrower: "), widens) == (True, False)
    assert about(narrow, narrow) == []


def test_several_changes_are_one_finding():
    wide = entry('["sales_*"]', '["*"]').replace("[wh]", "[billing]")
    ((text, widens),) = about(loaded(ENTRY), loaded(wide))
    assert (text.endswith("wider: dags: sales_* → *; destinations: wh → billing"), widens) == (True, True)


def test_what_is_written_otherwise_and_permits_the_same_is_no_finding():
    same = entry('["sales_*"]', '["sales_*", "sales_eu_*"]')
    said = f"the confines of `{SALES}` are written otherwise, and permit the same: dags: sales_* → sales_*, sales_eu_*"
    assert about(loaded(ENTRY), loaded(same)) == [(said, False)]


def test_the_roles_and_dags_of_the_team_count_with_what_the_entry_names():
    of_team = f"{{file: {SALES}, team: sales}}"
    ((text, widens),) = about(loaded(of_team, also=""), loaded(of_team, also="", teams='["{team}_*", "{team}-*"]'))
    assert (text.endswith("dags: sales_* → sales-*, sales_*"), widens) == (True, True)
    before = loaded(of_team, also="")
    after = loaded(of_team, also="", more='  "{team}-editor": {groups: ["airflow-{team}-editors"]}')
    ((text, widens),) = about(before, after)
    assert (text.endswith("roles: sales-viewer → sales-editor, sales-viewer"), widens) == (True, True)


def test_without_dags_operations_are_about_every_dag_and_no_run_may_call():
    """So each of these two permits something that the other one does not."""
    inbound = ENTRY.replace(", destinations: [wh]", "")
    without = (' dags: ["sales_*"],', "")
    ((text, widens),) = about(loaded(inbound), loaded(inbound.replace(*without)))
    assert (text.endswith("wider: dags: sales_* → any"), widens) == (True, True)
    assert [widens for _, widens in about(loaded(inbound.replace(*without)), loaded(inbound))] == [False]
    assert [widens for _, widens in about(loaded(entry(*without)), loaded(ENTRY))] == [True]


def test_egress_that_comes_to_confines_is_a_finding():
    inside = f"{{file: {SALES}, team: sales}}"
    assert about(loaded(inside), loaded(inside.replace("}", ", destinations: [wh]}")))[0][1] is True


def test_a_file_that_comes_is_a_finding_and_one_that_goes_is_said():
    without, with_it = loaded(""), loaded(ENTRY)
    has = "roles: sales-viewer; dags: sales_*; operations: dags:*; destinations: wh"
    assert about(without, with_it) == [(f"the file `{SALES}` may have rules now, {MEANS}: {has}", True)]
    assert about(with_it, without) == [(f"the file `{SALES}` may have no rules any more", False)]


def test_without_operations_or_destinations_it_is_said_what_that_means():
    ((text, _),) = about(loaded(""), loaded(f"{{file: {SALES}, team: sales}}"))
    assert text.endswith(": roles: sales-viewer; dags: sales_*; operations: any on the DAGs; destinations: none")
    ((text, _),) = about(loaded(""), loaded(f"{{file: {SALES}, roles: [hr-viewer], destinations: [wh]}}"))
    assert text.endswith(": roles: hr-viewer; dags: none; operations: none; destinations: wh")


def test_the_confines_outlive_what_ends():
    more = "  guest: {subjects: [{name: carol, until: 2098-06-30}]}"
    before, after = loaded(ENTRY, more=more), loaded(entry('["sales_*"]', '["*"]'), more=more)
    later = [as_of(one, one.valid_until) for one in (before, after)]
    assert later[0] is not before
    assert about(*later) == about(before, after)
