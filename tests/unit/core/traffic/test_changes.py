"""Decisions of a log under another policy: what stays, what changes, for whom, and what cannot be said."""

import json

import orjson
import pytest

from authz.core.model import Level, Plane, Run
from authz.core.reasons import Reason
from authz.core.record import Skipped, identity_id, written
from authz.core.replay import Gap
from authz.core.traffic import evaluating
from authz.core.traffic.changes import Comparison, Outcome
from authz.core.traffic.evaluating import Traffic, Unknown
from authz.core.traffic.tally import MOST_CALLERS
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import ISSUER, ISSUERS, ROLES, load, narrowing

READERS = '{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["sales*"]}'
RULES = f"""{READERS}
{{id: health, public: true, plane: inbound, operations: ["health:read"]}}
{{id: orders, plane: egress, destinations: [orders], paths: ["/**"], dags: [sales]}}
{{id: etl, plane: egress, roles: [sales-etl], hosts: [files.test], paths: ["/**"]}}"""
OLD = narrowing(load(RULES))
ALICE = claims(ISSUER, "alice", groups=["data-readers"])
BOB = claims(ISSUER, "bob", groups=["data-readers", "more"])
EVE = claims(ISSUER, "eve")
ETL = claims(ISSUER, client="sales-etl")
RUN = Run("sales", "r1", "load", -1, 1, Level.VERIFIED)


def inbound(path, method="GET", **more):
    return request(Plane.INBOUND, method, "airflow.test", path, **more)


def outbound(host="orders.test", **more):
    return request(Plane.EGRESS, "GET", host, "/v1/x", **{"destination": "orders", **more})


def log(*asked, policy=OLD):
    """The lines of a log in which this was asked."""
    writer = Writer(policy)
    for about, who, *run in asked:
        writer.ask(about, who, *run)
    return b"".join(writer.sink.lines).splitlines()


def replayed(lines, policy=OLD, **options):
    traffic = Traffic(policy, Comparison(policy, **options))
    for line in lines:
        traffic.learn(line)
    for line in lines:
        traffic.read(line)
    return traffic


def counts(traffic):
    found = {}
    for kind, tally in traffic.found.items():
        found[kind.outcome] = found.get(kind.outcome, 0) + tally.count
    return found


TRAFFIC = log(
    (inbound("/api/v2/dags/sales_eu"), ALICE),
    (inbound("/api/v2/dags/sales_eu"), BOB),
    (inbound("/api/v2/dags/sales_eu"), ALICE),
    (inbound("/api/v2/dags/hr"), ALICE),
    (inbound("/api/v2/monitor/health"), None),
    (inbound("/api/v2/dags/sales_eu"), EVE),
    (outbound(), None, RUN),
    (outbound("files.test", destination=""), ETL),
)


def test_under_the_same_policy_everything_is_the_same():
    traffic = replayed(TRAFFIC)
    assert counts(traffic) == {Outcome.SAME: 8}
    assert counts(replayed(TRAFFIC, check=True)) == {Outcome.SAME: 8}
    assert not traffic.unknown
    assert not any(traffic.skipped.values())


def test_it_says_who_gains_what_by_which_rule():
    traffic = replayed(TRAFFIC, load(RULES.replace('"sales*"', '"*"')))
    assert counts(traffic) == {Outcome.SAME: 7, Outcome.ALLOWED: 1}
    ((kind, tally),) = [(kind, tally) for kind, tally in traffic.found.items() if kind.outcome is Outcome.ALLOWED]
    assert kind == kind._replace(
        plane="inbound", caller="token", roles=("viewer",), roles_now=("viewer",), operation="dags:read", dag="hr",
        was="no_rule", now="readers", destination="", method="", revision=OLD.revision,
    )  # fmt: skip
    told = json.loads(TRAFFIC[5])
    assert (tally.count, tally.id, tally.first, tally.last) == (1, told["id"], told["time"], told["time"])
    assert tally.case.id == told["id"]
    assert [*tally.callers.values()] == ["alice"]


def test_it_says_who_loses_and_counts_callers_together():
    traffic = replayed(TRAFFIC, load(RULES.replace('"sales*"', '"stock*"')))
    assert counts(traffic) == {Outcome.SAME: 5, Outcome.DENIED: 3}
    (kind, tally) = next((kind, tally) for kind, tally in traffic.found.items() if kind.outcome is Outcome.DENIED)
    assert (kind.was, kind.now, kind.dag) == ("readers", "no_rule", "sales_eu")
    assert tally.count == 3
    assert sorted(tally.callers.values()) == ["alice", "bob"]
    times = sorted(json.loads(line)["time"] for line in TRAFFIC if b'"dag":"sales_eu","decision":"allow"' in line)
    assert (tally.first, tally.last) == (times[0], times[-1])


