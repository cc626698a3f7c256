"""Which run a call comes from: the three forms, their levels, and every way in which a call is nobody's."""

import base64
import json
import threading

import pytest

from authz.core.model import Level, Run
from tests.support.factories.proofs import CLAIM, prove, task_key, thumbprint
from tests.support.factories.tokens import NOW, make_key
from tests.support.rigs.run import HOST, OPEN, RunRig, basic
from tests.support.rigs.service import load

TASK = task_key()
OTHER = task_key("other")
OIDC = {"aud": "airflow-egress", "azp": "sales-etl", "client_id": "sales-etl"}


@pytest.fixture
def rig(tmp_path):
    with RunRig(tmp_path) as made:
        yield made


def refused(answer, status=None):
    assert not answer.allowed
    assert status is None or answer.http == status
    return answer.reason


# The forms and their levels.


def test_a_token_with_a_proof_is_a_verified_run(rig):
    task = rig.airflow.add(map_index=2, try_number=3)
    token = rig.token_of(task, TASK)
    answer = rig.call(token, TASK, told={"audience": "orders"})
    assert answer.allowed
    assert answer.set["x-authz-dag"] == "sales_daily"
    assert answer.set["x-authz-run"] == "run1"
    assert answer.set["x-authz-task"] == "extract"
    assert answer.set["x-authz-identity"] == "verified"
    assert answer.set["x-authz-subject"] == f"airflow:ti:{task.id}"
    assert {"authorization", "proxy-authorization", "x-run-identity", "x-run-proof"} <= answer.removed
    assert rig.record["run"] == {
        "dag_id": "sales_daily",
        "run_id": "run1",
        "task_id": "extract",
        "map_index": 2,
        "try_number": 3,
    }
    assert (rig.record["level"], rig.record["destination"]) == ("verified", "orders")
    assert rig.levels[-1] == ("verified", "allow")


def test_the_assertion_for_a_destination_names_the_run(rig):
    task = rig.airflow.add(map_index=2, try_number=3)
    answer = rig.call(rig.token_of(task, TASK), TASK, told={"audience": "orders"})
    payload = payload_of(answer.set["x-authz-assertion"])
    assert (payload["sub"], payload["aud"]) == (f"airflow:ti:{task.id}", "orders")
    assert payload["airflow"] == {
        "dag_id": "sales_daily",
        "run_id": "run1",
        "task_id": "extract",
        "map_index": 2,
        "try_number": 3,
        "identity": "verified",
    }
    assert "dags" not in payload


def payload_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_token_for_proxies_is_a_run_by_bearer(rig):
    token = rig.token_of(rig.airflow.add())
    for line in (f"Bearer {token}".encode(), basic(token)):
        answer = rig.call(None, headers=[("proxy-authorization", line)], told={"audience": "orders"})
        assert answer.set["x-authz-identity"] == "verified-bearer"
    assert rig.record["level"] == "verified-bearer"
    assert rig.call(token).allowed  # as often as it likes


def test_levels_are_capped_where_the_signing_key_may_be_within_reach(tmp_path):
    with RunRig(tmp_path, isolated=False) as rig:
        task = rig.airflow.add()
        told = {"audience": "orders"}
        for answer in (rig.call(rig.token_of(task, TASK), TASK, told=told), rig.call(rig.token_of(task), told=told)):
            assert answer.set["x-authz-identity"] == "asserted"
            assert payload_of(answer.set["x-authz-assertion"])["airflow"]["identity"] == "asserted"
        assert {record["level"] for record in rig.sink.records} == {"asserted"}


def asserted(rig, key, *, bound=True, claim=CLAIM, scheme="DPoP", **changes):
    claims = {**OIDC, **({"cnf": {"jkt": thumbprint(key)}} if bound else {}), **changes}
    token = rig.token(**claims)
    proof = prove(key, token, htu=f"http://{HOST}/v1/orders", airflow=claim)
    return rig.call(
        None, headers=[("x-run-identity", f"{scheme} {token}".encode()), ("x-run-proof", proof)], told={"audience": "o"}
    )


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "Bearer"])
@pytest.mark.parametrize("bound", [True, False])
def test_a_service_account_may_say_which_run_it_is(rig, scheme, bound):
    answer = asserted(rig, TASK, scheme=scheme, bound=bound)
    assert answer.allowed, answer
    assert answer.set["x-authz-identity"] == "asserted"
    assert answer.set["x-authz-subject"] == "alice"
    assert answer.set["x-authz-dag"] == CLAIM["dag_id"]
    assert rig.record["level"] == "asserted"
    assert rig.record["roles"] == ["sales-etl", "viewer"]
    assert rig.airflow.requests == []  # nobody looks: it is only asserted


