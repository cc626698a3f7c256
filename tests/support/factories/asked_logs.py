"""Decision logs to be asked: small and large ones, lines that are spoiled, texts that are commands, and questions.

Law: real lines of the gate, or what other programs and accidents make of them.
"""

import gzip
import json

import orjson

from authz.core.model import Plane, Run
from authz.core.policy.patterns import parse_glob
from authz.core.record import followed_line
from authz.core.traffic.selection import Selection
from tests.support.factories.decision_logs import Writer, claims, request, traffic
from tests.support.factories.policies import ISSUER, load

ADA = claims(ISSUER, "ada", groups=["data-readers"])
BEN = claims(ISSUER, "ben", groups=["data-users", "team-sales"])
ETL = claims(ISSUER, client="sales-etl")
POLICY = "{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read', 'dag_runs:read'], dags: ['sales_*']}"
ESC = "\x1b]0;owned\x07\x1b[2J"


def inbound(method, path):
    return request(Plane.INBOUND, method, "airflow.example.com", path)


def six():
    """The lines of six decisions with their entries."""
    writer = Writer(load(POLICY), ids=(f"{number:024x}" for number in range(1, 100)).__next__)
    writer.ask(inbound("GET", "/api/v2/dags/sales_eu"), ADA)
    writer.ask(inbound("GET", "/api/v2/dags/sales_us/dagRuns/manual__1"), BEN, step=60)
    writer.ask(inbound("DELETE", "/api/v2/dags/sales_us"), ADA, step=3600)
    writer.ask(inbound("POST", "/api/v2/dags/sales_us/dagRuns"), ETL)
    run = Run("sales_us", "manual__1", "extract", -1, 1, "verified")
    writer.ask(request(Plane.EGRESS, "GET", "orders.internal", "/v1/orders", destination="orders"), None, run)
    writer.ask(inbound("GET", "/x%20y"), None)
    return b"".join(writer.sink.lines).splitlines()


def rotated(folder, lines):
    """A folder with a log of these lines, of which the first four are in a renamed, compressed file."""
    folder.mkdir()
    (folder / "decisions.jsonl").write_bytes(b"".join(line + b"\n" for line in lines[4:]))
    with gzip.open(folder / "decisions.jsonl.1.gz", "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines[:4]))
    return folder


def evil(tmp_path):
    """A record whose texts are all commands for a terminal, a spreadsheet and a reader from right to left."""
    record = {"v": 1, "type": "decision", "time": "2026-11-22T02:39:35.500000Z", "decision": "deny", "rule": "a\u202eb"}
    record |= dict.fromkeys(("id", "path", "method", "subject", "dag", "reason"), ESC) | {"client": "=1+1\x7f\x9b"}
    record |= {"run": {"run_id": "=cmd()"}, "roles": ["\n", "b"]}
    path = tmp_path / "evil.jsonl"
    path.write_text(json.dumps(record) + "\n" + json.dumps({**record, "subject": "", "time": ESC}) + "\n")
    return path


def many():
    """The lines of 800 decisions of people, programs and runs."""
    policy = load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: ['sales_*']}")
    writer = traffic(policy, 800, issuer=ISSUER, group="data-readers", dags=12)
    return b"".join(writer.sink.lines).splitlines()


def selection(since="", until="", **wanted):
    globs = {name: tuple(map(parse_glob, texts)) for name, texts in wanted.items()}
    return Selection(wanted=globs, since=since, until=until)


def spoiled(lines, rng):
    """Cut lines, joined lines, lines with a hole, lines of another version, and those of `written_again`."""
    for line in written_again(lines, rng):
        kind, at = rng.random(), rng.randrange(1, len(line) - 1)
        if kind < 0.01:
            yield line[:at]
        elif kind < 0.02:
            yield line[:at] + line
        elif kind < 0.03:
            yield line[:at] + b"\0" * 8 + line[at + 8 :]
        elif kind < 0.04:
            yield line.replace(b'"v":1', b'"v":2', 1)
        else:
            yield line


def written_again(lines, rng):
    """Some lines as other programs write them: sorted, with spaces, with escapes."""
    for line in lines:
        kind = rng.random()
        if kind < 0.03:
            yield orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS)
        elif kind < 0.06:
            record = orjson.loads(line)
            yield b"{ " + b", ".join(orjson.dumps(k) + b": " + orjson.dumps(v) for k, v in record.items()) + b"}"
        elif kind < 0.08:
            yield line.replace(b"sales_", b"sal\\u0065s_").replace(b'"p1', b'"\\u00701')
        else:
            yield line


