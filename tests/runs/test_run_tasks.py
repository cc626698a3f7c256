"""Unchanged operators and ordinary code in real tasks, under another user id: who the gate says they are."""

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

VERIFIED = ("sales-orders", "verified")


@pytest.fixture(scope="module")
def ways(ground):
    """Both DAGs once, with all that they do; what the destination got is `targets`."""
    ground.way.reset()
    runs = [ground.trigger("sales_ways"), ground.trigger("finance_ways")]
    for run in runs:
        run.wait()
    return Ways(ground, *runs)


class Ways:
    def __init__(self, ground, sales, finance):
        self.sales = sales
        self.finance = finance
        self._tasks = sales.tasks
        self.received = [*ground.way.upstream.requests]
        self.targets = [one.target for one in self.received]
        self.tunnelled = [*ground.way.secure.requests]
        self._decisions = [one for one in ground.way.gate.decisions if one.get("run")]

    def state(self, task_id, map_index=-1):
        return self._tasks[task_id, map_index]["state"]

    def tries(self, task_id):
        return self._tasks[task_id, -1]["try_number"]

    def decisions(self, task_id, *, run=None, plane="egress"):
        """What the gate recorded of the calls of a task."""
        run_id = (run or self.sales).run_id
        return [
            one
            for one in self._decisions
            if (one["plane"], one["run"]["run_id"], one["run"]["task_id"]) == (plane, run_id, task_id)
        ]

    def only(self, task_id, **where):
        """The one decision of a task, and its rule and level."""
        found = self.decisions(task_id, **where)
        assert len(found) == 1, found
        return found[0]


def test_an_unchanged_operator_is_verified_by_its_connection(ways):
    assert ways.state("extract_by_operator") == "success"
    record = ways.only("extract_by_operator")
    assert (record["rule"], record["level"]) == VERIFIED
    assert record["run"]["dag_id"] == "sales_ways"
    assert "/v1/orders" in ways.targets


@pytest.mark.parametrize("library", ["requests", "httpx", "aiohttp"])
def test_code_with_a_library_is_verified(ways, library):
    assert ways.state(f"extract_by_{library}") == "success"
    record = ways.only(f"extract_by_{library}")
    assert (record["rule"], record["level"]) == VERIFIED
    assert f"/v1/orders/{library}" in ways.targets


def test_each_mapped_instance_is_itself(ways):
    found = {one["run"]["map_index"]: one["path"] for one in ways.decisions("extract_each")}
    assert found == {0: "/v1/orders/0", 1: "/v1/orders/1"}
    assert {(one["rule"], one["level"]) for one in ways.decisions("extract_each")} == {VERIFIED}


def test_each_try_is_itself(ways):
    assert ways.state("extract_twice") == "success"
    assert [one["run"]["try_number"] for one in ways.decisions("extract_twice")] == [1, 2]
    assert ways.targets.count("/v1/orders/try") == 2


def test_a_child_process_with_proxy_variables_is_verified_bearer(ways):
    assert ways.state("extract_by_proxy") == "success"
    record = ways.only("extract_by_proxy")
    assert (record["rule"], record["level"]) == ("sales-bearer", "verified-bearer")
    assert "/v1/bearer" in ways.targets


def test_a_tunnel_is_verified_bearer_and_its_path_unknown(ways):
    assert ways.state("extract_by_tunnel") == "success"
    record = ways.only("extract_by_tunnel")
    assert (record["rule"], record["level"], record["method"]) == ("tunnel", "verified-bearer", "CONNECT")
    assert [one.target for one in ways.tunnelled] == ["/anything"]


@pytest.mark.parametrize("task_id", ["extract_denied_method", "load_denied_task"])
def test_a_denied_operator_fails_once_and_says_why(ways, task_id):
    record = ways.only(task_id)
    assert (record["decision"], record["reason"]) == ("deny", "no_rule")
    assert (ways.state(task_id), ways.tries(task_id)) == ("failed", 1)
    log = ways.sales.log(task_id)
    assert record["id"] in log
    assert "no_rule" in log
    assert "No egress rule allows" in log


def test_a_deferred_call_is_only_asserted(ways):
    """The triggerer makes it, which has no task token."""
    assert ways.state("extract_deferred") == "success"
    record = ways.only("extract_deferred")
    assert (record["rule"], record["level"]) == ("said", "asserted")
    assert "/v1/said" in ways.targets


def test_a_deferred_call_is_too_weak_where_verified_is_wanted(ways):
    record = ways.only("extract_deferred_denied")
    assert (record["reason"], record["level"]) == ("identity_too_weak", "asserted")
    assert ways.state("extract_deferred_denied") == "failed"
    assert record["id"] in ways.sales.log("extract_deferred_denied")


def test_the_same_operator_of_another_dag_is_denied(ways):
    record = ways.only("extract_by_operator", run=ways.finance)
    assert (record["decision"], record["reason"], record["run"]["dag_id"]) == ("deny", "no_rule", "finance_ways")
    assert ways.finance.state == "failed"
    assert record["id"] in ways.finance.log("extract_by_operator")


def test_the_destination_saw_only_what_was_allowed(ways):
    allowed = {"/v1/orders", "/v1/orders/0", "/v1/orders/1", "/v1/orders/try", "/v1/bearer", "/v1/said"}
    libraries = {f"/v1/orders/{library}" for library in ("requests", "httpx", "aiohttp")}
    assert set(ways.targets) == allowed | libraries
    assert len(ways.targets) == len(allowed | libraries) + 1  # one of them was tried twice
    for one in ways.received:
        names = {name for name, _ in one.headers}
        assert not names & {"x-run-identity", "x-run-proof", "proxy-authorization", "authorization"}
