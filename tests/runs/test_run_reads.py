"""What real tasks read from Airflow is on record, with the task that read it; and no task is made to have read more."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import httpx
import jwt
import pytest

from authz.core.record import followed_line
from tests.runs.dag_files import thief

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

AUTHZ = Path(sys.executable).with_name("authz")
NUMBERS = count()
VALUE = "canary-of-a-variable"
READS = """
from airflow.sdk import Connection, Variable
assert Connection.get("orders").conn_id == "orders"
assert Variable.get("team/region") == value
assert Variable.get("absent", default=None) is None
instance.xcom_push("day", "2026-11-30")
instance.xcom_pull(task_ids="load", key="day")
result = instance.run_id
"""


@pytest.fixture(scope="module")
def variable(ground):
    answer = ground.client.post("/api/v2/variables", json={"key": "team/region", "value": VALUE})
    assert answer.status_code == 201, answer.text


def lines_of(ground):
    return (ground.way.folder / "access.log").read_bytes().splitlines()


def entries(ground, wanted=lambda _line: True):
    """The entries that the signed log would have about these lines."""
    made = (followed_line(line) for line in lines_of(ground) if wanted(line))
    return [json.loads(one[1]) for one in made if one is not None]


def accesses(ground, instance):
    return [one for one in entries(ground) if one["type"] == "access" and one["instance"] == instance]


def short(entry):
    names = ("action", "kind", "task", "name", "status", "claimed")
    return tuple(entry[name] for name in names if name in entry)


def test_a_story_has_what_a_task_read_among_its_calls(ground, extract, load, variable, tmp_path):
    way = ground.way
    extract.token()
    before = len(accesses(ground, extract.puppet.id))
    run = extract.puppet.do(READS, value=VALUE)

    def complete():
        return len(accesses(ground, extract.puppet.id)) >= before + 5

    way.until(complete, "not all that the task read is in the access log")
    found = [short(one) for one in accesses(ground, extract.puppet.id)[before:]]
    assert found == [
        ("read", "connection", "orders", 200),
        ("read", "variable", "team/region", 200),
        ("read", "variable", "absent", 404, True),
        ("write", "xcom", "extract_orders", "day", 201),
        ("read", "xcom", "load", "day", 200),
    ]
    log = tmp_path / "decisions.jsonl"
    written = [json.dumps(one, separators=(",", ":")).encode() for one in entries(ground)]
    log.write_bytes((way.folder / "decisions.jsonl").read_bytes() + b"\n".join([*written, b""]))
    assert VALUE.encode() not in b"".join(written)
    command = [AUTHZ, "audit", "story", f"sales_daily/{run}", log, "--format", "json"]
    story = json.loads(subprocess.run(command, capture_output=True, timeout=120, check=True).stdout)
    (task,) = [one for one in story["tasks"] if one["task"] == "extract_orders" and one["accesses"]]
    assert [short(one) for one in task["accesses"]][-4:] == [*found[:2], *found[3:]]
    assert found[2] in [short(one) for one in story["claimed"]]


def test_a_task_cannot_make_another_one_read(ground, extract, load, variable):
    """Whatever it sends: an entry that Airflow accepted names the task that sent it, or none."""
    mine = f"thief-{next(NUMBERS)}"
    other, own = load.puppet.id, extract.bearer
    claims = thief.claims_of(own)
    forged = [
        jwt.encode({**claims, "sub": other}, "k" * 64, algorithm="HS512"),
        jwt.encode({**claims, "sub": other}, None, algorithm="none") + "x",
        ".".join([own.split(".")[0], jwt.encode({**claims, "sub": other}, "k" * 64, "HS512").split(".")[1], "x"]),
    ]
    headers = [[f"Bearer {token}"] for token in forged]
    headers += [[f"Bearer {own}", f"Bearer {forged[0]}"], [f"Bearer {forged[0]}", f"Bearer {own}"]]
    headers += [
        [f"Bearer {own},Bearer {forged[0]}"],
        [f"Bearer {own}.{forged[0]}"],
        [f"bearer {own}"],
        [f"BEARER {own}"],
    ]
    headers += [[f"Bearer  {own}"], [f"Bearer {load.workload}"], [f"Bearer {own}"], []]
    paths = [
        "connections/orders",
        f"connections/orders%0d%0a%22,%22instance%22:%22{other}",
        f"variables/team%2Fregion?instance={other}",
        f"variables/{other}",
        "variables/" + "y" * 3000,
        "connections%2Forders",
        f"xcoms/sales_daily/{load.puppet.run_id}/load/%E2%80%A8",
    ]
    statuses = []
    with httpx.Client(base_url=ground.way.execution, headers={"User-Agent": mine}, timeout=60) as client:
        for path in paths:
            for values in headers:
                sent = [("Authorization", value) for value in values]
                statuses.append(client.get(path, headers=sent).status_code)

    def of_mine(line):
        return mine.encode() in line

    def complete():
        return sum(map(of_mine, lines_of(ground))) == len(statuses)

    ground.way.until(complete, "not all requests are in the access log")
    found = entries(ground, of_mine)
    assert [one["status"] for one in found] == statuses
    assert 200 in statuses
    accepted = {one["instance"] for one in found if not one.get("claimed")}
    assert accepted == {extract.puppet.id, ""}
    assert {one["instance"] for one in found if one.get("claimed")} >= {other}
    assert all(one["status"] >= 400 for one in found if one.get("claimed"))
    text = json.dumps(found)
    assert not [token for token in (own, load.workload, forged[0]) if token.rpartition(".")[2] in text]
    assert not [token for token in (own, load.workload) if token.split(".")[1] in text]
