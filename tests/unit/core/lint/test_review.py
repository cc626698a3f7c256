import pytest

from authz.core import catalogue
from authz.core.lint.review import Finding, Severity, lint
from authz.core.policy import load as load_bundle
from tests.support.factories import included
from tests.support.factories.policies import ISSUERS, ROLES, load, narrowing_catalogue

TWO_ISSUERS = f"""{ISSUERS}
  - name: partner
    issuer: https://partner.example.com
    audiences: {{inbound: [airflow]}}
    algorithms: [ES256]
"""
VIEWER = "\n  viewer: {groups: [data-readers]}\n"
INBOUND_ONLY = ISSUERS.replace(", egress: [airflow-egress]", "")
READERS = "{id: readers, plane: inbound, roles: [viewer], operations: [dags:read]}\n"


def findings(rules=READERS, *, roles=VIEWER, issuers=INBOUND_ONLY):
    return [
        (f.severity.value, f.problem.line, f.problem.message) for f in lint(load(rules, roles=roles, issuers=issuers))
    ]


def messages(*args, **kw):
    return [message for _, _, message in findings(*args, **kw)]


def test_a_good_policy_has_no_findings():
    assert findings() == []


def test_a_finding_has_severity_place_words_and_advice():
    policy = load(READERS, roles="\n  viewer: {groups: [g]}\n  user: {groups: [h]}\n", issuers=INBOUND_ONLY)
    [finding] = lint(policy)
    assert isinstance(finding, Finding)
    assert finding.severity is Severity.NOTE
    assert str(finding.problem) == "policy.yaml:10:3: no rule names the role `user` (remove it, or add a rule for it)"


def test_a_role_is_used_when_a_rule_names_it_or_what_it_includes_or_airflow_knows_it():
    roles = VIEWER + "  user: {groups: [g], includes: [viewer]}\n  boss: {groups: [b], airflow: admin}\n"
    assert findings(roles=roles) == []


def test_everyone_of_an_issuer():
    assert messages(roles="\n  viewer: {issuers: [corp]}\n") == ["everyone with a token of corp has the role `viewer`"]


def test_names_that_several_issuers_can_give():
    message = "the role `viewer` relies on names that any of the 2 issuers can give"
    issuers = TWO_ISSUERS.replace(", egress: [airflow-egress]", "")
    assert messages(issuers=issuers) == [message]
    assert messages(issuers=issuers, roles="\n  viewer: {groups: [g], issuers: [corp]}\n") == []


def test_plain_http():
    issuers = INBOUND_ONLY.replace("https:", "http:") + "    insecure_http: true\n"
    assert findings(issuers=issuers) == [("warning", 0, "the keys of issuer `corp` are fetched over plain http")]


def test_a_plane_without_rules():
    assert messages(issuers=ISSUERS) == ["no rule allows anything on egress, though tokens are accepted there"]
    assert messages("") == [
        "no rule allows anything on inbound, though tokens are accepted there",
        "no rule names the role `viewer`",
    ]


def test_a_plane_without_tokens():
    rules = READERS + "{id: out, plane: egress, roles: [viewer], hosts: [a], paths: [/x]}"
    assert messages(rules) == ["no issuer has an audience for egress, so no rule about roles can allow anything there"]


def test_runs_bring_tokens_of_their_own():
    rules = READERS + "{id: out, plane: egress, hosts: [a], paths: [/x], dags: [x]}\n"
    assert messages(rules) == []
    more = rules + "{id: z, plane: egress, roles: [viewer], hosts: [a], paths: [/x]}"
    assert findings(more) == [
        ("warning", 13, "no issuer has an audience for egress, so no rule about roles can allow anything there")
    ]


