"""Edge and Airflow never contradict each other about DAGs: random policies against the running Airflow.

The edge's own code decides and mints the assertion. What it allows for a DAG that the path names, Airflow does not
refuse; a list shows exactly the DAGs that the edge would open one by one; and a body that names a DAG which is not
granted changes nothing of it. The policies are drawn from a fixed seed.
"""

import random
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from authz.core import assertion, catalogue
from authz.core.decision import rights
from authz.core.decision.decide import evaluate
from authz.core.model import Allow, Rights
from authz.core.policy.patterns import parse_glob
from authz.core.request.path import canonicalise
from tests.integration.dags_with_neighbours import DAG_IDS, TEAMS, database, files, fill, named
from tests.support.factories import policies
from tests.support.sites.airflow import AUDIENCE, ISSUER, AirflowSite

pytestmark = pytest.mark.timeout(300)
CATALOGUE = catalogue.load("3.3")
SEED = 20261122
POLICIES = 20
RUN = "/api/v2/dags/{dag}/dagRuns/run_{dag}"
TASK = RUN + "/taskInstances/task_{dag}"
# A list, with the route that shows the same of one DAG and is the same operation.
LISTS = {
    "GET /api/v2/dags?limit=100": "/api/v2/dags/{dag}",
    "GET /api/v2/dagTags?limit=100": "/api/v2/dags/{dag}",
    "GET /api/v2/dagWarnings?limit=100": "/api/v2/dags/{dag}",
    "GET /api/v2/dagStats": RUN,
    "GET /api/v2/dags/~/dagRuns?limit=100": RUN,
    "POST /api/v2/dags/~/dagRuns/list": RUN,
    "GET /api/v2/dags/~/dagRuns/~/taskInstances?limit=200": TASK,
    "POST /api/v2/dags/~/dagRuns/~/taskInstances/list": TASK,
    "GET /api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries?limit=100": TASK + "/xcomEntries",
    "GET /api/v2/dags/~/dagVersions?limit=100": "/api/v2/dags/{dag}/dagVersions",
    "GET /ui/dags?limit=100": "/ui/dags/{dag}/latest_run",
}
# These show some of the DAGs that they may.
PARTIAL_LISTS = {
    "GET /ui/backfills": "/ui/dags/{dag}/latest_run",
    "GET /ui/dependencies": "/ui/dags/{dag}/latest_run",
    "GET /ui/partitioned_dag_runs": "/ui/dags/{dag}/latest_run",
    "GET /api/v2/importErrors": "/ui/dags/{dag}/latest_run",
}
OPERATIONS = (
    "dags:read", "dag_runs:read", "task_instances:read", "xcoms:read", "ui:read", "*:read",
    "dag_runs:bulk", "dag_runs:clear", "task_instances:bulk", "dags:update", "backfills:create",
)  # fmt: skip
PATTERNS = (*(f"{team}_*" for team in TEAMS), "*_ant", "*_bee", "ops_c*t", "*s_d*", "finance_cat", "sales_jay", "*")


def is_narrowed(line):
    """Whether the catalogue says so: else only a right on all DAGs opens the list."""
    method, _, target = line.partition(" ")
    return CATALOGUE.match(canonicalise(target).segments, method).narrowed


def random_rules(draw):
    """One to four allow rules, up to two deny rules, most of them about some DAGs."""
    for number in range(draw.randint(1, 4)):
        yield f"a{number}", "", draw.sample(OPERATIONS, draw.randint(1, 6)), draw.random() < 0.85
    for number in range(draw.choice((0, 0, 1, 2))):
        yield f"d{number}", "deny: true, ", draw.sample(OPERATIONS, draw.randint(1, 3)), draw.random() < 0.8


def random_policy(draw):
    lines = []
    for name, effect, operations, limited in random_rules(draw):
        dags = f", dags: {[*draw.sample(PATTERNS, draw.randint(1, 4))]}" if limited else ""
        lines.append(f"{{id: {name}, {effect}plane: inbound, roles: [viewer], operations: {operations}{dags}}}")
    return policies.load("\n".join(lines))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with AirflowSite(tmp_path_factory.mktemp("airflow"), dags=files()) as site:
        fill(site)
        yield site


class Gate:
    """The edge's decision on each request, and Airflow's answer to what the edge lets through."""

    def __init__(self, site, http, policy):
        self.site, self.http, self.policy = site, http, policy
        self.who = policies.identity("viewer")

    def decide(self, method, target):
        request = replace(policies.request(method, target), narrowed=True)
        return request, evaluate(request, self.who, self.policy)

    def allows(self, target):
        return isinstance(self.decide("GET", target)[1], Allow)

    def permitted(self, method, target):
        """The DAGs that the edge tells Airflow, by the policy's own patterns."""
        grant = self.decide(method, target)[1].dags
        return {
            dag
            for dag in DAG_IDS
            if any(parse_glob(glob).matches(dag) for glob in grant.allowed)
            and not any(parse_glob(glob).matches(dag) for glob in grant.denied)
        }

    def send(self, method, target, body=None):
        """Airflow's answer, None where the edge lets nothing through."""
        request, decision = self.decide(method, target)
        if not isinstance(decision, Allow):
            return None
        told = Rights(
            dags=decision.dags,
            airflow_role=rights.airflow_role(self.who, decision),
            menu=rights.menu(request, self.who, self.policy),
        )
        token = assertion.mint(
            self.who,
            told,
            audience=AUDIENCE,
            issuer=ISSUER,
            now=int(time.time()),
            lifetime=60,
            jti="j",
            key=self.site.key,
        )
        return self.http.request(method, target, headers={assertion.HEADER: token}, json=body)


