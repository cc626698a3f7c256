"""The difference between two policies: who gains and who loses what, and a request that shows it."""

import pytest

from authz.core.model import Plane
from authz.core.proof.callers import RUN, Caller
from authz.core.proof.diff import changes
from authz.core.proof.gains import Gains
from authz.core.proof.witness import witness
from tests.support.factories.policies import below

HEAD = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
roles:
  viewer: {groups: [readers, auditors]}
  op: {groups: [ops], includes: [viewer]}
  etl: {clients: [etl]}
  boss: {subjects: [anna]}
rules:
  - {id: base, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["sales_*"]}
"""


def policy(rules="", head=HEAD):
    return below(head, *filter(str.strip, rules.splitlines()))


def differences(old="", new=""):
    return [*changes(policy(old), policy(new))]


def one(old="", new=""):
    (change,) = differences(old, new)
    return change


def callers(change):
    return [[f"{m.kind} {m.value}" for m in caller.memberships] for caller in change.callers]


READ_POOLS = 'id: pools, plane: inbound, roles: [op, boss], operations: ["pools:read"]'


def test_the_same_policy_changes_nothing():
    assert differences(READ_POOLS, READ_POOLS) == []
    assert differences(READ_POOLS, READ_POOLS.replace("id: pools", "id: renamed")) == []


def test_a_new_rule_is_a_gain_of_those_who_have_its_roles():
    change = one("", READ_POOLS)
    assert (change.gained, change.plane, change.rule, change.denied) == (True, Plane.INBOUND, "pools", "")
    assert callers(change) == [["group ops"], ["subject anna"]]
    assert (change.roles, change.operations) == (("op", "boss"), ("pools:read",))
    assert change.witness.words == ("GET", "/api/v2/pools", "--host", "z", "--group", "ops", "--issuer", "corp")


def test_a_rule_that_is_gone_is_a_loss():
    change = one(READ_POOLS, "")
    assert (change.gained, change.rule, change.operations) == (False, "pools", ("pools:read",))


def test_groups_that_count_alike_are_one_caller():
    old, new = policy(), policy('id: x, plane: inbound, roles: [viewer], operations: ["pools:read"]')
    (change,) = changes(old, new)
    assert callers(change) == [["group auditors"], ["group ops"]]
    assert [m.value for m in change.callers[0].alike] == ["readers"]


def test_only_what_is_new_of_a_wider_pattern_is_shown():
    old = 'id: t, plane: inbound, roles: [etl], operations: ["dag_runs:create"], dags: ["sales_eu_*"]'
    change = one(old, old.replace("sales_eu_*", "sales_*"))
    assert (change.operations, change.dags) == (("dag_runs:create",), ("sales_*",))
    assert change.witness.words[:2] == ("POST", "/api/v2/dags/sales_z/dagRuns")


def test_a_wider_list_shows_a_dag_more():
    old = 'id: t, plane: inbound, roles: [etl], operations: ["dags:read"], dags: ["sales_eu"]'
    changed = differences(old, old.replace("sales_eu", "stock"))
    (gained,) = (change for change in changed if change.gained)
    assert gained.dags == ("stock",)
    (lost,) = (change for change in changed if not change.gained)
    assert lost.dags == ("sales_eu",)


def test_a_deny_rule_that_is_gone_takes_two_memberships_to_show():
    allow = 'id: a, plane: inbound, roles: [etl], operations: ["pools:*"]'
    change = one(allow + '\nid: d, deny: true, plane: inbound, roles: [op], operations: ["pools:delete"]', allow)
    assert (change.rule, change.denied, change.operations) == ("a", "d", ("pools:delete",))
    assert callers(change) == [["client etl", "group ops"]]
    assert change.witness.words[-6:] == ("--client", "etl", "--group", "ops", "--issuer", "corp")


def test_a_deny_rule_that_others_still_cover_changes_nothing():
    allow = 'id: a, plane: inbound, roles: [etl], operations: ["pools:*"]\n'
    narrow = 'id: d, deny: true, plane: inbound, roles: [op], operations: ["pools:delete"]\n'
    wide = 'id: e, deny: true, plane: inbound, operations: ["pools:delete"]\n'
    assert differences(allow + narrow + wide, allow + wide) == []


def test_a_deny_rule_about_another_dag_changes_nothing():
    allow = 'id: a, plane: inbound, roles: [etl], operations: ["dag_runs:create"], dags: ["sales_*"]\n'
    deny = 'id: d, deny: true, plane: inbound, operations: ["dag_runs:create"], dags: ["stock_*"]\n'
    assert differences(allow + deny, allow) == []


def test_a_narrower_deny_rule_gives_back_what_both_patterns_share():
    allow = 'id: a, plane: inbound, roles: [etl], operations: ["dag_runs:create"], dags: ["sales_*"]\n'
    deny = 'id: d, deny: true, plane: inbound, operations: ["dag_runs:create"], dags: ["*_secret"]'
    change = one(allow + deny, allow + deny.replace("*_secret", "*_very_secret"))
    assert (change.gained, change.dags, change.denied) == (True, ("sales_*_secret", "sales_secret"), "d")


def test_a_public_rule_is_a_gain_without_a_token():
    change = one("", 'id: v, public: true, paths: ["/api/v2/version"], methods: [GET]')
    assert change.callers[-1].anonymous
    assert change.witness.words == ("GET", "/api/v2/version", "--host", "z", "--issuer", "corp", "--as", "someone")


def test_a_path_outside_of_the_catalogue():
    change = one("", 'id: p, plane: inbound, roles: [etl], hosts: ["*.example"], paths: ["/my/{x}"], methods: [GET]')
    assert (change.operations, change.paths, change.hosts, change.methods) == (
        (),
        ("/my/{x}",),
        ("*.example",),
        ("GET",),
    )
    assert change.witness.words[:4] == ("GET", "/my/z", "--host", "z.example")


ORDERS = 'id: o, plane: egress, roles: [etl], destinations: [orders], methods: [GET], paths: ["/v1/{x}"]'


def test_a_call_to_a_destination():
    change = one("", ORDERS)
    assert (change.plane, change.destinations, change.methods, change.paths, change.levels) == (
        Plane.EGRESS,
        ("orders",),
        ("GET",),
        ("/v1/{x}",),
        (),
    )
    assert change.witness.words == (
        *("GET", "/v1/z", "--host", "z", "--plane", "egress", "--destination", "orders"),
        *("--client", "etl", "--issuer", "corp"),
    )


def test_a_call_of_a_run():
    old = (
        'id: o, plane: egress, hosts: [a.example], paths: ["/**"], dags: ["d_*"], tasks: [t], identity: verified-bearer'
    )
    change = one(old, old.replace("identity: verified-bearer", "identity: asserted"))
    assert (change.levels, change.dags, change.tasks) == (("asserted",), ("d_*",), ("t",))
    assert change.witness.words[-6:] == ("--as", "someone", "--dag", "d_z", "--task", "t")
    change = one("", old)
    assert change.levels == ("verified", "verified-bearer")
    assert change.callers[0].issuer == ""
    assert change.witness.words[-2:] == ("--identity", "verified")


def test_a_tunnel():
    change = one("", "id: t, plane: egress, roles: [etl], hosts: [db.example], methods: [CONNECT]")
    assert change.methods == ("CONNECT",)
    assert change.witness.words[:2] == ("CONNECT", "db.example:443")


def test_a_deny_rule_on_egress_that_is_gone():
    deny = "id: d, deny: true, plane: egress, roles: [op], destinations: [orders]"
    change = one(f"{ORDERS}\n{deny}", ORDERS)
    assert (change.denied, callers(change)) == ("d", [["client etl", "group ops"]])
    deny = 'id: d, deny: true, plane: egress, dags: ["x_*"]'
    allow = ORDERS.replace("roles: [etl], ", "").replace("paths", "identity: verified, paths")
    change = one(f"{allow}\n{deny}", allow)
    assert (change.denied, change.dags, change.levels) == ("d", ("x_*",), ("verified",))


def test_a_symbol_that_a_policy_uses_is_not_the_stand_in():
    new = 'id: p, plane: inbound, roles: [etl], paths: ["/\ue000/{x}"]'
    change = one("", new)
    assert change.witness.words[:2] == ("GET", "/%EE%80%80/z")


TWO = HEAD.replace(
    "\nroles:",
    """
  - name: other
    issuer: https://other.example.com
    audiences: {egress: [elsewhere]}
    algorithms: [RS256]