def test_what_is_asserted_comes_with_a_proof_of_the_tokens_key(rig):
    token = rig.token(**OIDC, cnf={"jkt": thumbprint(OTHER)})
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", airflow=CLAIM)
    answer = rig.call(None, headers=[("x-run-identity", b"DPoP " + token.encode()), ("x-run-proof", proof)])
    assert refused(answer, 401) == "proof_mismatch"


def test_what_is_asserted_is_asserted_in_the_proof(rig):
    assert refused(asserted(rig, TASK, claim=None), 401) == "proof_invalid"
    token = rig.token(**OIDC)
    assert refused(rig.call(None, headers=[("x-run-identity", b"Bearer " + token.encode())]), 401) == "proof_missing"


@pytest.mark.parametrize("cnf", [{}, {"jkt": 7}, {"jkt": ""}, {"x5t#S256": "a"}, {"jkt": "a", "x5t#S256": "b"}, "a"])
def test_a_token_whose_cnf_names_no_usable_key_is_refused(rig, cnf):
    token = rig.token(**OIDC, cnf=cnf)
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", airflow=CLAIM)
    answer = rig.call(None, headers=[("x-run-identity", b"DPoP " + token.encode()), ("x-run-proof", proof)])
    assert refused(answer, 401) == "token_type"


def test_a_bound_token_of_an_issuer_is_no_bearer_token_after_it_was_proven(rig):
    token = rig.token(**OIDC, cnf={"jkt": thumbprint(TASK)})
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", airflow=CLAIM)
    lines = [("x-run-identity", b"Bearer " + token.encode()), ("x-run-proof", proof)]
    assert rig.call(None, headers=lines).allowed
    for name in ("authorization", "proxy-authorization"):
        assert refused(rig.call(None, headers=[(name, b"Bearer " + token.encode())]), 401) == "token_type"


def test_an_asserted_caller_with_an_unknown_key_waits_for_it_like_everybody(rig):
    token = rig.token(make_key("ES256", kid="k9"), **OIDC)
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", airflow=CLAIM)
    outcome = rig.calls(None, headers=[("x-run-identity", b"Bearer " + token.encode()), ("x-run-proof", proof)])
    assert outcome.counted
    assert not outcome.begin(lambda: None)
    assert rig.key_requests == [("corp", "k9")]
    assert refused(rig.settle_now(outcome), 401) == "unknown_key"


def test_each_asserted_run_has_one_remembered_assertion_of_its_own(rig):
    token = rig.token(**OIDC)

    def assertion(claim):
        proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", airflow=claim)
        lines = [("x-run-identity", b"Bearer " + token.encode()), ("x-run-proof", proof)]
        answer = rig.call(None, headers=lines, told={"audience": "orders"})
        return answer.set["x-authz-assertion"]

    first = {assertion(CLAIM) for _ in range(20)}
    assert len(first) == 1
    other = {assertion(CLAIM | {"task_id": "load"}) for _ in range(20)}
    assert len(other) == 1
    assert len(rig.minter._recent) == 2
    assert {payload_of(found)["airflow"]["task_id"] for found in first | other} == {CLAIM["task_id"], "load"}


def test_an_asserted_run_is_another_one_when_its_account_is_another(rig):
    """Another policy gives the account other roles, and a run of another account has the roles of that."""
    assert asserted(rig, TASK).set["x-authz-roles"] == "sales-etl,viewer"
    assert asserted(rig, TASK, sub="bob", groups=[]).set["x-authz-roles"] == "sales-etl"
    rig.policy = load(OPEN.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [others]}"))
    assert asserted(rig, TASK).set["x-authz-roles"] == "sales-etl"


def test_runs_that_are_asserted_are_kept_within_bounds(rig):
    session = rig.authenticator.bound(rig.token(**OIDC), "egress", rig.policy, rig.keys, wall=NOW, monotonic=0.0)
    callers = {
        rig.identities._caller(session, Run("d", f"r{number}", "t", -1, 1, Level.ASSERTED)) for number in range(5000)
    }
    assert len(callers) == 5000
    assert len(rig.identities._asserted) == 4096


