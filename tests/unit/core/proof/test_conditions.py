"""What no comparison of rules shows: issuers, keys, catalogues, and what Airflow is told about a caller."""

import pytest

from authz.core.policy import Bundle, load
from authz.core.proof.conditions import conditions

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
    text = head + "".join(f"  - {{{rule}}}\n" for rule in rules.splitlines() if rule.strip())
    return load(Bundle(text.encode(), "p.yaml"))


def test_the_same_conditions_are_none():
    assert [*conditions(policy(), policy('id: p, plane: inbound, roles: [etl], operations: ["dags:read"]'))] == []


@pytest.mark.parametrize(
    ("head", "text", "widens"),
    [
        (HEAD.replace("[RS256]", "[RS256, ES256]"), "whose tokens are accepted has changed", True),
        (HEAD.replace("version: 1", 'version: 1\nairflow: "3.1"'), "different Airflow versions", True),
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
    raised = "the level in Airflow of callers with the role etl is raised to admin"
    assert told(ROLE, f"{ROLE}, airflow: admin") == [(raised, True)]
    lowered = "the level in Airflow of callers with the role etl is lowered from admin"
    assert told(f"{ROLE}, airflow: admin", ROLE) == [(lowered, False)]


def test_a_level_that_a_caller_comes_to_have_is_told_by_the_role_that_gives_it():
    other = "boss: {groups: [bosses], airflow: admin}"
    before = f"{ROLE}}}\n  {other}"
    after = before.replace("[bosses]", "[bosses, ops]").removesuffix("}")
    raised = "the level in Airflow of callers with the role boss is raised to admin"
    assert told(before.removesuffix("}"), after) == [(raised, True)]


def test_a_level_of_everyone_with_a_token():
    everyone = 'id: e, plane: inbound, roles: [authenticated], operations: ["variables:delete"]'
    (found,) = conditions(policy(), policy(everyone))
    assert found.text == "the level in Airflow of callers with the role authenticated is raised to op"


def test_an_agent_that_is_no_longer_marked_widens():
    dropped = "callers with the role etl are no longer marked as agents"
    assert told(f"{ROLE}, agent: true", ROLE) == [(dropped, True)]
    assert told(ROLE, f"{ROLE}, agent: true") == [("callers with the role etl are now marked as agents", False)]


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
    assert "the entry of the issuer" in by_path.text


def test_keys_that_are_no_longer_in_a_file_are_another_entry():
    (found,) = conditions(policy(head=WITH_FILE), policy(), ({URL: "a"}, {}))
    assert (found.widens, "the entry of the issuer" in found.text) == (True, True)