roles:""",
    1,
)


def test_callers_are_those_whom_both_policies_believe():
    """The stranger of an issuer is a caller of its planes only; an issuer of one policy is a condition."""
    everybody = 'id: a, plane: inbound, roles: [authenticated], operations: ["pools:read"]'
    (change,) = changes(policy(head=TWO), policy(everybody, head=TWO))
    assert {caller.issuer for caller in change.callers} == {"corp"}
    (change,) = changes(policy(head=TWO), policy(ORDERS))
    assert {caller.issuer for caller in change.callers} == {"corp"}


def test_a_group_that_another_issuer_gives_a_role_is_no_caller_of_this_one():
    head = TWO.replace("viewer: {", "foreign: {groups: [foreign], issuers: [other]}\n  viewer: {")
    everybody = 'id: a, plane: inbound, roles: [authenticated], operations: ["pools:read"]'
    (change,) = changes(policy(head=head), policy(everybody, head=head))
    assert ["group foreign"] not in callers(change)
    assert ["group auditors"] in callers(change)


def test_a_region_without_a_request_that_shows_it_has_no_witness():
    region = next(iter(Gains(policy(), policy(READ_POOLS), Plane.INBOUND).all())).region
    asked = []
    assert witness(region, Caller("corp"), lambda _caller, at: asked.append(at)) is None
    assert len({at.request.host for at in asked}) == len(asked) / 3 > 20  # with three subjects


def issuers(*audiences):
    listed = (
        f"  - {{name: {name}, issuer: 'https://{name}.example.com', audiences: {of}, algorithms: [RS256]}}\n"
        for name, of in zip(("corp", "people"), audiences, strict=False)
    )
    return f"""
