"""What no comparison of rules shows: issuers, keys, catalogues, and what Airflow is told about a caller."""

import itertools
import json

import pytest

from authz.core.proof.conditions import conditions
from tests.support.factories.policies import below

HEAD = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
roles:
  viewer: {groups: [readers, auditors]}
  etl: {groups: [ops], includes: [viewer]}
rules:
  - {id: base, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["sales_*"]}
"""


def policy(rules="", head=HEAD):
    return below(head, *filter(str.strip, rules.splitlines()))


def test_the_same_conditions_are_none():
    assert [*conditions(policy(), policy('id: p, plane: inbound, roles: [etl], operations: ["dags:read"]'))] == []


@pytest.mark.parametrize(
    ("head", "text", "widens"),
    [
        (HEAD.replace("[RS256]", "[RS256, ES256]"), "https://idp.example.com, algorithms: RS256 → ES256, RS256", True),
        (HEAD.replace("version: 1", 'version: 1\nairflow: "3.1"'), "Airflow 3.3 is compared with", False),
        (HEAD.replace("idp.example.com", "other.example.com"), "tokens of a new issuer are accepted", True),
    ],
)
def test_what_changes_who_is_a_caller_is_said(head, text, widens):
    found = [*conditions(policy(), policy(head=head))]
    assert any(text in condition.text and condition.widens is widens for condition in found)


def test_an_issuer_that_is_gone_widens_nothing():
    found = [*conditions(policy(), policy(head=HEAD.replace("idp.example.com", "other.example.com")))]
    assert [condition.widens for condition in found] == [False, True]


ROLE = "etl: {groups: [ops], includes: [viewer]"


def told(old, new):
    found = conditions(policy(head=HEAD.replace(ROLE, old)), policy(head=HEAD.replace(ROLE, new)))
    return [(condition.text, condition.widens) for condition in found]


def test_a_level_in_airflow_that_is_raised_widens():
    raised = "the level in Airflow of callers with the role etl (group `ops`) is raised from viewer to admin"
    assert told(ROLE, f"{ROLE}, airflow: admin") == [(raised, True)]
    lowered = "the level in Airflow of callers with the role etl (group `ops`) is lowered from admin to viewer"
    assert told(f"{ROLE}, airflow: admin", ROLE) == [(lowered, False)]


def test_a_level_that_a_caller_comes_to_have_is_told_by_the_role_that_gives_it():
    other = "boss: {groups: [bosses], airflow: admin}"
    before = f"{ROLE}}}\n  {other}"
    after = before.replace("[bosses]", "[bosses, ops]").removesuffix("}")
    raised = "the level in Airflow of callers with the role boss (group `ops`) is raised from viewer to admin"
    assert told(before.removesuffix("}"), after) == [(raised, True)]


def test_a_level_of_everyone_with_a_token():
    everyone = 'id: e, plane: inbound, roles: [authenticated], operations: ["variables:delete"]'
    everyone, viewers = conditions(policy(), policy(everyone))
    who = "the level in Airflow of callers with the role authenticated"
    assert everyone.text == f"{who} (callers of corp) is raised from no role to op"
    assert viewers.text == f"{who} (group `auditors`, group `readers`, group `ops`) is raised from viewer to op"


def test_a_renamed_group_is_named_in_both_lines():
    who = "the level in Airflow of callers with the role viewer"
    assert told(ROLE, ROLE.replace("[ops]", "[oops]")) == [
        (f"{who} (group `oops`) is raised from no role to viewer", True),
        (f"{who} (group `ops`) is lowered from viewer to no role", False),
    ]


def test_of_many_callers_a_few_are_named_and_the_others_counted():
    many = ROLE.replace("[ops]", "[a, b, c, d, e, f]")
    (raised,) = told(many, f"{many}, airflow: admin")
    assert "role etl (group `a`, group `b`, group `c`, group `d` and 2 more) is" in raised[0]


def test_with_several_issuers_a_name_says_whose_tokens_are_meant():
    other = """  - name: partner
    issuer: https://partner.example.com
    audiences: {inbound: [airflow]}
    algorithms: [RS256]
