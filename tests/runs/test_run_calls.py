"""Calls with run identity tokens of real tasks: what a thief can do with them, and what he cannot.

Each attack that must fail ends with the destination that was not called.
"""

import base64
import time

import pytest

from tests.runs.dag_files import thief

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ORDERS = "/v1/orders"


@pytest.fixture(scope="module")
def own(extract):
    """A token of the task's, and its key."""
    return extract.key_and_token()


def passed(way, answer, *, rule, level):
    """It reached the destination, once, and carried nothing of the caller's identity there."""
    assert answer[0] == 200, answer
    received = [*way.upstream.requests]
    assert len(received) == 1
    names = {name for name, _ in received[0].headers}
    assert not names & {"x-run-identity", "x-run-proof", "proxy-authorization", "authorization"}
    record = way.record(answer)
    assert (record["rule"], record["level"]) == (rule, level)
    way.reset()
    return record


def stopped(way, answer, reason, status):
    """It did not reach the destination, for this reason."""
    assert way.received == []
    assert answer[0] == status, answer
    record = way.record(answer)
    assert record["reason"] == reason
    return record


def get(way, headers, path=ORDERS, *, method="GET"):
    return thief.call(way.orders + path, method, headers)


def basic(token):
    return [("Proxy-Authorization", "Basic " + base64.b64encode(f"run:{token}".encode()).decode())]


def bearer(token):
    return [("Proxy-Authorization", f"Bearer {token}")]


# What is right works


def test_the_task_is_let_through_as_verified(way, own, extract):
    key, token = own
    answer = get(way, thief.bound(token, key, "GET", way.orders + ORDERS))
    record = passed(way, answer, rule="sales-orders", level="verified")
    assert record["run"]["dag_id"] == "sales_daily"
    assert record["run"]["task_id"] == "extract_orders"
    assert record["run"]["run_id"] == extract.puppet.run_id
    assert record["run"]["try_number"] == 1


def test_the_same_by_the_path_of_the_destination(way, own):
    key, token = own
    url = way.by_path + ORDERS
    passed(way, thief.call(url, headers=thief.bound(token, key, "GET", url)), rule="sales-orders", level="verified")


def test_the_same_through_the_forward_proxy(way, own):
    key, token = own
    url = "http://orders.internal" + ORDERS
    answer = thief.call(url, headers=thief.bound(token, key, "GET", url), via=way.proxy_address)
    passed(way, answer, rule="sales-orders", level="verified")


def test_the_query_is_no_part_of_the_proof(way, own):
    key, token = own
    answer = get(way, thief.bound(token, key, "GET", way.orders + ORDERS), ORDERS + "?since=1")
    passed(way, answer, rule="sales-orders", level="verified")


@pytest.mark.parametrize("shown", [basic, bearer])
def test_the_proxy_form_is_verified_bearer(way, extract, shown):
    answer = thief.call("http://orders.internal/v1/bearer", headers=shown(extract.token()), via=way.proxy_address)
    passed(way, answer, rule="sales-bearer", level="verified-bearer")


def test_a_mapped_task_is_let_through_by_its_index(way, mapped):
    key, token = mapped[1].key_and_token()
    record = passed(
        way, get(way, thief.bound(token, key, "GET", way.orders + ORDERS)), rule="sales-orders", level="verified"
    )
    assert record["run"]["map_index"] == 1


# What the policy does not allow


def test_another_dag_is_denied(way, finance):
    key, token = finance.key_and_token()
    stopped(way, get(way, thief.bound(token, key, "GET", way.orders + ORDERS)), "no_rule", 403)