TUNNELS = "the rule `{}` allows tunnels, in which neither methods nor paths can be enforced"
NO_ROLES = "the rule `{}` can allow nothing{}: it asks for roles and a run that is `{}`"
CAREFUL = "the rule `{}` also denies calls whose run is not certain"
ANYONE = (
    "any account with an egress token of {} may call by the rule `x`:"
    " at `identity: asserted` it only has to name such a run"
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("plane: egress, hosts: [a], paths: [/x], dags: [x]", []),
        ("plane: egress, hosts: [a], paths: [/x], roles: [viewer]", []),
        (
            "plane: egress, hosts: [a], methods: [CONNECT], dags: [x]",
            [
                "the rule `x` can allow nothing: it asks for a run that is `verified`, and a tunnel has no proof",
            ],
        ),
        ("plane: egress, hosts: [a], methods: [CONNECT], dags: [x], identity: verified-bearer", []),
        ("plane: egress, roles: [viewer], destinations: [w], methods: [CONNECT]", []),
        ("plane: egress, roles: [viewer], destinations: [w], hosts: ['*.a'], methods: [CONNECT]", []),
        ("plane: egress, roles: [viewer], hosts: ['*.a'], methods: [CONNECT]", [TUNNELS.format("x")]),
        ("plane: egress, roles: [viewer], hosts: [b], methods: [CONNECT]", [TUNNELS.format("x")]),
        (
            "plane: egress, roles: [viewer], hosts: [a], methods: [CONNECT], dags: [x], identity: asserted",
            [
                "the rule `x` can allow nothing: an account names its run in a proof, and a tunnel has none",
            ],
        ),
        ("plane: egress, deny: true, methods: [CONNECT]", []),
        (
            "plane: egress, hosts: [a], paths: [/x], roles: [viewer], tasks: [x]",
            [NO_ROLES.format("x", "", "verified")],
        ),
        (
            "hosts: [a], paths: [/x], roles: [viewer], dags: [x]",
            [NO_ROLES.format("x", " on egress", "verified")],
        ),
        (
            "plane: egress, hosts: [a], paths: [/x], roles: [viewer], identity: verified-bearer",
            [NO_ROLES.format("x", "", "verified-bearer")],
        ),
        ("plane: egress, hosts: [a], paths: [/x], roles: [viewer], dags: [x], identity: asserted", []),
        ("plane: egress, hosts: [a], paths: [/x], roles: [authenticated], dags: [x]", []),
        ("plane: egress, deny: true, hosts: [a], dags: [x]", [CAREFUL.format("x")]),
        ("deny: true, paths: [/y], dags: [x]", [CAREFUL.format("x")]),
        ("plane: egress, deny: true, hosts: [a], tasks: [x]", [CAREFUL.format("x")]),
        ("plane: egress, deny: true, hosts: [a]", []),
        ("plane: inbound, deny: true, roles: [viewer], operations: [dag_runs:create], dags: [x]", []),
    ],
)
def test_outbound_calls(rule, expected):
    out = "{id: ok, plane: egress, roles: [viewer], hosts: [b], paths: [/x]}\n"
    assert messages(f"{READERS}{out}{{id: x, {rule}}}", issuers=ISSUERS) == expected


@pytest.mark.parametrize(
    ("limits", "warns"),
    [
        ("paths: ['/**']", False),
        ("paths: ['/v1/**']", True),
        ("paths: ['/**'], methods: [GET]", True),
        ("methods: [CONNECT]", False),
    ],
)
def test_a_tunnel_to_where_another_rule_limits_methods_or_paths(limits, warns):
    rules = (
        f"{READERS}{{id: web, plane: egress, roles: [viewer], destinations: [w], {limits}}}\n"
        "{id: x, plane: egress, roles: [viewer], destinations: [w], hosts: [a], methods: [CONNECT]}"
    )
    assert (TUNNELS.format("x") in messages(rules, issuers=ISSUERS)) is warns


