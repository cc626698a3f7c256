"""Two versions of Airflow under one policy: every gain and loss is found, and each is true.

Brute force: each route of both catalogues with each method, sampled DAG ids, all sets of groups. First the real
catalogues, then random small ones, whose routes take paths from each other, name other DAGs and are narrowed or not.
"""

import random
from dataclasses import replace

import pytest

from authz.core import catalogue
from authz.core.catalogue.build import build
from authz.core.decision import decide
from authz.core.decision.decide import shows
from authz.core.errors import PolicyError
from authz.core.model import Plane, Request
from authz.core.policy import Bundle, load
from authz.core.policy.load import assembled, parts_of, read
from authz.core.policy.patterns import parse_path, segment_matches
from authz.core.policy.targets import targets
from authz.core.proof.callers import Caller
from authz.core.proof.conditions import conditions
from authz.core.proof.diff import changes
from authz.core.proof.gains import Gains
from authz.core.proof.space import Space
from authz.core.proof.upgrades import is_changed, together
from tests.support.factories.small_policies import GLOBS, HOSTS, names, roles
from tests.unit.core.proof.test_gains import each, everybody, fits

HEAD = """
version: 1
issuers:
  - {name: corp, issuer: "https://corp.example.com", audiences: {inbound: [airflow]}, algorithms: [RS256]}
"""
ISSUERS = ["corp"]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
DAGS = ["a", "b", "ab", "~"]
WORDS = ["a", "ab", "state-store", "enqueue-test", "tries", "hitlDetails", "x"]
OPERATIONS = ["*", "*:read", "ui:read", "dags:read", "dags:*", "task_instances:*", "connections:*", "xcoms:read"]
PATHS = [
    *("/**", "/ui/**", "/api/v2/**", "/ui/pending_partitioned_dag_run/a*/{x}", "/api/v2/connections/{x}"),
    *("/api/v2/connections/enqueue-test", "/api/v2/dags/a*/**", "/api/v2/dags/{d}/dagRuns", "/ui/teams"),
    *("/api/v2/assets/{a}/state-store/**", "/api/v2/dags/{d}/dagRuns/{r}/taskInstances/{t}/state-store/**"),
]


def rule(rng, number, operations=OPERATIONS, paths=PATHS):
    made = {"id": f"r{number}", "plane": "inbound"}
    kind = rng.random()
    if kind < 0.3:
        made["deny"] = True
    elif kind < 0.4:
        literal = [path for path in paths if not set(path) & set("*{")]
        return {**made, "public": True, "paths": names(rng, literal), "methods": ["GET"]}
    if not made.get("deny") or rng.random() < 0.7:
        made["roles"] = names(rng, ["r0", "r1", "r2", "authenticated"])
    kind = rng.random()
    made |= {"operations": names(rng, operations)} if kind < 0.7 else {}
    made |= {"paths": names(rng, paths)} if kind > 0.6 else {}
    made |= {"dags": names(rng, GLOBS)} if rng.random() < 0.4 else {}
    made |= {"hosts": names(rng, HOSTS)} if rng.random() < 0.1 else {}
    made |= {"methods": names(rng, ["GET", "POST", "HEAD"])} if rng.random() < 0.2 else {}
    return made


def policy_text(held, rules):
    lines = [f"{key}: {value}\n" for key, value in (("roles", held), ("rules", rules))]
    return (HEAD + "".join(lines)).replace("True", "true").encode()


def upgraded(rng, old, new):
    """A random policy under both versions of Airflow."""
    while True:
        held, rules = roles(rng, ISSUERS), [rule(rng, number) for number in range(rng.randint(1, 5))]
        try:
            return [load(Bundle(policy_text(held, rules), "p.yaml", airflow=version)) for version in (old, new)]
        except PolicyError:
            continue


