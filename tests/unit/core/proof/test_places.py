"""Where an operation is allowed, what deny rules take from it, and that a report's combinations are all true."""

import random
from itertools import product

import pytest

from authz.core.model import Plane
from authz.core.policy.rules import AUTHENTICATED
from authz.core.proof.access import calls, cells, roles, titles
from authz.core.proof.boxes import boxes
from authz.core.proof.callers import ANONYMOUS, Caller, Kind, Membership
from authz.core.proof.diff import changes
from authz.core.proof.places import is_about, taken_by
from tests.support.factories.policies import below

OP = Caller("corp", role="op")
HEAD = """
version: 1
issuers:
  - {name: corp, issuer: https://idp.example.com, audiences: {inbound: [a], egress: [b]}, algorithms: [RS256]}
  - {name: bots, issuer: https://b.example.com, audiences: {egress: [b]}, algorithms: [RS256]}
roles:
  op: {groups: [ops, more]}
  other: {groups: [others]}
  bot: {issuers: [bots]}
rules:
"""


def policy(*rules, head=HEAD):
    return below(head, *rules)


def cell(operation, *rules):
    return cells(policy(*rules), [OP])[OP][operation]


def told(found):
    return found.limits.hosts, found.limits.methods, found.limits.paths, found.excepted_places


@pytest.mark.parametrize("seed", range(30))
def test_boxes_are_exactly_the_combinations(seed):
    draw = random.Random(seed)  # noqa: S311 drawn again from its number
    given = {tuple(draw.choice("abc") for _ in range(3)) for _ in range(draw.randrange(1, 20))}
    found = [combined for box in boxes(given) for combined in product(*box)]
    assert len(found) == len(set(found))
    assert set(found) == given


def test_a_rule_without_places_has_no_limits():
    assert told(cell("pools:read", 'id: a, roles: [op], plane: inbound, operations: ["pools:*"]')) == ((), (), (), ())


def test_a_wider_rule_beside_a_narrow_one():
    narrow = 'id: a, roles: [op], plane: inbound, operations: ["pools:*"], hosts: [a.example]'
    wide = 'id: b, roles: [op], plane: inbound, operations: ["pools:read"]'
    assert told(cell("pools:read", narrow, wide)) == ((), (), (), ())
    assert told(cell("pools:create", narrow, wide)) == (("a.example",), (), (), ())


def test_methods_limit_an_operation_that_has_several():
    rule = 'id: a, roles: [op], plane: inbound, operations: ["dags:*"], methods: [%s]'
    known = policy(rule % "GET")
    assert not cells(known, [OP])[OP]["dags:read"].limits
    several = next(
        name
        for name, operation in known.catalogue.operations.items()
        if len({route.method for route in operation.routes}) > 1 and not operation.never
    )
    method = next(route.method for route in known.catalogue.operations[several].routes)
    found = cell(several, f'id: a, roles: [op], plane: inbound, operations: ["{several}"], methods: [{method}]')
    assert found.limits.methods == (method,)


def test_limits_to_dags_are_no_limits_of_places():
    rule = 'id: a, roles: [op], plane: inbound, operations: ["dags:read"], dags: [x], methods: [GET]'
    found = cell("dags:read", rule)
    assert (found.dags, told(found)) == (["x"], ((), (), (), ()))


def test_a_deny_rule_about_a_whole_route_is_said():
    allow = 'id: a, roles: [op], plane: inbound, operations: ["pools:read"]'
    deny = "id: d, deny: true, plane: inbound, paths: [/api/v2/pools], hosts: [a.example]"
    whole = "id: e, deny: true, plane: inbound, paths: [/api/v2/pools]"
    assert told(cell("pools:read", allow, deny))[-1] == ("a.example /api/v2/pools",)
    assert told(cell("pools:read", allow, whole))[-1] == ("/api/v2/pools",)


def test_a_deny_rule_about_another_part_of_it_is_not_said():
    allow = "id: a, roles: [op], plane: inbound, paths: [/api/v2/pools/a]"
    deny = "id: d, deny: true, plane: inbound, paths: [/api/v2/pools/%s]"
    assert told(cell("pools:read", allow, deny % "b"))[-1] == ()
    wider = allow.replace("/a]", "*]").replace("pools*", "pools/*").replace("[/api", '["/api').replace("*]", '*"]')
    assert told(cell("pools:read", wider, deny % "b"))[-1] == ("/api/v2/pools/b",)


def test_whom_a_deny_rule_is_about():
    known = policy(
        'id: a, roles: [op], plane: inbound, operations: ["pools:read"]',
        "id: d, deny: true, plane: inbound, roles: [op], methods: [PUT]",
        "id: e, deny: true, plane: inbound, methods: [PATCH]",
        f"id: f, deny: true, plane: inbound, roles: [{AUTHENTICATED}], methods: [POST]",
    )
    about = {
        name: [rule for rule in "def" if is_about(known.rules[rule], caller.identity(known))]
        for name, caller in (("op", OP), ("stranger", Caller("corp")), ("anonymous", ANONYMOUS))
    }
    assert about == {"op": ["d", "e", "f"], "stranger": ["e", "f"], "anonymous": ["e"]}