@pytest.mark.parametrize(
    ("rule", "warns"),
    [
        ("plane: egress, identity: asserted, dags: [x]", True),
        ("plane: egress, identity: asserted", True),
        ("plane: egress, identity: asserted, roles: [authenticated]", True),
        ("plane: egress, identity: asserted, roles: [viewer]", False),
        ("plane: egress, identity: asserted, roles: [viewer, authenticated]", True),
        ("plane: egress, identity: verified-bearer, dags: [x]", False),
        ("plane: egress, dags: [x]", False),
    ],
)
def test_a_run_that_any_account_may_name(rule, warns):
    out = "{id: ok, plane: egress, roles: [viewer], hosts: [b], paths: [/x]}\n"
    rules = f"{READERS}{out}{{id: x, hosts: [a], paths: [/x], {rule}}}"
    assert messages(rules, issuers=ISSUERS) == ([ANYONE.format("corp")] if warns else [])


def test_without_tokens_on_egress_no_account_names_a_run():
    rules = READERS + "{id: x, plane: egress, hosts: [a], paths: [/x], dags: [x], identity: asserted}"
    assert messages(rules) == []
    issuers = ISSUERS + "".join(
        f"  - {{name: {name}, issuer: 'https://{name}.test', audiences: {{egress: [a]}}, algorithms: [ES256]}}\n"
        for name in ("a", "b", "c")
    )
    [_names, message] = messages(rules, issuers=issuers)
    assert message == ANYONE.format("corp, a, b, …")


@pytest.mark.parametrize(
    ("roles", "rule", "expected"),
    [
        ("weak: {groups: [g], airflow: viewer}", '["event_logs:*"]', None),  # only reads: lint advises to write this
        ("weak: {groups: [g], airflow: viewer}", '["*:read", "pools:create"]', ("x", "viewer", "admin")),
        ("weak: {groups: [g], airflow: user}", '["connections:*"]', ("x", "user", "op")),
        ("weak: {groups: [g], airflow: op}", '["connections:*"]', None),
        ("weak: {groups: [g], airflow: viewer, includes: [op]}", '["connections:*"]', None),
        ("weak: {groups: [g], airflow: viewer, includes: [more]}", '["connections:*"]', None),
        ("weak: {groups: [g], airflow: viewer, includes: [airflow.op]}", '["connections:*"]', None),
    ],
)
def test_a_role_for_airflow_that_is_no_cap(roles, rule, expected):
    others = (
        "  op: {groups: [ops]}\n  more: {groups: [m], airflow: op}\n" if "[op]" in roles or "[more]" in roles else ""
    )
    policy = load(
        READERS + f"{{id: x, plane: inbound, roles: [weak], operations: {rule}}}\n",
        roles=f"{VIEWER}  {roles}\n{others}",
        issuers=INBOUND_ONLY,
    )
    found = [f for f in lint(policy) if "says `airflow:" in f.problem.message]
    if expected is None:
        assert found == []
        return
    name, own, needed = expected
    [finding] = found
    assert finding.severity is Severity.NOTE
    assert finding.problem.message == (
        f"the role `weak` says `airflow: {own}`, and its rule `{name}` allows what needs `{needed}`, which raises it"
    )
    assert "add a deny rule" in finding.problem.hint


def test_a_role_for_airflow_is_noted_once_and_for_allow_rules_alone():
    rules = (
        "{id: a, plane: inbound, roles: [weak], operations: [event_logs:read]}\n"
        '{id: b, plane: inbound, roles: [weak], operations: ["connections:*"]}\n'
        '{id: c, deny: true, roles: [other], operations: ["connections:*"]}'
    )
    roles = VIEWER + "  weak: {groups: [g], airflow: viewer}\n  other: {groups: [h], airflow: viewer}\n"
    assert [m for m in messages(READERS + rules, roles=roles) if "airflow:" in m] == [
        "the role `weak` says `airflow: viewer`, and its rule `a` allows what needs `admin`, which raises it"
    ]


