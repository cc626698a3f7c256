"""The report counts what the records say, groups what differs, and guesses nothing."""

import pytest

from authz.core.shadow import Difference, Report
from authz.core.shadow import report as module

RECORD = {
    "v": 1, "type": "decision", "id": "d1", "time": "2026-11-30T08:00:00.000000Z", "plane": "inbound", "method": "GET",
    "host": "airflow", "path": "/api/v2/dags", "identity": "i1", "subject": "alice", "client": "cli",
    "operation": "dags:read", "dag": "~", "decision": "allow", "reason": "rule", "rule": "readers",
    "revision": "a" * 64,
}  # fmt: skip
LOSS = {"revision": "c1", "decision": "deny", "reason": "no_rule", "rule": ""}
GAIN = {"revision": "c1", "decision": "allow", "reason": "rule", "rule": "wide"}
SAME = {"revision": "c1"}


def record(shadow=None, **changes):
    return {**RECORD, **changes, **({} if shadow is None else {"shadow": shadow})}


def of(*records):
    made = Report()
    for one in records:
        made.add(one)
    return made


def test_what_was_compared_is_counted_for_each_candidate():
    denied = {"decision": "deny", "reason": "no_rule", "rule": ""}
    found = of(
        record(SAME),
        record(LOSS),
        record(GAIN, **denied),
        record({"revision": "c1", "rights": {"agent": True}}),
        record({"revision": "c1", "unknown": "issuer"}),
        record({"revision": "c2"}, revision="b" * 64),
        record(),
    )
    first, second = found.candidates.values()
    assert (first.revision, first.compared, first.differs) == ("c1", 4, 3)
    assert first.outcomes == {"agree": 1, "loss": 1, "gain": 1, "rights": 1, "issuer": 1}
    assert first.in_force == {"a" * 64: 5}
    assert (second.revision, second.compared, second.differs, second.in_force) == ("c2", 1, 0, {"b" * 64: 1})
    assert (found.newest, found.without, found.malformed) == ("c2", 1, 0)
    assert [difference.outcome for difference, _ in first.sorted()] == ["gain", "loss", "rights"]


def test_decisions_that_differ_alike_are_one_group_with_its_first_as_the_witness():
    found = of(record(LOSS), record(LOSS, id="d2", path="/other"), record(LOSS, subject="bob"))
    [(first, group), (second, _)] = found.candidates["c1"].sorted()
    assert first == Difference("loss", "alice", "readers", "rule", "", "no_rule")
    assert second.caller == "bob"
    assert (group.count, group.witness["id"], group.witness["path"]) == (2, "d1", "/api/v2/dags")


RIGHTS = {
    "airflow": ["", "op"], "agent": True,
    "dags": {"lost": ["a*", "b"], "gained": ["*"], "denied": ["c"], "denied_before": ["d"], "left_out": 7},
}  # fmt: skip


def test_which_rights_differ_is_said_in_words_and_decisions_in_which_others_do_are_another_group():
    other = {"agent": False, "airflow": ["op", "viewer"]}
    logged = [record({"revision": "c1", "rights": rights}) for rights in (RIGHTS, other, RIGHTS, {"later": 1})]
    found = [(group.count, difference.rights) for difference, group in of(*logged).candidates["c1"].sorted()]
    assert found == [
        (
            2,
            (
                "role in Airflow none → op",
                "marked as an agent",
                "no longer the DAGs a*, b",
                "also the DAGs *",
                "without the DAGs c",
                "no longer without the DAGs d",
                "7 more patterns of DAGs that are not listed",
            ),
        ),
        (1, ()),
        (1, ("role in Airflow op → viewer", "no longer marked as an agent")),
    ]


@pytest.mark.parametrize(
    ("changes", "caller"),
    [
        ({"identity": "", "subject": ""}, "anonymous"),
        ({"subject": ""}, "cli"),
        ({"subject": "", "client": ""}, "identity i1"),
        ({"identity": "", "subject": "", "run": {"dag_id": "sales", "task_id": "load"}}, "run of sales, task load"),
        ({"identity": "", "run": None}, "alice"),
    ],
)
def test_the_caller_is_named_as_well_as_the_record_can(changes, caller):
    [(difference, _)] = of(record(LOSS, **changes)).candidates["c1"].sorted()
    assert difference.caller == caller


def test_a_caller_whose_name_is_not_on_record_is_not_anonymous():
    hidden = {name: value for name, value in record(LOSS).items() if name not in {"subject", "client", "identity"}}
    [(difference, _)] = of(hidden).candidates["c1"].sorted()
    assert difference.caller == "identity unknown"


@pytest.mark.parametrize(
    "line", [{"type": "identity", "v": 1, "shadow": LOSS}, {**record(LOSS), "v": 2}, {"type": "later"}, {}]
)
def test_lines_of_other_types_and_versions_are_skipped(line):
    assert of(line) == Report()


@pytest.mark.parametrize(
    "shadow",
    ["text", 5, {}, {"revision": 5}, {"revision": "c1", "unknown": "guess"},
     {**LOSS, "decision": "maybe"}, {**LOSS, "rule": None},
     *({"revision": "c1", "rights": rights} for rights in (
         True, [], {"airflow": "op"}, {"airflow": ["op"]}, {"airflow": [1, 2]}, {"agent": "yes"}, {"dags": ["a"]},
         {"dags": {"lost": [1]}}, {"dags": {"lost": "ab"}}, {"dags": {"left_out": "many"}},
     ))],
)  # fmt: skip
def test_what_the_gate_does_not_write_is_counted_as_malformed(shadow):
    found = of(record(shadow))
    assert (found.malformed, found.candidates) == (1, {})
    assert of(record(SAME, decision="issue")).malformed == 1


def test_the_groups_are_bounded_and_what_has_no_group_is_counted(monkeypatch):
    monkeypatch.setattr(module, "_MOST_GROUPS", 2)
    tally = of(*(record(LOSS, subject=name) for name in "abca")).candidates["c1"]
    assert (len(tally.groups), tally.left_out, tally.differs) == (2, 1, 4)
