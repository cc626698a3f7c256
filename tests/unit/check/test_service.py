"""The use case on simulated time: what is asked, recorded, counted and answered, and in which order."""

import gc
import json

import jwt
import pytest

from authz.check.parts import Snapshot
from authz.core.model import Plane
from authz.core.parked import Parked
from authz.core.reasons import ANSWERS, Reason
from tests.support.factories.policies import narrowing
from tests.support.factories.tokens import ISS, NOW, make_key, sign
from tests.support.rigs.service import KEY, POLICY, Rig, load, message, read, state_of

OTHER = make_key("ES256", kid="k2")


@pytest.fixture
def rig():
    return Rig()


# --- allowed


def test_an_allowed_request_carries_who_asks(rig):
    answer = rig.check(token=rig.token())
    assert (answer.code, answer.http, answer.reason) == (0, 200, "rule")
    assert answer.set["x-authz-subject"] == "alice"
    assert answer.set["x-authz-roles"] == "viewer"
    assert answer.set["x-authz-assertion"].count(".") == 2
    assert answer.removed >= {"authorization"}


def test_an_anonymous_request_for_a_public_route_has_every_identity_header_removed(rig):
    answer = rig.check("GET", "/api/v2/monitor/health")
    assert (answer.allowed, answer.reason) == (True, "public")
    assert list(answer.set) == ["x-authz-decision"]
    assert answer.removed >= {f"x-authz-{name}" for name in ("subject", "user", "issuer", "client", "roles")}
    assert "x-authz-assertion" in answer.removed


def test_no_audience_no_assertion(rig):
    answer = rig.check(token=rig.token(), audience="")
    assert answer.allowed
    assert "x-authz-assertion" in answer.removed


def test_an_assertion_is_reused_for_half_of_its_life_and_never_across_audiences(rig):
    token = rig.token()

    def assertion(audience="airflow-prod"):
        return rig.check(token=token, audience=audience).set["x-authz-assertion"]

    first = assertion()
    rig.clock.advance(29)
    assert assertion() == first
    assert assertion("airflow-dev") != first
    rig.clock.advance(2)
    assert assertion() != first


def said(answer):
    """What the assertion says of rights."""
    claims = jwt.decode(answer.set["x-authz-assertion"], options={"verify_signature": False})
    return {name: claims[name] for name in ("dags", "dags_denied", "airflow_role", "menu") if name in claims}


def test_an_assertion_says_what_the_decision_allows(rig):
    rules = POLICY.replace(
        'operations: ["dags:read"]}',
        """operations: ["dags:read"], dags: ["sales_*", "x"]}
  - {id: conns, plane: inbound, roles: [viewer], paths: ["/api/v2/connections"]}
  - {id: no-secrets, deny: true, plane: inbound, roles: [viewer], operations: ["dags:*"], dags: ["*_secret"]}""",
    )
    rig.policy = narrowing(load(rules))
    some = {"dags": ["sales_*", "x"], "dags_denied": ["*_secret"], "airflow_role": "viewer"}
    for token in [rig.token()] * 3:  # seen for the first time, prepared, remembered
        menu = ["CONNECTIONS", "DAGS"]
        assert said(rig.check(token=token, dags="narrowed")) == {**some, "menu": menu}
        assert said(rig.check("GET", "/api/v2/dags/x", token=token, dags="narrowed")) == {**some, "menu": menu}
        conns = said(rig.check("GET", "/api/v2/connections", token=token, dags="narrowed"))
        assert conns == {"dags": ["*"], "airflow_role": "op", "menu": menu}
        assert rig.check(token=token).reason == "deny_rule"
        assert rig.check(token=token, dags="narrowed", audience="").reason == "deny_rule"
        assert rig.check("GET", "/api/v2/dags/x_secret", token=token, dags="narrowed").reason == "deny_rule"
        assert said(rig.check("GET", "/api/v2/dags/x", token=token)) == {**some, "menu": ["CONNECTIONS"]}


def test_what_concerns_no_airflow_says_nothing_of_dags(rig):
    token = rig.token(client_id="sales-etl", aud="airflow-egress")
    for _ in range(3):
        answer = rig.check("GET", "/v1/orders", token=token, plane="egress", host="orders.internal", dags="narrowed")
        assert answer.allowed
        assert said(answer) == {"airflow_role": "viewer"}


