"""A story says what is on record in order, and what may have been only as such."""

import pytest

from authz.core.traffic import story
from authz.core.traffic.story import (
    Days,
    Recorded,
    dags_of,
    instances_of,
    is_accepted,
    is_access_of,
    run_of,
    run_story,
)

RUN = "manual__2026-11-30T12:00:00.123456+00:00"


def record(time, plane="inbound", **fields):
    return {"v": 1, "time": f"2026-11-30T{time}:00.000000Z", "plane": plane, "decision": "allow", **fields}


def call(time, task="extract", index=-1, *, run=RUN, dag="sales", plane="egress", **fields):
    about = {"dag_id": dag, "run_id": run, "task_id": task, "map_index": index, "try_number": 1}
    return Recorded(record(time, plane, method="GET", dag=dag, run=about, **fields))


def create(time, dag="sales", outcome=None, run=None, **fields):
    made = record(time, method="POST", operation="dag_runs:create", dag=dag, **fields)
    return Recorded(made, None, None if outcome is None else {"status": outcome, **({"run": run} if run else {})})


def test_calls_are_grouped_by_task_in_the_order_of_their_times():
    calls = [call("12:05", "load"), call("12:01"), call("12:03", plane="execution"), call("12:04", "load", 2)]
    found = run_story("sales", RUN, calls, [])
    assert [(task.task, task.map_index, [one.time[11:16] for one in task.calls]) for task in found.tasks] == [
        ("extract", -1, ["12:01", "12:03"]),
        ("load", 2, ["12:04"]),
        ("load", -1, ["12:05"]),
    ]


def issued(time, instance, task="extract", index=-1, **fields):
    made = call(time, task, index, plane="execution", **{"decision": "issue", **fields})
    return made._replace(outcome={"instance": instance})


def access(time, instance, **fields):
    return {"time": f"2026-11-30T{time}:00.000000Z", "instance": instance, "name": time, "status": 200, **fields}


def test_accesses_are_of_the_task_whose_instance_got_a_run_identity():
    calls = [issued("12:01", "a"), call("12:02"), issued("12:03", "b", "load", 2)]
    of_run = {"dag": "sales", "run": RUN}
    some = [access("12:09", "b"), access("12:04", "a"), access("12:03", "a"), access("12:05", "c", **of_run)]
    found = run_story("sales", RUN, calls, [], some)
    assert [(task.task, task.map_index, [one.time[11:16] for one in task.accesses]) for task in found.tasks] == [
        ("extract", -1, ["12:03", "12:04"]),
        ("load", 2, ["12:09"]),
    ]
    assert {one.run["try_number"] for task in found.tasks for one in task.accesses} == {1}
    assert [(one.entry["name"], one.run) for one in found.others] == [("12:05", {})]


def test_what_another_dags_run_of_the_same_name_read_is_of_another_story():
    """Runs that Airflow schedules have the same id in all DAGs of a schedule."""
    run = "scheduled__2026-11-30T00:00:00+00:00"
    calls = [issued("12:01", "a", run=run), issued("12:02", "b", run=run, dag="finance")]
    assert instances_of(calls, "sales", run).keys() == {"a"}
    assert instances_of(calls, "finance", run).keys() == {"b"}
    of_finance = {"dag": "finance", "run": run}
    some = [access("12:03", "a"), access("12:04", "b"), access("12:05", "c", **of_finance)]
    found = run_story("sales", run, calls, [], some)
    assert [[one.entry["name"] for one in task.accesses] for task in found.tasks] == [["12:03"]]
    assert found.others == ()
    found = run_story("finance", run, calls, [], some)
    assert [[one.entry["name"] for one in task.accesses] for task in found.tasks] == [["12:04"]]
    assert [one.entry["name"] for one in found.others] == ["12:05"]


