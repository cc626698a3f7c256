"""Airflow's REST API, asked by a client that believes nothing without a limit."""

import json
import time

import pytest

from authz.core.reasons import Reason
from authz.core.runs.task_lookup import TaskRef
from authz.runs.airflow_rest import AirflowRest, token_in
from tests.support.factories.certificates import Authority
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import body, drip, drip_body, endless, hang_up, silence


def claim_of(task, **changes):
    claim = TaskRef(task.id, task.dag_id, task.run_id, task.task_id, task.map_index, task.try_number)
    return claim._replace(**changes)


@pytest.fixture
def airflow():
    with AirflowSimulator() as made:
        yield made


def nothing():
    return {}


def ask(airflow, claim, *, url=None, credentials=nothing, timeout_s=2.0, **options):
    return AirflowRest(url or airflow.url, credentials, timeout_s=timeout_s, **options).ask(claim)


def test_a_running_task_is_a_yes_in_one_request(airflow):
    task = airflow.add(try_number=4)
    found = ask(airflow, claim_of(task))
    assert (found.reason, found.try_number) == (None, 4)
    assert airflow.requests == ["/api/v2/dags/sales_daily/dagRuns/run1/taskInstances/extract"]


def test_a_mapped_task_has_its_index_in_the_path(airflow):
    task = airflow.add(map_index=3)
    assert ask(airflow, claim_of(task)).reason is None
    assert airflow.requests == ["/api/v2/dags/sales_daily/dagRuns/run1/taskInstances/extract/3"]


def test_an_airflow_may_have_a_base_path(airflow):
    ask(airflow, claim_of(airflow.add()), url=airflow.url + "/af")
    assert airflow.requests[0].startswith("/af/api/v2/dags/")


def test_the_token_is_read_for_each_question(airflow, tmp_path):
    path = tmp_path / "token"
    claim = claim_of(airflow.add())
    for token in ("one", "two"):
        path.write_text(token + "\n")
        assert ask(airflow, claim, credentials=token_in(path)).reason is None
        assert airflow.headers[-1]["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_token_that_cannot_be_read_is_no_answer(airflow, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    found = ask(airflow, claim_of(airflow.add()), credentials=token_in(path))
    assert (found.reason, found.detail) == (
        Reason.AIRFLOW_UNAVAILABLE,
        "the file with the token for Airflow cannot be read",
    )
    assert airflow.requests == []


@pytest.mark.parametrize(
    "answer",
    [silence(), drip(), drip_body(), endless(), hang_up(), hang_up(b"HTTP/1.1 200 OK\r\n"), hang_up(b"\x00\x01")],
    ids=["silence", "drip", "drip of a body", "endless", "nothing", "torn", "no HTTP"],
)
def test_what_is_slow_or_endless_or_torn_ends_in_time(airflow, answer):
    task = airflow.add()
    airflow.misbehave(answer)
    begun = time.monotonic()
    found = ask(airflow, claim_of(task), timeout_s=0.3)
    assert found.reason is Reason.AIRFLOW_UNAVAILABLE
    assert time.monotonic() - begun < 2.0


def test_who_is_not_there_is_no_answer(airflow):
    claim = claim_of(airflow.add())
    airflow.stop()
    assert ask(airflow, claim).reason is Reason.AIRFLOW_UNAVAILABLE


def test_a_name_that_leads_to_a_metadata_address_is_not_asked(airflow):
    found = ask(
        airflow,
        claim_of(airflow.add()),
        url="http://airflow.test:80",
        resolver=lambda _host, _port: ["169.254.169.254"],
    )
    assert found.reason is Reason.AIRFLOW_UNAVAILABLE
    assert "metadata" in found.detail


def test_plain_http_to_a_name_of_this_machine_goes_to_no_other_machine(airflow):
    """The gate's bearer token is in the question, and any resolver may answer for such a name."""
    found = ask(
        airflow,
        claim_of(airflow.add()),
        url="http://airflow.localhost:80",
        resolver=lambda _host, _port: ["192.0.2.1"],
    )
    assert found.reason is Reason.AIRFLOW_UNAVAILABLE
    assert "not this machine" in found.detail


def test_no_detail_quotes_an_answer(airflow):
    task = airflow.add()
    for answer in (body(b"secret-in-the-body"), body(b"secret-in-the-body", status=403), body(b'"secret-in-the-body"')):
        airflow.misbehave(answer)
        assert "secret" not in ask(airflow, claim_of(task)).detail


def test_a_refusal_stays_one_where_the_better_word_for_it_cannot_be_had(airflow):
    task = airflow.add(try_number=2)

    def only_the_task(handler):
        if handler.path.endswith("/extract"):
            body(json.dumps(task.shown()).encode())(handler)
        else:
            body(b"", status=500)(handler)

    airflow.misbehave(only_the_task)
    assert ask(airflow, claim_of(task, instance="other", try_number=1)).reason is Reason.RUN_MISMATCH


@pytest.mark.parametrize("listed", [b"{}", b'{"task_instances": {}}', b'{"task_instances": [1, null, {"id": 7}]}'])
def test_a_malformed_list_of_tries_is_a_run_mismatch(airflow, listed):
    task = airflow.add(try_number=2)

    def lists(handler):
        found = json.dumps(task.shown()).encode() if handler.path.endswith("/extract") else listed
        body(found)(handler)

    airflow.misbehave(lists)
    assert ask(airflow, claim_of(task, instance="other", try_number=1)).reason is Reason.RUN_MISMATCH


def test_an_airflow_with_tls_is_verified(tmp_path):
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    with AirflowSimulator(tls=ours.issue("localhost")) as airflow:
        claim = claim_of(airflow.add())
        assert ask(airflow, claim, ca=str(ours.certificate)).reason is None
        assert ask(airflow, claim, ca=str(theirs.certificate)).reason is Reason.AIRFLOW_UNAVAILABLE
        assert ask(airflow, claim).reason is Reason.AIRFLOW_UNAVAILABLE