roles:"""
    head = HEAD.replace("roles:", other, 1).replace(ROLE, f"{ROLE}, issuers: [corp]")
    (raised,) = conditions(policy(head=head), policy(head=head.replace(ROLE, f"{ROLE}, airflow: admin")))
    assert "role etl (group `ops` of corp) is raised" in raised.text


def test_an_agent_that_is_no_longer_marked_widens():
    who = "callers with the role etl (group `ops`) are"
    assert told(f"{ROLE}, agent: true", ROLE) == [(f"{who} no longer marked as agents", True)]
    assert told(ROLE, f"{ROLE}, agent: true") == [(f"{who} now marked as agents", False)]


WITH_FILE = HEAD.replace("algorithms: [RS256]", "algorithms: [RS256]\n    jwks_file: keys.json")
URL = "https://idp.example.com"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (("a", "a"), ""),
        (("a", "b"), "whose tokens are accepted has changed: the keys in the file of the issuer"),
    ],
)
def test_keys_in_files_are_compared_by_what_says_which_they_are(keys, text):
    elsewhere = WITH_FILE.replace("keys.json", "other/keys.json")
    for head in (WITH_FILE, elsewhere):
        found = [*conditions(policy(head=WITH_FILE), policy(head=head), tuple({URL: key} for key in keys))]
        assert [condition.widens for condition in found] == ([True] if text else [])
        assert all(condition.text.startswith(text) for condition in found)
    (by_path,) = conditions(policy(head=WITH_FILE), policy(head=elsewhere))
    assert by_path.text.endswith("https://idp.example.com, jwks_file: keys.json → other/keys.json")


def test_keys_that_are_no_longer_in_a_file_are_another_entry():
    (found,) = conditions(policy(head=WITH_FILE), policy(), ({URL: "a"}, {}))
    assert (found.widens, found.text.endswith(", jwks_file: keys.json → none")) == (True, True)


def changed(old, new):
    before = "whose tokens are accepted, or what is read in them, has changed: the issuer https://idp.example.com, "
    found = [*conditions(policy(), policy(head=HEAD.replace(old, new)))]
    assert all(condition.widens and condition.text.startswith(before) for condition in found)
    return [condition.text.removeprefix(before) for condition in found]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("audiences: {inbound: [airfow], egress: [outbound]}", ["audiences.inbound: airflow → airfow"]),
        ("audiences: {inbound: [airflow], egress: [none]}", ['audiences.egress: outbound → "none"']),
        ("audiences: {inbound: [airflow]}", ["audiences.egress: outbound → none"]),
        (
            'audiences: {inbound: [airflow, "b, c"], egress: [outbound]}',
            ['audiences.inbound: airflow → airflow, "b, c"'],
        ),
        ("tokens: [id, access]", ["tokens: access → access, id"]),
        ("groups: [groups, realm_access.roles]", ["groups: none → groups, realm_access.roles"]),
        ("username: email", ["username: sub → email"]),
        ("full_name: title", ["full_name: name → title"]),
        ("max_lifetime: 2h", ["max_lifetime: 3600 → 7200"]),
        ("clock_skew: 10s", ["clock_skew: 30 → 10"]),
        ("jwks_uri: https://idp.example.com/keys", ["jwks_uri: none → https://idp.example.com/keys"]),
        ("insecure_http: true", ["insecure_http: false → true"]),
        (
            "algorithms: [PS256]\n    username: email",
            ["algorithms: RS256 → PS256", "username: sub → email"],
        ),
    ],
)
def test_each_key_of_an_issuer_that_has_changed_is_said_with_both_values(entry, said):
    kept = {
        "audiences": "    audiences: {inbound: [airflow], egress: [outbound]}\n",
        "algorithms": "    algorithms: [RS256]\n",
    }
    old = kept.get(entry.partition(":")[0], "")
    assert changed(old or "roles:\n", f"    {entry}\n" + ("" if old else "roles:\n")) == said


def test_an_entry_and_the_keys_in_its_file_are_both_said():
    other = WITH_FILE.replace("[RS256]", "[PS256]")
    found = [*conditions(policy(head=WITH_FILE), policy(head=other), ({URL: "a"}, {URL: "b"}))]
    assert ["algorithms: RS256 → PS256" in found[0].text, "the keys in the file" in found[1].text] == [True, True]


def test_the_values_of_an_issuer_cannot_be_taken_for_others():
    several = [("none",), (), ("a, b",), ("a", "b"), ('a", "b',), ('"a", "b"',)]
    heads = [HEAD.replace("[outbound]", json.dumps([*values])) for values in several]
    for old, new in itertools.permutations(heads, 2):
        assert (
            len(
                [
                    *conditions(
                        policy(head=old.replace(", egress: []", "")), policy(head=new.replace(", egress: []", ""))
                    )
                ]
            )
            == 1
        )


def test_what_many_roles_have_in_common_is_said_once():
    before = f"{ROLE}}}\n  boss: {{groups: [b], includes: [etl]}}\n  chief: {{groups: [c], includes: [etl]"
    after = before.replace("[etl]", "[etl], airflow: op")
    raised = (
        "the level in Airflow of callers with the roles boss, chief (group `b`, group `c`) is raised from viewer to op"
    )
    assert told(before, after) == [(raised, True)]