@pytest.fixture(scope="module")
def drawn(site):
    draw = random.Random(SEED)  # noqa: S311 - a test that must be the same each time
    with site.client() as http:
        yield [(Gate(site, http, random_policy(draw)), draw) for _ in range(POLICIES)]


def body_of(line):
    return {"page_limit": 200} if line.startswith("POST") else None


def test_a_list_shows_exactly_the_dags_that_the_edge_opens_one_by_one(drawn):
    narrowed = Counter()
    for gate, _draw in drawn:
        for line, one in {**LISTS, **PARTIAL_LISTS}.items():
            answer = gate.send(*line.split(), body_of(line))
            if answer is None:
                continue
            permitted = {dag for dag in DAG_IDS if gate.allows(one.format(dag=dag))}
            assert answer.status_code == 200, (line, answer.text)
            shown = named(answer.text)
            assert shown == permitted if line in LISTS else shown <= permitted, line
            narrowed[line] += 0 < len(permitted) < len(DAG_IDS)
    few = {line: narrowed[line] for line in LISTS if is_narrowed(line) and narrowed[line] < 3}
    assert few == {}


def test_counts_are_those_of_the_permitted_dags(drawn):
    counted = 0
    for gate, _draw in drawn:
        answer = gate.send("GET", "/ui/dashboard/dag_stats")
        if answer is not None:
            permitted = [dag for dag in DAG_IDS if gate.allows(f"/ui/dags/{dag}/latest_run")]
            assert answer.json()["active_dag_count"] == len(permitted)
            counted += 1
    assert counted >= (3 if is_narrowed("GET /ui/dashboard/dag_stats") else 0)


def test_airflow_refuses_nothing_that_the_edge_allows_for_a_dag_in_the_path(drawn):
    asked = Counter()
    for gate, draw in drawn:
        for one in sorted({*LISTS.values(), "/api/v2/dags/{dag}/details", "/ui/grid/runs/{dag}"}):
            opened = [dag for dag in DAG_IDS if gate.allows(one.format(dag=dag))]
            for dag in draw.sample(opened, min(1, len(opened))):
                assert gate.send("GET", one.format(dag=dag)).status_code == 200, (one, dag)
                asked[one] += 1
    assert min(asked.values()) >= 5, asked


def state(site):
    """All that the bulk requests below could change, by DAG."""
    queries = {
        "notes": "select dag_id, content from dag_run join dag_run_note on dag_run.id = dag_run_id",
        "clears": "select dag_id, sum(clear_number) from dag_run group by dag_id",
        "paused": "select dag_id, is_paused from dag",
        "task notes": "select dag_id, content from task_instance join task_instance_note on task_instance.id = ti_id",
        "backfills": "select dag_id, count(*) from backfill group by dag_id",
    }
    with closing(database(site)) as connection:
        return {
            (what, dag): value for what, query in queries.items() for dag, value in connection.execute(query).fetchall()
        }


def bulk_requests(dags, word):
    """Requests whose DAGs stand in the body or nowhere."""
    runs = [{"dag_id": dag, "dag_run_id": f"run_{dag}"} for dag in dags]
    tasks = [{**run, "task_id": f"task_{run['dag_id']}", "note": word} for run in runs]
    noted = [{**run, "note": word} for run in runs]
    yield "PATCH", "/api/v2/dags/~/dagRuns", {"actions": [{"action": "update", "entities": noted}]}
    yield "PATCH", f"/api/v2/dags/{dags[0]}/dagRuns", {"actions": [{"action": "update", "entities": noted}]}
    yield "POST", "/api/v2/dags/~/clearDagRuns", {"dry_run": False, "dag_runs": runs}
    tis = "/api/v2/dags/~/dagRuns/~/taskInstances"
    yield "PATCH", tis, {"actions": [{"action": "update", "entities": tasks}]}
    yield "PATCH", "/api/v2/dags?dag_id_pattern=%25&exclude_stale=false", {"is_paused": len(word) % 2 == 0}
    days = {"from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-02T00:00:00Z"}
    yield "POST", "/api/v2/backfills", {"dag_id": dags[-1], **days}


def test_a_body_changes_nothing_of_a_dag_that_is_not_granted(site, drawn):
    changed, refused = Counter(), Counter()
    for number, (gate, draw) in enumerate(drawn):
        mixed = draw.sample(DAG_IDS, 2)
        for method, target, body in bulk_requests(mixed, "x" * (number + 1)):
            before = state(site)
            answer = gate.send(method, target, body)
            if answer is None:
                continue
            after = state(site)
            touched = {
                dag for what, dag in before.keys() | after.keys() if before.get((what, dag)) != after.get((what, dag))
            }
            permitted = gate.permitted(method, target)
            assert touched <= permitted, (method, target, answer.text)
            assert answer.status_code < 500, answer.text
            changed[method, target.split("?")[0].split("/")[-1]] += bool(touched)
            refused[method, target.split("?")[0].split("/")[-1]] += not {*mixed} <= permitted
    if is_narrowed("PATCH /api/v2/dags") and is_narrowed("POST /api/v2/dags/~/clearDagRuns"):
        assert changed["PATCH", "dags"] >= 2, changed
        assert sum(changed.values()) >= 6, changed
        assert min(refused.values()) >= 1, refused


def test_the_backfills_that_a_query_asks_for_are_not_shown_because_of_a_body(site):
    """Airflow 3.3 checks the DAG of a GET's body and lists the backfills of the query's."""
    asked, said = "/api/v2/backfills?dag_id=finance_cat", {"dag_id": "sales_bee"}
    with site.client("admin", dags=["sales_*"]) as sales, site.client("admin", dags=["finance_*"]) as finance:
        assert sales.request("GET", asked, json=said).status_code == 403
        assert sales.get(asked).status_code == 403
        assert finance.request("GET", asked, json=said).json()["total_entries"] == 1