def test_a_service_account_of_no_run_calls_as_before_and_through_a_proxy(rig):
    line = b"Bearer " + rig.token(**OIDC).encode()
    for name in ("authorization", "proxy-authorization"):
        answer = rig.call(None, headers=[(name, line)], told={"audience": "orders"})
        assert answer.allowed
        assert {"x-authz-dag", "x-authz-run", "x-authz-task", "x-authz-identity"} <= answer.removed
        assert (rig.record["run"], rig.record["level"]) == (None, "")
        assert rig.levels[-1] == ("none", "allow")


def test_inbound_tokens_and_task_tokens_are_401_on_egress(rig):
    task = rig.airflow.add()
    for token in (rig.token(), rig.task_token(task)):
        for name in ("authorization", "proxy-authorization"):
            assert refused(rig.call(None, headers=[(name, b"Bearer " + token.encode())]), 401) in {
                "audience",
                "unknown_issuer",
            }


# Credentials and their places.


@pytest.mark.parametrize("name", ["x-run-identity", "x-run-proof", "proxy-authorization", "authorization"])
def test_a_duplicate_credential_header_is_a_bad_request(rig, name):
    token = rig.token_of(rig.airflow.add(), TASK)
    lines = [(name, b"Bearer x"), (name, b"Bearer x")]
    assert refused(rig.call(token, TASK, headers=lines), 400) == "bad_authorization"


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"DPoP",
            b"DPoP ",
            b"DPoP  a.b.c",
            b"DPoP a.b.c ",
            b"DPoP a.b.c,DPoP a.b.c",
            b"Basic cnVuOng=",
            b"a.b.c",
        ),
        *(b"DPoP a.b.c\x00", b"DPoP \xff", b"GNAP a.b.c"),
    ],
)
def test_x_run_identity_has_one_form(rig, line):
    assert (
        refused(rig.call(None, headers=[("x-run-identity", line), ("x-run-proof", b"p")]), 400) == "bad_authorization"
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"Basic", b"Basic !", b"Basic cnVu", b"Basic eDp5", b"Basic cnVuOg==", b"DPoP a.b.c", b"Bearer a,b"),
        *(b"Basic cnVuOmEgYg==", b"Digest a", b"Basic cnVuOv8="),
    ],
)
def test_proxy_authorization_has_two_forms(rig, line):
    assert refused(rig.call(None, headers=[("proxy-authorization", line)]), 400) == "bad_authorization"


def test_basic_credentials_of_another_user_than_run_are_a_bad_request(rig):
    line = basic(rig.token_of(rig.airflow.add()), user="alice")
    assert refused(rig.call(None, headers=[("proxy-authorization", line)]), 400) == "bad_authorization"


def test_x_run_identity_wins_over_proxy_authorization_and_that_over_authorization(rig):
    mine, other = rig.airflow.add(), rig.airflow.add(task_id="load")
    service = ("authorization", b"Bearer " + rig.token(**OIDC).encode())
    proxy = ("proxy-authorization", b"Bearer " + rig.token_of(other).encode())
    told = {"audience": "orders"}
    assert (
        rig.call(rig.token_of(mine, TASK), TASK, headers=[proxy, service], told=told).set["x-authz-task"] == "extract"
    )
    assert rig.call(None, headers=[proxy, service], told=told).set["x-authz-task"] == "load"


def test_a_worse_credential_does_not_help_where_the_better_one_is_no_good(rig):
    proxy = ("proxy-authorization", b"Bearer " + rig.token_of(rig.airflow.add()).encode())
    answer = rig.call(None, headers=[("x-run-identity", b"DPoP a.b.c"), ("x-run-proof", b"p"), proxy])
    assert not answer.allowed


@pytest.mark.parametrize("told", [{"authorization": "keep"}, {}])
def test_the_tasks_own_authorization_goes_on_only_where_envoy_says_so(rig, told):
    token = rig.token_of(rig.airflow.add(), TASK)
    own = [("authorization", b"Basic b3duOnNlY3JldA==")]
    for _ in range(3):  # prepared answers, too
        assert ("authorization" in rig.call(token, TASK, headers=own, told=told).removed) is (not told)
    proxied = rig.token_of(rig.airflow.tasks["sales_daily", "run1", "extract", -1])
    assert ("authorization" in rig.call(proxied, headers=own, told=told).removed) is (not told)