def asked(rng, tables):
    """A request for each route of the catalogues, and one with another method."""
    for target in {(one.method, one.template): one for table in tables for one in targets(table)}.values():
        segments = [
            segment if isinstance(segment, str) else rng.choice(DAGS if at == target.dag_at else [*WORDS, *DAGS])
            for at, segment in enumerate(target.shape.segments)
        ]
        segments += rng.choice([["x"], [""], ["x", "a"], ["tries", "x"], ["x", ""]]) if target.shape.rest else []
        path, host = "/" + "/".join(segments), rng.choice(["h", "a.example", "x.b.example"])
        for method in (target.method, rng.choice(METHODS)):
            for narrowed in (False, True):
                yield Request(
                    plane=Plane.INBOUND,
                    method=method,
                    host=host,
                    port=None,
                    path=path,
                    segments=tuple(segments),
                    narrowed=narrowed,
                )


class Pair:
    """Two policies, what was found, and how a request is recognised in it."""

    def __init__(self, old, new):
        self.old, self.new = old, new
        self.question = Gains(old, new, Plane.INBOUND)
        self.gains = [*self.question.all()]
        self.space = Space(Plane.INBOUND, old, new)
        self.alike = {
            (target.method, target.template, target.was.template): (number, key[-1] is not None)
            for number, (key, members) in enumerate(self.space.alike.items())
            for target in members
        }
        self.identities = {}

    def identity(self, caller, known):
        key = caller, known is self.old
        if key not in self.identities:
            self.identities[key] = caller.identity(known)
        return self.identities[key]

    def gained(self, caller, request, shown):
        return shows(request, self.identity(caller, self.new), self.new, shown) and not shows(
            request, self.identity(caller, self.old), self.old, shown
        )

    def shown(self, request, caller):
        """Which DAGs to ask for: "" for the whole request."""
        routes = [decide.route_of(request, known) for known in (self.new, self.old)]
        if not any(decide.narrows(request, self.identity(caller, self.new), route) for route in routes):
            return False, [""]
        named = any(route is not None and route.dag_id not in {"", "~"} for route in routes)
        return True, ["", *([] if named else ["a", "b", "ab", "q"])]

    def is_found(self, caller, request, narrowed, shown):
        routes = [decide.route_of(request, known) for known in (self.new, self.old)]
        return any(
            gain.region.narrowed == narrowed
            and self._has(gain.region, request, *routes)
            and bool(shown) == (gain.region.shown is not None)
            and (not shown or gain.region.shown.matches(shown))
            and any(self._has_all(caller, who) for who in gain.callers)
            for gain in self.gains
        )

    def _has(self, region, request, route, was):
        method = request.method if request.method in self.space.methods else "GET"
        if region.host is not None and not region.host.matches(request.host):
            return False
        if region.was is None or (route is None and was is None):
            is_outside = route is None and was is None and region.was is None
            return is_outside and region.method == method and fits(region.path, request.segments)
        here = self.alike[method, *(one.template if one is not None else "" for one in (route, was))]
        return (
            self.alike[region.method, region.template, region.was.template] == here
            and about(region.path, region.dag_at, any_dag=region.any_dag, route=route)
            and about(region.path, region.was.dag_at, any_dag=region.was.any_dag, route=was)
            and (not here[1] or fits(region.path, request.segments))
        )

    def _has_all(self, caller, who):
        if (caller.issuer, caller.anonymous) != (who.issuer, who.anonymous):
            return False
        held = {self._counts(membership) for membership in caller.memberships}
        return any(held.issuperset(map(self._counts, one.memberships)) for one in each(who))

    def _counts(self, membership):
        alone = Caller("corp", (membership,)).claims()
        return membership.kind, self.old.identify(alone).roles, self.new.identify(alone).roles

    def is_true(self, gain):
        at = self.question.at(gain.region)
        found = [decide.route_of(at.request, known) for known in (self.new, self.old)]
        templates = [one.template if one is not None else "" for one in found]
        return templates == [gain.region.template, gain.region.before().template] and all(
            self.gained(one, at.request, at.shown) for caller in gain.callers for one in each(caller)
        )


def about(path, dag_at, *, any_dag, route):
    """Whether a path is about the DAG that a route names."""
    if any_dag or dag_at < 0:
        return True
    have, want = route.dag_id, path[dag_at]
    return (have == "~") == (want == "~") and segment_matches(want, have)