def asked_of(rng, records):
    """A selection that some record may match."""
    one = rng.choice(records)
    values = {
        "id": one["id"],
        "run": (one.get("run") or {}).get("run_id") or one["path"].rpartition("dagRuns/")[2] or "manual__*",
        "role": rng.choice(one["roles"] or ["viewer"]),
        **{name: one[name] for name in ("subject", "client", "dag", "operation", "host", "decision", "reason", "rule")},
        "destination": one.get("destination", "orders"),
        "revision": one["revision"][:12] + "*",
    }
    wanted = {}
    for name in rng.sample(sorted(values), rng.randrange(4)):
        value = values[name]
        if rng.random() < 0.4 and "*" not in value and len(value) > 3:
            value = rng.choice([f"{value[:-2]}*", f"*{value[2:]}", f"{value[0]}*{value[-1]}"])
        wanted[name] = [value, *rng.choice([[], [], [f"no such {name}"]])]
    since, until = sorted(rng.choice(records)["time"] for _ in range(2))
    return selection(rng.choice(["", since]), rng.choice(["", until]), **wanted)


TOLD = """\
{id: operators, plane: inbound, roles: [user], operations: ['dag_runs:*', 'dags:read'], dags: ['sales_*']}
{id: orders, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**"], dags: ["sales_*"]}"""
EXTRACT, PREPARE = "0199d1c3-1111-7aaa-8bbb-0123456789ab", "0199d1c3-2222-7aaa-8bbb-0123456789ab"
TOLD_RUN = "manual__2026-11-22T02:39:35.750000+00:00"


def outcome_of(decision, status, **said):
    """The outcome of a decision, as Envoy's access log says it."""
    by_upstream = {"details": "via_upstream", "upstream_host": "10.0.0.8:8080", "upstream": "inbound.airflow"}
    line = {"time": "2026-11-22T02:39:36.000Z", "id": decision, "status": status, "bytes_sent": 512, "duration_ms": 31}
    return followed_line(json.dumps({**line, **by_upstream, **said}).encode())[1]


def access_of(path, *, instance=None, number=0, second=50, method="GET", status=200):
    """What a task read, as Envoy's access log says it: `path` is behind `/execution/`."""
    line = {
        "time": f"2026-11-22T02:39:{second}.000Z",
        "method": method,
        "path": f"/execution/{path}",
        "status": status,
        "details": "via_upstream",
        "upstream": "execution.airflow",
        "upstream_host": "10.0.0.9:8080",
        "request_id": f"00000000-0000-4000-8000-{number:012}",
        "instance": instance,
    }
    return followed_line(json.dumps(line).encode())[1]


def story():
    """The lines of a morning: Ben triggers a DAG, the run's tasks call out, Ada looks, and Ben clears a task of it."""
    writer = Writer(load(TOLD), ids=(f"{number:024x}" for number in range(1, 100)).__next__)
    of_run = f"/api/v2/dags/sales_eu/dagRuns/{TOLD_RUN}"
    writer.ask(inbound("POST", "/api/v2/dags/sales_eu/dagRuns"), BEN)
    calls = ("extract", "GET", "/v1/orders"), ("load", "POST", "/v1/orders"), ("extract", "GET", "/v1/items")
    for task, method, path in calls:
        run = Run("sales_eu", TOLD_RUN, task, -1, 1, "verified")
        writer.ask(request(Plane.EGRESS, method, "orders.internal", path, destination="orders"), None, run, step=20)
    writer.ask(inbound("GET", of_run), ADA, step=600)
    writer.ask(inbound("GET", of_run), BEN, step=600)
    writer.ask(inbound("PATCH", of_run), BEN)
    away = {"flags": "UF", "details": "upstream_reset_before_response_started{connection_termination}"}
    denied = {"flags": "UAEX", "details": "ext_authz_denied", "upstream_host": None}
    outcomes = [outcome_of(f"{1:024x}", 200)]
    outcomes += [
        outcome_of(f"{number:024x}", status, upstream="egress.orders", **said)
        for number, status, said in ((2, 200, {}), (3, 403, denied), (4, 503, away))
    ]
    lines = b"".join(writer.sink.lines).splitlines()
    return [*lines, *outcomes, *_reads(next(line for line in lines if b'"egress"' in line))]


def _reads(call):
    """What the task of a call got before: its run identity, and then a connection, a variable and an XCom."""
    issued = {"id": f"{8:024x}", "plane": "execution", "path": "/execution/variables/__run_identity__/v1/a/b"}
    issued |= {"time": "2026-11-22T02:39:50.500000Z", "decision": "issue", "reason": "run_token_issued", "rule": ""}
    yield orjson.dumps(orjson.loads(call) | issued | {"destination": "", "host": "airflow.internal"})
    yield outcome_of(f"{8:024x}", 200, instance=EXTRACT, upstream=None, flags="UAEX", upstream_host=None)
    xcom = f"xcoms/sales_eu/{TOLD_RUN}/prepare/day"
    yield access_of("connections/orders_db", instance=EXTRACT, number=1, second=52)
    yield access_of("variables/region", instance=EXTRACT, number=2, second=53)
    yield access_of(xcom, instance=EXTRACT, number=3, second=51)
    yield access_of("connections/payroll", instance=EXTRACT, number=4, second=58, status=403)
    yield access_of(xcom, instance=PREPARE, number=5, second=40, method="POST", status=201)
    yield access_of("connections/orders_db", instance=PREPARE, number=6, second=41)
