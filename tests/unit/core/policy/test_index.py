"""The cost of a decision: counted in dictionary lookups and in candidates, not in time."""

import itertools
from dataclasses import replace

import pytest

from authz.core.decision.decide import evaluate
from authz.core.model import Allow, Plane
from authz.core.policy.dags import Limited
from authz.core.policy.index import Index
from authz.core.policy.rules import Effect
from authz.core.policy.tables import GlobTable, HostTable, PathTable, _Node
from tests.support.factories.policies import caller, identity, load, narrowing, request


class Counting(dict):
    """A dictionary that counts how often it is asked."""

    probes = 0

    def get(self, key, default=None):
        Counting.probes += 1
        return super().get(key, default)

    def __contains__(self, key):
        Counting.probes += 1
        return super().__contains__(key)

    def items(self):
        for item in super().items():
            Counting.probes += 1
            yield item


class CountingSet(frozenset):
    def __contains__(self, key):
        Counting.probes += 1
        return super().__contains__(key)


def counted(node):
    """The nested dictionaries of an index, or a table, with every dictionary in it replaced by a counting one."""
    if isinstance(node, dict):
        return Counting({key: counted(value) for key, value in node.items()})
    if isinstance(node, set):
        return CountingSet(node)
    if isinstance(node, list):
        return [counted(item) for item in node]
    if isinstance(node, Limited):
        node._table = counted(node._table)
    if isinstance(node, GlobTable | HostTable | PathTable | _Node):
        for name in type(node).__slots__:
            object.__setattr__(node, name, counted(getattr(node, name)))
    return node


def instrument(policy):
    """Count every lookup that a decision makes in the policy's own tables. Returns the policy."""
    for gate, effect in itertools.product(policy.gates.values(), ("deny", "public", "allow")):
        index = getattr(gate, effect)
        index._root = counted(index._root)
        index._always.limited = tuple(map(counted, index._always.limited))
        counted(index._paths)
        counted(index._hosts)
        for level in index._levels:
            for cell in getattr(level, "__closure__", None) or ():
                if isinstance(cell.cell_contents, GlobTable | dict):
                    cell.cell_contents = counted(cell.cell_contents)
    return policy


def probes(policy, who, asked):
    Counting.probes = 0
    decision = evaluate(asked, who, policy)
    return decision, Counting.probes


def roles(count):
    return "".join(f"\n  r{number:05d}: {{groups: [g]}}" for number in range(count)) + "\n"


ROLES = roles(10)
WHO = identity("r00007", "r00008", "unused")
TRIGGER = request("POST", "/api/v2/dags/dag_00007_x/dagRuns")
EGRESS = request("GET", "/v1/00007/items", plane="egress", host="h00007.internal")

RUN = caller("dag_00007", "t_00007")