def none_is_missed(rng, old, new):
    """How many gains were compared."""
    pair, compared = Pair(old, new), 0
    for gain in pair.gains:
        assert pair.is_true(gain), gain
    known = everybody(ISSUERS, None)
    for request in asked(rng, {old.catalogue, new.catalogue}):
        for caller in rng.sample(known, 3):
            narrowed, every = pair.shown(request, caller)
            for shown in every:
                if pair.gained(caller, request, shown):
                    assert pair.is_found(caller, request, narrowed, shown), (request, caller, shown)
                    compared += 1
    return compared


REAL = [("3.1", "3.2"), ("3.2", "3.3"), ("3.1", "3.3")]


def real_ones(first, count, versions):
    compared = 0
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        old, new = upgraded(rng, *versions)
        compared += none_is_missed(rng, old, new) + none_is_missed(rng, new, old)
    return compared


@pytest.mark.no_cover
@pytest.mark.parametrize("versions", REAL, ids=" to ".join)
def test_every_gain_and_loss_of_an_upgrade_is_found_and_true(versions):
    assert real_ones(0, 6, versions) > 50


@pytest.mark.full
@pytest.mark.parametrize("block", range(2))
@pytest.mark.parametrize("versions", REAL, ids=" to ".join)
def test_every_gain_and_loss_of_many_upgrades_is_found_and_true(versions, block):
    assert real_ones(1000 + block * 40, 40, versions) > 300


SMALL_OPERATIONS = ["dags:read", "dag_runs:create", "connections:read", "connections:delete", "pools:read"]
SMALL_WORDS = [*SMALL_OPERATIONS, "*", "*:read", "connections:*", "airflow.viewer"]
SMALL_PATHS = ["/x", "/x/a", "/x/a*", "/x/{y}", "/x/**", "/x/{y}/{z}", "/x/{y}/a", "/**", "/x/~/{y}", "/x/a/**"]


def small_catalogue(rng):
    """A few routes that often take paths from each other, and one of its own for each operation."""
    while True:
        routes = [{"path": f"/own/{name}", "methods": {"GET": name}} for name in SMALL_OPERATIONS]
        for _ in range(rng.randint(2, 7)):
            words = [rng.choice(["a", "b", "{dag_id}", "{y}", "{z}", "~"]) for _ in range(rng.randint(0, 2))]
            path = "/".join(["/x", *words, *(["{rest:path}"] if rng.random() < 0.2 else [])])
            made = {"path": path, "methods": {rng.choice(["GET", "POST"]): rng.choice(SMALL_OPERATIONS)}}
            made |= {"dag": "~"} if rng.random() < 0.3 else {}
            concerned = "dag" in made or "{dag_id}" in words
            routes.append(made | ({"narrowed": True} if concerned and rng.random() < 0.5 else {}))
        ranks = ["viewer", "user", "op", "admin"]
        operations = {
            name: {"help": "x", "airflow_role": rng.choice(ranks), "never": rng.random() < 0.2}
            for name in SMALL_OPERATIONS
        }
        try:
            return build({"version": "3.3", "operations": operations, "routes": routes}, "3.3")
        except ValueError:
            continue


def small_policy(held, rules, table):
    """The policy with a catalogue that its text cannot name, and `paths` that no operation of a real one has."""
    plain = [
        {key: value for key, value in made.items() if key != "paths" or "operations" not in made} for made in rules
    ]
    bundle = Bundle(policy_text(held, plain), "p.yaml")
    drafted = read(bundle)
    if drafted.problems:
        raise PolicyError(drafted.problems)
    parts = parts_of(drafted.draft, bundle)
    paths = {made["id"]: tuple(map(parse_path, made.get("paths", ()))) for made in rules}
    known = {name: replace(one, paths=paths[name]) for name, one in parts.rules.items()}
    return assembled(parts._replace(catalogue=table, rules=known))


def small_pair(rng):
    tables = small_catalogue(rng), small_catalogue(rng)
    while True:
        held = roles(rng, ISSUERS)
        rules = [rule(rng, number, SMALL_WORDS, SMALL_PATHS) for number in range(rng.randint(1, 5))]
        try:
            return [small_policy(held, rules, table) for table in tables]
        except (PolicyError, ValueError):  # no operation of the catalogue has a rule's words without its name
            continue


def small_ones(first, count):
    compared = 0
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        old, new = small_pair(rng)
        try:
            compared += none_is_missed(rng, old, new)
        except AssertionError as error:
            raise AssertionError(number) from error
    return compared


