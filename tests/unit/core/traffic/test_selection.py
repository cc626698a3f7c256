"""Which decisions a selection means, and the bytes without which a line cannot match."""

import json
import re
from itertools import product

import pytest

from authz.core.policy.patterns import parse_glob
from authz.core.traffic.selection import FIELDS, EndSelection, Selection

RUN_ID = "scheduled__2026-11-30T00:00:00+00:00"
RECORD = {
    "v": 1,
    "type": "decision",
    "id": "926a3e91b7e7441cfa435aae",
    "time": "2026-11-30T12:00:00.000000Z",
    "subject": 'ada "l"',
    "client": "",
    "identity": "e1",
    "roles": ["viewer", "sales-oncall"],
    "operation": "dag_runs:read",
    "path": f"/api/v2/dags/sales_eu/dagRuns/{RUN_ID}/taskInstances",
    "dag": "sales_eu",
    "decision": "deny",
    "reason": "no_rule",
    "rule": "",
    "revision": "ae94" * 16,
}


def selection(**wanted):
    return Selection(wanted={name: tuple(map(parse_glob, texts)) for name, texts in wanted.items()})


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("id", "926a3e91b7e7441cfa435aae", True),
        ("id", "926a3e91b7e7441cfa435aaf", False),
        ("subject", 'ada "l"', True),
        ("subject", "ada", False),
        ("client", "", True),
        ("role", "sales-*", True),
        ("role", "sales", False),
        ("operation", "dag_runs:*", True),
        ("operation", "*:read", True),
        ("dag", "sales_*", True),
        ("dag", "*us", False),
        ("run", RUN_ID, True),
        ("run", "scheduled__*", True),
        ("run", "manual__*", False),
        ("decision", "deny", True),
        ("revision", "ae94*", True),
        ("destination", "*", False),
    ],
)
def test_one_pattern(name, text, meant):
    assert selection(**{name: [text]}).matches(RECORD) is meant


def test_any_value_of_an_option_and_all_options():
    assert selection(dag=["x", "sales_eu"], reason=["no_rule"]).matches(RECORD)
    assert not selection(dag=["x", "sales_eu"], reason=["rule"]).matches(RECORD)
    assert Selection().matches(RECORD)


def test_a_record_of_another_version_is_never_meant():
    assert not Selection().matches({**RECORD, "v": 2})


@pytest.mark.parametrize(
    ("run", "path", "meant"),
    [
        ({"run_id": "r1"}, "/v1/orders", True),
        ({"run_id": 7}, "/v1/orders", False),
        (None, "/api/v2/dags/x/dagRuns/r1", True),
        (None, "/base/api/v2/dags/x/dagRuns/r1/x", True),
        (None, "/api/v2/dags/x/dagRuns/r%31/x", False),
        (None, "/api/v2/dags/x/dagRuns/", False),
        (None, "/api/v2/dags/x/dagRuns/%zz", False),
        (None, "/api/v2/dags/dagRuns/dagRuns/r1", True),
        (None, "/x/dagRuns/r2", False),
        (None, 7, False),
    ],
)
def test_a_run_is_the_one_that_called_or_that_the_path_names(run, path, meant):
    assert selection(run=["r1"]).matches({**RECORD, "run": run, "path": path}) is meant


@pytest.mark.parametrize(
    ("since", "until", "meant"),
    [
        ("2026-11-30T12:00:00.000000Z", "", True),
        ("2026-11-30T12:00:00.000001Z", "", False),
        ("", "2026-11-30T12:00:00.000000Z", False),
        ("", "2026-11-30T12:00:00.000001Z", True),
    ],
)
def test_times(since, until, meant):
    asked = Selection(since=since, until=until)
    assert asked.matches(RECORD) is meant
    assert not asked.matches({**RECORD, "time": 7})


MOMENTS = [
    "2025-12-31T23:59:59.999999Z",
    "2026-01-01T00:00:00.000000Z",
    "2026-11-29T23:59:00.000000Z",
    "2026-11-30T00:00:00.000000Z",
    "2026-11-30T09:07:00.000000Z",
    "2026-11-30T12:00:00.000001Z",
    "2026-11-30T12:34:56.000000Z",
    "2026-12-01T00:00:00.000000Z",
    "2031-01-01T10:00:00.000000Z",
]