DIMENSIONS = {
    "role": ("plane: inbound, roles: [r{n:05d}], operations: [dag_runs:create]", WHO, TRIGGER),
    "DAG id": ("plane: inbound, roles: [r00007], operations: [dag_runs:create], dags: [dag_{n:05d}_x]", WHO, TRIGGER),
    "DAG prefix": (
        'plane: inbound, roles: [r00007], operations: [dag_runs:create], dags: ["dag_{n:05d}_*"]', WHO, TRIGGER,
    ),
    "DAG suffix": (
        'plane: inbound, roles: [r00007], operations: [dag_runs:create], dags: ["*_{n:05d}_x"]', WHO, TRIGGER,
    ),
    "DAG beginning and end": (
        'plane: inbound, roles: [r00007], operations: [dag_runs:create], dags: ["dag_{n:05d}*_x"]', WHO, TRIGGER,
    ),
    "host": ("plane: egress, roles: [r00007], hosts: [h{n:05d}.internal], paths: [/v1/00007/items]", WHO, EGRESS),
    "host suffix": (
        'plane: egress, roles: [r00007], hosts: ["*.h{n:05d}.internal"], paths: [/v1/x]', WHO,
        request("GET", "/v1/x", plane="egress", host="a.h00007.internal"),
    ),
    "path": ("plane: egress, roles: [r00007], hosts: [h00007.internal], paths: [/v1/{n:05d}/items]", WHO, EGRESS),
    "path with parameter": (
        'plane: egress, roles: [r00007], hosts: [h00007.internal], paths: ["/v1/{n:05d}/{{id}}"]', WHO, EGRESS,
    ),
    "path glob": (
        'plane: egress, roles: [r00007], hosts: [h00007.internal], paths: ["/v1/{n:05d}*/items"]', WHO, EGRESS,
    ),
    "path beginning": (
        'plane: egress, roles: [r00007], hosts: [h00007.internal], paths: ["/v1/{n:05d}/**"]', WHO, EGRESS,
    ),
    "destination": (
        "plane: egress, roles: [r00007], destinations: [d{n:05d}], paths: [/v1/00007/items]", WHO,
        replace(EGRESS, destination="d00007"),
    ),
    "DAG of the run": (
        "plane: egress, hosts: [h00007.internal], paths: [/v1/00007/items], dags: [dag_{n:05d}]", RUN, EGRESS,
    ),
    "DAGs of runs": (
        'plane: egress, hosts: [h00007.internal], paths: [/v1/00007/items], dags: ["dag_{n:05d}*"]', RUN, EGRESS,
    ),
    "tasks of runs": (
        'plane: egress, hosts: [h00007.internal], paths: [/v1/00007/items], tasks: ["*_{n:05d}"]', RUN, EGRESS,
    ),
    "DAG and task": (
        'plane: egress, hosts: [h00007.internal], paths: ["/**"], dags: ["dag_{n:05d}*"], tasks: ["t_{n:05d}"]', RUN,
        EGRESS,
    ),
    "tunnel": (
        "plane: egress, hosts: [h{n:05d}.internal], methods: [CONNECT], dags: [dag_00007]", RUN,
        request("CONNECT", "h00007.internal:443"),
    ),
    "deny: DAGs of runs": (
        'deny: true, plane: egress, hosts: [h00007.internal], dags: ["dag_{n:05d}*"]', RUN, EGRESS,
    ),
    "deny: tasks of runs": (
        'deny: true, plane: egress, hosts: [h00007.internal], tasks: ["t_{n:05d}*"]', RUN, EGRESS,
    ),
    "deny: path of a tunnel": (
        'deny: true, plane: egress, hosts: [h{n:05d}.internal], paths: ["/{n:05d}/**"]', RUN,
        request("CONNECT", "h00007.internal:443"),
    ),
    "nothing but the id": ("plane: inbound, roles: [r00007], operations: [dag_runs:create]", WHO, TRIGGER),
    "role and DAG": (
        'plane: inbound, roles: [r{n:05d}], operations: [dag_runs:create], dags: ["dag_{n:05d}_*"]', WHO, TRIGGER,
    ),
    "deny: role": ("deny: true, roles: [r{n:05d}], methods: [POST]", WHO, TRIGGER),
    "deny: DAG prefix": ('deny: true, plane: inbound, dags: ["dag_{n:05d}_*"]', WHO, TRIGGER),
    "DAGs of a narrowed list": (
        'plane: inbound, roles: [r{n:05d}], operations: [dags:read], dags: ["dag_{n:05d}_*", x]', WHO,
        request("GET", "/api/v2/dags", narrowed=True),
    ),
    "deny: DAGs of a narrowed list": (
        'deny: true, plane: inbound, roles: [r{n:05d}], dags: ["dag_{n:05d}_*"]', identity("r00007"),
        request("GET", "/api/v2/dags/dag_00007_/dagRuns", narrowed=True),
    ),
    "public: path": (
        "public: true, methods: [GET], paths: [/public/{n:05d}]", None, request("GET", "/public/00007"),
    ),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_ten_thousand_rules_cost_what_ten_cost(dimension):
    template, who, asked = DIMENSIONS[dimension]
    cost = {}
    for count in (10, 10_000):
        rules = "\n".join(f"{{{{id: x{{n:05d}}, {template}}}}}".format(n=number) for number in range(count))
        policy = narrowing(instrument(load(rules, roles=roles(count if "[r{n" in template else 10))))
        hit, hit_probes = probes(policy, who, asked)
        assert hit.rule == ("x00000" if dimension == "nothing but the id" else "x00007")
        other = identity("unused") if who else None
        _, miss_probes = probes(policy, other, request("GET", "/nothing/here", plane=asked.plane, host="other.test"))
        cost[count] = hit_probes, miss_probes
    assert cost[10] == cost[10_000]
    assert sum(cost[10]) > 0


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_what_ten_thousand_rules_name_together_is_put_together_once(effect):
    """All of them apply apart from their DAGs: the second time that costs no more than ten of them do."""
    cost = {}
    for count in (10, 10_000):
        deny = "deny: true, " if effect == "deny" else ""
        rules = "\n".join(
            f"{{id: x{number:05d}, {deny}plane: inbound, roles: [viewer], operations: [dags:read], dags: [t{number}]}}"
            for number in range(count)
        )
        both = rules + "\n{id: z, plane: inbound, roles: [viewer], operations: [dags:read], dags: [mine]}"
        policy = narrowing(instrument(load(both)))
        asked = request("GET", "/api/v2/dags/mine", narrowed=True)
        probes(policy, identity("viewer"), asked)
        unions = [policy.gates[Plane.INBOUND].allow._unions, policy.gates[Plane.INBOUND].deny._unions]
        known = [dict(one._known) for one in unions]
        decision, cost[count] = probes(policy, identity("viewer"), asked)
        assert decision.rule == "z"
        assert [dict(one._known) for one in unions] == known
        assert len(decision.dags.allowed + decision.dags.denied) == count + 1
        assert bool(decision.dags.reference) is (count == 10_000)
    assert cost[10] == cost[10_000]


@pytest.mark.parametrize("who", [caller("x", "x", "asserted"), identity("r00007")])
def test_an_asserted_run_or_none_costs_no_more_with_more_deny_rules(who):
    """Every deny rule about runs applies to it, and none of them is looked at."""
    cost = []
    for count in (10, 2_000):
        rules = "\n".join(
            f"{{id: x{number:05d}, deny: true, plane: egress, dags: [d{number}, 'e{number}*'], tasks: ['t{number}*']}}"
            for number in range(count)
        )
        decision, asked = probes(instrument(load(rules, roles=ROLES)), who, EGRESS)
        assert decision.rule == "x00000"
        cost.append(asked)
    assert cost[0] == cost[1] > 0


def test_rules_that_differ_in_methods_cost_the_same_too():
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    cost = []
    for count in (6, 6_000):
        rules = "\n".join(
            f"{{id: x{number:05d}, plane: egress, roles: [r00007], hosts: [a.test], paths: [/x],"
            f" methods: [{methods[number % 6]}]}}"
            for number in range(count)
        )
        policy = instrument(load(rules, roles=ROLES))
        decision, asked = probes(policy, WHO, request("DELETE", "/x", plane="egress", host="a.test"))
        assert decision.rule == "x00004"
        cost.append(asked)
    assert cost[0] == cost[1] > 0


def test_globs_that_share_beginning_and_end_are_compared_one_by_one():
    """The one exception of `authz.core.policy.tables`, so that it stays the only one."""
    rules = "\n".join(
        f'{{id: x{n}, plane: inbound, roles: [r00007], operations: [dag_runs:create], dags: ["dag_*{n:03d}*_x"]}}'
        for n in range(100)
    )
    _, asked = probes(instrument(load(rules, roles=ROLES)), WHO, TRIGGER)
    assert 100 <= asked <= 120


def test_a_rule_with_many_entries_is_found_under_each():
    policy = load(
        """{id: a, plane: egress, roles: [viewer, op], hosts: [a.test, "*.b.test"],
  methods: [GET, PUT], paths: [/x, "/y/**"]}"""
    )
    combinations = itertools.product(
        ["viewer", "op", "user"], ["a.test", "c.b.test", "b.test"], ["GET", "PUT", "POST"], ["/x", "/y/z", "/y"]
    )
    for role, host, method, path in combinations:
        decision = evaluate(request(method, path, plane="egress", host=host), identity(role), policy)
        expected = role != "user" and host != "b.test" and method != "POST" and path != "/y"
        assert isinstance(decision, Allow) is expected


def test_an_index_without_rules_finds_nothing():
    index = Index([], plane=Plane.INBOUND, effect=Effect.ALLOW, catalogue=load().catalogue)
    found = index.find(request("GET", "/x"), (None,), "")
    assert (found.rule, found.limited, index.dags(found).globs) == ("", (), ())
    assert not index.names(request("GET", "/x"))


def test_what_names_a_route():
    policy = load("{id: a, plane: egress, roles: [viewer], hosts: [a.test], paths: [/x]}")
    allow = policy.gates[Plane.EGRESS].allow
    assert allow.names(request("GET", "/x", plane="egress", host="a.test"))
    assert not allow.names(request("GET", "/y", plane="egress", host="a.test"))
    assert not allow.names(request("GET", "/x", plane="egress", host="b.test"))
    assert allow.names(request("CONNECT", "a.test:443"))
    named = load("{id: a, plane: egress, roles: [viewer], destinations: [orders], paths: [/x]}")
    allow = named.gates[Plane.EGRESS].allow
    assert allow.names(request("GET", "/x", plane="egress", destination="orders"))
    assert not allow.names(request("GET", "/y", plane="egress", destination="orders"))
    assert not allow.names(request("GET", "/x", plane="egress", destination="other"))
    assert not allow.names(request("GET", "/x", plane="egress"))


LESS = "{{id: {id}, plane: inbound, roles: [viewer], operations: [dag_runs:create]}}"
MORE = '{{id: {id}, plane: inbound, roles: [viewer], operations: [dag_runs:create], methods: [POST], dags: ["s_*"]}}'
MOST = (
    '{{id: {id}, plane: inbound, roles: [viewer], operations: [dag_runs:create], methods: [POST], dags: ["s_*"],'
    " hosts: [a.test]}}"
)


@pytest.mark.parametrize("order", list(itertools.permutations(["a", "b", "c"])))
def test_rules_that_ask_for_less_and_for_more_stand_beside_each_other(order):
    less, more, most = order
    policy = load("\n".join([LESS.format(id=less), MORE.format(id=more), MOST.format(id=most)]))
    who = identity("viewer")
    for dag, host, expected in (
        ("s_a", "a.test", {less, more, most}),
        ("s_a", "b.test", {less, more}),
        ("x", "a.test", {less}),
    ):
        asked = request("POST", f"/api/v2/dags/{dag}/dagRuns", host=host)
        assert evaluate(asked, who, policy).rule == min(expected)


def test_the_level_of_operations_is_passed_even_by_a_rule_without_any():
    """An operation marked `never` is not called ANY: a rule that ends before that level would allow it."""
    areas = ("dags", "dag_runs", "pools", "variables", "connections", "assets", "backfills", "config")
    policy = load(
        '{id: a, plane: inbound, roles: [viewer], paths: ["/ui/**"]}\n'
        '{id: b, plane: inbound, roles: [op], operations: ["tokens:create"]}\n'
        + "\n".join(f"{{id: c{n}, plane: inbound, roles: [op], operations: ['{a}:*']}}" for n, a in enumerate(areas))
    )
    asked = request("POST", "/ui/auth/token")
    assert policy.catalogue.operations["tokens:create"].never
    assert policy.catalogue.match(asked.segments, asked.method).operation == "tokens:create"
    assert not isinstance(evaluate(asked, identity("viewer"), policy), Allow)
    assert evaluate(asked, identity("op"), policy).rule == "b"


def test_the_level_of_methods_is_passed_even_by_a_rule_without_any():
    """A tunnel is not called ANY: a rule that ends before that level would allow it."""
    plain = "{id: a, plane: egress, roles: [viewer], hosts: [a.test], paths: ['/**']}"
    more = "\n".join(
        f"{{id: b{n}, plane: egress, roles: [op], hosts: [h{n}], paths: [/x], methods: [{method}]}}"
        for n, method in enumerate(["GET", "PUT", "POST"])
    )
    for rules in (
        plain,
        f"{plain}\n{more}",
        f"{plain}\n{{id: c, plane: egress, roles: [op], hosts: [a.test], methods: [CONNECT]}}",
    ):
        policy = load(rules)
        assert evaluate(request("PUT", "/x", plane="egress", host="a.test"), identity("viewer"), policy).rule == "a"
        assert not isinstance(evaluate(request("CONNECT", "a.test:443"), identity("viewer"), policy), Allow)


def test_a_rule_that_asks_for_nothing_more_costs_no_dictionary():
    rules = "\n".join(f"{{id: x{n}, plane: inbound, roles: [viewer], paths: [/x/{n}]}}" for n in range(100))
    policy = load(rules + "\n" + MOST.format(id="y"))

    def dictionaries(place):
        return 1 + sum(dictionaries(below) for below in place.values() if isinstance(below, dict))

    assert dictionaries(policy.gates[Plane.INBOUND].allow._root) < 20