def test_a_grant_that_is_too_large_for_a_header_goes_by_reference(rig):
    globs = [f"{'x' * 90}{number:03}_*" for number in range(100)]
    listed = ", ".join(f'"{glob}"' for glob in globs)
    rig.policy = narrowing(load(POLICY.replace('"dags:read"]}', f'"dags:read"], dags: [sales, {listed}]}}')))
    for token in [rig.token()] * 3:  # seen for the first time, prepared, remembered
        for path in ("/api/v2/dags", "/api/v2/dags/sales"):
            answer = rig.check("GET", path, token=token, dags="narrowed")
            assert answer.allowed
            claims = jwt.decode(answer.set["x-authz-assertion"], options={"verify_signature": False})
            assert not {"dags", "dags_denied"} & claims.keys()
            data = rig.minter.grants.find(claims["dags_ref"])
            assert json.loads(data) == {"allowed": ["sales", *globs], "denied": []}
            assert len(answer.set["x-authz-assertion"]) < 2000
    assert rig.check("GET", "/api/v2/dags/hr", token=rig.token(), dags="narrowed").reason == "no_rule"


def test_metadata_and_record_agree(rig):
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    answer = rig.check("GET", "/api/v2/dags?limit=1", token=rig.token(), headers=[trace])
    record = rig.record
    assert answer.metadata == {
        "decision_id": record["id"],
        "reason": "rule",
        "rule": "readers",
        "revision": rig.policy.revision,
        "subject": "alice",
    }
    expected = {
        "time": "2027-01-15T08:00:00.000000Z",
        "plane": "inbound",
        "method": "GET",
        "host": "gate.test",
        "path": "/api/v2/dags",
        "client": "cli",
        "roles": ["viewer"],
        "operation": "dags:read",
        "decision": "allow",
        "rule": "readers",
        "revision": rig.policy.revision,
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
        "source": "192.0.2.7",
        "detail": "",
    }
    assert {name: record[name] for name in expected} == expected
    assert answer.set["x-authz-decision"] == record["id"]


def test_decision_ids_are_never_used_twice(rig):
    ids = [rig.check().metadata["decision_id"] for _ in range(50)]
    assert len(set(ids)) == 50


# --- denied


@pytest.mark.parametrize(
    ("request_parts", "parts", "reason"),
    [
        (("GET", "/api/v2/dags"), {}, Reason.NO_TOKEN),
        (("GET", "/no/such/route"), {}, Reason.NO_TOKEN),
        (("get", "/api/v2/dags"), {}, Reason.BAD_METHOD),
        (("TRACE", "/api/v2/dags"), {}, Reason.BAD_METHOD),
        (("GET", "/api/../v2/dags"), {}, Reason.BAD_PATH),
        (("GET", "api/v2/dags"), {}, Reason.BAD_PATH),
        (("GET", "/api/v2/dags"), {"host": "a.test,b.test"}, Reason.BAD_HOST),
        (("GET", "/api/v2/dags"), {"host": ""}, Reason.BAD_HOST),
        (("GET", "/api/v2/dags?access_token=x"), {}, Reason.BAD_AUTHORIZATION),
        (("GET", "/api/v2/dags?a=b&id_token=x"), {}, Reason.BAD_AUTHORIZATION),
        (("GET", "/api/v2/dags?access%5Ftoken=x"), {}, Reason.BAD_AUTHORIZATION),
        (("GET", "/api/v2/dags"), {"headers": [("authorization", b"Basic eDp5")]}, Reason.BAD_AUTHORIZATION),
        (("GET", "/api/v2/dags"), {"token": "not-a-token"}, Reason.TOKEN_MALFORMED),
        (("GET", "/api/v2/dags"), {"plane": ""}, Reason.MISCONFIGURED),
        (("GET", "/api/v2/dags"), {"plane": "INBOUND"}, Reason.MISCONFIGURED),
        (("GET", "/a%2Fb"), {"plane": "egress", "host": "orders.internal"}, Reason.BAD_PATH),
        (("GET", "/airflow/api/v2/dags"), {"base": "airflow"}, Reason.MISCONFIGURED),
        (("GET", "/airflow/api/v2/dags"), {"base": "/airflow/"}, Reason.MISCONFIGURED),
        (("GET", "/airflow/api/v2/dags"), {"base": "/airflow"}, Reason.NO_TOKEN),
        (("GET", "/airflow/../api/v2/dags"), {"base": "/airflow"}, Reason.BAD_PATH),
        (("GET", "/api/v2/monitor/health"), {"base": "/airflow"}, Reason.NO_TOKEN),
    ],
)
def test_a_request_that_says_nothing_good_is_denied_for_its_own_reason(rig, request_parts, parts, reason):
    answer = rig.check(*request_parts, **parts)
    assert (answer.code, answer.http) == (ANSWERS[reason].grpc, ANSWERS[reason].http)
    assert answer.reason == rig.record["reason"] == reason
    assert rig.record["decision"] == "deny"
    assert rig.observed[-1][1] == reason