def test_what_a_deny_rule_takes():
    known = policy(
        'id: a, roles: [op], plane: inbound, operations: ["pools:read"]',
        'id: d, deny: true, plane: egress, hosts: [a.example], paths: ["/x"], dags: ["d_*"], tasks: [t]',
        "id: e, deny: true, plane: egress, roles: [op]",
    )
    assert taken_by(known.rules["d"]) == "a.example /x of DAG d_* task t"
    assert taken_by(known.rules["e"]) == ""


ORDERS = 'id: o, plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/**", "/v2/**"]'


def test_calls_of_callers_who_lose_different_things_are_apart():
    allow = ORDERS.replace("plane", "roles: [op, other], plane")
    deny = 'id: d, deny: true, plane: egress, roles: [other], paths: ["/v1/x"]'
    some = [Caller("corp", (Membership(Kind.GROUP, group),)) for group in ("ops", "others")]
    found = [(right.callers, right.excepted) for right in calls(policy(allow, deny), some)]
    assert found == [((some[0],), ()), ((some[1],), ("/v1/x",))]


def test_what_is_taken_as_a_whole_is_no_exception():
    deny = 'id: d, deny: true, plane: egress, paths: ["/v2/**"]'
    (right,) = calls(policy(ORDERS.replace("plane", "roles: [op], plane"), deny), [OP])
    assert (right.paths, right.excepted) == (("/v1/**",), ())


def test_a_role_that_only_another_plane_gives_is_no_column():
    known = policy(ORDERS.replace("plane", "roles: [bot], plane"))
    assert titles(roles(known, Plane.INBOUND)) == ["without a token", AUTHENTICATED, "op", "other"]
    egress = titles(roles(known, Plane.EGRESS))
    assert egress == ["without a token", "authenticated, corp", "authenticated, bots", "op", "other", "bot"]


class TestWhatAChangeSays:
    def changes(self, old, new):
        return [*changes(policy(*old), policy(*new))]

    def test_operations_and_dags_are_not_multiplied(self):
        rule = 'id: a, roles: [op], plane: inbound, operations: ["dag_runs:create"%s], dags: [%s]'
        found = self.changes([rule % ("", "x")], [rule % (', "dag_runs:delete"', "x, y")])
        assert {(change.operations, change.dags) for change in found} == {
            (("dag_runs:create",), ("y",)),
            (("dag_runs:delete",), ("x", "y")),
        }

    def test_methods_that_the_rule_no_longer_asks_for(self):
        rule = 'id: o, plane: egress, roles: [op], destinations: [orders], %spaths: ["/v1"]'
        (change,) = self.changes([rule % "methods: [GET], "], [rule % ""])
        assert change.methods == ("DELETE", "OPTIONS", "PATCH", "POST", "PUT")
        (change,) = self.changes([rule.replace("orders", "stock") % ""], [rule.replace("orders", "stock, orders") % ""])
        assert change.methods == ()

    def test_those_who_count_alike_are_known(self):
        (change,) = self.changes(
            ['id: a, roles: [op], plane: inbound, operations: ["pools:read"]'],
            ['id: a, roles: [op], plane: inbound, operations: ["pools:*"]'],
        )
        assert [[m.value for m in way] for way in change.ways(change.callers[0])] == [["more", "ops"]]
        assert change.ways(Caller("corp")) == ()

    def test_a_gain_is_said_once_if_a_deny_rule_is_gone_too(self):
        allow = 'id: o, roles: [op], plane: egress, hosts: [a.example], methods: [GET], paths: ["%s"]'
        deny = "id: x, plane: egress, deny: true, hosts: [a.example]"
        (change,) = self.changes([allow % "/v1", deny], [allow % "/**"])
        assert (change.paths, change.denied) == (("/**",), "")


def test_a_deny_rule_about_methods_takes_a_part_of_an_operation():
    """`dag_runs:read` has a POST route too: what a list of GETs loses is said."""
    wide = 'id: a, roles: [op], plane: inbound, operations: ["dag_runs:read"]'
    deny = "id: d, deny: true, plane: inbound, methods: [GET]"
    assert told(cell("dag_runs:read", wide, deny)) == ((), (), (), ("GET",))
    elsewhere = "id: d, deny: true, plane: inbound, methods: [DELETE]"
    assert told(cell("dag_runs:read", wide, elsewhere)) == ((), (), (), ())


RIGHT = "id: a, plane: egress, hosts: [a.example]"


def only(*rules):
    (right,) = [one for one in calls(policy(*rules), [OP]) if one.callers != (OP,)]
    return right


def test_a_right_of_all_dags_or_tasks_is_not_said_to_be_of_some():
    right = only(f'{RIGHT}, paths: ["/**"], dags: ["*", "b*"], tasks: ["*b", "*"]')
    assert (right.dags, right.tasks) == ((), ())


def test_where_no_rule_tells_runs_apart_no_level_is_named():
    right = only(f'{RIGHT}, roles: [authenticated], paths: ["/**"]')
    assert right.levels == ()
