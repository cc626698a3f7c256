"""A record is evaluated again as it was, or a word says why it cannot be."""

import pytest

from authz.core.decision.decide import evaluate
from authz.core.model import Allow, Deny, HeldGrant, Level, Plane, Run
from authz.core.policy import NEVER, Policy
from authz.core.reasons import Reason
from authz.core.record import identity_id, written
from authz.core.replay import GAPS, Case, Gap, decide_again, identify, rebuild
from tests.support.factories.policies import ISSUER, ISSUERS, ROLES, load, narrowing

RULES = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["sales*"]}
{id: health, public: true, plane: inbound, operations: ["health:read"]}
{id: no-secrets, deny: true, roles: [viewer], dags: ["*_secret"]}
{id: orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**"], dags: [sales], tasks: [load]}
{id: etl, plane: egress, roles: [sales-etl], hosts: [files.test], paths: ["/**"]}
{id: tunnel, plane: egress, destinations: [orders], methods: [CONNECT], dags: [sales]}"""
ALICE = {"issuer": ISSUER, "subject": "alice", "client": "cli", "user": "Alice", "groups": ["data-readers", "unknown"]}
ETL = {"issuer": ISSUER, "subject": "etl", "client": "sales-etl", "user": "etl", "groups": []}
RUN = {"dag_id": "sales", "run_id": "r1", "task_id": "load", "map_index": -1, "try_number": 1}


def entry(memberships):
    """Entries with this one, and its id."""
    name = identity_id(written(memberships))
    return {name: {"v": 1, "type": "identity", "id": name, **memberships}}, name


ENTRIES = {**entry(ALICE)[0], **entry(ETL)[0]}


def record(who=ALICE, **changes):
    base = {
        "v": 1,
        "type": "decision",
        "id": "d1",
        "time": "2026-11-30T10:00:00.000000Z",
        "plane": "inbound",
        "method": "GET",
        "host": "airflow.test",
        "path": "/api/v2/dags/sales_eu",
        "identity": entry(who)[1] if who else "",
        "reason": "rule",
        "rule": "readers",
        "revision": "abc",
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def outbound(who=None, run=RUN, level="verified", **changes):
    base = {"plane": "egress", "host": "orders.test", "path": "/v1/x", "destination": "orders", "rule": "orders"}
    return record(who, **{**base, "run": run, "level": level, **changes})


def again(told, policy=None, entries=ENTRIES):
    """What comes of it: the reason and the rule, or the word that says why nothing does."""
    case = rebuild(told, entries)
    if isinstance(case, Gap):
        return case
    decision = decide_again(case, policy or narrowing(load(RULES)))
    return decision if isinstance(decision, Gap) else (decision.reason, decision.rule)


def test_a_record_is_evaluated_again():
    case = rebuild(record(), ENTRIES)
    assert (case.id, case.revision, case.reason, case.rule) == ("d1", "abc", Reason.RULE, "readers")
    assert (case.caller.groups, case.caller.username) == (frozenset({"data-readers", "unknown"}), "Alice")
    policy = load(RULES)
    assert decide_again(case, policy) == evaluate(case.request, policy.identify(identify(case, policy).claims), policy)
    assert isinstance(decide_again(case, policy), Allow)
    assert identify(case, policy).roles == {"viewer"}


def test_a_candidate_policy_may_name_a_group_that_todays_does_not():
    roles = ROLES.replace("data-readers", "unknown")
    assert again(record(), load(RULES, roles=roles)) == (Reason.RULE, "readers")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (record(path="/api/v2/dags/hr"), (Reason.NO_RULE, "")),
        (record(path="/api/v2/dags/sales_secret"), (Reason.DENY_RULE, "no-secrets")),
        (record(path="/api/v2/dags"), (Reason.DENY_RULE, "no-secrets")),
        (record(path="/api/v2/dags", narrowed=True), (Reason.RULE, "readers")),
        (record(path="/airflow/api/v2/dags/sales", base="/airflow"), (Reason.RULE, "readers")),
        (record(path="/api/v2/dags/sales", base="/airflow"), (Reason.UNKNOWN_ROUTE, "")),
        (record(path="/airflow/", base="/airflow"), (Reason.NO_RULE, "")),
        (record(path="/api/v2/monitor/health"), (Reason.PUBLIC, "health")),
        (record(None, path="/api/v2/monitor/health", reason="public"), (Reason.PUBLIC, "health")),
        (record(None, reason="no_token"), (Reason.NO_TOKEN, "")),
        (record(path="/api/v2/dags/sales%20%C3%A9", port=8080), (Reason.RULE, "readers")),
        (outbound(), (Reason.RULE, "orders")),
        (outbound(level="verified-bearer"), (Reason.IDENTITY_TOO_WEAK, "")),
        (outbound(run={**RUN, "task_id": "x"}), (Reason.NO_RULE, "")),
        (outbound(ETL, host="files.test", level="asserted"), (Reason.RULE, "etl")),
        (outbound(ETL, host="files.test", run=None, level=""), (Reason.RULE, "etl")),
        (outbound(host="files.test", run=None, level="", reason="no_token"), (Reason.NO_TOKEN, "")),
        (outbound(method="CONNECT", path="", port=443), (Reason.RULE, "tunnel")),
    ],
)
def test_whatever_was_evaluated(told, expected):
    assert again(told) == expected


def test_the_request_is_the_one_that_was_evaluated():
    told = record(path="/airflow/api/v2/dags", base="/airflow", narrowed=True, port=8080, method="POST")
    request = rebuild(told, ENTRIES).request
    assert (request.plane, request.method, request.host, request.port) == (Plane.INBOUND, "POST", "airflow.test", 8080)
    assert (request.path, request.segments, request.base) == ("/api/v2/dags", ("api", "v2", "dags"), "/airflow")
    assert (request.outside, request.narrowed, request.destination) == (False, True, "")
    outside = rebuild(record(path="/x", base="/airflow"), ENTRIES).request
    assert (outside.outside, outside.path, outside.whole_path) == (True, "/x", "/x")
    tunnel = rebuild(outbound(method="CONNECT", path="", port=443), ENTRIES).request
    assert (tunnel.path, tunnel.segments, tunnel.port, tunnel.destination) == ("", (), 443, "orders")


def test_a_run_that_a_token_of_the_gate_identifies_has_no_roles_and_no_entry():
    policy = load(RULES)
    case = rebuild(outbound(level="asserted"), {})
    assert case.caller is None
    assert identify(case, policy).roles == frozenset()
    assert case.run == Run("sales", "r1", "load", -1, 1, Level.ASSERTED)


@pytest.mark.parametrize(
    ("told", "gap"),
    [
        (record(v=2), Gap.VERSION),
        (record(v=None), Gap.VERSION),
        (record(reason="expired"), Gap.REFUSED_TOKEN),
        (record(None, reason="proof_replayed"), Gap.REFUSED_TOKEN),
        (record(reason="signed_out"), Gap.NOT_EVALUATED),
        (record(reason="rate_limited"), Gap.NOT_EVALUATED),
        (record(reason="a_reason_of_tomorrow"), Gap.NOT_EVALUATED),
        (record(None, plane="execution", reason="no_token"), Gap.REFUSED_TOKEN),
        (record(reason="bad_path"), Gap.NO_CANONICAL_FORM),
        (record(reason="bad_host", path=None), Gap.NO_CANONICAL_FORM),
        (record(path="/api/../dags"), Gap.NO_CANONICAL_FORM),
        (record(path="/api/%64ags"), Gap.NO_CANONICAL_FORM),
        (record(path="/" + "a" * 2047), Gap.PATH_CUT),
        (record(path=None), Gap.DROPPED),
        (record(identity=None), Gap.DROPPED),
        (record(identity="0" * 24), Gap.IDENTITY_UNKNOWN),
        (outbound(run={**RUN, "dag_id": "a\ufffd"}), Gap.REPLACED),
        (record(None, path="/api/v2/monitor/health", reason="public"), (Reason.PUBLIC, "health")),
    ],
)
def test_what_cannot_be_rebuilt_says_why(told, gap):
    assert again(told) == gap


def test_an_entry_that_was_changed_is_none():
    entries, name = entry(ALICE)
    entries[name]["groups"] = ["data-admins"]
    assert again(record(), entries=entries) is Gap.IDENTITY_UNKNOWN


WRONG = [
    record(path=7),
    record(host=None, method=["GET"]),
    record(port="80"),
    record(port=True),
    record(narrowed="yes"),
    record(base="airflow"),
    record(base=7),
    record(plane="sideways"),
    record(plane=[]),
    record(rule=7),
    record(reason=7),
    record(decision="deny", reason="rule"),
    record(identity=["x"]),
    outbound(run=[]),
    outbound(run={**RUN, "dag_id": 7}),
    outbound(level="certain"),
    record(destination=7),
]


@pytest.mark.parametrize("told", WRONG)
def test_a_record_that_the_gate_does_not_write_is_malformed_or_was_not_evaluated(told):
    assert again(told) in {Gap.MALFORMED, Gap.NOT_EVALUATED}


@pytest.mark.parametrize("wrong", [{"groups": "data-readers"}, {"groups": [7]}, {"subject": 7}, {"issuer": None}])
def test_an_entry_that_the_gate_does_not_write_is_malformed(wrong):
    memberships = {**ALICE, **wrong}
    entries, name = entry(memberships)
    assert again(record(identity=name), entries=entries) is Gap.MALFORMED


LOST = [
    ("subject", None, Gap.DROPPED),
    ("subject", "sha256:00", Gap.HASHED),
    ("subject", "a\ufffd", Gap.REPLACED),
    ("client", None, Gap.DROPPED),
    ("client", "sha256:00", Gap.HASHED),
    ("groups", None, Gap.DROPPED),
    ("groups", ["data-readers", "sha256:00"], Gap.HASHED),
    ("groups", ["a\ufffd"], Gap.REPLACED),
]
BY = {
    "subject": "  viewer: {subjects: [alice]}\n",
    "client": "  viewer: {clients: [cli]}\n",
    "groups": "  viewer: {groups: [data-readers]}\n",
}


@pytest.mark.parametrize(("field", "value", "gap"), LOST)
def test_a_lost_field_is_a_gap_exactly_if_some_role_asks_for_it(field, value, gap):
    kept = {name: found for name, found in {**ALICE, field: value}.items() if found is not None}
    entries, name = entry(kept)
    for asked, role in BY.items():
        policy = load(RULES.splitlines()[0], roles="\n" + role)
        expected = gap if asked == field else (Reason.RULE, "readers")
        assert again(record(identity=name), policy, entries) == expected


def test_an_issuer_that_the_policy_does_not_have():
    other = load(RULES, issuers=ISSUERS.replace(ISSUER, "https://other.test"))
    assert again(record(), other) is Gap.ISSUER_UNKNOWN


def test_a_plane_on_which_the_policy_takes_no_token_of_the_issuer():
    inbound_only = load(RULES, issuers=ISSUERS.replace(", egress: [airflow-egress]", ""))
    assert again(record(), inbound_only) == (Reason.RULE, "readers")
    assert again(outbound(ETL, host="files.test", run=None, level=""), inbound_only) is Gap.ISSUER_UNKNOWN
    assert again(outbound(), inbound_only) == (Reason.RULE, "orders")


def test_a_caller_that_was_read_is_kept():
    known = {}
    first = rebuild(record(), ENTRIES, known)
    assert set(known) == {record()["identity"]}
    assert rebuild(record(), {}, known).caller is first.caller
    assert rebuild(record(None, reason="no_token"), {}, known).caller is None


def test_every_gap_is_explained():
    assert set(GAPS) == set(Gap)
    assert all(text.endswith(".") for text in GAPS.values())


def test_the_types_are_what_they_say():
    assert isinstance(rebuild(record(), ENTRIES), Case)
    assert isinstance(load(RULES), Policy)
    assert isinstance(decide_again(rebuild(record(path="/x"), ENTRIES), load(RULES)), Deny)


ENDS = "until: 2026-11-30T12:00Z"
WITH_AN_END = load(RULES.replace('operations: ["dags:read"]', f'operations: ["dags:read"], {ENDS}'))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"time": "2026-11-30T11:59:59.999999Z"}, Reason.RULE),
        ({"time": "2026-11-30T12:00:00.000000Z", "since": "2026-11-30T12:00Z"}, Reason.NO_RULE),
        ({"time": "2026-11-30T12:00:00.000000Z"}, Reason.NO_RULE),
        ({"time": "2026-11-30T11:00:00.000000Z", "since": "2026-11-30T12:00Z"}, Reason.NO_RULE),
    ],
    ids=["before the end", "after it", "a policy without that end", "a clock that was set back"],
)
def test_a_policy_in_which_something_ends_decides_again_as_it_was_then(changes, reason):
    assert again(record(**changes), WITH_AN_END)[0] is reason


@pytest.mark.parametrize(
    "changes",
    [{"time": 7}, {"time": "2026-11-30T10:00:00"}, {"time": "soonZ"}, {"since": "soon"}, {"since": 7}],
)
def test_a_time_that_the_gate_does_not_write_is_malformed(changes):
    assert again(record(**changes)) is Gap.MALFORMED


GRANTED = '{id: more, requesters: [viewer], approvers: none, longest: 1d, operations: ["pools:read"]}'
HELD = [{"entry": "more", "id": "g1", "seconds": 3600}, {"entry": "gone", "id": "g2", "seconds": 60, "open": True}]


def test_a_record_is_decided_again_with_the_grants_that_the_caller_held():
    told = record(path="/api/v2/pools", rule="grant/more", grants=HELD)
    policy = load(RULES, grantable=GRANTED)
    case = rebuild(told, ENTRIES)
    assert case.grants == (
        HeldGrant("gone", "g2", NEVER, 60, False),
        HeldGrant("more", "g1", NEVER, 3600, is_approved=True),
    )
    assert identify(case, policy).grants == case.grants[1:]
    decided = decide_again(case, policy)
    assert (decided.reason, decided.rule) == (Reason.RULE, "grant/more")
    assert isinstance(decide_again(rebuild({**told, "grants": HELD[1:]}, ENTRIES), policy), Deny)


def test_a_grant_of_an_entry_that_the_candidate_has_not_gives_nothing():
    decided = decide_again(rebuild(record(path="/api/v2/pools", grants=HELD), ENTRIES), load(RULES))
    assert isinstance(decided, Deny)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (("longest: 1d", "longest: 1h"), True),
        (("longest: 1d", "longest: 59m"), False),
        (("approvers: none", "approvers: [op]"), True),
    ],
)
@pytest.mark.parametrize("field", ["grants", "suspended"])
def test_a_held_grant_counts_exactly_while_the_policy_permits_what_was_given(field, change, counts):
    """Whether it counted under the policy that decided or not: another one may permit less, or more."""
    policy = load(RULES, grantable=GRANTED.replace(*change))
    told = record(path="/api/v2/pools", **{field: HELD[:1]})
    assert isinstance(decide_again(rebuild(told, ENTRIES), policy), Allow) is counts


@pytest.mark.parametrize(("approvers", "counts"), [("none", True), ("[op]", False)])
def test_a_grant_that_no_one_approved_counts_only_where_none_has_to_be(approvers, counts):
    policy = load(RULES, grantable=GRANTED.replace("approvers: none", f"approvers: {approvers}"))
    told = record(path="/api/v2/pools", grants=[{**HELD[0], "open": True}])
    assert isinstance(decide_again(rebuild(told, ENTRIES), policy), Allow) is counts


WHOLE = {"entry": "more", "id": "g", "seconds": 60}


@pytest.mark.parametrize("field", ["grants", "suspended"])
@pytest.mark.parametrize(
    "grants",
    [
        ["more"], 1, [None], [{}], [{"entry": "more", "id": "g"}],
        *([{**WHOLE, **wrong}] for wrong in (
            {"entry": 1}, {"id": None}, {"seconds": "60"}, {"seconds": True}, {"seconds": 1.5}, {"open": False},
        )),
    ],
)  # fmt: skip
def test_grants_that_no_gate_writes_are_malformed(field, grants):
    assert rebuild(record(**{field: grants}), ENTRIES) is Gap.MALFORMED


def test_grants_of_an_anonymous_caller_are_none():
    assert rebuild(record(who=None, identity="", grants=HELD), ENTRIES).grants == ()