@pytest.mark.parametrize(
    ("asked", "claims", "reason", "rule"),
    [
        (("GET", "/api/v2/variables"), {}, Reason.NO_RULE, ""),
        (("GET", "/no/such/route"), {}, Reason.UNKNOWN_ROUTE, ""),
        (("GET", "/api/v2/dags"), {"groups": [], "realm_access": None}, Reason.NO_ROLE, ""),
        (("DELETE", "/api/v2/dags/x"), {"client_id": "copilot"}, Reason.DENY_RULE, "agents-never-delete"),
    ],
)
def test_a_403_names_the_user_and_its_reason(rig, asked, claims, reason, rule):
    answer = rig.check(*asked, token=rig.token(**claims))
    assert (answer.http, answer.reason) == (403, reason)
    assert json.loads(answer.body)["user"] == "alice.a"
    assert json.loads(answer.body)["error"] == ANSWERS[reason].public
    assert (rig.record["subject"], rig.record["rule"]) == ("alice", rule)


def test_every_failure_to_authenticate_looks_the_same_from_outside(rig):
    """security.md d-36: no oracle about keys, subjects and lifetimes."""
    tokens = {
        "expired": rig.token(exp=NOW - 100, iat=NOW - 200),
        "audience": rig.token(aud="other"),
        "bad_signature": rig.token()[:-8] + "AAAAAAAA",
        "unknown_issuer": rig.token(iss="https://evil.example"),
        "token_type": rig.token(headers={"typ": "logout+jwt"}),
        "algorithm": sign({"iss": ISS}, make_key("ES384", kid="k1")),
        "token_malformed": "a.b.c",
        "lifetime_too_long": rig.token(exp=NOW + 86400),
        "not_yet_valid": rig.token(nbf=NOW + 100),
    }
    answers = {reason: rig.check(token=token) for reason, token in tokens.items()}
    assert [answer.reason for answer in answers.values()] == list(answers)
    shown = set()
    for answer in answers.values():
        headers = {name: value for name, value in answer.set.items() if name != "x-authz-decision"}
        body = json.loads(answer.body)
        body.pop("decision_id")
        shown.add((answer.code, answer.http, str(sorted(headers.items())), str(body)))
    assert len(shown) == 1


def test_a_browser_gets_a_page_and_a_program_gets_json(rig):
    page = rig.check(headers=[("accept", b"text/html,application/xhtml+xml;q=0.9")])
    assert page.set["content-type"].startswith("text/html")
    assert "<h1>Please sign in</h1>" in page.body
    assert "default-src 'none'" in page.set["content-security-policy"]
    program = rig.check(headers=[("accept", b"*/*")])
    assert json.loads(program.body)["error"] == "authentication_required"


def test_a_bad_token_does_not_close_a_public_route_and_opens_nothing_else(rig):
    bad = rig.token(exp=NOW - 100, iat=NOW - 200)
    answer = rig.check("GET", "/api/v2/monitor/health", token=bad)
    assert (answer.allowed, answer.reason) == (True, "public")
    assert rig.record["subject"] == ""
    assert rig.check("GET", "/api/v2/dags", token=bad).http == 401


def test_without_a_policy_a_check_is_503_not_ready(rig):
    rig.policy = None
    answer = rig.check("GET", "/api/v2/monitor/health")
    assert (answer.http, answer.reason) == (503, "not_ready")


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x00" * 40, message()[:-3]])
def test_bytes_that_are_no_check_request_are_a_bad_request(rig, data):
    answer = read(rig.service.check(data))
    assert (answer.http, answer.reason) == (400, "bad_request")
    assert rig.record["plane"] == ""