def test_another_task_of_the_dag_is_denied(way, load):
    key, token = load.key_and_token()
    stopped(way, get(way, thief.bound(token, key, "GET", way.orders + ORDERS)), "no_rule", 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_method_is_denied(way, own, method):
    key, token = own
    answer = get(way, thief.bound(token, key, method, way.orders + ORDERS), method=method)
    stopped(way, answer, "no_rule", 403)


def test_another_path_is_denied(way, own):
    key, token = own
    stopped(way, get(way, thief.bound(token, key, "GET", way.orders + "/admin"), "/admin"), "no_rule", 403)


def test_the_proxy_form_is_too_weak_for_a_rule_that_wants_verified(way, extract):
    answer = thief.call("http://orders.internal" + ORDERS, headers=basic(extract.token()), via=way.proxy_address)
    stopped(way, answer, "identity_too_weak", 403)


# What a thief tries who has the token (from a log, a crash dump, a socket) and not the key


def test_a_stolen_token_with_another_key_is_refused(way, extract):
    """The task's key never leaves its process: here the token does."""
    token = extract.puppet.do(
        """
        import thief
        key = thief.Key()
        result = thief.ask(execution, bearer, key.thumbprint, said)[1]["token"]
        """,
        execution=way.execution,
        bearer=extract.bearer,
        said=extract.said,
    )
    stopped(way, get(way, thief.bound(token, thief.Key(), "GET", way.orders + ORDERS)), "proof_mismatch", 401)
    by_the_task = extract.puppet.do(
        "result = thief.call(url, headers=thief.bound(token, key, 'GET', url))", url=way.orders + ORDERS, token=token
    )
    passed(way, by_the_task, rule="sales-orders", level="verified")


def test_a_proof_that_claims_the_tasks_key_needs_its_signature(way, own):
    key, token = own
    mine = thief.Key()
    mine.jwk = key.jwk
    stopped(way, get(way, thief.bound(token, mine, "GET", way.orders + ORDERS)), "proof_invalid", 401)


def test_a_bound_token_without_proof_is_refused(way, own):
    stopped(way, get(way, [("X-Run-Identity", f"DPoP {own[1]}")]), "proof_missing", 401)


@pytest.mark.parametrize("shown", [basic, bearer])
def test_a_bound_token_as_proxy_token_is_refused(way, own, shown):
    stopped(way, get(way, shown(own[1])), "proof_missing", 401)


def test_a_bound_token_as_bearer_is_refused(way, own):
    key, token = own
    proof = key.proof(token, "GET", way.orders + ORDERS)
    answer = get(way, [("X-Run-Identity", f"Bearer {token}"), ("X-Run-Proof", proof)])
    stopped(way, answer, "bad_authorization", 400)
    assert get(way, [("Authorization", f"Bearer {token}")])[0] == 401
    assert get(way, [("Authorization", f"DPoP {token}"), ("X-Run-Proof", proof)])[0] in {400, 401}
    assert way.received == []


def test_a_proxy_token_in_the_place_of_a_bound_one_is_refused(way, extract):
    key, token = thief.Key(), extract.token()
    stopped(way, get(way, thief.bound(token, key, "GET", way.orders + "/v1/bearer"), "/v1/bearer"), "token_type", 401)


# What he tries who has also seen a proof


def test_a_replayed_proof_is_refused(way, own):
    key, token = own
    headers = thief.bound(token, key, "GET", way.orders + ORDERS)
    passed(way, get(way, headers), rule="sales-orders", level="verified")
    for _ in range(6):  # both workers are asked in turn
        stopped(way, get(way, headers), "proof_replayed", 401)


def test_a_proof_that_one_worker_has_seen_is_refused_by_the_other(way, own):
    """Each worker has an Envoy of its own here, so it is known which of them is asked."""
    key, token = own
    url = "http://orders.internal" + ORDERS
    with way.only_worker(0) as first, way.only_worker(1) as second:
        for seen, other in ((first, second), (second, first)):
            headers = thief.bound(token, key, "GET", url)
            passed(way, thief.call(url, headers=headers, via=seen), rule="sales-orders", level="verified")
            stopped(way, thief.call(url, headers=headers, via=other), "proof_replayed", 401)


@pytest.mark.parametrize(
    "url",
    [
        "{orders}/v1/orders/7",
        "{orders}/v1/orders/",
        "{orders}/V1/orders",
        "{by_path}/v1/orders",
        "http://orders.internal/v1/orders",
        "http://127.0.0.1/v1/orders",
        "{orders}/",
    ],
)
def test_a_proof_for_another_url_is_refused(way, own, url):
    key, token = own
    url = url.format(orders=way.orders, by_path=way.by_path)
    stopped(way, get(way, thief.bound(token, key, "GET", url)), "proof_mismatch", 401)


def test_a_proof_for_another_method_is_refused(way, own):
    key, token = own
    stopped(way, get(way, thief.bound(token, key, "POST", way.orders + ORDERS)), "proof_mismatch", 401)
    stopped(way, get(way, thief.bound(token, key, "get", way.orders + ORDERS)), "proof_mismatch", 401)


def test_a_proof_for_another_token_is_refused(way, extract):
    key = thief.Key()
    token, other = extract.token(key.thumbprint), extract.token(key.thumbprint)
    headers = [("X-Run-Identity", f"DPoP {token}"), ("X-Run-Proof", key.proof(other, "GET", way.orders + ORDERS))]
    stopped(way, get(way, headers), "proof_mismatch", 401)


@pytest.mark.parametrize("seconds", [-120, 120])
def test_a_proof_of_another_time_is_refused(way, own, seconds):
    key, token = own
    headers = thief.bound(token, key, "GET", way.orders + ORDERS, iat=int(time.time()) + seconds)
    stopped(way, get(way, headers), "proof_expired", 401)


@pytest.mark.parametrize("name", ["X-Run-Identity", "X-Run-Proof"])
def test_doubled_headers_are_refused(way, own, name):
    key, token = own
    headers = thief.bound(token, key, "GET", way.orders + ORDERS)
    more = [pair for pair in headers if pair[0] == name]
    stopped(way, get(way, headers + more), "bad_authorization", 400)


# Tokens of another kind (d-42)


def test_airflows_own_tokens_open_nothing(way, extract):
    """The execution token is for Airflow: no destination may see it, and on the way out it is nobody's."""
    for token in (extract.bearer, extract.workload):
        key = thief.Key()
        for headers in (
            [("Authorization", f"Bearer {token}")],
            bearer(token),
            basic(token),
            thief.bound(token, key, "GET", way.orders + "/v1/said"),
        ):
            answer = get(way, headers, "/v1/said")
            assert answer[0] in {400, 401}, headers
    assert way.received == []


def test_a_token_for_inbound_is_refused_on_egress(way):
    token = way.service_token(aud="airflow")
    stopped(way, get(way, [("Authorization", f"Bearer {token}")], "/v1/staff"), "audience", 401)
    stopped(way, get(way, basic(token), "/v1/staff"), "audience", 401)


def test_assertions_open_nothing(ground, way):
    answer = get(way, [("Authorization", f"Bearer {ground.site.mint('admin')}")], "/v1/staff")
    stopped(way, answer, "unknown_issuer", 401)