def test_a_group_that_only_the_new_policy_names_counts():
    wider = load(RULES.replace("roles: [viewer]", "roles: [other]"), roles=ROLES + "  other: {groups: [more]}\n")
    traffic = replayed(TRAFFIC, wider)
    assert counts(traffic) == {Outcome.SAME: 6, Outcome.DENIED: 2}
    assert replayed(log((inbound("/api/v2/dags/sales_eu"), BOB)), wider).found.keys() == {
        kind for kind in traffic.found if kind.outcome is Outcome.SAME
    }


def test_calls_of_tasks_name_destination_and_level():
    traffic = replayed(
        TRAFFIC, load(READERS + "\n{id: x, plane: egress, hosts: [z.test], paths: [/x], roles: [viewer]}")
    )
    lost = {kind: tally for kind, tally in traffic.found.items() if kind.outcome is Outcome.DENIED}
    assert {(kind.plane, kind.caller, kind.destination, kind.dag, kind.was, kind.method) for kind in lost} == {
        ("egress", "run (verified)", "orders", "sales", "orders", "GET"),
        ("egress", "token", "files.test", "", "etl", "GET"),
        ("inbound", "anonymous", "", "", "health", ""),
    }


def test_another_rule_or_reason_is_no_change():
    traffic = replayed(TRAFFIC, load(RULES.replace("id: readers", "id: a-readers")))
    assert counts(traffic) == {Outcome.SAME: 5, Outcome.OTHER_REASON: 3}


def test_a_list_that_airflow_narrows_is_counted():
    lines = log((inbound("/api/v2/dags", narrowed=True), ALICE), (inbound("/api/v2/dags"), ALICE))
    traffic = replayed(lines, narrowing(load(RULES.replace('"sales*"', '"s*"'))))
    assert {(kind.outcome, kind.is_list): tally.count for kind, tally in traffic.found.items()} == {
        (Outcome.SAME, True): 1,
        (Outcome.SAME, False): 1,
    }


def test_a_check_tells_other_revisions_from_what_is_not_reproduced():
    lines = [*TRAFFIC, *log((inbound("/api/v2/dags/sales"), ALICE), policy=load(READERS))]
    assert counts(replayed(lines, check=True)) == {Outcome.SAME: 8, Outcome.OTHER_REVISION: 1}
    wrong = [line.replace(b'"reason":"rule","rule":"readers"', b'"reason":"rule","rule":"raeders"') for line in lines]
    traffic = replayed(wrong, check=True)
    assert counts(traffic) == {Outcome.SAME: 5, Outcome.NOT_REPRODUCED: 3, Outcome.OTHER_REVISION: 1}
    assert {(kind.was, kind.now) for kind in traffic.found if kind.outcome is Outcome.NOT_REPRODUCED} == {
        ("raeders", "readers")
    }


def test_what_cannot_be_evaluated_is_counted_and_named():
    entry, first, *_rest = TRAFFIC
    lines = [
        entry,
        first,
        first,
        first.replace(b'"v":1', b'"v":2'),
        first.replace(b'"reason":"rule"', b'"reason":"expired"'),
        first.replace(b'"identity":"', b'"identity":"0'),
        first[:-10],
        b"",
        b'{"type":"new"}',
        orjson.dumps({"revision": 7, "v": 3}),
    ]
    traffic = replayed(lines)
    assert counts(traffic) == {Outcome.SAME: 2}
    assert {unknown: tally.count for unknown, tally in traffic.unknown.items()} == {
        Unknown(Gap.VERSION, OLD.revision): 1,
        Unknown(Gap.REFUSED_TOKEN, OLD.revision): 1,
        Unknown(Gap.IDENTITY_UNKNOWN, OLD.revision): 1,
        Unknown(Gap.VERSION, "7"): 1,
    }
    assert traffic.skipped == {Skipped.BROKEN: 1, Skipped.EMPTY: 1, Skipped.OTHER_TYPE: 1}
    assert traffic.read(b"{") is Skipped.BROKEN
    assert traffic.read(first[:-10]) is Skipped.BROKEN
    assert traffic.read(entry) is None


def test_an_issuer_that_the_new_policy_does_not_have_is_a_gap_each_time():
    traffic = replayed(TRAFFIC, load(RULES, issuers=ISSUERS.replace(ISSUER, "https://other.test")))
    assert {unknown.gap: tally.count for unknown, tally in traffic.unknown.items()} == {Gap.ISSUER_UNKNOWN: 6}
    assert counts(traffic) == {Outcome.SAME: 2}