# --- the planes


def test_a_token_of_one_plane_is_none_on_the_other(rig):
    inbound, egress = rig.token(client_id="sales-etl"), rig.token(client_id="sales-etl", aud="airflow-egress")
    orders = {"plane": "egress", "host": "orders.internal", "audience": ""}
    assert rig.check("GET", "/v1/orders", token=egress, **orders).allowed
    assert rig.check("GET", "/v1/orders", token=inbound, **orders).reason == "audience"
    assert rig.check("GET", "/api/v2/dags", token=inbound).allowed
    assert rig.check("GET", "/api/v2/dags", token=egress).reason == "audience"


# --- recorded before answered


def test_what_cannot_be_recorded_is_not_allowed(rig):
    rig.sink.failing = True
    answer = rig.check(token=rig.token())
    assert (answer.http, answer.reason) == (503, "audit_unavailable")
    assert rig.observed == [(Plane.INBOUND, Reason.AUDIT_UNAVAILABLE, 0.0, "")]
    rig.sink.failing = False
    assert rig.check(token=rig.token()).allowed


def test_a_denial_that_cannot_be_recorded_is_a_503_too(rig):
    rig.sink.failing = True
    assert rig.check().http == 503


def test_no_secret_and_no_query_is_recorded(rig):
    token = rig.token()
    headers = [("cookie", b"session=canary"), ("x-canary", b"canary")]
    rig.check("GET", "/api/v2/dags?canary=canary", token=token, headers=headers)
    rig.check("GET", "/api/v2/dags/../?canary#canary", token=token, headers=headers)
    rig.check("GET", "/api/v2/dags", headers=[("authorization", b"Basic canary")])
    text = b"".join(rig.sink.lines).decode()
    assert "canary" not in text
    assert token not in text
    assert token.split(".")[2] not in text


# --- waiting for a key


def test_a_check_with_an_unknown_key_waits_and_is_answered_when_the_key_came(rig):
    token = rig.token(OTHER)
    parked = rig.ask(token=token)
    assert isinstance(parked, Parked)
    assert parked.counted
    assert not parked.begin(lambda: None)
    assert rig.wanted == [("corp", "k2")]
    assert rig.sink.lines == []
    assert token not in repr(parked)
    rig.keys = {"corp": state_of(KEY, OTHER)}
    assert read(parked.resume()).allowed
    assert len(rig.sink.lines) == 1


def test_a_check_is_answered_for_good_when_the_key_did_not_come(rig):
    parked = rig.ask(token=rig.token(OTHER))
    answer = read(parked.resume())
    assert (answer.http, answer.reason) == (401, "unknown_key")


def test_a_key_store_that_fails_is_waited_for_in_vain(caplog):
    def fails(*_):
        raise ZeroDivisionError("canary")

    rig = Rig(want_key=fails)
    parked = rig.ask(token=rig.token(OTHER))
    assert not parked.begin(lambda: None)
    assert "internal error in what a check waits for: ZeroDivisionError" in caplog.text
    assert "canary" not in caplog.text
    assert read(parked.resume()).http == 401


def test_with_the_issuer_out_of_reach_an_unknown_key_is_not_the_callers_fault(rig):
    rig.keys = {"corp": state_of(KEY, last_error="connection refused")}
    answer = read(rig.ask(token=rig.token(OTHER)).resume())
    assert (answer.http, answer.reason) == (503, "keys_unavailable")


def test_a_public_route_does_not_wait_for_keys(rig):
    assert rig.check("GET", "/api/v2/monitor/health", token=rig.token(OTHER)).allowed


def test_a_check_that_waited_is_decided_by_the_policy_in_force_at_its_answer(rig):
    parked = rig.ask(token=rig.token(OTHER))
    rig.keys = {"corp": state_of(KEY, OTHER)}
    rig.policy = load(POLICY.replace("data-readers", "nobody"))
    answer = read(parked.resume())
    assert (answer.http, answer.metadata["revision"]) == (403, rig.policy.revision)


def test_overload_is_a_recorded_503(rig):
    answer = read(rig.service.overloaded())
    assert (answer.http, answer.reason) == (503, "overloaded")
    assert rig.record["reason"] == "overloaded"