def test_tokens_of_airflows_own_are_noted_for_allow_rules_that_name_them():
    """Behind our auth manager Airflow answers 403 after the allow: tests/integration/test_auth_manager.py."""
    rules = (
        "{id: named, plane: inbound, roles: [viewer], operations: [tokens:create]}\n"
        '{id: wild, plane: inbound, roles: [viewer], operations: ["*:create"]}\n'
        "{id: closed, deny: true, roles: [viewer], methods: [PUT], operations: [tokens:create]}"
    )
    found = [f for f in lint(load(READERS + rules, issuers=INBOUND_ONLY)) if "AuthzAuthManager" in f.problem.message]
    assert [(f.severity, f.problem.message.split("`")[1]) for f in found] == [(Severity.NOTE, "named")]
    assert "AuthzFabAuthManager" in found[0].problem.hint


def test_a_tunnel_that_deny_rules_close():
    rules = (
        READERS
        + "{id: tunnel, plane: egress, hosts: [a.b], methods: [CONNECT], identity: verified-bearer}\n"
        + '{id: no, deny: true, plane: egress, hosts: ["*.b"], methods: [DELETE]}'
    )
    assert "the rule `tunnel` can never allow anything: the deny rule `no` covers it" in messages(
        rules, issuers=ISSUERS
    )


def test_rules_that_differ_in_runs_are_no_twins():
    rules = [
        f"{{id: r{number}, plane: egress, hosts: [a], paths: [/x], {more}}}"
        for number, more in enumerate(
            ["dags: [a]", "tasks: [a]", "identity: verified", "identity: asserted", "destinations: [a], dags: [a]"]
        )
    ]
    assert not [one for one in messages(READERS + "\n".join(rules)) if "says the same" in one]
    twins = messages(READERS + "\n".join([*rules, rules[1].replace("r1", "r9")]))
    assert [one for one in twins if "says the same" in one] == ["the rule `r9` says the same as `r1`"]


@pytest.mark.parametrize(
    ("operations", "airflow"), [("[dag_runs:create]", "user"), ('["*"]', "admin"), ("[dags:read, pools:create]", "op")]
)
def test_everyone_may_do_more_than_a_viewer(operations, airflow):
    found = messages(f"{{id: all, plane: inbound, roles: [authenticated], operations: {operations}}}", roles=" {}\n")
    assert found == [f"the rule `all` lets everyone with a valid token do what Airflow reserves for `{airflow}`"]


def test_everyone_may_read():
    assert messages(f"{READERS}{{id: all, plane: inbound, roles: [authenticated], operations: [dag_runs:read]}}") == []


def test_paths_beyond_the_catalogue_beside_deny_rules_about_dags():
    deny = '{id: no, deny: true, plane: inbound, roles: [viewer], methods: [POST], dags: ["secret_*"]}'
    wide = '{id: wide, plane: inbound, roles: [viewer], paths: ["/api/v2/**"]}\n'
    assert messages(READERS + wide + deny) == ["the rule `wide` also allows paths that are not known routes"]
    assert messages(READERS + wide) == []
    assert messages(READERS + deny) == []


@pytest.mark.parametrize(
    "deny",
    [
        "{id: no, deny: true, roles: [viewer]}",
        "{id: no, deny: true, roles: [authenticated], plane: inbound}",
        '{id: no, deny: true, operations: ["dags:*"]}',
        "{id: no, deny: true, roles: [other, viewer], operations: [dags:read]}",
    ],
)
def test_a_rule_that_a_deny_rule_covers(deny):
    roles = VIEWER + "  other: {groups: [o]}\n"
    assert "the rule `readers` can never allow anything: the deny rule `no` covers it" in messages(
        READERS + deny, roles=roles
    )


@pytest.mark.parametrize(
    "deny",
    [
        "{id: no, deny: true, roles: [other]}",
        "{id: no, deny: true, methods: [DELETE]}",
        "{id: no, deny: true, plane: egress, roles: [viewer]}",
        "{id: no, deny: true, operations: [dag_runs:read]}",
    ],
)
def test_a_rule_that_a_deny_rule_does_not_cover(deny):
    roles = VIEWER + "  other: {groups: [o]}\n"
    assert not [message for message in messages(READERS + deny, roles=roles) if "can never allow" in message]


