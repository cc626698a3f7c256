"""A task asks who it is: what it gets, and each way in which it gets nothing."""

import base64
import json
from dataclasses import replace

import pytest

from authz.authn.run_exchange import AIRFLOW
from authz.core.model import Level
from authz.core.runs import run_token
from tests.support.factories.proofs import task_key, thumbprint
from tests.support.factories.tokens import NOW, b64, dump, make_key, raw_token
from tests.support.rigs.run import AIRFLOW_ISS, AIRFLOW_KEY, GATE, NEXT_AIRFLOW_KEY, RunRig
from tests.support.rigs.service import KEY, SIGNING_KEY
from tests.support.simulators.idp import body, html, redirect

TASK = task_key()


@pytest.fixture
def rig(tmp_path):
    with RunRig(tmp_path) as made:
        yield made


def refused(answer):
    """The reason of a refusal; nothing of a token is in it."""
    assert not answer.allowed
    assert answer.code != 0
    assert answer.http in {403, 503}
    assert json.loads(answer.body)["decision_id"] == answer.metadata["decision_id"]
    assert "token\\" not in answer.body
    return answer.reason


def value(answer):
    assert answer.http == 200, answer
    assert not answer.allowed  # to Envoy it is a denial: nothing is forwarded
    return json.loads(json.loads(answer.body)["value"])


def test_a_running_task_gets_a_token_that_is_bound_to_its_key(rig):
    task = rig.airflow.add(try_number=3)
    answer = rig.ask_identity(task, TASK)
    got = value(answer)
    assert got["level"] == "verified"
    assert got["expires_in"] == 120
    read = run_token.verify(
        got["token"], run_token.public_keys([SIGNING_KEY]), issuer=GATE, audience=f"{GATE}/egress", now=NOW
    )
    assert read.instance == task.id
    assert read.thumbprint == thumbprint(TASK)
    assert read.run == ("sales_daily", "run1", "extract", -1, 3, Level.VERIFIED)
    assert answer.reason == "run_token_issued"


def test_the_answer_stands_under_the_key_that_was_asked_for(rig):
    task = rig.airflow.add()
    key = json.loads(rig.ask_identity(task, TASK).body)["key"]
    assert f"/execution/variables/{key}" == rig.target(task, TASK)


def test_the_form_for_proxies_is_bound_to_no_key_and_lives_longer(rig):
    got = value(rig.ask_identity(rig.airflow.add()))
    assert (got["level"], got["expires_in"]) == ("verified-bearer", 300)


def test_without_signing_key_isolated_the_level_is_capped_at_asserted(tmp_path):
    with RunRig(tmp_path, isolated=False) as rig:
        task = rig.airflow.add()
        assert value(rig.ask_identity(task, TASK))["level"] == "asserted"
        assert value(rig.ask_identity(task))["level"] == "asserted"


def test_it_is_recorded_and_no_record_holds_a_token(rig):
    task = rig.airflow.add(map_index=4)
    token = rig.task_token(task)
    got = value(rig.ask_identity(task, TASK, token=token))
    assert rig.record["decision"] == "issue"
    assert rig.record["reason"] == "run_token_issued"
    assert rig.record["level"] == "verified"
    assert rig.record["run"] == {
        "dag_id": "sales_daily",
        "run_id": "run1",
        "task_id": "extract",
        "map_index": 4,
        "try_number": 1,
    }
    assert rig.observed[-1][:2] == ("execution", "run_token_issued")
    for line in rig.sink.lines:
        assert token.encode() not in line
        assert got["token"].encode() not in line


def test_nothing_is_handed_out_that_cannot_be_recorded(rig):
    task = rig.airflow.add()
    outcome = rig.asks(task, TASK)
    rig.sink.failing = True
    answer = rig.settle(outcome)
    assert (answer.http, refused(answer)) == (503, "audit_unavailable")
    assert "value" not in answer.body


def test_a_task_that_does_not_say_its_try_gets_airflows_word_for_it(rig):
    task = rig.airflow.add(try_number=2)
    got = value(rig.ask_identity(task, TASK, n=None))
    assert json.loads(_payload(got["token"]))["airflow"]["try_number"] == 2


def _payload(token):
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_gate_asks_as_itself(rig):
    rig.token_of(rig.airflow.add(), TASK)
    sent = {name.lower(): text for name, text in rig.airflow.headers[-1].items()}
    payload = json.loads(_payload(sent["x-authz-assertion"]))
    assert (payload["sub"], payload["aud"], payload["airflow_role"]) == ("authz", "airflow", "viewer")
    assert (payload["dags"], payload["menu"]) == (["*"], [])
    assert "authorization" not in sent