def test_what_airflow_did_not_accept_is_only_claimed():
    of_run = {"dag": "sales", "run": RUN}
    some = [
        access("12:03", "a"),
        access("12:05", "a", status=403),
        access("12:04", "c", status=404, **of_run),
        access("12:06", "", status="200", **of_run),
    ]
    assert [is_accepted(one) for one in some] == [True, False, False, False]
    found = run_story("sales", RUN, [issued("12:01", "a")], [], some)
    assert [[one.entry["name"] for one in task.accesses] for task in found.tasks] == [["12:03"]]
    assert found.others == ()
    assert [(one.entry["name"], one.run.get("task_id")) for one in found.claimed] == [
        ("12:04", None),
        ("12:05", "extract"),
        ("12:06", None),
    ]


@pytest.mark.parametrize(
    "other",
    [
        issued("12:01", "a", decision="deny"),
        issued("12:01", ["a"]),
        issued("12:01", "a", run="other"),
        call("12:01"),
        call("12:01")._replace(outcome={"status": 200}),
    ],
)
def test_only_an_issued_identity_names_an_instance(other):
    assert instances_of([other], "sales", RUN) == {}
    assert instances_of([issued("12:01", "a")], "sales", RUN).keys() == {"a"}


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"instance": "a"}, True),
        ({"instance": "b", "dag": "sales", "run": RUN}, True),
        ({"instance": "b", "dag": "sales", "run": "other"}, False),
        ({"instance": "b", "dag": "finance", "run": RUN}, False),
        ({"instance": ["a"]}, False),
        ({}, False),
    ],
)
def test_an_access_is_of_a_run_by_its_instance_or_by_its_xcom(entry, wanted):
    assert is_access_of(entry, "sales", RUN, {"a"}) is wanted


def test_another_dag_with_a_run_of_the_same_name_is_another_story():
    calls = [call("12:01"), call("12:02", dag="finance")]
    assert dags_of(one.record for one in calls) == {"sales", "finance"}
    found = run_story("sales", RUN, calls, [])
    assert [one.record["dag"] for task in found.tasks for one in task.calls] == ["sales"]


def test_what_was_asked_about_a_run_reads_are_counted():
    asked = [
        Recorded(record("12:01", method="GET", dag="sales")),
        Recorded(record("12:02", method="PATCH", dag="sales")),
        Recorded(record("12:03", method="DELETE", dag="")),
    ]
    found = run_story("sales", RUN, asked, [])
    assert (found.reads, [one.record["method"] for one in found.requests]) == (1, ["PATCH", "DELETE"])
    assert dags_of(one.record for one in [Recorded(record("12:01", dag="~"))]) == frozenset()


def test_a_run_that_called_for_another_is_not_among_the_tasks_of_that():
    """A task of one run that asks Airflow about another has a run of its own."""
    other = call("12:01", run="manual__other")
    assert run_story("sales", RUN, [other], []).tasks == ()


def candidates(creates, run=RUN, first="12:10"):
    return [one.time[11:16] for one in run_story("sales", run, [call(first, run=run)], creates).candidates]


def test_who_triggered_it_is_on_record_where_airflow_named_the_run():
    creates = [
        create("12:00", outcome=200, run="manual__other"),
        create("12:00"),
        create("12:01", outcome=200, run=RUN),
    ]
    found = run_story("sales", RUN, [call("12:10")], creates)
    assert (found.trigger, found.candidates) == (creates[2], ())
    assert run_story("finance", RUN, [call("12:10")], creates).trigger is None
    assert candidates(creates[:2]) == ["12:00"], "the request that made another run is none"


def test_who_may_have_triggered_it_is_told_by_the_time_in_its_id():
    assert candidates([create("11:00"), create("12:00"), create("12:05")]) == ["12:00"]


@pytest.mark.parametrize("run", ["mine", "manual__mine", "manual__9999-99-99", "manual__2020-01-01T00:00:00", "x__"])
def test_without_such_a_time_the_last_ones_before_its_first_sign(run):
    creates = [create(f"11:0{number}") for number in range(5)]
    assert candidates([*creates, create("12:30")], run) == ["11:02", "11:03", "11:04"]


def test_a_day_before_its_first_sign_is_too_long_ago():
    old = create("12:00")
    old.record["time"] = "2026-11-29T12:00:00.000000Z"
    assert candidates([old], "mine") == []