def test_a_deny_rule_for_an_included_role_covers_those_who_have_it_by_inclusion():
    rules = "{id: a, plane: inbound, roles: [op], operations: [dags:read]}\n{id: no, deny: true, roles: [viewer]}"
    assert "the rule `a` can never allow anything: the deny rule `no` covers it" in messages(rules, roles=ROLES)


def test_a_public_rule_may_be_covered_too():
    rules = READERS + "{id: v, public: true, methods: [GET], paths: [/v]}\n{id: no, deny: true, paths: [/v]}"
    assert messages(rules) == ["the rule `v` can never allow anything: the deny rule `no` covers it"]


def test_rules_that_say_the_same():
    rules = READERS + "{id: z, plane: inbound, roles: [viewer], operations: [dags:read], description: again}"
    assert findings(rules) == [("note", 12, "the rule `z` says the same as `readers`")]
    paths = '{{id: {}, plane: inbound, roles: [viewer], paths: ["/x/{{{}}}"]}}'
    assert messages(paths.format("a", "one") + "\n" + paths.format("b", "two")) == ["the rule `b` says the same as `a`"]


@pytest.mark.parametrize(
    ("deny", "found"),
    [
        ('operations: ["connections:delete"]', True),
        ("methods: [DELETE]", True),
        ('operations: ["*:delete"]', True),
        ('operations: ["*:delete", "*:bulk"]', False),
        ('operations: ["connections:delete", "connections:bulk"]', False),
        ('operations: ["pools:delete"]', False),
        ('operations: ["connections:read"]', False),
    ],
)
def test_a_deny_rule_that_leaves_the_bulk_way_open(deny, found):
    rules = f"""{{id: ops, plane: inbound, roles: [viewer], operations: ["connections:*"]}}
{{id: nobody-deletes, deny: true, plane: inbound, roles: [viewer], {deny}}}
"""
    told = messages(rules)
    assert any("forbids deleting, but not through `connections:bulk`" in message for message in told) == found


_LISTS = "denies lists and bulk requests of "
_SOME = 'operations: ["dags:read", "dag_runs:bulk"]'


