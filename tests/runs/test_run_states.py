"""Tokens of tasks that are over: ended, failed, cleared; and an Airflow, or keys of Airflow's, that are not there."""

import pytest

from tests.runs.dag_files import thief
from tests.runs.outbound import Outbound
from tests.runs.test_run_calls import ORDERS, get, stopped
from tests.runs.test_run_tokens import refused
from tests.support.factories.tokens import make_key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


ENOUGH = 16  # requests that go to one of two workers by chance: none of them is left out


def call(way, held_key, token):
    return get(way, thief.bound(token, held_key, "GET", way.orders + ORDERS))


def is_refused_soon(way, key, token, reason):
    """Within `recheck` of the end a call may still pass, at one worker longer than at the other; then none does."""
    way.until(
        lambda: all(call(way, key, token)[0] == 403 for _ in range(ENOUGH)),
        "the token of a task that is over is still good",
    )
    way.reset()
    stopped(way, call(way, key, token), reason, 403)


def test_a_try_that_failed_and_one_that_was_cleared_are_over(ground, way):
    """One task instance, three tries: each has tokens of its own, and leaves nothing to the next."""
    run = ground.trigger("sales_short")
    where = {"run_id": run.run_id}
    first = ground.hold("sales_short", "extract_again", **where)
    key, token = first.key_and_token()
    assert call(way, key, token)[0] == 200
    first.puppet.fail()

    second = ground.hold("sales_short", "extract_again", try_number=2, **where)
    assert second.puppet.id != first.puppet.id
    is_refused_soon(way, key, token, "run_ended")
    refused(way, first.ask("proxy"), "run_other_try")
    refused(way, first.ask("proxy", n=2), "run_mismatch")
    refused(way, first.ask("proxy", n=...), "run_other_try")
    refused(way, second.ask("proxy", n=1), "run_other_try")

    key, token = second.key_and_token()
    assert call(way, key, token)[0] == 200
    way.reset()
    body = {"dry_run": False, "dag_run_id": run.run_id, "task_ids": ["extract_again"], "only_failed": False}
    cleared = ground.client.post("/api/v2/dags/sales_short/clearTaskInstances", json=body)
    assert cleared.status_code == 200, cleared.text
    is_refused_soon(way, key, token, "run_ended")
    status, answer = second.ask("proxy")
    assert status == 403
    assert way.gate.decision(answer["decision_id"])["reason"] in {"run_ended", "run_other_try", "run_mismatch"}

    third = ground.hold("sales_short", "extract_again", try_number=3, **where)
    key, token = third.key_and_token()
    by_proxy = [("Proxy-Authorization", f"Bearer {third.token()}")]
    assert call(way, key, token)[0] == 200
    assert get(way, by_proxy, "/v1/bearer")[0] == 200
    way.reset()
    third.puppet.end()
    assert run.wait() == "success"
    is_refused_soon(way, key, token, "run_ended")
    stopped(way, get(way, by_proxy, "/v1/bearer"), "run_ended", 403)
    refused(way, third.ask("proxy"), "run_ended")  # its execution token is good for ten minutes


def test_an_airflow_that_is_away_is_a_503_and_never_a_yes(ground, way, extract, tmp_path):
    """The other gate has the same keys, so that it knows the token; its Airflow is not there."""
    key, token = extract.key_and_token()
    with Outbound(tmp_path / "alone", ground.site, ground.keys, airflow="http://127.0.0.1:1") as alone:
        refused(alone, extract.ask("proxy", way=alone), "airflow_unavailable", 503)
        stopped(alone, call(alone, key, token), "airflow_unavailable", 503)
        headers = [("Proxy-Authorization", f"Bearer {extract.token()}")]
        stopped(alone, get(alone, headers, "/v1/bearer"), "airflow_unavailable", 503)


def gets_tokens(held):
    """Whether the task gets a token from whichever worker."""
    return all(held.ask("proxy")[0] == 200 for _ in range(ENOUGH))


@pytest.fixture
def published(ground, extract):
    """What Airflow publishes; afterwards it is as it was, also to the gate."""
    yield ground.keys
    ground.keys.published = [ground.keys.key]
    ground.way.until(lambda: gets_tokens(extract), "the key does not come back")


def test_keys_of_airflow_can_be_rotated(ground, way, extract, published):
    """Airflow takes a new key: its tokens work after one fetch. The old key is withdrawn: its tokens are refused."""
    fresh = make_key("EdDSA", kid="tasks-2")
    renewed = ground.keys.sign(fresh, sub=extract.puppet.id)
    refused(way, extract.ask("proxy", bearer=renewed), "unknown_key")
    published.published = [fresh, ground.keys.key]
    way.until(lambda: extract.ask("proxy", bearer=renewed)[0] == 200, "the new key is never fetched")
    assert extract.ask("proxy")[0] == 200

    published.published = [fresh]
    another = ground.keys.sign(make_key("EdDSA", kid="tasks-3"), sub=extract.puppet.id)

    def has_retired():
        """A token that is not known makes the gate fetch again; each worker by itself."""
        extract.ask("proxy", bearer=another)
        return all(extract.ask("proxy")[0] == 403 for _ in range(ENOUGH))

    way.until(has_retired, "a key that was withdrawn is still believed")
    refused(way, extract.ask("proxy"), "key_retired")
    assert extract.ask("proxy", bearer=renewed)[0] == 200


def test_known_keys_outlive_the_server_that_publishes_them(ground, way, extract):
    def gone(handler):
        handler.send_error(500)

    ground.keys.server.misbehave(gone)
    try:
        unknown = ground.keys.sign(make_key("EdDSA", kid="tasks-9"), sub=extract.puppet.id)
        refused(way, extract.ask("proxy", bearer=unknown), "keys_unavailable", 503)
        assert gets_tokens(extract)
    finally:
        ground.keys.server.behave()
    way.until(lambda: has_recovered(way), "the keys are not fetched again")


def has_recovered(way):
    """Whether each worker that has noticed the failure has noticed its end."""
    log = way.gate.log.read_text()
    return log.count("answers with status 500") == log.count("keys, again")
