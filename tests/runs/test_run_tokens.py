"""Who gets a run identity token, and for which run: asked with the real tokens of real tasks, and with forged ones."""

from dataclasses import replace

import pytest

from tests.runs.dag_files import thief
from tests.support.factories.tokens import make_key
from tests.support.sites.airflow import ISSUER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def refused(way, answered, reason, status=403):
    """The answer is a refusal for this reason, told to the task, and nobody was called."""
    code, answer = answered
    assert code == status, answer
    record = way.gate.decision(answer["decision_id"])
    assert record["reason"] == reason
    assert way.received == []
    return record


def test_a_running_task_gets_a_token_that_names_its_try(way, extract):
    key = thief.Key()
    status, answer = extract.ask(key.thumbprint)
    assert (status, answer["level"], answer["expires_in"]) == (200, "verified", 120)
    claims = thief.claims_of(answer["token"])
    assert claims["sub"] == f"airflow:ti:{extract.puppet.id}"
    assert (claims["iss"], claims["aud"]) == (ISSUER, f"{ISSUER}/egress")
    assert claims["cnf"] == {"jkt": key.thumbprint}
    assert claims["exp"] - claims["iat"] == 120
    assert claims["airflow"] == {
        "dag_id": "sales_daily",
        "run_id": extract.puppet.run_id,
        "task_id": "extract_orders",
        "map_index": -1,
        "try_number": 1,
    }


def test_the_proxy_form_is_bound_to_no_key_and_says_so(way, extract):
    status, answer = extract.ask("proxy")
    assert (status, answer["level"], answer["expires_in"]) == (200, "verified-bearer", 300)
    claims = thief.claims_of(answer["token"])
    assert claims["use"] == "proxy"
    assert "cnf" not in claims


def test_mapped_instances_get_tokens_of_their_own(way, mapped):
    for index, held in enumerate(mapped):
        status, answer = held.ask("proxy")
        assert status == 200
        assert thief.claims_of(answer["token"])["airflow"]["map_index"] == index


def test_the_context_of_another_dag_is_refused(way, extract, finance):
    refused(way, extract.ask("proxy", **finance.said), "run_mismatch")
    refused(way, finance.ask("proxy", **extract.said), "run_mismatch")


def test_the_context_of_another_task_of_the_run_is_refused(way, extract, load):
    refused(way, load.ask("proxy", t="extract_orders"), "run_mismatch")


def test_the_context_of_a_run_that_is_none_is_refused(way, extract):
    refused(way, extract.ask("proxy", r="manual__2020-01-01T00:00:00+00:00"), "run_mismatch")


def test_the_context_of_another_map_index_is_refused(way, mapped):
    first, second = mapped
    refused(way, first.ask("proxy", m=1), "run_other_map_index")
    refused(way, second.ask("proxy", m=0), "run_other_map_index")


def test_a_mapped_task_cannot_pass_for_one_that_is_not(way, mapped):
    refused(way, mapped[0].ask("proxy", m=-1), "run_other_map_index")


def test_another_try_is_refused(way, extract):
    refused(way, extract.ask("proxy", n=2), "run_other_try")


def test_a_task_that_does_not_say_its_try_gets_that_of_airflow(way, extract):
    status, answer = extract.ask("proxy", n=...)
    assert status == 200
    assert thief.claims_of(answer["token"])["airflow"]["try_number"] == 1


def test_the_token_that_a_task_was_started_with_is_not_enough(way, extract):
    """The workload token lies in the broker; the execution token is only ever given to who started the task."""
    assert thief.claims_of(extract.workload)["scope"] == "workload"
    refused(way, extract.ask("proxy", bearer=extract.workload), "token_type")


@pytest.mark.parametrize("scope", ["workload", "user", None, ["execution"], ""])
def test_only_execution_tokens_count(ground, way, extract, scope):
    refused(way, extract.ask("proxy", bearer=ground.keys.sign(sub=extract.puppet.id, scope=scope)), "token_type")


def test_a_user_of_the_gate_gets_none(way, extract):
    """Neither a person's token nor the workers' service account's is a task's (d-42)."""
    refused(way, extract.ask("proxy", bearer=way.service_token()), "unknown_issuer")
    refused(way, extract.ask("proxy", bearer=way.service_token(aud="airflow")), "unknown_issuer")


def test_the_gates_own_tokens_get_none(ground, way, extract):
    """A run identity token asks for no other, and an assertion for Airflow is none."""
    _key, token = extract.key_and_token()
    refused(way, extract.ask("proxy", bearer=token), "unknown_issuer")
    refused(way, extract.ask("proxy", bearer=ground.site.mint("admin")), "unknown_issuer")


def test_a_token_for_another_audience_of_airflows_is_refused(ground, way, extract):
    refused(way, extract.ask("proxy", bearer=ground.keys.sign(sub=extract.puppet.id, aud="apache-airflow")), "audience")


def test_a_token_that_has_expired_is_refused(ground, way, extract):
    refused(way, extract.ask("proxy", bearer=ground.keys.sign(sub=extract.puppet.id, exp=1_700_000_000)), "expired")


def test_an_unknown_key_is_refused(ground, way, extract):
    bearer = ground.keys.sign(make_key("EdDSA", kid="nobodys"), sub=extract.puppet.id)
    refused(way, extract.ask("proxy", bearer=bearer), "unknown_key")


def test_another_key_under_the_known_name_is_refused(ground, way, extract):
    other = replace(make_key("EdDSA", kid="other"), kid=ground.keys.key.kid)
    bearer = ground.keys.sign(other, sub=extract.puppet.id)
    refused(way, extract.ask("proxy", bearer=bearer), "bad_signature")


def test_the_path_is_never_forwarded(ground, way, extract):
    """Whatever is asked below it, Airflow does not hear of it."""
    base = f"{way.execution}variables/__run_identity__"
    for below in ("", "/", "/v1", "/v2/proxy/e30", "/v1/proxy/e30", "/v1/proxy/e30?x=1", "%2Fv1/proxy/e30"):
        status, headers, _ = thief.call(base + below, headers=[("Authorization", f"Bearer {extract.bearer}")])
        assert status in {400, 403}, below
        assert "x-authz-decision" in headers, below
    for method in ("PUT", "POST", "DELETE", "HEAD"):
        status, headers, _ = thief.call(f"{base}/v1/proxy/e30", method, [("Authorization", f"Bearer {extract.bearer}")])
        assert status in {400, 403}, method
        assert "x-authz-decision" in headers, method
    assert "__run_identity__" not in (ground.folder / "logs" / "api-server.log").read_text()


def test_nothing_but_the_execution_api_is_behind_the_listener(ground, way):
    for path in (
        "/",
        "/api/v2/monitor/health",
        "/ui/dags",
        "/execution",
        "/executions/x",
        "/execution/../api/v2/version",
    ):
        status, _, _ = thief.call(way.execution.removesuffix("/execution/") + path)
        assert status in {403, 404}, path