@pytest.mark.parametrize(
    ("allow", "deny", "found"),
    [
        (_SOME, 'dags: ["s_*"]', "`dag_runs:bulk`, `dags:read`"),
        (_SOME, 'dags: ["s_*"], roles: [viewer]', "`dag_runs:bulk`, `dags:read`"),
        (_SOME, 'dags: ["s_*"], roles: [authenticated]', "`dag_runs:bulk`, `dags:read`"),
        (_SOME, 'dags: ["s_*"], operations: ["dags:*"]', "`dags:read`"),
        (_SOME, 'dags: ["s_*"], methods: [GET]', "`dags:read`"),
        ('operations: ["dags:read"], dags: ["*"]', 'dags: ["s_*"]', "`dags:read`"),
        # who is denied is not who may, nobody may for all DAGs, or there is no such route
        (_SOME, 'dags: ["s_*"], roles: [user]', ""),
        ('operations: ["dags:read"], dags: ["s_*", "t"]', 'dags: ["s_*"]', ""),
        (_SOME, 'dags: ["s_*"], operations: ["dag_runs:create"]', ""),
        (_SOME, 'dags: ["s_*"], methods: [DELETE]', ""),
        ('paths: ["/api/v2/dags"]', 'dags: ["s_*"]', ""),
        # not certain
        (_SOME, 'dags: ["s_*"], hosts: [a.test]', ""),
        (_SOME, 'dags: ["s_*"], paths: ["/api/v2/dags/**"]', ""),
        # not about DAGs
        (_SOME, 'operations: ["dags:read"]', ""),
    ],
)
def test_a_deny_rule_about_dags_that_denies_lists_because_nothing_narrows_them(monkeypatch, allow, deny, found):
    monkeypatch.setattr(catalogue, "load", lambda version: narrowing_catalogue(version, frozenset()))
    rules = f"{{id: a, plane: inbound, roles: [viewer], {allow}}}\n{{id: d, deny: true, plane: inbound, {deny}}}\n"
    told = [text for text in messages(rules, roles=VIEWER + "  user: {groups: [u]}\n") if _LISTS in text]
    assert told == ([f"the rule `d` also {_LISTS}{found}: Airflow does not narrow them"] if found else [])


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ('{id: a, R, operations: ["dags:read"], dags: ["s_*"]}\n{id: ui, R, operations: ["ui:read"]}', True),
        ('{id: a, R, operations: ["dags:*"], dags: ["s_*"]}\n{id: ui, R, operations: ["ui:*"], dags: ["*"]}', True),
        (
            '{id: a, R, operations: ["dags:read"], dags: ["s_*"]}\n{id: ui, R, operations: ["ui:read"], dags: [x]}',
            False,
        ),
        ('{id: a, R, operations: ["dags:read"]}\n{id: ui, R, operations: ["ui:read"]}', False),
        ('{id: a, R, operations: ["dag_runs:create"], dags: ["s_*"]}\n{id: ui, R, operations: ["ui:read"]}', False),
        (
            """{id: a, R, operations: ["dags:read"], dags: ["s_*"]}
{id: b, R, operations: ["*:read"]}\n{id: ui, R, operations: ["ui:read"]}""",
            False,
        ),
        (
            '{id: a, R, operations: ["dags:read"], dags: ["s_*"]}\n{id: ui, deny: true, R, operations: ["ui:read"]}',
            False,
        ),
        ('{id: a, R, operations: ["dags:read"], dags: ["s_*"]}\n{id: ui, R, operations: ["ui:pages"]}', False),
    ],
)
def test_all_dags_in_the_ui_for_those_who_may_read_some(rules, found):
    told = [text for text in messages(rules.replace("R,", "plane: inbound, roles: [viewer],")) if "in the UI" in text]
    expected = ["the rule `ui` shows every DAG in the UI to `viewer`, which `a` limits to some"]
    assert told == (expected if found else [])


def test_who_may_read_all_dags_by_an_included_role_may_see_them():
    rules = """{id: a, plane: inbound, roles: [sales], operations: ["dags:read"], dags: ["s_*"]}
{id: all, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: ui, plane: inbound, roles: [sales, authenticated], operations: ["ui:read"]}"""
    for includes, found in ((", includes: [viewer]", False), ("", True)):
        roles = VIEWER + f"  sales: {{groups: [s]{includes}}}\n"
        assert any("in the UI to `sales`" in text for text in messages(rules, roles=roles)) is found


def test_of_many_operations_a_few_are_named(monkeypatch):
    monkeypatch.setattr(catalogue, "load", lambda version: narrowing_catalogue(version, frozenset()))
    rules = (
        '{id: a, plane: inbound, roles: [viewer], operations: ["*"]}\n{id: d, deny: true, plane: inbound, dags: [x]}'
    )
    [told] = [text for text in messages(rules) if _LISTS in text]
    assert told.endswith("`, …: Airflow does not narrow them")
    assert told.count(", ") == 3


def test_a_deny_rule_about_dags_leaves_lists_that_airflow_narrows(monkeypatch):
    rules = READERS + '{id: d, deny: true, plane: inbound, dags: ["s"]}'
    found = []
    for marked in ({"dags"}, {"dags", "dagWarnings", "dagTags"}):
        routes = frozenset(("GET", f"/api/v2/{name}") for name in marked)
        monkeypatch.setattr(catalogue, "load", lambda version, routes=routes: narrowing_catalogue(version, routes))
        found.append(any(_LISTS in text for text in messages(rules)))
    assert found == [True, False]