# What a task may be wrong about, or lie about.


def test_another_tasks_place_is_a_mismatch(rig):
    mine, other = rig.airflow.add(), rig.airflow.add(dag_id="finance_close")
    answer = rig.ask_identity(other, TASK, token=rig.task_token(mine))
    assert (answer.http, refused(answer)) == (403, "run_mismatch")
    assert "not that of the DAG run" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    "change", [{"d": "no_such"}, {"r": "run2"}, {"t": "load"}, {"d": ".."}, {"t": "a/b"}, {"r": "~"}]
)
def test_a_place_that_is_not_there_is_a_mismatch(rig, change):
    task = rig.airflow.add()
    assert refused(rig.ask_identity(task, TASK, **change)) == "run_mismatch"


def test_another_spelling_of_a_dag_is_another_dag(rig):
    """Databases compare without case: Airflow answers, with the spelling that it has."""
    task = rig.airflow.add()
    rig.airflow.tasks["Sales_Daily", "run1", "extract", -1] = task
    assert refused(rig.ask_identity(task, TASK, d="Sales_Daily")) == "run_mismatch"


def test_an_earlier_try_is_refused_as_another_try(rig):
    first = rig.airflow.add()
    rig.airflow.try_again(first)
    answer = rig.ask_identity(first, TASK)
    assert (answer.http, refused(answer)) == (403, "run_other_try")
    assert refused(rig.ask_identity(first, TASK, n=None)) == "run_other_try"
    assert refused(rig.ask_identity(first, TASK, n=2)) == "run_mismatch"


def test_who_says_to_be_another_try_of_itself_is_refused(rig):
    task = rig.airflow.add(try_number=2)
    assert refused(rig.ask_identity(task, TASK, n=1)) == "run_other_try"


def test_another_map_index_is_refused_as_such(rig):
    mapped = [rig.airflow.add(map_index=index) for index in range(3)]
    token = rig.task_token(mapped[0])
    assert refused(rig.ask_identity(mapped[1], TASK, token=token)) == "run_other_map_index"
    assert refused(rig.ask_identity(mapped[1], TASK, token=token, m=-1)) == "run_other_map_index"
    assert refused(rig.ask_identity(mapped[1], TASK, token=token, m=99)) == "run_other_map_index"


@pytest.mark.parametrize(
    "state", ["success", "failed", "restarting", "deferred", "up_for_retry", "queued", None, "Running"]
)
def test_a_task_that_does_not_run_gets_nothing(rig, state):
    task = rig.airflow.add(state=state)
    answer = rig.ask_identity(task, TASK)
    assert (answer.http, refused(answer)) == (403, "run_ended")
    assert "ended, or was cleared" in json.loads(answer.body)["message"]


def test_what_airflow_said_before_is_no_token(rig):
    task = rig.airflow.add()
    rig.token_of(task, TASK)
    task.state = "success"
    assert refused(rig.ask_identity(task, TASK)) == "run_ended"


# Tokens of Airflow's that are none, or not a running task's.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scope": "workload"}, "token_type"),
        ({"scope": None}, "token_type"),
        ({"scope": ["execution"]}, "token_type"),
        ({"aud": "airflow"}, "audience"),
        ({"aud": ["urn:airflow.apache.org:task", "other"]}, "audience"),
        ({"exp": NOW - 31}, "expired"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"exp": None}, "claim_invalid"),
        ({"iss": "https://idp.example.com/realms/data"}, "unknown_issuer"),
        ({"iss": None}, "unknown_issuer"),
        ({"sub": "alice"}, "claim_invalid"),
        ({"sub": None}, "claim_invalid"),
    ],
)
def test_only_the_token_of_a_running_task_counts(rig, changes, reason):
    task = rig.airflow.add()
    answer = rig.ask_identity(task, TASK, token=rig.task_token(task, **changes))
    assert (answer.http, refused(answer)) == (403, reason)
    assert rig.airflow.requests == []


def test_the_id_has_one_spelling(rig):
    task = rig.airflow.add()
    for spelling in (task.id.upper(), task.id.replace("-", ""), f"{{{task.id}}}", f"urn:uuid:{task.id}"):
        assert refused(rig.ask_identity(task, TASK, token=rig.task_token(task, sub=spelling))) == "claim_invalid"