# --- one snapshot


def test_one_check_reads_the_snapshot_once():
    taken = []
    policy, keys = load(), {"corp": state_of(KEY)}

    def snapshot():
        taken.append(1)
        return Snapshot(policy=policy, keys=keys)

    rig = Rig(snapshot=snapshot)
    rig.check(token=rig.token())
    rig.check()
    assert len(taken) == 2


def test_latency_is_measured_on_the_monotonic_clock():
    class Slow(list):
        def append(self, item):
            rig.clock.advance(0.25)
            super().append(item)

    rig = Rig()
    rig.authenticator._count = Slow().append
    rig.check(token=rig.token())
    assert rig.record["latency_us"] == 250_000
    assert rig.observed[0][2] == 0.25


# --- memory


def test_a_check_leaves_no_cycles_behind(rig):
    """The collector may come rarely (`authz.serve.app.settle`): no check leaves work for it."""
    forged = rig.token(OTHER, headers={"kid": "k1"})
    tokens = [None, rig.token(), forged, "x.y.z", rig.token(jti="another"), rig.token(groups=[], realm_access=None)]

    def checks(times):
        for _ in range(times):
            for token in tokens:
                for target in ("/api/v2/dags", "/api/../dags", "/no/such"):
                    rig.ask("GET", target, token=token)
            rig.service.check(b"\xff")
            rig.service.check(message(headers=[("authorization", b"Bearer a"), ("authorization", b"Bearer b")]))

    checks(2)
    gc.collect()
    gc.disable()
    try:
        checks(1)
        few = gc.collect()
        checks(20)
        many = gc.collect()
    finally:
        gc.enable()
    assert many <= few


# --- Airflow under a base path


BASED = [
    ("/airflow/api/v2/dags", "dags:read"),
    ("/airflow%2Fapi/v2/dags", "dags:read"),
    ("/%61irflow/api%2fv2/dags?next=/api/v2/variables", "dags:read"),
]


@pytest.mark.parametrize(("target", "operation"), BASED)
def test_below_the_base_path_the_rest_is_judged_and_the_whole_is_recorded(rig, target, operation):
    assert rig.check("GET", target, token=rig.token(), base="/airflow").allowed
    assert (rig.record["operation"], rig.record["path"]) == (operation, "/airflow/api/v2/dags")


@pytest.mark.parametrize(
    "target",
    [
        "/api/v2/dags", "/airflowx/api/v2/dags", "/AIRFLOW/api/v2/dags", "/airflow;x/api/v2/dags", "/", "/airflow./",
        "/x/airflow/api/v2/dags",
    ],
)  # fmt: skip
def test_what_is_not_below_the_base_path_is_no_route_for_anybody(rig, target):
    for _ in range(3):  # also from memory
        answer = rig.check("GET", target, token=rig.token(), base="/airflow")
        assert (answer.http, answer.reason) == (403, "unknown_route")
        assert (rig.record["operation"], rig.record["path"]) == ("", target)
    assert rig.check("GET", target, base="/airflow").http == 401


def test_public_rules_and_path_rules_are_about_what_is_below_the_base_path():
    rule = '  - {id: everything, plane: inbound, roles: [viewer], paths: ["/**"], methods: [GET]}\n'
    rig = Rig(POLICY + rule)
    assert rig.check("GET", "/airflow/api/v2/monitor/health", base="/airflow").reason == "public"
    assert rig.check("GET", "/api/v2/monitor/health", base="/airflow").reason == "no_token"
    assert rig.check("GET", "/airflow/some/page", token=rig.token(), base="/airflow").allowed
    assert rig.check("GET", "/airflow", token=rig.token(), base="/airflow").allowed
    for closed in ("/airflow/execution/dag-runs/a/b/state", "/airflow%2fexecution%2fdag-runs/a/b/state", "/some/page"):
        assert not rig.check("GET", closed, token=rig.token(), base="/airflow").allowed


def test_the_same_target_with_and_without_a_base_path_are_two_questions(rig):
    token = rig.token()
    for _ in range(3):
        assert rig.check("GET", "/api/v2/dags", token=token).allowed
        assert not rig.check("GET", "/api/v2/dags", token=token, base="/airflow").allowed
        assert not rig.check("GET", "/api/v2/dags", token=token, base="/api").allowed