@pytest.mark.parametrize(
    ("role", "rule", "found"),
    [
        ("analyst: {groups: [a]}", 'roles: [analyst], operations: ["*:read"]', True),
        ("analyst: {groups: [a], airflow: viewer}", 'roles: [analyst], operations: ["*:read"]', False),
        ("analyst: {groups: [a]}", "roles: [analyst], operations: [dags:read]", False),
        ("analyst: {groups: [a]}", 'roles: [analyst], operations: ["connections:*"]', False),
        ("op: {groups: [a]}", 'roles: [op], operations: ["*:read"]', False),
    ],
)
def test_a_reader_who_is_more_inside_airflow(role, rule, found):
    told = messages(f"{{id: r, plane: inbound, {rule}}}\n", roles=f"\n  {role}\n")
    assert any("only reads here, and is `admin` inside Airflow" in message for message in told) == found


def test_the_advice_for_a_reader_is_no_finding_when_it_is_taken():
    rule = '{id: r, plane: inbound, roles: [auditor], operations: ["*:read"]}'
    role = "\n  auditor: {groups: [a]}\n"
    [advised] = [one for one in lint(load(rule, roles=role)) if "inside Airflow" in one.problem.message]
    assert advised.problem.hint.startswith("write `airflow: viewer`")
    assert [one for one in messages(rule, roles=role.replace("}", ", airflow: viewer}")) if "irflow" in one] == []


def test_a_reader_who_is_more_inside_airflow_is_told_because_of_what():
    """Also with pages of the UI, and with a deny rule about changes: neither is a change that the role may make."""
    rules = """{id: r, plane: inbound, roles: [auditor], operations: ["*:read", "ui:pages", "ui:shell"]}
{id: d, deny: true, plane: inbound, roles: [auditor], operations: ["*:change"]}"""
    because = "because of event_logs:read, fab_permissions:read, fab_roles:read, fab_users:read"
    message = f"the role `auditor` only reads here, and is `admin` inside Airflow, {because}"
    assert message in messages(rules, roles="\n  auditor: {groups: [a]}\n")
    narrower = rules.replace(
        '"*:read", ', '"connections:read", "config:read", "providers:read", "plugins:read", "variables:read", '
    )
    told = [one for one in messages(narrower, roles="\n  auditor: {groups: [a]}\n") if "inside Airflow" in one]
    some = "config:read, connections:read, plugins:read, providers:read and 1 more"
    assert told == [f"the role `auditor` only reads here, and is `op` inside Airflow, because of {some}"]


def test_built_in_roles_are_no_finding():
    roles = "\n  airflow.viewer: {groups: [g]}\n  team: {groups: [h], includes: [airflow.op]}\n"
    assert findings("", roles=roles) == []


def test_a_rule_for_some_dags_beside_a_built_in_role_for_all():
    rules = '{id: sales, plane: inbound, roles: [team], operations: [airflow.user], dags: ["sales_*"]}'
    given = "\n  team: {groups: [h], includes: [airflow.op]}\n"
    assert messages(rules, roles=given) == [
        "the rule `sales` limits nothing to its DAGs: `airflow.op` allows the same for every DAG"
    ]
    beyond = "\n  team: {groups: [h], includes: [airflow.viewer]}\n"
    sees = "the role `team` sees every DAG, though `sales` limits it to some: it includes"
    assert messages(rules, roles=beyond) == [f"{sees} `airflow.viewer`"]
    some_of_them = rules.replace("[team]", "[team, other]")
    assert messages(some_of_them, roles=given + "  other: {groups: [o]}\n") == [f"{sees} `airflow.op`"]


def test_a_deny_rule_with_the_set_of_a_stronger_role():
    rules = READERS + "{id: no, deny: true, plane: inbound, roles: [temp], operations: [airflow.op]}"
    roles = VIEWER + "  temp: {groups: [t]}\n"
    assert messages(rules, roles=roles) == [
        "the rule `no` also takes away what weaker roles may do: `airflow.op` includes it"
    ]
    assert messages(rules.replace("airflow.op", "airflow.viewer"), roles=roles) == []


