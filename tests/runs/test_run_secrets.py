"""After all that: no token is anywhere where somebody might find it."""

import re

import pytest

from tests.runs.dag_files import thief

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OWN_TOKENS = """
import os
from authz.airflow.egress.identity import RunIdentity
identity = RunIdentity.current()
bound = identity.headers("GET", "http://127.0.0.1/")
print(identity, bound, os.environ.get("HTTP_PROXY"))
result = [bound["X-Run-Identity"].split()[1], bound["X-Run-Proof"], identity.proxy().token]
"""
ENVIRONMENT = """
import os
result = {name: value for name, value in os.environ.items()}
"""
IN_LOG = """
import logging
log = logging.getLogger("airflow.task")
log.warning("canary %s", identity.headers("GET", "http://127.0.0.1/")["X-Run-Identity"])
log.warning("canary %s", identity.proxy().token)
log.warning("canary %s", os.environ["HTTP_PROXY"])
"""
PROXIES = {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"}


@pytest.fixture(scope="module")
def canaries(extract):
    """Tokens of the task's own client, which has also tried to log them."""
    tokens = extract.puppet.do(OWN_TOKENS)
    extract.puppet.do(IN_LOG)
    return tokens


def files(ground):
    """All that is kept: Airflow's home with its database, all logs, the worker's home, the gate's and Envoy's."""
    for folder in ("home", "logs", "task-logs", "own", "way"):
        yield from (path for path in (ground.folder / folder).rglob("*") if path.is_file())


def test_no_token_is_in_the_database_the_logs_or_any_file(ground, extract, canaries):
    signatures = {token.rpartition(".")[2].encode() for token in canaries}
    found = set()
    seen = 0
    for path in files(ground):
        data = path.read_bytes()
        seen += b"canary" in data
        found |= {path.name for signature in signatures if signature in data}
    assert seen, "the log of the canaries is not among what is searched"
    assert found == set()


def test_no_run_identity_token_of_any_task_is_in_a_file(ground, extract):
    """Also those of the operators and libraries, whose tokens nobody has told us: they are known by their form."""
    whole = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{86}")
    found = {}
    for path in files(ground):
        for token in whole.findall(path.read_bytes()):
            kind = thief.header_of(token.decode())["typ"]
            if kind in {"airflow-run+jwt", "dpop+jwt"}:
                found.setdefault(path.name, []).append(kind)
    assert found == {}


def test_only_the_proxy_variables_of_a_task_hold_a_token(extract, canaries):
    environment = extract.puppet.do(ENVIRONMENT)
    holding = {name for name, value in environment.items() if thief.A_TOKEN.search(value)}
    assert holding <= PROXIES
    assert holding, "the listener has set no variables"
    for name in holding:
        (token,) = thief.A_TOKEN.findall(environment[name])
        assert thief.claims_of(token)["use"] == "proxy"


def test_no_token_is_in_metrics_or_in_what_the_gate_serves(ground, canaries):
    shown = ground.way.gate.get("/metrics").text + ground.way.gate.get("/policy").text
    assert not [token for token in canaries if token.rpartition(".")[2] in shown]