def test_what_identifies_the_caller_never_goes_on(rig):
    line = ("authorization", b"Bearer " + rig.token(**OIDC).encode())
    for _ in range(3):
        assert "authorization" in rig.call(None, headers=[line], told={"authorization": "keep"}).removed


def test_the_same_caller_in_two_ways_gets_two_answers(rig):
    line = b"Bearer " + rig.token(**OIDC).encode()
    told = {"authorization": "keep"}
    for _ in range(3):
        assert "authorization" in rig.call(None, headers=[("authorization", line)], told=told).removed
        assert "authorization" not in rig.call(None, headers=[("proxy-authorization", line)], told=told).removed


# Tokens of the gate's in the wrong place, and proofs.


def test_a_token_is_good_in_its_own_place_alone(rig):
    task = rig.airflow.add()
    bound, bearer = rig.token_of(task, TASK), rig.token_of(task)
    assert refused(rig.call(bound), 401) == "proof_missing"  # in Proxy-Authorization
    assert refused(rig.call(bound, proof=b"", headers=()), 401) == "proof_missing"
    assert refused(rig.call(bearer, TASK), 401) == "token_type"
    for token in (bound, bearer):
        line = [("authorization", f"Bearer {token}".encode())]
        assert refused(rig.call(None, headers=line), 401) in {"unknown_issuer", "token_type"}
    lines = [("x-run-identity", b"Bearer " + bound.encode()), ("x-run-proof", b"p")]
    assert refused(rig.call(None, headers=lines), 400) == "bad_authorization"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"htm": "POST"}, "proof_mismatch"),
        ({"htu": f"http://{HOST}/v1/other"}, "proof_mismatch"),
        ({"htu": "http://elsewhere.test/v1/orders"}, "proof_mismatch"),
        ({"htu": "http://orders.internal/v1/orders"}, "proof_mismatch"),
        ({"iat": NOW - 61}, "proof_expired"),
        ({"iat": NOW + 61}, "proof_expired"),
        ({"ath": "A" * 43}, "proof_mismatch"),
        ({"jti": ""}, "proof_invalid"),
    ],
)
def test_a_proof_is_for_one_call(rig, changes, reason):
    token = rig.token_of(rig.airflow.add(), TASK)
    assert refused(rig.call(token, TASK, **changes), 401) == reason
    assert rig.call(token, TASK).allowed