def test_a_rule_that_says_what_a_built_in_role_says_is_the_one_to_go():
    rules = "{id: a, plane: inbound, roles: [airflow.viewer], operations: [airflow.viewer]}"
    assert messages(rules, roles="\n  airflow.viewer: {groups: [g]}\n") == [
        "the rule `a` says the same as `airflow.viewer`"
    ]


def test_everyone_with_a_token_and_the_set_of_a_strong_role():
    rules = "{id: all, plane: inbound, roles: [authenticated], operations: [airflow.op]}"
    assert "the rule `all` lets everyone with a valid token do what Airflow reserves for `op`" in messages(rules)


def test_a_role_for_some_dags_that_includes_a_built_in_role_sees_all():
    rule = '{id: own, plane: inbound, roles: [sales], operations: ["dag_runs:create"], dags: ["sales_*"]}'
    included = "\n  sales: {groups: [sales], includes: [airflow.viewer]}\n"
    found = [problem for problem in told(rule, roles=included) if "sees every DAG" in problem]
    assert found == ["the role `sales` sees every DAG, though `own` limits it to some: it includes `airflow.viewer`"]
    alone = "\n  sales: {groups: [sales]}\n"
    assert not [problem for problem in told(rule, roles=alone) if "sees every DAG" in problem]


def test_a_deny_rule_is_not_blamed_for_roles_that_its_callers_do_not_have():
    deny = '{id: no, plane: inbound, deny: true, roles: [copilot], operations: ["*:delete"]}'
    admins = '{id: ops, plane: inbound, roles: [op], operations: ["connections:*"]}'
    own = '{id: own, plane: inbound, roles: [copilot], operations: ["connections:*"]}'
    assert not [problem for problem in told(f"{deny}\n{admins}") if "forbids deleting" in problem]
    assert [problem for problem in told(f"{deny}\n{admins}\n{own}") if "`connections:bulk`" in problem]
    for_viewers = deny.replace("copilot", "viewer")  # whoever is op is a viewer too
    assert [problem for problem in told(f"{for_viewers}\n{admins}") if "`connections:bulk`" in problem]


@pytest.mark.parametrize(
    ("glob", "found"), [("sales_.*", True), (".*_daily", True), ("sales_*", False), ("a.b", False)]
)
def test_a_glob_that_looks_like_a_regular_expression(glob, found):
    rule = f'{{id: x, plane: inbound, roles: [viewer], operations: [dags:read], dags: ["{glob}"]}}'
    assert bool([problem for problem in told(rule) if "with a dot in that place" in problem]) == found


def told(rules, **parts):
    return [finding.problem.message for finding in lint(load(rules, **parts))]


def test_a_rule_that_only_a_sure_run_could_use_and_no_run_may_is_dead():
    """A deny rule about a DAG applies to all calls of accounts, whose run is not sure, and runs have no roles."""
    rules = f"{READERS}{{id: o, plane: egress, roles: [viewer], hosts: [b], paths: [/x]}}\n"
    found = messages(f"{rules}{{id: x, deny: true, paths: [/x], dags: [x]}}", issuers=ISSUERS)
    assert "the rule `o` can never allow anything: the deny rule `x` covers it" in found


def test_a_rule_of_a_team_that_others_deny_is_reported_in_its_file():
    deny = '  - {id: no, plane: inbound, deny: true, roles: [sales-viewer], operations: ["dag_runs:read"]}\n'
    found = lint(load_bundle(included.bundle(text=included.main() + deny)))
    start = f"{included.SALES}:2:5: the rule `view/{included.SALES}` can never allow anything"
    assert [str(one.problem).startswith(start) for one in found if "can never allow" in str(one.problem)] == [True]