def test_a_task_token_that_airflow_did_not_sign_is_refused(rig):
    task = rig.airflow.add()
    forged = rig.task_token(task, make_key("EdDSA", kid="airflow-1", named_alg=False))
    stranger = make_key("EdDSA", kid="stranger")
    assert refused(rig.ask_identity(task, TASK, token=forged[:-8] + "AAAAAAAA")) in {"bad_signature", "token_malformed"}
    own = rig.task_token(task, KEY)
    assert refused(rig.ask_identity(task, TASK, token=own)) == "algorithm"
    none = raw_token({"alg": "none"}, {"iss": AIRFLOW_ISS, "sub": task.id}, b"")
    assert refused(rig.ask_identity(task, TASK, token=none)) in {"algorithm", "token_malformed"}
    assert refused(rig.ask_identity(task, TASK, token=rig.task_token(task, stranger))) == "unknown_key"
    assert rig.airflow.requests == []


def test_a_token_of_the_gate_is_no_task_token(rig):
    task = rig.airflow.add()
    assert refused(rig.ask_identity(task, TASK, token=rig.token_of(task, TASK))) == "unknown_issuer"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", b"Basic YTpi")],
        [("authorization", b"Bearer a.b.c"), ("authorization", b"Bearer a.b.c")],
        [("authorization", b"Bearer a.b.c,Bearer a.b.c")],
    ],
    ids=["none", "basic", "two", "joined"],
)
def test_credentials_are_one_bearer_token(rig, headers):
    answer = rig.ask_identity(rig.airflow.add(), TASK, headers=headers)
    assert answer.http == 403
    assert refused(answer) in {"no_token", "bad_authorization"}


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "POST", "get"])
def test_it_is_asked_for_with_get(rig, method):
    answer = rig.ask_identity(rig.airflow.add(), TASK, method=method)
    assert (answer.http, refused(answer)) == (403, "bad_method")


@pytest.mark.parametrize(
    "target",
    [
        "/execution/variables/other",
        "/execution/variables/__run_identity__/v1/proxy/",
        f"/execution/variables/__run_identity__/v1/proxy/{b64(dump({'d': 'a'}))}",
        "/execution/variables/__run_identity__/v1/../v1/proxy/e30",
        "/",
    ],
)
def test_another_path_is_no_question(rig, target):
    answer = rig.ask_identity(rig.airflow.add(), TASK, target=target)
    assert (answer.http, refused(answer)) == (403, "bad_path")


# Airflow's keys.


def test_a_new_key_of_airflows_is_fetched_once(rig):
    task = rig.airflow.add()
    rig.fetched = [rig.airflow_keys(AIRFLOW_KEY, NEXT_AIRFLOW_KEY)]
    assert value(rig.ask_identity(task, TASK, token=rig.task_token(task, NEXT_AIRFLOW_KEY)))
    assert rig.key_requests == [(AIRFLOW, "airflow-2")]


def test_a_key_that_is_not_there_after_a_fetch_is_unknown(rig):
    task = rig.airflow.add()
    rig.fetched = [rig.airflow_keys(AIRFLOW_KEY)]
    answer = rig.ask_identity(task, TASK, token=rig.task_token(task, NEXT_AIRFLOW_KEY))
    assert (answer.http, refused(answer)) == (403, "unknown_key")
    assert rig.airflow.requests == []


def test_a_key_that_was_there_and_is_gone_has_retired(rig):
    task = rig.airflow.add()
    rig.keys = {**rig.keys, AIRFLOW: rig.airflow_keys(NEXT_AIRFLOW_KEY)}
    rig.exchange.note_keys(rig.keys[AIRFLOW].keyset)
    answer = rig.ask_identity(task, TASK)
    assert (answer.http, refused(answer)) == (403, "key_retired")
    rig.exchange.note_keys(rig.airflow_keys(AIRFLOW_KEY, NEXT_AIRFLOW_KEY).keyset)
    rig.fetched = [rig.airflow_keys(AIRFLOW_KEY)]
    assert value(rig.ask_identity(task, TASK))  # it came back


@pytest.mark.parametrize("how", ["none yet", "stale", "failing"])
def test_without_usable_keys_of_airflow_the_exchange_is_503(rig, how):
    task = rig.airflow.add()
    states = {
        "none yet": rig.airflow_keys(last_error="down"),
        "stale": rig.airflow_keys(AIRFLOW_KEY, stale_at=0.0, last_error="down"),
        "failing": rig.airflow_keys(NEXT_AIRFLOW_KEY, last_error="down"),
    }
    rig.keys = {**rig.keys, AIRFLOW: states[how]}
    answer = rig.ask_identity(task, TASK)
    assert (answer.http, refused(answer)) == (503, "keys_unavailable")
    assert answer.set["retry-after"] == "2"


