"""Every panel of every dashboard shows something: a real gate and Envoy with real traffic, scraped by Prometheus."""

import json
import math
import re

import pytest
import yaml

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.e2e.raw_http import exchange, request
from tests.e2e.stack import ORDERS, Stack
from tests.integration.pair_of_workers import TWO
from tests.support.factories.audit_logs import WITNESSES
from tests.support.factories.certificates import Authority
from tests.support.factories.tokens import make_key
from tests.support.prometheus import DEPLOY, RULES, Prometheus, needed, promtool

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana").glob("*.json"))}
CANDIDATE = POLICY.replace('"dags:read", "dag_runs:read"', '"dags:read"')
WITNESS = f'{{{{key: "{WITNESSES[0].public}", url: "http://127.0.0.1:1"}}}}'  # it is away
SIGNED = TWO.replace(
    "log: {{decisions: decisions.jsonl}}",
    "audit: {{log: audit, keys: [audit.pem], spool: spool, access_logs: [../access.log], quorum: 1,"
    f" witnesses: [{WITNESS}]}}}}",
)
SETTINGS = f"""{SIGNED}
shadow: candidate.yaml
grants: {{{{file: grants.jsonl}}}}
revocation: {{{{file: revocations.jsonl}}}}
tracing: {{{{endpoint: "127.0.0.1:1"}}}}
envoy: # for the metric of its certificate: the Envoy of these tests has settings of its own
  inbound:
    listen: "127.0.0.1:1"
    tls: {{{{certificate: gate.test.pem, key: gate.test.key}}}}
    upstreams: [{{{{name: airflow, address: "127.0.0.1:2", audience: airflow-test}}}}]
  egress:
    listen: "127.0.0.1:3"
    destinations: [{{{{name: orders, address: "127.0.0.1:4", hosts: [orders.internal]}}}}]
"""
STRANGE = make_key("ES256", kid="strange")
CHOSEN = {"$job": ".*", "$instance": ".*", "$envoy": "envoy", "$__rate_interval": "20s", "$__range": "60s"}
SELECTOR = r"(?<![:\w])(?:authz_|envoy_|up\b)\w*(?:\{.*?\})?"
ONLY_WHILE_REFUSED = {"authz_policy_refused", "authz_policy_file_refused"}


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries():
    """Every query with everything chosen that Grafana would ask for, by its dashboard, its panel and its letter."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in CHOSEN.items():
                    expression = expression.replace(variable, value)
                yield f"{name}: {panel['title']}, {target['refId']}", expression


class Watched:
    """The parts, and traffic of every kind that the panels are about."""

    def __init__(self, stack, prometheus):
        self.stack, self.prometheus = stack, prometheus
        self._seen = set()

    def traffic(self, _seconds=0.0):
        stack = self.stack
        known, etl = stack.token(), stack.etl()
        answers = [
            stack.get("/api/v2/dags", token=known),
            stack.get("/api/v2/dags/sales_daily/dagRuns", token=known),
            stack.get("/api/v2/dags/sales_daily", token=known, method="DELETE"),
            stack.get("/api/v2/dags", token=stack.token(STRANGE)),
            stack.get("/api/v2/dags"),
            stack.get("/v1/orders", token=etl, **ORDERS),
            stack.get("/v1/secrets", token=etl, **ORDERS),
        ]
        assert [answer.status for answer in answers] == [200, 200, 403, 401, 401, 200, 403]
        assert not [got.target for got in stack.upstream.requests if got.target not in ALLOWED]

    def shows(self, expression):
        """Whether an expression gives a number now, or did before."""
        if expression not in self._seen and any(map(math.isfinite, self.prometheus.values(expression))):
            self._seen.add(expression)
        return expression in self._seen

    def until_shown(self, expressions):
        missing = []

        def all_there():
            missing[:] = [name for name, expression in expressions if not self.shows(expression)]
            return not missing

        try:
            wait_for(all_there, "something shows nothing", pause=self.traffic, seconds=45)
        except AssertionError as error:
            error.add_note("\n".join(missing))
            raise


ALLOWED = {"/api/v2/dags", "/api/v2/dags/sales_daily/dagRuns", "/v1/orders"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    needed("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    stack = Stack(folder, settings=SETTINGS)
    Authority(stack.gate.folder).issue("gate.test")
    (stack.gate.folder / "candidate.yaml").write_text(CANDIDATE.format(issuer=stack.idp.url))
    with stack:
        envoy = f"http://{stack.envoy.section.admin}/stats/prometheus"
        with Prometheus(folder, {"authz": f"{stack.gate.admin}/metrics", "envoy": envoy}) as prometheus:
            yield Watched(stack, prometheus)


def test_every_panel_shows_something(watched):
    asked = list(queries())
    assert len(asked) > 50
    watched.until_shown(asked)
    assert not watched.shows("authz_no_such_metric"), "what is not there is noticed"


def test_prometheus_evaluates_every_rule_and_knows_every_series_that_an_alert_is_about(watched):
    def evaluated():
        rules = [rule for group in watched.prometheus.get("rules")["groups"] for rule in group["rules"]]
        return rules and all(rule["health"] == "ok" for rule in rules)

    watched.prometheus.until(evaluated, "not every rule can be evaluated")
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    found = [one for rule in rules for one in re.findall(SELECTOR, re.sub(r"by \(.*?\)", "", rule["expr"]))]
    selectors = {one for one in found if one.partition("{")[0] not in ONLY_WHILE_REFUSED}
    assert len(selectors) > 30
    watched.until_shown([(one, f"count({one})") for one in sorted(selectors)])


def test_the_metrics_are_as_prometheus_wants_them(watched):
    text = watched.stack.gate.get("/metrics").text
    assert promtool("check", "metrics", text=text) == (0, "")
    wrong = "# TYPE authz_checks counter\nauthz_checks 1\n"
    assert promtool("check", "metrics", text=wrong)[0] != 0, "the check above would notice"


def test_a_rule_that_decides_is_counted_whichever_worker_answers(watched):
    stack = watched.stack
    name = 'authz_rule_hits_total{rule="readers"}'
    before, known = stack.gate.metric(name), stack.token()
    for _ in range(20):
        assert exchange(stack.envoy.inbound, request("/api/v2/dags", f"Authorization: Bearer {known}")).status == 200
    assert stack.gate.metric(name) == before + 20
    loaded = re.findall(r"authz_policy_loaded_timestamp_seconds\{(.*?)\}", stack.gate.get("/metrics").text)
    assert sorted(re.search(r'worker="(\d)"', labels)[1] for labels in loaded) == ["0", "1"]


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_finds_a_dashboard_as_it_expects_it(name):
    board = BOARDS[name]
    assert (board["uid"], board["schemaVersion"]) == (f"airflow-envoy-authz-{name}", 39)
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 5
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in cells) < 24, f"{panel['title']} is beyond the edge"
        taken |= cells
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval", "__range"}
            assert used <= set(variables), panel["title"]


def test_every_metric_is_in_a_dashboard_or_an_alert():
    documented = set(
        re.findall(r"^\| `(authz_\w+)` \|", (DEPLOY.parent / "docs" / "metrics.md").read_text(), re.MULTILINE)
    )
    text = RULES.read_text() + "".join(expression for _, expression in queries())
    assert len(documented) > 30
    assert [name for name in sorted(documented) if name not in text] == []