@pytest.mark.parametrize(
    "other",
    [
        create("12:00", dag="finance"),
        create("12:00", decision="deny"),
        create("12:00", outcome=409),
        create("12:00", outcome=503),
        create("12:00", outcome=0),
        Recorded(record("12:00", method="POST", operation="dag_runs:clear", dag="sales")),
    ],
)
def test_what_cannot_have_triggered_it_is_no_candidate(other):
    assert candidates([other]) == []


@pytest.mark.parametrize("outcome", [None, 200, "?"])
def test_what_may_have_is_one(outcome):
    assert candidates([create("12:00", outcome=outcome)]) == ["12:00"]


@pytest.mark.parametrize("run", ["scheduled__2026-11-30T12:00:00+00:00", "backfill__x", "asset_triggered__x"])
def test_a_run_that_airflow_names_has_no_candidates(run):
    found = run_story("sales", run, [call("12:10", run=run)], [create("12:00")])
    assert (found.made_by_airflow, found.candidates) == (True, ())


def test_a_run_without_a_time_on_record():
    undated = Recorded({"plane": "inbound", "method": "PATCH", "dag": "sales", "time": "?"})
    found = run_story("sales", RUN, [undated], [create("12:00")])
    assert ([one.time for one in found.requests], len(found.candidates)) == ([""], 1)


@pytest.mark.parametrize("spoiled", [{}, {"run": 7, "plane": "egress"}, {"run": {"run_id": "x"}, "plane": "inbound"}])
def test_fields_of_other_types_name_no_run(spoiled):
    assert run_of(spoiled) == {}
    assert dags_of([spoiled, {**spoiled, "dag": 7}]) == frozenset()


def test_a_task_without_a_name_or_with_an_index_of_another_type():
    spoiled = Recorded({"plane": "egress", "run": {"run_id": RUN, "map_index": "x"}})
    (task,) = run_story("sales", RUN, [spoiled], []).tasks
    assert (task.task, task.map_index) == ("", -1)


def test_days_count_decisions_and_list_changes():
    days = Days()
    days.add(record("12:00", method="GET", operation="dags:read", roles=["viewer", 7]))
    days.add(record("12:01", method="DELETE", operation="dags:delete", decision="deny", roles="viewer"))
    days.add(record("12:02", "egress", method="GET", operation="", destination="orders"))
    days.add(record("12:03", "execution", method="GET"))
    days.add({"method": "POST", "time": 7})
    undated, day = days.days()
    assert (undated.day, day.day, days.decisions, days.changes) == ("", "2026-11-30", 5, 2)
    assert (day.decisions, day.denied, day.roles) == (4, 1, {"viewer"})
    assert day.kinds == {"dags:read": 1, "dags:delete": 1, "orders": 1, "run identity": 1}
    assert [change["method"] for change in undated.changes + day.changes] == ["POST", "DELETE"]
    assert [one.changes for one in days.days()] == [undated.changes, day.changes], "asked again, it is the same"


def test_the_newest_changes_are_kept_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(story, "MOST_CHANGES", 2)
    days = Days()
    for minute in (3, 1, 5, 4):
        days.add(record(f"12:0{minute}", method="POST"))
    assert ([one["time"][14:16] for one in days.listed()], days.changes) == (["04", "05"], 4)


def test_kinds_roles_and_days_are_bounded(monkeypatch):
    monkeypatch.setattr(story, "_MOST_KINDS", 2)
    monkeypatch.setattr(story, "_MOST_DAYS", 1)
    days = Days()
    for number in range(4):
        days.add(record("12:00", method="GET", host=f"h{number}", roles=[f"r{number}"]))
    days.add({"time": "2026-12-01T00:00:00.000000Z", "method": "PUT"})
    first, others = days.days()
    assert first.kinds == {"h0": 1, "h1": 1, "others": 2}
    assert first.roles == {"r0", "r1"}
    assert (others.day, others.decisions, len(others.changes)) == ("others", 1, 1)