def test_who_waits_for_a_key_is_answered_before_it_comes_if_need_be(rig):
    task = rig.airflow.add()
    waiting = []
    rig.exchange._want_key = lambda issuer, kid, done: bool(waiting.append(done)) or True
    outcome = rig.asks(task, TASK, token=rig.task_token(task, NEXT_AIRFLOW_KEY))
    assert outcome.begin(lambda: None)
    answer = rig.settle_now(outcome)
    assert (answer.http, refused(answer)) == (503, "keys_unavailable")
    waiting[0]()


def test_so_many_wait_for_a_key_and_no_more(rig):
    task = rig.airflow.add()
    waiting = []
    rig.exchange._want_key = lambda issuer, kid, done: bool(waiting.append(done)) or True
    token = rig.task_token(task, NEXT_AIRFLOW_KEY)
    parked = [rig.asks(task, TASK, token=token) for _ in range(65)]
    assert [outcome.begin(lambda: None) for outcome in parked] == [True] * 64 + [False]
    assert refused(rig.settle_now(parked[-1])) == "tasks_wait_for_keys"
    for done in waiting:
        done()
    assert rig.asks(task, TASK, token=token).begin(lambda: None)


# Airflow itself.


@pytest.mark.parametrize(
    "answer",
    [
        body(b"", status=500),
        body(b"{}", status=401),
        body(b"{}", status=403),
        html(200),
        body(b"[]"),
        body(b"{"),
        body(b'{"dag_id": "sales_daily", "dag_run_id": "run1", "task_id": "extract", "map_index": -1}'),
        body(b" " * (2 * 1024 * 1024)),
        redirect("/elsewhere"),
        redirect("https://elsewhere.test/"),
    ],
    ids=["500", "401", "403", "html", "array", "torn", "no try", "huge", "redirect", "redirect away"],
)
def test_an_airflow_that_does_not_answer_is_no_yes(rig, answer):
    task = rig.airflow.add()
    rig.airflow.misbehave(answer)
    outcome = rig.ask_identity(task, TASK)
    assert (outcome.http, refused(outcome)) == (503, "airflow_unavailable")
    assert outcome.set["retry-after"] == "2"
    assert rig.record["run"]["dag_id"] == "sales_daily"
    rig.airflow.behave()
    assert value(rig.ask_identity(task, TASK))


def test_an_airflow_that_is_away_is_no_yes(rig):
    task = rig.airflow.add()
    rig.airflow.stop()
    answer = rig.ask_identity(task, TASK)
    assert (answer.http, refused(answer)) == (503, "airflow_unavailable")


@pytest.mark.parametrize(
    "lie",
    [
        {"dag_id": "finance_close"},
        {"dag_run_id": "run2"},
        {"task_id": "load"},
        {"map_index": 0},
        {"map_index": "-1"},
        {"map_index": True},
        {"id": "another"},
        {"id": None},
    ],
    ids=str,
)
def test_an_answer_of_airflow_about_another_task_instance_is_not_accepted(rig, lie):
    task = rig.airflow.add()
    rig.airflow.misbehave(body(dump({**task.shown(), **lie})))
    assert refused(rig.ask_identity(task, TASK)) == "run_mismatch"


@pytest.mark.parametrize("number", [0, -1, None, "1", True, 1.5])
def test_a_try_number_is_a_number(rig, number):
    task = rig.airflow.add()
    rig.airflow.misbehave(body(dump({**task.shown(), "try_number": number})))
    assert refused(rig.ask_identity(task, TASK, n=None)) == "airflow_unavailable"


def test_names_are_encoded_so_that_no_other_path_is_asked(rig):
    task = rig.airflow.add(dag_id="a b?c#d%2e", run_id="manual__2026-11-22T00:00:00+00:00", task_id="é.x")
    assert value(rig.ask_identity(task, TASK))
    assert rig.airflow.requests == [
        "/api/v2/dags/a%20b%3Fc%23d%252e/dagRuns/manual__2026-11-22T00%3A00%3A00%2B00%3A00/taskInstances/%C3%A9.x"
    ]


def test_without_an_exchange_nothing_is_given_and_that_is_said(rig):
    task = rig.airflow.add()
    rig.service._runs = replace(rig.service._runs, exchange=None)
    answer = rig.ask_identity(task, TASK)
    assert (answer.http, refused(answer)) == (503, "misconfigured")
    rig.service._runs = None
    assert refused(rig.ask_identity(task, TASK)) == "misconfigured"
