"""What tasks can do who share more with Airflow, or with each other, than they should: why levels are capped.

The first attack is the same code twice. Beside the scheduler (LocalExecutor) it succeeds, which is why runs are
`asserted` unless the deployment declares `signing_key_isolated`; under another user id it cannot even begin.
"""

import pytest

from tests.runs.dag_files import thief
from tests.runs.outbound import Outbound
from tests.runs.puppets import TaskError
from tests.runs.test_run_calls import ORDERS, get, passed, stopped
from tests.runs.test_run_tokens import refused
from tests.support.factories.task_keys import AUDIENCE, ISSUER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FORGE = f"""
import thief
token = thief.forge(file, iss={ISSUER!r}, aud={AUDIENCE!r}, sub=victim)
key = thief.Key()
status, answer = thief.ask(execution, token, key.thumbprint, said)
result = [status, answer, token]
"""
CALL = "result = thief.call(url, headers=thief.bound(answer['token'], key, 'GET', url))"
READ_BROKER = """
import base64, json, redis, thief
broker = redis.Redis.from_url(url)
found = {}
for message in broker.hvals("unacked"):
    body = json.loads(base64.b64decode(json.loads(message)[0]["body"]))
    workload = json.loads(body[0][0])
    found[workload["ti"]["id"]] = workload["token"]
result = found
"""
TAKE_OVER = """
import thief
status, bearer, _ = thief.execution_token(execution, workload, victim, pid=pid)
key = thief.Key()
result = [status, thief.ask(execution, bearer, key.thumbprint, said) if bearer else None]
if result[1] and result[1][0] == 200:
    result.append(thief.call(url, headers=thief.bound(result[1][1]["token"], key, "GET", url)))
"""


@pytest.fixture(scope="module")
def capped(ground):
    """The gate of a deployment that declares nothing."""
    with Outbound(ground.folder / "capped", ground.site, ground.keys, isolated=False) as way:
        yield way


def forging(ground, task, victim, way):
    return task.puppet.do(
        FORGE, file=str(ground.keys.file), victim=victim.puppet.id, execution=way.execution, said=victim.said
    )


def test_beside_the_scheduler_a_task_forges_anybody_so_it_counts_as_asserted(ground, capped, local, extract):
    status, answer, _ = forging(ground, local, extract, capped)
    assert (status, answer["level"]) == (200, "asserted")
    answer = local.puppet.do(CALL, url=capped.orders + ORDERS)
    record = stopped(capped, answer, "identity_too_weak", 403)
    assert (record["level"], record["run"]["dag_id"]) == ("asserted", "sales_daily")


def test_rules_for_what_is_only_asserted_let_the_forger_in(ground, capped, local, extract):
    """Documented: such a rule believes whoever can run code in a task."""
    forging(ground, local, extract, capped)
    answer = local.puppet.do(CALL, url=capped.orders + "/v1/said")
    assert passed(capped, answer, rule="said", level="asserted")["run"]["dag_id"] == "sales_daily"


def test_a_true_declaration_is_what_verified_stands_on(ground, way, local, extract):
    """Documented: who declares the key isolated, and lets tasks read it, has their word for `verified`."""
    status, answer, _ = forging(ground, local, extract, way)
    assert (status, answer["level"]) == (200, "verified")


def test_under_another_user_the_same_attack_cannot_begin(ground, way, finance, extract):
    with pytest.raises(TaskError) as caught:
        forging(ground, finance, extract, way)
    assert caught.value.kind == "PermissionError"
    assert way.received == []


def test_under_another_user_a_token_of_the_tasks_own_key_is_refused(ground, way, finance, extract):
    """With a key of its own under the name of Airflow's."""
    own = finance.puppet.do(
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        import os, tempfile
        result = os.path.join(tempfile.mkdtemp(), "own.pem")
        with open(result, "wb") as file:
            key = Ed25519PrivateKey.generate()
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        """
    )
    code = FORGE.replace("file,", f"{own!r},", 1)
    status, answer, _ = finance.puppet.do(code, victim=extract.puppet.id, execution=way.execution, said=extract.said)
    assert refused(way, (status, answer), "bad_signature")["decision"] == "deny"


def test_a_sibling_cannot_read_the_memory_of_another_task(ground, finance, extract):
    """Airflow makes its processes undumpable; that is all that is between tasks of one user."""
    with pytest.raises(TaskError) as caught:
        finance.puppet.do(f"open('/proc/{extract.puppet.pid}/mem', 'rb')")
    assert caught.value.kind == "PermissionError"
    with pytest.raises(TaskError) as caught:
        finance.puppet.do(f"open('/proc/{extract.puppet.pid}/environ', 'rb').read()")
    assert caught.value.kind == "PermissionError"


def test_a_sibling_reads_the_proxy_token_from_a_childs_environment(way, finance, extract):
    """Documented: whatever a task executes is not protected, and the proxy form is good for whoever has it."""
    child = extract.puppet.do("import subprocess; child = subprocess.Popen(['sleep', '60']); result = child.pid")
    read = f"result = open('/proc/{child}/environ', 'rb').read().decode()"
    try:
        # Popen returns a little before the new program's environment is in place.
        way.until(lambda: finance.puppet.do(read), "the child has no environment")
        (token,) = set(thief.A_TOKEN.findall(finance.puppet.do(read)))
    finally:
        extract.puppet.do("child.kill(); child.wait()")
    answer = finance.puppet.do(
        "import thief; result = thief.call(url, headers=[('Proxy-Authorization', 'Bearer ' + token)])",
        url=way.orders + "/v1/bearer",
        token=token,
    )
    assert passed(way, answer, rule="sales-bearer", level="verified-bearer")["run"]["dag_id"] == "sales_daily"
    key = thief.Key()
    url = way.orders + ORDERS
    stopped(way, get(way, thief.bound(token, key, "GET", url)), "token_type", 401)


def test_the_broker_gives_a_task_of_its_user_the_identity_of_any_other(ground, way, finance, extract):
    """Documented, the footnote of the threat table: Celery's messages hold the token that a task is started with.

    It stays in the broker while the task runs. Whoever reads it and repeats the start, naming the process that runs the
    task (its id is in /proc), gets the execution token from Airflow. Nothing that the gate sees tells the two apart.
    """
    assert finance.puppet.do("from airflow.configuration import conf; result = conf.get('celery', 'broker_url')") == (
        ground.redis.url
    )
    tokens = finance.puppet.do(READ_BROKER, url=ground.redis.url)
    stolen = tokens[extract.puppet.id]
    assert thief.claims_of(stolen)["scope"] == "workload"
    code, asked, answer = finance.puppet.do(
        TAKE_OVER,
        execution=way.execution,
        workload=stolen,
        victim=extract.puppet.id,
        pid=extract.puppet.pid,
        said=extract.said,
        url=way.orders + ORDERS,
    )
    assert (code, asked[0], asked[1]["level"]) == (200, 200, "verified")
    assert passed(way, tuple(answer), rule="sales-orders", level="verified")["run"]["dag_id"] == "sales_daily"


def test_without_the_process_id_the_workload_token_is_of_no_use(way, finance, extract):
    """A task that runs already is not started again by anybody else."""
    code, asked = finance.puppet.do(
        TAKE_OVER,
        execution=way.execution,
        workload=extract.workload,
        victim=extract.puppet.id,
        pid=1,
        said=extract.said,
        url=way.orders + ORDERS,
    )
    assert (code, asked) == (409, None)
    assert get(way, [("Authorization", f"Bearer {extract.workload}")])[0] == 401
    assert way.received == []