def test_entries_may_stand_anywhere_and_may_have_been_written_since():
    entries = [line for line in TRAFFIC if b'"type":"identity"' in line]
    decisions = [line for line in TRAFFIC if line not in entries]
    assert counts(replayed([*decisions, *entries])) == {Outcome.SAME: 8}
    traffic = Traffic(OLD, Comparison(OLD))
    for line in TRAFFIC:
        traffic.read(line)
    assert counts(traffic) == {Outcome.SAME: 8}


def test_an_entry_that_was_changed_hides_no_right_one():
    entry = next(line for line in TRAFFIC if b'"type":"identity"' in line)
    forged = entry.replace(b"data-readers", b"data-writers")
    assert counts(replayed([forged, *TRAFFIC, forged])) == {Outcome.SAME: 8}


def test_tables_are_bounded_and_say_so(monkeypatch):
    monkeypatch.setattr(evaluating, "MOST_KINDS", 3)
    monkeypatch.setattr(evaluating, "_MOST_KNOWN", 2)
    lines = log(*((inbound(f"/api/v2/dags/{name}"), ALICE) for name in ("a", "b", "c", "d", "e", "a") * 2))
    traffic = replayed(lines, load(RULES.replace('"sales*"', '"*"')))
    assert counts(traffic) == {Outcome.ALLOWED: 12}
    assert {kind.dag: tally.count for kind, tally in traffic.found.items()} == {"a": 4, "b": 2, "c": 2, "": 4}
    assert [kind.rest for kind in traffic.found] == [False, False, False, True]


def test_callers_are_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(evaluating, "_MOST_KNOWN", 2)
    people = [claims(ISSUER, f"p{number}", groups=["data-readers"]) for number in range(5)]
    traffic = replayed(log(*((inbound("/api/v2/dags/sales_eu"), who) for who in people * 2)))
    assert counts(traffic) == {Outcome.SAME: 10}
    assert len(traffic._identities) <= 2


def test_many_callers_are_counted_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(evaluating, "MOST_CALLERS", 2)
    people = [claims(ISSUER, name, groups=["data-readers"]) for name in ("a", "b", "c")]
    traffic = replayed(log(*((inbound("/api/v2/dags/hr"), who) for who in people)), load(RULES.replace("sales*", "*")))
    assert [len(tally.callers) for tally in traffic.found.values()] == [2]
    assert MOST_CALLERS > 2


def test_a_subject_that_is_not_known_is_not_named():
    (_entry, line) = log((inbound("/api/v2/dags/hr"), ALICE))
    body = {"issuer": ISSUER, "subject": "sha256:0", "client": "", "user": "alice", "groups": ["data-readers"]}
    name = identity_id(written(body))
    told = {**json.loads(line), "identity": name}
    entry = {"v": 1, "type": "identity", "id": name, **body}
    traffic = replayed([orjson.dumps(entry), orjson.dumps(told)], load(RULES.replace("sales*", "*")))
    assert [tally.callers for tally in traffic.found.values()] == [{name: ""}]


@pytest.mark.parametrize("reason", [Reason.SIGNED_OUT, Reason.EXPIRED])
def test_a_decision_that_the_policy_did_not_take_is_unknown(reason):
    writer = Writer(OLD)
    writer.ask(inbound("/api/v2/dags"), ALICE, reason=reason)
    traffic = replayed(b"".join(writer.sink.lines).splitlines())
    assert counts(traffic) == {}
    assert sum(tally.count for tally in traffic.unknown.values()) == 1


def test_the_same_caller_may_call_on_both_planes():
    one_plane = load(RULES, issuers=ISSUERS.replace(", egress: [airflow-egress]", ""))
    assert set(one_plane.issuers[ISSUER].audiences) == {Plane.INBOUND}
    lines = log((inbound("/api/v2/dags/sales"), ETL), (outbound("files.test", destination=""), ETL))
    traffic = replayed(lines, one_plane)
    assert counts(traffic) == {Outcome.SAME: 1}
    assert [unknown.gap for unknown in traffic.unknown] == [Gap.ISSUER_UNKNOWN]


def test_a_service_account_that_asserts_its_run_is_evaluated_with_it():
    run = RUN._replace(level=Level.ASSERTED)
    lines = log((outbound("files.test", destination=""), ETL, run), (outbound(), ETL, run))
    assert counts(replayed(lines)) == {Outcome.SAME: 2}
