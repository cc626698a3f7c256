"""What a task can reach beside the gate: Airflow itself, the gate's own socket, the key server by way of the gate.

The numbers are those of docs/security.md.
"""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.runs.dag_files import thief
from tests.runs.puppets import TaskError
from tests.support.factories.tokens import make_key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REST = """
import thief
result = [thief.call(url + path, method, headers)[0] for method, path in asked]
"""
CONNECT = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
"""


def test_d37_a_task_that_reaches_airflow_itself_has_no_identity_there(ground, way, extract):
    """Neither without credentials, nor with its own tokens of Airflow's or of the gate's."""
    key, token = extract.key_and_token()
    asked = [("GET", "/api/v2/dags"), ("GET", "/api/v2/variables"), ("POST", "/api/v2/dags/sales_daily/dagRuns")]
    forms = [
        [],
        [("Authorization", f"Bearer {extract.bearer}")],
        [("Authorization", f"Bearer {extract.workload}")],
        [("Authorization", f"Bearer {token}")],
        [("X-Authz-Assertion", token)],
        thief.bound(token, key, "GET", f"{ground.site.url}/api/v2/dags"),
        [("X-Authz-Assertion", ground.site.mint("admin", aud="orders"))],
    ]
    for headers in forms:
        statuses = extract.puppet.do(REST, url=ground.site.url, asked=asked, headers=headers)
        assert set(statuses) <= {401, 403}, headers


def test_d38_a_task_cannot_ask_the_gate_itself(way, extract):
    """Whoever can call Check says which plane it is on, and sees assertions: the socket is the gate's user's alone."""
    for endpoint in way.gate.endpoints:
        with pytest.raises(TaskError) as caught:
            extract.puppet.do(CONNECT, path=endpoint.removeprefix("unix:"))
        assert caught.value.kind == "PermissionError"


def test_d39_forged_tokens_cause_few_fetches_and_hold_up_no_other_task(ground, way, extract):
    """Sixty at once, each with a key that nobody knows: about one fetch a second, and the task gets its own token."""
    keys = [make_key("EdDSA", kid=uuid.uuid4().hex) for _ in range(60)]
    before, begun = ground.keys.server.count("/jwks"), time.monotonic()
    with ThreadPoolExecutor(20) as senders:
        forged = [
            senders.submit(extract.ask, "proxy", bearer=ground.keys.sign(key, sub=extract.puppet.id)) for key in keys
        ]
        assert extract.ask("proxy")[0] == 200
        answers = [one.result() for one in forged]
    for status, answer in answers:
        assert (status, way.gate.decision(answer["decision_id"])["reason"]) == (403, "unknown_key")
    assert ground.keys.server.count("/jwks") - before <= 2 + (time.monotonic() - begun)


def test_d42_no_token_is_good_at_another_place(ground, way, extract):
    """Every kind of token that is there, at every door that is not its own. The rows are in `test_run_calls.py` too."""
    key, bound = extract.key_and_token()
    tokens = {
        "execution": extract.bearer,
        "workload": extract.workload,
        "run": bound,
        "proxy": extract.token(),
        "service": way.service_token(),
        "inbound": way.service_token(aud="airflow"),
        "assertion": ground.site.mint("admin"),
    }
    opened = set()
    for name, token in tokens.items():
        doors = {
            "exchange": lambda token=token: extract.ask("proxy", bearer=token)[0],
            "X-Run-Identity": lambda token=token: thief.call(
                f"{way.orders}/v1/orders", headers=thief.bound(token, key, "GET", f"{way.orders}/v1/orders")
            )[0],
            "Proxy-Authorization": lambda token=token: thief.call(
                f"{way.orders}/v1/bearer", headers=[("Proxy-Authorization", f"Bearer {token}")]
            )[0],
            "Authorization": lambda token=token: thief.call(
                f"{way.orders}/v1/staff", headers=[("Authorization", f"Bearer {token}")]
            )[0],
        }
        opened |= {(name, door) for door, knock in doors.items() if knock() == 200}
    assert opened == {
        ("execution", "exchange"),
        ("run", "X-Run-Identity"),
        ("proxy", "Proxy-Authorization"),
        ("service", "Authorization"),
    }