def test_each_time_that_is_meant_begins_as_the_expression_says():
    for since, until in product(["", *MOMENTS], repeat=2):
        asked = Selection(since=since, until=until)
        begins = re.compile(asked.times()).match
        for time in MOMENTS:
            found, minute = bool(begins(time.encode())), time[:16]
            assert found or not asked.within(time), (asked, time)
            if not until or since < until:
                assert found is (since[:16] <= minute and (not until or minute <= until[:16])), (asked, time)
    assert Selection().times() == b""


def test_callers_with_an_entry():
    assert Selection().of_callers(frozenset({"e1", "e2"})).matches(RECORD)
    assert not Selection().of_callers(frozenset()).matches(RECORD)
    assert not Selection().of_callers(frozenset({"e1"})).matches({**RECORD, "identity": ""})


def test_only_decisions_with_these_ids():
    name = RECORD["id"]
    assert Selection().of_decisions(frozenset({name, "x"})).matches(RECORD)
    assert not Selection().of_decisions(frozenset()).matches(RECORD)
    assert Selection().of_decisions(frozenset()).is_empty
    assert not Selection().of_decisions(frozenset({name})).matches({**RECORD, "id": [name]})
    assert not selection(dag=["x"]).of_decisions(frozenset({name})).matches(RECORD)


@pytest.mark.parametrize(
    ("status", "ended_by", "meant"),
    [
        ([], [], True),
        (["5*"], [], True),
        (["503"], ["envoy"], True),
        (["200", "503"], ["gate", "envoy"], True),
        (["50"], [], False),
        (["*"], ["upstream"], False),
        (["403"], ["envoy"], False),
    ],
)
def test_what_came_of_it(status, ended_by, meant):
    asked = EndSelection(tuple(map(parse_glob, status)), tuple(map(parse_glob, ended_by)))
    assert asked.matches({"status": 503, "ended_by": "envoy"}) is meant
    assert bool(asked) is bool(status or ended_by)


def test_an_outcome_without_a_status_is_of_no_status():
    assert not EndSelection((parse_glob("5*"),)).matches({"ended_by": "client"})


@pytest.mark.parametrize(
    ("asked", "needles"),
    [
        (selection(subject=["ada"]), (b'"ada"',)),
        (selection(subject=["ada"], decision=["deny"], id=["d1"]), (b'"d1"',)),
        (selection(dag=["sales_*", "*_eu_*"]), (b'"sales_', b"_eu_")),
        (selection(dag=["*"], decision=["deny"]), (b'"deny"',)),
        (selection(dag=["*"]), ()),
        (selection(rule=[""]), ()),
        (selection(subject=['a"longer']), (b'longer"',)),
        (selection(subject=["ü"]), ()),
        (selection(run=["manual__*"]), (b"manual__",)),
        (selection(run=["a b/manual__1"]), (b"manual__1",)),
        (selection(run=["/"]), ()),
        (selection(dag=list("abcdefghi")), ()),
        (selection(dag=["x"]).of_callers(frozenset({"e2", "e1"})), (b'"e1"', b'"e2"')),
        (selection(dag=["x"]).of_callers(frozenset()), (b"\0",)),
        (selection(dag=["x"]).of_decisions(frozenset({"d1"})), (b'"d1"',)),
        (selection(dag=["x"]).of_decisions(frozenset()), (b"\0",)),
        (selection(dag=["x"]).of_decisions(frozenset(map(str, range(9)))), (b'"x"',)),
        (Selection(), ()),
    ],
)
def test_needles(asked, needles):
    assert asked.needles() == needles


@pytest.mark.parametrize("name", FIELDS)
def test_a_line_that_matches_has_a_needle(name):
    record = {**RECORD, "subject": "ada", "client": "etl", "rule": "readers", "host": "orders", "destination": "orders"}
    line = json.dumps(record).encode()
    value = {"role": "viewer", "run": RUN_ID}.get(name) or record[name]
    for text in (value, f"{value[:2]}*", f"*{value[-1]}", f"{value[0]}*{value[-1]}"):
        asked = selection(**{name: [text]})
        assert asked.matches(record)
        assert asked.needles()[0] in line