version: 1
issuers:
{"".join(listed)}
roles:
  all: {{issuers: [corp]}}
  viewer: {{groups: [readers]}}
rules:
  - {{id: base, plane: inbound, roles: [viewer], operations: ["pools:read"]}}
"""


INBOUND, BOTH = issuers("{inbound: [a]}"), issuers("{inbound: [a], egress: [b]}")
OF_RUNS = 'id: o, plane: egress, hosts: [a.example], paths: ["/**"], identity: verified'


@pytest.mark.parametrize(
    ("head", "old", "new"),
    [
        pytest.param(INBOUND, "", OF_RUNS, id="a rule about runs where no token is accepted on egress"),
        pytest.param(BOTH, f"{OF_RUNS}, roles: [all]", OF_RUNS, id="roles dropped that every caller with a token has"),
        pytest.param(
            BOTH, f"{OF_RUNS}, roles: [all]", f"{OF_RUNS}, roles: [authenticated]", id="authenticated instead"
        ),
        *(
            pytest.param(head, f"{OF_RUNS}\n{deny}, roles: [authenticated]", new, id=f"a deny rule {name}")
            for deny in ["id: x, plane: egress, deny: true, hosts: [a.example]"]
            for head, new, name in (
                (INBOUND, f"{OF_RUNS}\n{deny}, roles: [viewer]", "is about one role"),
                (BOTH, f"{OF_RUNS}\n{deny}, roles: [all]", "is about all who have a token"),
                (INBOUND, OF_RUNS, "is gone"),
            )
        ),
    ],
)
def test_a_run_that_gains_is_told(head, old, new):
    (change,) = changes(policy(old, head), policy(new, head))
    assert (change.gained, change.rule, change.callers) == (True, "o", (RUN,))
    assert change.witness.words[:4] == ("GET", "/z", "--host", "a.example")


def test_a_deny_rule_about_tokens_that_becomes_one_about_all_takes_from_runs_too():
    deny = "id: x, plane: egress, deny: true, hosts: [a.example]"
    (change,) = changes(policy(f"{OF_RUNS}\n{deny}, roles: [all]", BOTH), policy(f"{OF_RUNS}\n{deny}", BOTH))
    assert (change.gained, change.callers) == (False, (RUN,))


def test_a_request_that_another_route_takes_is_not_told():
    shadowed = 'id: n, plane: inbound, roles: [op], methods: [GET], paths: ["/api/v2/connections/enqueue-test"]'
    assert differences("", f'{shadowed}, operations: ["connections:read"]') == []
    assert one("", shadowed).operations == ("connections:test",)
    allow = 'id: a, plane: inbound, roles: [op], operations: ["connections:read"]\n'
    deny = 'id: d, deny: true, plane: inbound, paths: ["/api/v2/connections/enqueue-test"]'
    assert differences(allow + deny, allow) == []


def test_a_route_that_is_another_one_for_other_methods_is_told():
    found = differences("", 'id: n, plane: inbound, roles: [op], paths: ["/api/v2/connections/enqueue-test"]')
    operations = {name for change in found for name in change.operations}
    assert operations == {"connections:delete", "connections:test", "connections:update"}


def test_a_whole_list_that_was_denied_is_told_as_all_dags():
    allow = "id: v, public: true, methods: [GET], paths: [/api/v2/dags]\n"
    found = differences(
        allow + 'id: d, deny: true, plane: inbound, operations: ["dags:read"], dags: ["*_secret"]', allow
    )
    anonymous = [change for change in found if any(caller.anonymous for caller in change.callers)]
    assert [change.dags for change in anonymous] == [("*",)]
    assert {"*", "*_secret"} <= {dags for change in found for dags in change.dags}


def test_a_character_for_private_use_in_patterns_hides_nothing():
    allow = 'id: n, plane: inbound, roles: [op], paths: ["/x/*\ue000*"], methods: [GET]\n'
    change = one(allow + 'id: d, deny: true, plane: inbound, paths: ["/x/*a\ue000*\ue000"]', allow)
    assert (change.gained, change.denied) == (True, "d")


def test_a_subject_for_private_use_is_not_everybody():
    head = HEAD.replace("[anna]", '["\ue000", "\ue001"]')
    rule = 'id: n, plane: inbound, roles: [boss], operations: ["variables:read"]'
    (change,) = changes(policy(rule, head), policy(rule.replace("boss", "authenticated"), head))
    assert change.callers[0].memberships == ()


def test_the_subject_of_a_request_to_try_is_no_one_special():
    head = HEAD.replace("[anna]", "[someone, etl]").replace("[readers, ", "[readers, someone-else, ")
    deny = 'id: d, deny: true, plane: inbound, roles: [boss], paths: ["/**"]\n'
    everybody = 'id: n, plane: inbound, roles: [authenticated], operations: ["variables:read"]'
    (change,) = changes(policy(deny, head), policy(deny + everybody, head))
    assert change.witness.words[-4:] == ("--issuer", "corp", "--as", "someone-else")
    of_client = everybody.replace("authenticated", "etl")
    (change,) = changes(policy(deny, head), policy(deny + of_client, head))
    assert change.witness.words[-6:] == ("--client", "etl", "--issuer", "corp", "--as", "someone-else")


def test_memberships_that_deny_rules_name_alike_are_one_second_membership():
    many = "".join(f"  r{n}: {{groups: [g{n}]}}\n  x{n}: {{groups: [h{n}], clients: [c{n}]}}\n" for n in range(5))
    head = HEAD.replace("rules:", f"{many}rules:")
    ones, others = (", ".join(f"{kind}{n}" for n in range(5)) for kind in "rx")
    allow = f'id: a, plane: inbound, roles: [{ones}], operations: ["variables:*"]\n'
    deny = f'id: d, deny: true, plane: inbound, roles: [{others}], operations: ["variables:*"]'
    (change,) = changes(policy(allow + deny, head), policy(allow, head))
    assert len(change.callers) == 5 * 2  # with a group and with a client
    assert [m.value for m in change.callers[0].alike] == ["h1", "h2", "h3", "h4"]


def test_a_list_that_airflow_narrows_is_not_told_as_all_dags():
    rule = 'id: t, plane: inbound, roles: [etl], operations: ["task_instances:read"], dags: ["research_*"]'
    assert [(change.gained, change.dags) for change in differences(rule, "")] == [(False, ("research_*",))]
    (gained,) = differences("", rule)
    assert (gained.gained, gained.dags) == (True, ("research_*",))


def test_a_list_that_airflow_does_not_narrow_is_told_as_all_dags():
    rule = 'id: t, plane: inbound, roles: [etl], operations: ["task_instances:read"], dags: ["*"]'
    deny = '\nid: d, deny: true, plane: inbound, operations: ["task_instances:read"], dags: ["*_secret"]'
    assert any("*" in change.dags and change.gained for change in differences(rule + deny, rule))
    assert [change.dags for change in differences("", rule)] == [("*",)]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'id: x, plane: inbound, roles: [authenticated], paths: ["/custom"], methods: [GET]',
            'id: x, plane: inbound, public: true, paths: ["/custom"], methods: [GET]',
            ("GET", "/custom", "--host", "z"),
        ),
        (
            "",
            'id: x, plane: inbound, roles: [boss], operations: ["pools:read"]',
            ("GET", "/api/v2/pools", "--host", "z", "--as", "anna", "--issuer", "corp"),
        ),
    ],
)
def test_a_request_of_a_caller_without_a_token_or_with_a_named_subject(old, new, words):
    assert one(old, new).witness.words == words


def test_no_membership_makes_a_caller_one_of_another_issuer():
    """The old deny rule is about everyone of the other issuer, and no caller of this one can become that."""
    other = (
        "  - {name: people, issuer: 'https://people.example', audiences: {inbound: [b]}, algorithms: [RS256]}\nroles:"
    )
    head = HEAD.replace("roles:", f"{other}\n  partner: {{issuers: [people]}}", 1)
    deny = 'id: d, deny: true, plane: inbound, roles: [partner], operations: ["pools:read"]'
    (change,) = changes(policy(f"{READ_POOLS}\n{deny}", head), policy(READ_POOLS, head))
    assert {caller.issuer for caller in change.callers} == {"people"}


NO_ACCOUNTS = HEAD.replace(", egress: [outbound]", "")
OF_RUNS = 'id: o, plane: egress, hosts: [a.example], paths: ["/**"], dags: [d], identity: verified-bearer'


def test_runs_gain_what_is_allowed_to_runs_that_are_only_asserted():
    """Where tasks can reach Airflow's key each run is `asserted`, also where no account calls on egress."""
    weaker = OF_RUNS.replace("verified-bearer", "asserted")
    (change,) = changes(policy(OF_RUNS, head=NO_ACCOUNTS), policy(weaker, head=NO_ACCOUNTS))
    assert (change.gained, change.callers, change.levels) == (True, (RUN,), ("asserted",))
    assert change.witness.words[-2:] == ("--identity", "asserted")