@pytest.mark.no_cover
@pytest.mark.parametrize("block", range(4))
def test_every_gain_between_small_catalogues_is_found_and_true(block):
    assert small_ones(block * 50, 50) > 20


@pytest.mark.full
@pytest.mark.parametrize("block", range(5))
def test_every_gain_between_many_small_catalogues_is_found_and_true(block):
    assert small_ones(10_000 + block * 500, 500) > 200


def two(rules, old="3.2", new="3.3"):
    held = {"r0": {"groups": ["g0"]}, "r1": {"groups": ["g1"]}}
    return [load(Bundle(policy_text(held, rules), "p.yaml", airflow=version)) for version in (old, new)]


def found(rules, *versions):
    old, new = two(rules, *versions)
    return [(one.gained, one.operations, one.routes, one.dags) for one in changes(old, new)]


READ = {"id": "a", "plane": "inbound", "roles": ["r0"], "operations": ["ui:read"]}


def test_the_same_version_changes_nothing():
    assert found([READ], "3.3", "3.3") == []


def test_new_routes_of_an_operation_are_said_and_those_that_are_gone():
    gained, lost = found([READ])
    new = ["dags/{dag_id}/dagRuns/{dag_run_id}/stats", "dags/{dag_id}/deadlineAlerts"]
    routes = (*(f"GET /ui/{name}" for name in new), "GET /ui/pending_partitioned_dag_run/{dag_id}")
    assert gained == (True, ("ui:read",), routes, ("*",))
    gone = "GET /ui/pending_partitioned_dag_run/{dag_id}/{partition_key}"
    assert lost == (False, ("ui:read",), (gone,), ("*",))


def test_a_list_that_airflow_comes_to_narrow_is_a_gain_of_those_with_some_dags():
    rule = {"id": "a", "plane": "inbound", "roles": ["r0"], "operations": ["dags:read"], "dags": ["sales_*"]}
    (gained,) = [one for one in changes(*two([rule])) if one.gained]
    assert "GET /api/v2/dags" in gained.routes
    assert gained.dags == ("sales_*",)
    assert gained.witness.words[:5] == ("GET", "/api/v2/dags", "--host", "z", "--narrowed")
    (lost,) = changes(*two([rule], "3.3", "3.2"))
    assert (lost.gained, lost.routes) == (False, gained.routes)


def test_a_path_that_becomes_another_operation_is_lost_by_those_with_the_first():
    rule = {"id": "a", "plane": "inbound", "roles": ["r0"], "operations": ["connections:read"]}
    assert found([rule]) == [(False, ("connections:read",), ("GET /api/v2/connections/enqueue-test",), ())]


def test_a_deny_rule_about_an_operation_no_longer_keeps_from_a_path_that_is_another_one():
    allow = {"id": "a", "plane": "inbound", "roles": ["r0"], "paths": ["/api/v2/connections/{x}"], "methods": ["GET"]}
    deny = {"id": "d", "plane": "inbound", "deny": True, "roles": ["r1"], "operations": ["connections:read"]}
    (change,) = changes(*two([allow, deny]))
    assert (change.gained, change.operations, change.denied) == (True, ("connections:test",), "d")
    assert [one.value for one in change.callers[0].memberships] == ["g0", "g1"]


def test_a_route_that_only_the_other_version_has_is_said_by_its_path():
    allow = {"id": "a", "plane": "inbound", "roles": ["r0"], "paths": ["/ui/**"]}
    deny = {"id": "d", "plane": "inbound", "deny": True, "roles": ["r0"], "operations": ["ui:read"]}
    gained = [one for one in changes(*two([allow, deny])) if one.gained]
    path = "/ui/pending_partitioned_dag_run/{dag_id}/{partition_key}"
    assert [(one.operations, one.routes, one.paths, one.methods) for one in gained] == [((), (), (path,), ("GET",))]


def own(path, method="GET", dag="", **more):
    """A catalogue of one route."""
    route = {"path": path, "methods": {method: "dags:read"}} | ({"dag": dag} if dag else {}) | more
    operation = {"help": "x", "airflow_role": "viewer"}
    return build({"version": "3.3", "operations": {"dags:read": operation}, "routes": [route]}, "3.3")


