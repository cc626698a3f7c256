"""Callers who only say which run they are: service accounts, and callers who say so in headers of their own."""

import pytest

from tests.runs.dag_files import thief
from tests.runs.test_run_calls import ORDERS, get, passed, stopped

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SOMEBODY = {"dag_id": "sales_daily", "run_id": "any", "task_id": "extract_orders", "map_index": -1, "try_number": 1}


def test_a_service_account_may_say_which_run_it_is(way):
    """Anybody with the workers' credentials can say anything: rules that are for `asserted` know that."""
    token, key = way.service_token(), thief.Key()
    headers = thief.bound(token, key, "GET", way.orders + "/v1/said", airflow=SOMEBODY)
    record = passed(way, get(way, headers, "/v1/said"), rule="said", level="asserted")
    assert record["run"]["dag_id"] == "sales_daily"


def test_what_is_only_said_is_too_weak(way):
    token, key = way.service_token(), thief.Key()
    for path in (ORDERS, "/v1/bearer"):
        headers = thief.bound(token, key, "GET", way.orders + path, airflow=SOMEBODY)
        stopped(way, get(way, headers, path), "identity_too_weak", 403)


def test_a_proof_cannot_raise_what_is_only_said(way):
    token, key = way.service_token(), thief.Key()
    for lie in ({**SOMEBODY, "level": "verified"}, {**SOMEBODY, "try_number": 0}, {"dag_id": "sales_daily"}, "sales"):
        headers = thief.bound(token, key, "GET", way.orders + ORDERS, airflow=lie)
        stopped(way, get(way, headers), "proof_invalid", 401)


def test_a_run_identity_is_that_of_the_token_not_of_the_proof(way, finance):
    """A task with a token of its own that says in the proof to be another."""
    key, token = finance.key_and_token()
    answer = get(way, thief.bound(token, key, "GET", way.orders + ORDERS, airflow=SOMEBODY))
    assert answer[0] in {401, 403}
    assert way.received == []


def test_a_token_of_a_service_account_that_is_bound_to_a_key_needs_that_key(way):
    key = thief.Key()
    token = way.service_token(cnf={"jkt": key.thumbprint})
    url = way.orders + "/v1/said"
    stopped(
        way, get(way, thief.bound(token, thief.Key(), "GET", url, airflow=SOMEBODY), "/v1/said"), "proof_mismatch", 401
    )
    answer = get(way, thief.bound(token, key, "GET", url, airflow=SOMEBODY), "/v1/said")
    passed(way, answer, rule="said", level="asserted")


def test_run_context_in_plain_headers_is_no_identity(way):
    """Context in headers, which is all that DAG code has to send where nothing is checked, is no identity."""
    words = {"dag": "sales_daily", "run": "manual__1", "task": "extract_orders", "identity": "verified"}
    headers = [(f"X-Authz-{name}", value) for name, value in words.items()]
    stopped(way, get(way, [*headers, ("X-Airflow-Dag-Id", "sales_daily")], "/v1/said"), "no_token", 401)


def test_a_service_account_without_a_run_is_no_run(way):
    staff = [("Authorization", f"Bearer {way.service_token()}")]
    assert get(way, staff, "/v1/staff")[0] == 200
    way.reset()
    answer = get(way, staff)
    assert answer[0] == 403
    assert way.received == []
