"""The demo's internal API: it wants its credential, gives it to nobody, shows what it saw, and fails when told to."""

import threading
from contextlib import contextmanager

import httpx
import pytest

from demo.orders import KEPT, Orders

SECRET = "orders-canary"
WITH = {"authorization": f"Bearer {SECRET}"}


@contextmanager
def running(folder):
    token = folder / "orders.token"
    token.write_text(SECRET)
    with Orders(0, token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def orders(tmp_path):
    with running(tmp_path) as client:
        yield client


def seen(orders):
    return orders.get("/seen").json()


def test_the_credential_is_wanted_and_not_given_back(orders):
    assert orders.get("/v1/orders/7").status_code == 401
    assert orders.get("/v1/orders/7", headers={"authorization": "Bearer other"}).status_code == 401
    answer = orders.get("/v1/orders/7", headers={**WITH, "x-authz-user": "etl"})
    assert (answer.status_code, answer.json()["amount"]) == (200, 42)
    assert ["x-authz-user", "etl"] in answer.json()["headers"]
    assert SECRET not in answer.text


def test_a_new_credential_counts_at_once(orders, tmp_path):
    (tmp_path / "orders.token").write_text("another")
    assert orders.get("/v1/orders/7", headers=WITH).status_code == 401
    assert orders.get("/v1/orders/7", headers={"authorization": "Bearer another"}).status_code == 200


def test_what_it_saw_is_shown_with_all_headers_and_looking_does_not_count(orders):
    orders.get("/v1/orders/7", headers=WITH)
    orders.delete("/v1/orders/8")
    assert seen(orders)["received"] == seen(orders)["received"] == 2
    first, second = seen(orders)["calls"]
    assert (first["method"], first["path"], second["method"], second["path"]) == (
        *("GET", "/v1/orders/7"),
        *("DELETE", "/v1/orders/8"),
    )
    assert ["authorization", f"Bearer {SECRET}"] in first["headers"]


def test_what_it_saw_is_bounded(orders):
    for number in range(KEPT + 2):
        orders.get(f"/{number}")
    calls = seen(orders)["calls"]
    assert (seen(orders)["received"], len(calls), calls[-1]["path"]) == (KEPT + 2, KEPT, f"/{KEPT + 1}")


def test_fail_with_makes_calls_and_health_check_fail_until_it_is_reset(orders):
    assert orders.get("/healthz").status_code == 200
    orders.post("/mood", json={"fail_with": 500})
    assert [orders.get(path, headers=WITH).status_code for path in ("/healthz", "/v1/orders/7")] == [500, 500]
    orders.post("/mood", json={"fail_with": 0})
    assert [orders.get(path, headers=WITH).status_code for path in ("/healthz", "/v1/orders/7")] == [200, 200]