def between(old, new, *rules):
    held = {"r0": {"groups": ["g0"]}, "r1": {"groups": ["g1"]}}
    return [small_policy(held, rules, table) for table in (old, new)]


def test_a_deny_rule_about_a_dag_that_only_the_old_route_names_counts():
    allow = {"id": "a", "plane": "inbound", "roles": ["r0"], "operations": ["dags:read"]}
    deny = {"id": "d", "plane": "inbound", "deny": True, "roles": ["r0"], "dags": ["secret_*"]}
    policies = between(own("/x/{dag_id}"), own("/x/{y}"), allow, deny)
    found = [*changes(*policies)]
    assert all(one.gained for one in found)
    assert {one.denied for one in found} == {"", "d"}  # the whole of `~`, and what both patterns share
    assert {one.witness.words[1] for one in found} == {"/x/secret_z", "/x/~"}
    assert not any(one.gained for one in changes(*policies[::-1]))


def texts(old, new):
    allow = {"id": "a", "plane": "inbound", "roles": ["r0"], "operations": ["dags:read"]}
    return [(one.text, one.widens) for one in conditions(*between(old, new, allow))][1:]


def test_the_versions_that_are_compared_are_said_and_widen_nothing():
    (one,) = conditions(*two([READ]))
    assert (one.text, one.widens) == (
        "every route of Airflow 3.2 is compared with the same request to Airflow 3.3",
        False,
    )


def test_what_is_not_compared_is_said():
    text = (
        "GET /x/{dag_id} names a DAG in one version and is a list of DAGs in the other: which it shows is not compared"
    )
    lists = own("/x/{dag_id}", dag="~", narrowed=True)
    assert texts(lists, own("/x/{dag_id}")) == [(text, True)]
    assert texts(own("/x/{dag_id}"), lists) == [(text, True)]
    assert texts(lists, lists) == []
    assert texts(own("/x/{dag_id}", dag="~"), own("/x/{dag_id}")) == []


def test_an_operation_that_needs_another_level_in_airflow_is_said():
    def table(role):
        operations = {"dags:read": {"help": "x", "airflow_role": role}}
        routes = [{"path": "/x", "methods": {"GET": "dags:read"}}]
        return build({"version": "3.3", "operations": operations, "routes": routes}, "3.3")

    raised = ("calls of dags:read have at least the level op in Airflow, and had viewer", True)
    assert raised in texts(table("viewer"), table("op"))
    lowered = ("calls of dags:read have at least the level viewer in Airflow, and had op", False)
    assert lowered in texts(table("op"), table("viewer"))


def test_the_level_of_a_path_that_becomes_another_operation_is_said():
    levels = [one.text for one in conditions(*two([READ])) if "connections:test" in one.text]
    assert levels == []  # both need `op`
    operations = {name: {"help": "x", "airflow_role": role} for name, role in (("a:b", "op"), ("c:d", "admin"))}
    tables = [
        build({"version": "3.3", "operations": operations, "routes": routes}, "3.3")
        for routes in (
            [{"path": "/x", "methods": {"GET": one}}, {"path": "/y", "methods": {"GET": other}}]
            for one, other in (("a:b", "c:d"), ("c:d", "a:b"))
        )
    ]
    allow = {"id": "a", "plane": "inbound", "roles": ["r0"], "paths": ["/**"]}
    said = [one.text for one in conditions(*between(*tables, allow))]
    assert "calls of c:d (a:b) have at least the level admin in Airflow, and had op" in said


@pytest.mark.parametrize("versions", REAL, ids=" to ".join)
def test_each_request_of_a_route_is_of_one_target(versions):
    old, new = map(catalogue.load, versions)
    rng = random.Random(1)  # noqa: S311 the same requests each time
    known = together(old, new)
    for request in asked(rng, (old, new)):
        routes = [table.match(request.segments, request.method) for table in (new, old)]
        wanted = [one.template if one is not None else "" for one in routes]
        fitting = [one for one in known if (one.method, one.template, one.was.template) == (request.method, *wanted)]
        assert len(fitting) == (1 if any(wanted) else 0)
    assert any(is_changed(target, old, new) for target in known)
