"""Grants of DAGs that are too large for an assertion: a real gate with two workers, and a real Airflow that asks it.

Every group has 28 globs of 96 bytes: two groups' fit into an assertion, three groups' do not (PROOF.md, "size never
decides").
"""

import hashlib
import os
import signal
import threading
import time

import httpx
import jwt
import pytest

from authz.core import assertion
from tests.e2e.envoy_harness import wait_for
from tests.integration.pair_of_workers import KEY, Pair
from tests.support.simulators.idp import IdP
from tests.support.sites.airflow import AirflowSite, empty_dags

pytestmark = pytest.mark.timeout(300)

GROUPS = 5
LONG = "x" * 89
DAGS = [f"t{group}{number:02}{LONG}_a" for group in range(GROUPS) for number in range(2)]


def globs(group):
    return [f"t{group}{number:02}{LONG}_*" for number in range(28)]


def policy():
    roles = "".join(f"  t{group}: {{{{groups: [g{group}]}}}}\n" for group in range(GROUPS))
    rules = "".join(
        f"  - {{{{id: t{group}, plane: inbound, roles: [t{group}], operations: [dags:read], dags: {globs(group)}}}}}\n"
        for group in range(GROUPS)
    )
    return f"""
version: 1
issuers:
  - name: corp
    issuer: {{issuer}}
    audiences: {{{{inbound: [airflow]}}}}
    algorithms: [ES256]
    groups: [groups]
roles:
{roles}rules:
{rules}  - {{{{id: no-secrets, deny: true, plane: inbound, dags: ["t001*"]}}}}
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with IdP([KEY]) as idp, Pair(tmp_path_factory.mktemp("gate"), idp, policy=policy()) as pair:
        yield pair


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, gate):
    options = {"AIRFLOW__AUTHZ__JWKS_FILE": None, "AIRFLOW__AUTHZ__JWKS_URL": f"{gate.admin}/jwks.json"}
    dags = {"all": empty_dags(*DAGS, "other")}
    with AirflowSite(tmp_path_factory.mktemp("airflow"), dags=dags, options=options) as site:
        yield site


def assertion_of(gate, worker, *groups, path="/api/v2/dags"):
    """What the worker sends to Airflow, with a token that it has not seen."""
    credential = gate.token(groups=[f"g{group}" for group in groups], jti=f"t-{time.monotonic_ns()}")
    answer = gate.check(worker, credential, target=path, audience="airflow", dags="narrowed")
    assert answer.http == 200, answer
    return answer.set[assertion.HEADER]


def ask(airflow, token, path="/api/v2/dags?limit=100"):
    return httpx.get(airflow.url + path, headers={assertion.HEADER: token}, trust_env=False, timeout=60)


def shown(answer):
    assert answer.status_code == 200, answer.text
    return {dag["dag_id"] for dag in answer.json()["dags"]}


def permitted(*groups):
    return {dag for dag in DAGS if int(dag[1]) in groups and not dag.startswith("t001")}


def claims(token):
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("worker", [0, 1])
@pytest.mark.parametrize("groups", [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)])
def test_airflow_lists_exactly_the_dags_of_all_groups(gate, airflow, worker, groups):
    token = assertion_of(gate, worker, *groups)
    assert ("dags_ref" in claims(token)) is (len(groups) > 2)
    assert len(token) < 16 * 1024
    assert shown(ask(airflow, token)) == permitted(*groups)


def test_one_dag_is_opened_and_another_is_not(gate, airflow):
    token = assertion_of(gate, 0, 0, 1, 2, path=f"/api/v2/dags/{DAGS[0]}")
    assert "dags_ref" in claims(token)
    assert ask(airflow, token, f"/api/v2/dags/{DAGS[0]}").status_code == 200
    for path in (f"/api/v2/dags/{DAGS[1]}", f"/api/v2/dags/{DAGS[8]}", "/api/v2/dags/other"):
        assert ask(airflow, token, path).status_code == 403


def test_the_gate_answers_for_every_worker_and_for_nothing_else(gate, airflow):
    reference = claims(assertion_of(gate, 1, 1, 2, 3))["dags_ref"]
    found = httpx.get(f"{gate.admin}/grants/{reference}", trust_env=False)
    assert found.json() == {"allowed": sorted(globs(1) + globs(2) + globs(3)), "denied": ["t001*"]}
    assert httpx.get(f"{gate.admin}/grants/{'A' * 43}", trust_env=False).status_code == 404


def test_a_worker_that_is_killed_costs_the_requests_it_let_through_and_no_more(gate, airflow):
    """Nobody else has what its assertion names: 503, neither no DAGs nor all of them. The next request is whole."""
    token = assertion_of(gate, 0, 0, 2, 3, 4)
    os.kill(gate.workers[0], signal.SIGKILL)
    answer = ask(airflow, token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "which DAGs" in answer.json()["detail"]
    assert shown(ask(airflow, assertion_of(gate, 1, 0, 2, 3, 4))) == permitted(0, 2, 3, 4)
    # It is the same grant, which Airflow knows now: the first assertion is good as long as it lives.
    assert shown(ask(airflow, token)) == permitted(0, 2, 3, 4)
    log = (airflow.folder / "logs" / "api-server.log").read_text()
    assert "The DAGs of an assertion could not be fetched, the request gets 503" in log


def test_a_policy_that_is_edited_keeps_what_assertions_name(gate, airflow):
    token = assertion_of(gate, 1, 1, 3, 4)
    before = gate.policy.read_bytes()
    edited = before.replace(b"t001*", b"t002*")
    try:
        save(gate, edited)
        assert claims(assertion_of(gate, 1, 1, 3, 4))["dags_ref"] != claims(token)["dags_ref"]
        assert shown(ask(airflow, token)) == permitted(1, 3, 4)
    finally:
        save(gate, before)


def save(gate, policy):
    """As a careful editor does, and until all workers serve it."""
    beside = gate.policy.with_suffix(".new")
    beside.write_bytes(policy)
    beside.replace(gate.policy)
    revision = hashlib.sha256(policy).hexdigest()
    served = lambda: gate.get("/readyz").json()["revision"] == revision  # noqa: E731
    wait_for(served, "the edit is not served", pause=threading.Event().wait)