def test_a_run_in_a_tunnel_has_no_proof():
    tunnel = "id: t, plane: egress, hosts: [a.example], methods: [CONNECT]"
    assert differences("", f"{tunnel}, identity: verified") == []
    change = one("", f"{tunnel}, identity: verified-bearer")
    assert (change.callers, change.levels) == ((RUN,), ("verified-bearer",))
    change = one(f"{tunnel}, identity: verified-bearer", f"{tunnel}, identity: asserted")
    assert (change.callers, change.levels) == ((RUN,), ("asserted",)), "an account asserts a run in a proof"


class TestTheDagOfAWitness:
    """A DAG that may be any reads like one, where the request with it differs too: the engine answers each request."""

    ALLOW = 'id: x, plane: inbound, roles: [etl], operations: ["dag_runs:update"]'
    DENY = 'id: d, deny: true, plane: inbound, operations: ["dag_runs:update"], dags: '

    def loses(self, before, after):
        """The path of the witness where a deny rule becomes wider."""
        change = one(f"{self.ALLOW}\n{self.DENY}{before}", f"{self.ALLOW}\n{self.DENY}{after}")
        return change.witness.words[1]

    def test_it_reads_like_one(self):
        assert self.loses("[hr]", '[hr, "*"]') == "/api/v2/dags/example_dag/dagRuns/z"

    def test_so_does_that_of_a_run(self):
        rule = 'id: x, plane: egress, hosts: [a.test], paths: [/x], dags: ["*"], tasks: [t]'
        assert "--dag example_dag --task t" in " ".join(one(new=rule).witness.words)

    def test_so_does_that_of_a_list(self):
        reads = 'id: x, plane: inbound, roles: [etl], operations: ["dags:read"], paths: [/api/v2/dags]'
        deny = 'id: d, deny: true, plane: inbound, operations: ["dags:read"], dags: '
        found = differences(f"{reads}\n{deny}[hr]", f'{reads}\n{deny}["*"]')
        assert "example_dag" in {change.witness.shows for change in found}

    @pytest.mark.parametrize("known", ["example_*", "example_dag"])
    def test_another_one_is_found_where_the_policies_do_not_differ_about_it(self, known):
        assert self.loses(f"[{known}]", '["*"]') == "/api/v2/dags/z/dagRuns/z"

    def test_a_pattern_keeps_its_beginning(self):
        assert self.loses("[hr]", "[hr, sales_*]") == "/api/v2/dags/sales_z/dagRuns/z"