def test_a_stolen_token_is_of_no_use_without_its_key(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    assert refused(rig.call(token, OTHER), 401) == "proof_mismatch"


def test_a_proof_is_good_once(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders")
    assert rig.call(token, TASK, proof=proof).allowed
    assert refused(rig.call(token, TASK, proof=proof), 401) == "proof_replayed"
    assert rig.record["run"]["dag_id"] == "sales_daily"


def test_a_proof_that_was_no_good_is_not_remembered(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    proof = prove(TASK, token, jti="once", htu=f"http://{HOST}/v1/orders")
    assert refused(rig.call(token, TASK, proof=proof, method="DELETE"), 401) == "proof_mismatch"
    assert rig.call(token, TASK, proof=proof).allowed


def test_a_call_that_the_policy_refuses_takes_no_room_from_those_that_it_lets_through(tmp_path):
    with RunRig(tmp_path, slots=64) as rig:
        token = rig.token_of(rig.airflow.add(), TASK)
        late = int(rig.clock.wall()) + 59
        for _ in range(65):
            assert refused(rig.call(token, TASK, target="/v1/secret", iat=late)) == "no_rule"
        assert rig.call(token, TASK).allowed


def test_the_proof_of_a_refused_call_lets_one_through_and_no_second_one(rig):
    """It may be let through under another policy; the table is asked then."""
    token = rig.token_of(rig.airflow.add(), TASK)
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/secret")
    assert refused(rig.call(token, TASK, proof=proof, target="/v1/secret")) == "no_rule"
    rig.policy = load(OPEN.replace('paths: ["/v1/orders"]', 'paths: ["/v1/secret"]'))
    assert rig.call(token, TASK, proof=proof, target="/v1/secret").allowed
    assert refused(rig.call(token, TASK, proof=proof, target="/v1/secret"), 401) == "proof_replayed"


@pytest.mark.parametrize(("called", "proven"), [("/orders", "/orders"), ("/orders?a=/b", "/orders"), ("/orders/",) * 2])
def test_a_base_url_itself_is_called_with_or_without_a_slash(tmp_path, called, proven):
    with RunRig(tmp_path, OPEN.replace('paths: ["/v1/orders"]', 'paths: ["/"]')) as rig:
        token = rig.token_of(rig.airflow.add(), TASK)
        here = {"host": "127.0.0.1:8090", "told": {"host": "orders.internal", "base": "/orders"}}
        assert rig.call(token, TASK, target=called, htu=f"http://127.0.0.1:8090{proven}", **here).allowed
        answer = rig.call(token, TASK, target="/orders/v1", htu="http://127.0.0.1:8090/orders", **here)
        assert refused(answer, 401) == "proof_mismatch"


def test_a_proof_is_judged_by_the_address_that_the_task_used(rig):
    """A base URL: Envoy's own address for the caller, the destination's name for the policy."""
    token = rig.token_of(rig.airflow.add(), TASK)
    told = {"host": "orders.internal", "base": "/orders"}
    answer = rig.call(token, TASK, host="127.0.0.1:8090", target="/orders/v1/orders", told=told)
    assert answer.allowed
    assert (rig.record["host"], rig.record["path"]) == ("orders.internal", "/orders/v1/orders")
    wrong = {"htu": "http://orders.internal/v1/orders"}
    answer = rig.call(token, TASK, host="127.0.0.1:8090", target="/orders/v1/orders", told=told, **wrong)
    assert refused(answer, 401) == "proof_mismatch"


def test_a_tunnel_takes_no_proof_and_has_no_path(rig):
    task = rig.airflow.add()
    bound = rig.token_of(task, TASK)
    lines = [("x-run-identity", b"DPoP " + bound.encode()), ("x-run-proof", prove(TASK, bound, htm="CONNECT"))]
    assert refused(rig.call(None, method="CONNECT", target="", headers=lines), 401) == "proof_mismatch"
    assert refused(rig.call(None, method="CONNECT", target="", host="orders.internal"), 400) == "bad_host"


def test_without_the_section_no_run_is_known(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.service._runs = None
    assert refused(rig.call(token, TASK), 401) == "token_type"


# Time.


def test_a_token_ends_to_the_second_cached_or_not(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    assert rig.call(token, TASK).allowed
    rig.clock.advance(119.5)
    assert rig.call(token, TASK).allowed
    rig.clock.advance(0.5)
    assert refused(rig.call(token, TASK), 401) == "expired"
    rig.clock.set_wall(NOW - 31)
    assert refused(rig.call(token, TASK), 401) == "not_yet_valid"


# Whether the task runs.


def test_a_task_that_ended_is_refused_within_the_time(rig):
    task = rig.airflow.add()
    token = rig.token_of(task, TASK)
    asked = rig.airflow.count()
    task.state = "success"
    rig.clock.advance(7)
    assert rig.call(token, TASK).allowed  # seen running 7 s ago, which is what the settings allow
    assert rig.airflow.count() == asked
    rig.clock.advance(8)
    answer = rig.call(token, TASK)
    assert refused(answer, 403) == "run_ended"
    assert rig.record["run"]["task_id"] == "extract"
    told = json.loads(answer.body)
    assert "task extract of DAG sales_daily is not running any more" in told["message"]
    assert told["decision_id"] == rig.record["id"]


@pytest.mark.parametrize("how", ["cleared", "deleted", "restarting"])
def test_a_cleared_task_has_ended(rig, how):
    task = rig.airflow.add()
    token = rig.token_of(task, TASK)
    if how == "cleared":
        rig.airflow.try_again(task)
    elif how == "deleted":
        rig.airflow.tasks.clear()
    else:
        task.state = "restarting"
    rig.clock.advance(16)
    assert refused(rig.call(token, TASK), 403) == "run_ended"


def test_a_busy_task_never_waits(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    before = len(rig.questions)
    for _ in range(8):
        rig.clock.advance(8)
        answer = rig.calls(token, TASK)
        assert isinstance(answer, bytes), "a call of a busy task had to wait"
        before += 1
        rig.until(lambda wanted=before: len(rig.questions) >= wanted)


def test_a_task_that_is_seen_to_have_ended_in_the_background_is_refused_at_once(rig):
    task = rig.airflow.add()
    token = rig.token_of(task, TASK)
    task.state = "failed"
    rig.clock.advance(8)
    seen = len(rig.questions)
    assert rig.call(token, TASK).allowed
    rig.until(lambda: len(rig.questions) > seen)
    assert refused(rig.settle(rig.calls(token, TASK)), 403) == "run_ended"


def test_without_airflow_calls_go_on_for_as_long_as_that_is_allowed_and_no_longer(rig):
    task = rig.airflow.add()
    token = rig.token_of(task, TASK)
    rig.airflow.stop()
    rig.clock.advance(14)
    assert rig.call(token, TASK).allowed
    rig.clock.advance(2)
    answer = rig.call(token, TASK)
    assert refused(answer, 503) == "airflow_unavailable"
    assert answer.set["retry-after"] == "2"
    assert "cannot ask Airflow" in json.loads(answer.body)["message"]


def test_two_hundred_calls_wait_for_one_question(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    asked = rig.airflow.count()
    rig.clock.advance(20)
    go = threading.Event()
    rig.airflow.hold(go)
    parked = [rig.calls(token, TASK) for _ in range(200)]
    over = [threading.Event() for _ in parked]
    assert all(outcome.begin(done.set) for outcome, done in zip(parked, over, strict=True))
    go.set()
    assert all(done.wait(10) for done in over)
    assert all(rig.settle_now(outcome).allowed for outcome in parked)
    assert rig.airflow.count() == asked + 1


def test_the_proof_of_a_call_that_waited_is_used_up_once(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.clock.advance(20)
    proof = prove(TASK, token, iat=NOW + 20, htu=f"http://{HOST}/v1/orders")
    waiting = [rig.calls(token, TASK, proof=proof) for _ in range(2)]
    answers = [rig.settle(outcome) for outcome in waiting]
    assert sorted(answer.reason for answer in answers) == ["proof_replayed", "rule"]


def test_a_task_that_calls_too_much_has_had_its_share_and_others_have_theirs(tmp_path):
    with RunRig(tmp_path, share=3) as rig:
        busy, other = (rig.token_of(rig.airflow.add(task_id=name), TASK) for name in ("busy", "other"))
        answers = [rig.call(busy, TASK) for _ in range(5)]
        assert [answer.reason for answer in answers] == ["rule"] * 3 + ["rate_limited"] * 2
        assert refused(answers[-1], 503)
        assert rig.call(other, TASK).allowed
        assert refused(rig.call(busy, TASK, method="DELETE"), 403)  # what the policy refuses is told as ever
        rig.clock.advance(61)
        assert rig.call(rig.token_of(rig.airflow.add(task_id="busy"), TASK), TASK, iat=NOW + 61).allowed


def test_a_thief_who_replays_a_seen_proof_takes_nothing_of_its_owners_share(tmp_path):
    with RunRig(tmp_path, share=3) as rig:
        token = rig.token_of(rig.airflow.add(), TASK)
        seen = prove(TASK, token, htu=f"http://{HOST}/v1/orders")
        assert rig.call(token, TASK, proof=seen).allowed
        for _ in range(20):
            assert refused(rig.call(token, TASK, proof=seen), 401) == "proof_replayed"
        assert [rig.call(token, TASK).reason for _ in range(3)] == ["rule", "rule", "rate_limited"]


def test_a_task_that_has_had_its_share_adds_nothing_to_the_replay_cache(tmp_path):
    with RunRig(tmp_path, share=3, slots=64) as rig:
        busy, other = (rig.token_of(rig.airflow.add(task_id=name), TASK) for name in ("busy", "other"))
        for _ in range(100):
            rig.call(busy, TASK)
        assert rig.replays.used(rig.clock.wall()) == 3 / 64
        assert rig.call(other, TASK).allowed


# What is kept.


def test_a_verified_token_is_verified_once(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    for _ in range(5):
        assert rig.call(token, TASK).allowed
    assert len(rig.identities._known) == 1
    assert refused(rig.call(token[:-4] + "AAAA", TASK), 401) in {"bad_signature", "proof_mismatch"}
    assert len(rig.identities._known) == 1  # bad ones are not kept


def test_two_runs_are_never_taken_for_each_other(rig):
    """Decisions are remembered by what they depend on: the DAG, the task and the level among it."""
    first, second = rig.airflow.add(), rig.airflow.add(dag_id="finance_close", task_id="load")
    told = {"audience": "orders"}
    for _ in range(3):
        for task in (first, second):
            answer = rig.call(rig.token_of(task, TASK), TASK, told=told)
            assert answer.set["x-authz-dag"] == task.dag_id
            assert payload_of(answer.set["x-authz-assertion"])["airflow"]["dag_id"] == task.dag_id


def test_no_record_and_no_metadata_hold_a_credential(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders")
    answer = rig.call(token, TASK, proof=proof)
    assert refused(rig.call(token, TASK, proof=proof)) == "proof_replayed"
    shown = b"".join(rig.sink.lines) + json.dumps(answer.metadata).encode()
    assert token.encode() not in shown
    assert proof not in shown
    assert (answer.metadata["dag"], answer.metadata["level"]) == ("sales_daily", "verified")


def test_the_authenticator_keeps_bound_tokens_apart(rig):
    token = rig.token(**OIDC)
    arguments = {"wall": NOW, "monotonic": 0.0}
    session = rig.authenticator.bound(token, "egress", rig.policy, rig.keys, **arguments)
    assert session.thumbprint == ""
    assert rig.authenticator.bound(token, "egress", rig.policy, rig.keys, **arguments) is session
    assert rig.lookups[-2:] == ["miss", "hit"]


# With a policy about runs.

RULES = OPEN.replace(
    "  - {id: anybody,",
    """  - {id: sales-only, plane: egress, dags: ["sales_*"], tasks: [extract], destinations: [ledger], methods: [POST],
     paths: ["/v1/entries"]}
  - {id: tunnels, plane: egress, dags: ["sales_*"], identity: verified-bearer, destinations: [ledger],
     methods: [CONNECT]}
  - {id: no-finance, deny: true, plane: egress, dags: ["finance_*"], hosts: [orders.internal], paths: ["/v1/orders"]}
  - {id: anybody,""",
)
LEDGER = {"method": "POST", "target": "/v1/entries?x=1", "told": {"destination": "ledger"}}


def test_a_rule_about_a_dag_is_for_its_verified_runs(tmp_path):
    with RunRig(tmp_path, RULES) as rig:
        sales, other = rig.airflow.add(), rig.airflow.add(task_id="load")
        assert rig.call(rig.token_of(sales, TASK), TASK, **LEDGER).allowed
        assert (rig.record["rule"], rig.record["dag"]) == ("sales-only", "sales_daily")
        answer = rig.call(rig.token_of(other, TASK), TASK, **LEDGER)
        assert refused(answer, 403) == "no_rule"
        assert json.loads(answer.body)["message"].startswith(
            "No egress rule allows POST /v1/entries at ledger for task load of DAG sales_daily."
        )


def test_a_run_below_the_required_level_gets_403_with_its_level(tmp_path):
    with RunRig(tmp_path, RULES) as rig:
        task = rig.airflow.add()
        answer = rig.call(rig.token_of(task), **LEDGER)
        assert refused(answer, 403) == "identity_too_weak"
        told = json.loads(answer.body)
        assert "is only `verified-bearer`" in told["message"]
        assert told["decision_id"] == rig.record["id"]
        assert rig.levels[-1] == ("verified-bearer", "deny")


def test_a_deny_rule_about_dags_is_for_those_who_may_lie_as_well(tmp_path):
    with RunRig(tmp_path, RULES) as rig:
        sales, finance = rig.airflow.add(), rig.airflow.add(dag_id="finance_close")
        assert rig.call(rig.token_of(sales, TASK), TASK).allowed
        answer = rig.call(rig.token_of(finance, TASK), TASK)
        assert refused(answer, 403) == "deny_rule"
        assert json.loads(answer.body)["rule"] == "no-finance"
        assert "The rule `no-finance` forbids GET /v1/orders at orders" in json.loads(answer.body)["message"]
        assert refused(asserted(rig, TASK), 403) == "deny_rule"


def test_a_tunnel_is_for_the_form_for_proxies(tmp_path):
    with RunRig(tmp_path, RULES) as rig:
        token = rig.token_of(rig.airflow.add())
        told = {"destination": "ledger"}
        assert rig.call(token, method="CONNECT", target="", host="ledger.internal:443", told=told).allowed
        assert (rig.record["method"], rig.record["path"], rig.record["level"]) == ("CONNECT", "", "verified-bearer")
