"""The difference over time: now, and after each end in either policy."""

from authz.core.documents.moments import parse_end
from authz.core.proof import periods as module
from authz.core.proof.periods import about, periods
from tests.unit.core.proof.test_diff import HEAD, READ_POOLS, policy

NOW = parse_end("2026-11-30T10:00Z")
DAY_1, DAY_2 = parse_end("2026-12-01"), parse_end("2026-12-02")
UNTIL_1, UNTIL_2 = (f"{READ_POOLS}, until: 2026-12-0{day}" for day in (1, 2))


class BOSS:
    """Policies in which anna is `admin` in Airflow."""

    always = policy(head=HEAD.replace("boss: {subjects: [anna]}", "boss: {subjects: [anna], airflow: admin}"))
    never = policy(head=HEAD.replace("boss: {subjects: [anna]}", "boss: {subjects: [other]}"))

    @staticmethod
    def until(date):
        member = f"{{name: anna, until: {date}}}"
        return policy(head=HEAD.replace("boss: {subjects: [anna]}", f"boss: {{subjects: [{member}], airflow: admin}}"))


def over_time(old, new, **options):
    return [
        (period.since, [(change.gained, change.rule) for change in period.changes])
        for period in periods(old, new, NOW, **options)
    ]


def test_without_ends_there_is_one_period():
    assert over_time(policy(), policy(READ_POOLS)) == [(NOW, [(True, "pools")])]
    assert over_time(policy(READ_POOLS), policy(READ_POOLS)) == [(NOW, [])]


def test_an_end_that_is_taken_away_is_a_gain_from_then_on():
    assert over_time(policy(UNTIL_1), policy(READ_POOLS)) == [(NOW, []), (DAY_1, [(True, "pools")])]
    assert over_time(policy(READ_POOLS), policy(UNTIL_1)) == [(NOW, []), (DAY_1, [(False, "pools")])]


def test_access_with_an_end_is_a_gain_until_then():
    assert over_time(policy(), policy(UNTIL_1)) == [(NOW, [(True, "pools")]), (DAY_1, [])]


def test_a_later_end_is_a_gain_in_between():
    assert over_time(policy(UNTIL_1), policy(UNTIL_2)) == [(NOW, []), (DAY_1, [(True, "pools")]), (DAY_2, [])]


def test_the_end_of_a_deny_rule_is_a_gain():
    freeze = 'id: freeze, deny: true, plane: inbound, operations: ["dags:read"]'
    found = over_time(policy(freeze), policy(f"{freeze}, until: 2026-12-01"))
    assert found == [(NOW, []), (DAY_1, [(True, "base")])]


def test_the_end_of_a_membership_counts_like_that_of_a_rule():
    member = policy(head=HEAD.replace("[readers, auditors]", "[readers, {name: auditors, until: 2026-12-01}]"))
    assert over_time(policy(), member) == [(NOW, []), (DAY_1, [(False, "base")])]
    assert over_time(policy(), member, only_gains=True) == [(NOW, [])]
    assert over_time(member, policy(), only_gains=True) == [(NOW, []), (DAY_1, [(True, "base")])]


def test_what_has_ended_already_is_no_part_of_it():
    assert over_time(policy(), policy(READ_POOLS + ", until: 2026-11-01")) == [(NOW, [])]


def test_the_same_end_in_both_changes_nothing():
    assert over_time(policy(UNTIL_1), policy(UNTIL_1.replace("id: pools", "id: renamed"))) == [(NOW, [])]


def test_it_says_when_there_are_too_many_ends_to_compare_them_all(monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    two = policy(f"{UNTIL_1}\n{UNTIL_2.replace('id: pools', 'id: more')}")
    assert [*about(policy(UNTIL_1), policy(UNTIL_1), NOW)] == []
    [*_levels, condition] = about(policy(), two, NOW)
    assert condition.widens
    assert condition.text == "there are 2 ends, and only the first 1 are compared: until 2026-12-03T00:00Z"


def test_a_condition_that_comes_with_an_end_is_said_with_its_time():
    [condition] = about(BOSS.until("2026-12-01"), BOSS.always, NOW)
    assert condition.widens
    assert condition.text.startswith("from 2026-12-02T00:00Z on: the level in Airflow of callers with the role boss")


def test_a_condition_that_goes_with_an_end_is_said_until_then():
    level = "the level in Airflow of callers with the role boss (subject `anna`) is raised from no role to admin"
    [condition] = about(BOSS.never, BOSS.until("2026-12-01"), NOW)
    assert (condition.text, condition.widens) == (f"until 2026-12-02T00:00Z: {level}", True)
    [condition] = about(BOSS.until("2026-12-01"), BOSS.until("2026-12-02"), NOW)
    assert condition.text == f"from 2026-12-02T00:00Z until 2026-12-03T00:00Z: {level}"
