"""A file of a team says what its confines allow, and each mistake has its place in the file that has it."""

import pytest

from authz.core.decision.decide import evaluate
from authz.core.errors import PolicyError
from authz.core.model import Allow
from authz.core.policy import Bundle, load
from authz.core.policy.bundle import (
    LAST_GOOD,
    LEFT_OUT,
    MOST_INCLUDED,
    Part,
    included,
    named,
    unpacked,
)
from authz.core.policy.included import MOST_COMBINATIONS, MOST_ENDS
from authz.core.policy.load import load_without_tests
from authz.core.policy.rules import held
from tests.support.factories.included import GOOD_HR, GOOD_SALES, HR, SALES, VIEW, bundle, main, rules
from tests.support.factories.policies import claims, request, run


def problems(*arguments, **options):
    with pytest.raises(PolicyError) as caught:
        load(bundle(*arguments, **options))
    return [str(problem) for problem in caught.value.problems]


def mistake(line, **options):
    """The one problem of a rule in the file of the team `sales`, without its place."""
    [problem] = problems(rules(line), **options)
    place, _, text = problem.partition(": ")
    assert place.startswith(f"{SALES}:2:")
    return text


def allowed(policy, method, path, *groups, calling=None, **more):
    caller = policy.identify(claims(groups=groups))
    if calling is not None:
        caller = type(caller)(claims=caller.claims, roles=frozenset(), agent=False, run=calling)
    return isinstance(evaluate(request(method, path, **more), caller, policy), Allow)


def test_rules_of_a_team_are_rules_of_the_policy_under_the_name_of_their_file():
    policy = load(bundle())
    assert [rule for rule in policy.rules if "/teams" in rule] == [f"secret/{SALES}", f"view/{HR}", f"view/{SALES}"]
    rule = policy.rules[f"secret/{SALES}"]
    assert (rule.file, rule.line, policy.where(rule)) == (SALES, 3, f"{SALES}:3:5")
    assert policy.where(policy.rules["admins"]).startswith("policy.yaml:")
    assert (rule.written, rule.roles) == (f"secret/{SALES}", ("sales-viewer",))
    assert [glob.text for glob in policy.rules[f"view/{SALES}"].dags] == ["sales_*"]


def test_a_deny_rule_of_a_team_reaches_its_own_roles_only():
    policy = load(bundle())
    for path in ("/api/v2/dags/sales_secret", "/api/v2/dags/~/dagRuns"):
        assert not allowed(policy, "GET", path, "airflow-sales-viewers")
    assert allowed(policy, "GET", "/api/v2/dags/sales_secret", "airflow-hr-viewers")
    assert allowed(policy, "GET", "/api/v2/dags/~/dagRuns", "admins")


def test_on_egress_a_team_may_allow_its_runs_and_its_roles_what_the_destinations_offer():
    lines = (
        '{id: runs, plane: egress, dags: team, destinations: [warehouse], paths: ["/v1/**"]}',
        '{id: bots, plane: egress, roles: [sales-viewer], destinations: [warehouse], paths: ["/v2/**"]}',
        "{id: tunnel, plane: egress, dags: team, destinations: [warehouse], methods: [CONNECT]}",
        "{id: no, plane: egress, deny: true, destinations: [warehouse], methods: [DELETE]}",
        '{id: post, deny: true, dags: team, operations: ["dag_runs:delete"]}',
    )
    policy = load(bundle(rules(*lines)))
    to = {"plane": "egress", "destination": "warehouse"}
    assert allowed(policy, "GET", "/v1/x", calling=run("sales_a", level="verified"), **to)
    assert not allowed(policy, "GET", "/v1/x", calling=run("hr_a"), **to)
    assert not allowed(policy, "GET", "/v1/x", calling=run("sales_a", level="asserted"), **to)
    assert allowed(policy, "GET", "/v2/x", "airflow-sales-viewers", **to)
    assert not allowed(policy, "DELETE", "/v2/x", "airflow-sales-viewers", **to)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{id: a, plane: inbound, roles: [hr-viewer], operations: ["dags:read"], dags: team}',
         "`hr-viewer` is not a role of this file (it may name `sales-viewer`)"),
        ('{id: a, plane: inbound, roles: [sales-viewer], operations: ["dags:read"], dags: ["sales_a", "*"]}',
         ("`*` is not within the DAGs of this file: `sales_*`"
         " (name some of them, or write dags: team if the file has a team)")),
        ('{id: a, plane: inbound, roles: [sales-viewer], operations: ["pools:read"]}',
         ("the rule has no `dags`, so it is about more than this file may: `sales_*`"
         " (name some of them, or write dags: team if the file has a team)")),
        ("{id: a, deny: true, dags: [sales_secret]}",
         "runs have no roles, so a deny rule for roles cannot be about them (remove `dags`, or add plane: inbound)"),
        ("{id: a, plane: egress, deny: true, tasks: [x], destinations: [warehouse]}",
         "runs have no roles, so a deny rule for roles cannot be about them (remove `tasks`, or add plane: inbound)"),
        ('{id: a, plane: egress, deny: true, paths: ["/x"]}',
         ("the rule has no `destinations`, so it is about more than this file may: `warehouse`"
         " (name some of them under `destinations`)")),
        ('{id: a, plane: egress, dags: team, destinations: [orders], paths: ["/x"]}',
         "`orders` is not within the destinations of this file: `warehouse` (name some of them under `destinations`)"),
        ('{id: a, plane: egress, dags: team, identity: asserted, destinations: [warehouse], paths: ["/x"]}',
         "a run that is only asserted may be one of another team (write identity: verified-bearer, or verified)"),
        ('{id: a, public: true, plane: inbound, methods: [GET], paths: ["/x"]}',
         "a public rule is for everyone, and this file has rules for its roles (remove it)"),
        ('{id: a, plane: inbound, roles: [nobody], operations: ["dags:read"], dags: team}',
         "unknown role `nobody` (define it under `roles`)"),
        ('{id: a, plane: inbound, operations: ["dags:read"], dags: team}',
         "an allow rule names its roles (add roles: [...], or say `public: true` or `deny: true`)"),
        ('{id: a, plane: inbound, roles: [sales-viewer], operations: ["dags:read"], methods: [PUT], dags: team}',
         "none of the rule's operations has these methods, so it can never apply (remove `methods`)"),
    ],
)  # fmt: skip
def test_a_rule_outside_of_the_confines_is_a_mistake(line, text):
    assert mistake(line) == text


def test_a_rule_for_destinations_needs_confines_with_some():
    line = '{id: a, plane: egress, dags: team, destinations: [warehouse], paths: ["/x"]}'
    text = "the confines of this file have nothing for this rule on the egress plane (add plane: inbound)"
    assert problems(hr=rules(line)) == [f"{HR}:2:5: {text}"]


ONLY = "\n  - {file: teams/sales.yaml, %s}\n"


def alone(line, confines):
    part = Part(SALES, rules(line).encode())
    return Bundle(main(include=ONLY % confines).encode(), "policy.yaml", (part,))


def why(line, confines):
    with pytest.raises(PolicyError) as caught:
        load(alone(line, confines))
    return [str(problem).partition(": ")[2] for problem in caught.value.problems]


def test_confines_may_be_operations_without_dags():
    confines = 'roles: [admin], operations: ["connections:*"]'
    assert load(alone('{id: a, plane: inbound, roles: [admin], operations: ["connections:read"]}', confines))
    assert why('{id: a, plane: inbound, roles: [admin], operations: ["pools:read", "*:read"]}', confines) == [
        f"`{word}` is not within the operations of this file: `connections:*` (name some of them under `operations`)"
        for word in ("pools:read", "*:read")
    ]
    assert why('{id: a, plane: inbound, roles: [admin], paths: ["/x"]}', confines) == [
        (
            "the rule has no `operations`, so it is about more than this file may: `connections:*`"
            " (name some of them under `operations`)"
        )
    ]
    assert why('{id: a, plane: inbound, deny: true, operations: ["connections:read"], dags: team}', confines) == [
        "the confines of this file have no DAGs (ask for `team` or `dags` in its entry of `include`)"
    ]


def test_an_operation_that_rules_must_name_is_not_a_teams_unless_the_confines_name_it():
    catalogue = load(bundle()).catalogue
    name = next(name for name, operation in catalogue.operations.items() if operation.never)
    line = f'{{id: a, plane: inbound, roles: [admin], operations: ["{name}"], paths: ["/**"], dags: ["*"]}}'
    found = why(line, 'roles: [admin], dags: ["*"]')
    assert len(found) == 1
    assert found[0].startswith(f"`{name}` is not within the operations of this file (the `operations` of the file's")


def test_confines_may_be_runs_alone():
    confines = "dags: [a], destinations: [x]"
    assert load(alone('{id: a, plane: egress, dags: [a], destinations: [x], paths: ["/y"]}', confines))
    assert why("{id: a, plane: egress, deny: true, destinations: [x]}", confines) == [
        "a deny rule of this file is about its roles, and it has none (ask for `roles` in its entry of `include`)"
    ]
    assert why('{id: a, plane: inbound, deny: true, paths: ["/x"]}', "roles: [admin], destinations: [x]") == [
        "the confines of this file have nothing for this rule on the inbound plane (add plane: egress)"
    ]
    assert why(
        '{id: a, plane: egress, dags: [a], destinations: [x], paths: ["/y"]}', "roles: [admin], destinations: [x]"
    ) == ["the confines of this file have nothing for this rule on the egress plane (add plane: inbound)"]
    roles = ", ".join(f"admin, everyone, {team}-viewer" for team in ("sales",))
    assert "`hr-viewer` is not a role of this file (it may name `admin`, `everyone`, `sales-viewer`)" in why(
        '{id: a, plane: egress, roles: [hr-viewer], destinations: [x], paths: ["/y"]}',
        f"roles: [{roles}], destinations: [x]",
    )


def test_many_confines_are_not_all_listed():
    line = '{id: a, plane: inbound, roles: [admin], operations: ["dags:read"], dags: [z]}'
    [text] = why(line, "roles: [admin], dags: [a, b, c, d, e, f, g]")
    assert "`a`, `b`, `c`, `d`, `e` and 2 more" in text


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ("{file: teams/sales.yaml, team: salse}", "unknown team `salse` (did you mean `sales`?)"),
        ("{file: teams/sales.yaml, team: xxxxxxxx}", "unknown team `xxxxxxxx` (it must be a team of `teams`)"),
        ("{file: teams/sales.yaml, roles: [admni], dags: [a]}", "unknown role `admni` (did you mean `admin`?)"),
        ("{file: teams/sales.yaml, roles: [qqq], dags: [a]}", "unknown role `qqq` (define it under `roles`)"),
        ("{file: teams/sales.yaml, roles: [authenticated], dags: [a]}",
         "`authenticated` is everyone, and a deny rule of the file would reach everyone (name roles of the team)"),
        ("{file: teams/sales.yaml, roles: [admin]}",
         ("the rules of this file could be about nothing"
         " (name its `team`, or `dags`, `operations` or `destinations`)")),
        ("{file: teams/sales.yaml, dags: [a]}",
         "the rules of this file could be for no one (name its `team`, or `roles`)"),
        ("{file: teams/*.yaml, team: sales}",
         "`teams/*.yaml` stands for many files (name one file: each has an entry with its confines)"),
        ("{file: ../sales.yaml, team: sales}",
         "`../sales.yaml` leaves the policy's folder (name files in it or below it, relative to it)"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_confines_is_one_of_the_policy_file(include, expected):
    text = main(include=f"\n  - {include}\n")
    file = Bundle(text.encode(), "policy.yaml", (Part(SALES, b"rules: []"),))
    with pytest.raises(PolicyError) as caught:
        load(file)
    assert expected in [str(problem).partition(": ")[2] for problem in caught.value.problems]
    assert any(problem.file == "policy.yaml" for problem in caught.value.problems)


def test_a_file_is_included_once():
    text = main(include=f"\n  - {{file: {SALES}, team: sales}}\n  - {{file: {SALES}, team: hr}}\n")
    with pytest.raises(PolicyError, match=r"`teams/sales\.yaml` is included twice"):
        load(Bundle(text.encode(), "policy.yaml", (Part(SALES, b"rules: []"),)))


def test_an_include_stands_above_what_half_of_the_file_could_lack():
    text = main(include="\n  - {}\n").replace("include:\n  - {}\n", "") + "include:\n  - {file: a.yaml, team: hr}\n"
    with pytest.raises(PolicyError, match="`include` stands below `issuers`"):
        load(Bundle(text.encode(), "policy.yaml"))


def test_a_file_that_is_not_there_or_no_yaml_is_a_mistake():
    assert problems(None) == [f"{SALES}: cannot be read: Permission denied"]
    [text] = problems("rules: [")
    assert text.startswith(f"{SALES}:2:1: not valid YAML")
    missing = Bundle(main().encode(), "policy.yaml", bundle().parts[:1])
    with pytest.raises(PolicyError, match=r"`teams/sales.yaml` names no file"):
        load(missing)


def test_mistakes_of_shape_and_meaning_are_found_together():
    file = rules(
        '{id: a, plane: inbound, roles: [sales-viewer], operations: ["dags:raed"], dags: team}',
        "{id: b, plain: inbound, roles: [hr-viewer]}",
        "{id: b, plane: inbound, deny: true, dags: team}",
        more="issuers: []\n",
    )
    found = problems(file)
    assert found == [
        (
            f"{SALES}:2:65: unknown operation `dags:raed` (Airflow {load(bundle()).catalogue.version})"
            " (did you mean `dags:read`?)"
        ),
        f"{SALES}:3:13: unknown key `plain` (did you mean `plane`?)",
        f"{SALES}:4:10: the rule `b` is there twice (the first is on line 3: choose another id)",
        f"{SALES}:5:1: unknown key `issuers` (known keys: end_mark, description, rules, callers, tests, never)",
    ]


def test_no_rule_of_a_team_is_called_like_those_of_grants():
    line = '{id: grant, plane: inbound, roles: [sales-viewer], operations: ["dags:read"], dags: team}'
    assert mistake(line) == "`grant` is what the rules of `grantable` are called (choose another id)"


def test_what_callers_may_ask_for_is_a_matter_of_the_policy_file():
    more = "grantable:\n  - {id: x, requesters: [everyone], approvers: none, longest: 1h, roles: [admin]}\n"
    [text] = problems(GOOD_SALES + more)
    assert "unknown key `grantable`" in text
    rule = '{id: a, plane: inbound, roles: [grant/x], operations: ["dags:read"], dags: team}'
    [text] = problems(rules(rule), text=main() + more)
    assert "unknown role `grant/x`" in text
    assert {"grant/x"} == {name for name in load(bundle(text=main() + more)).roles if "/" in name}


def test_a_grant_of_a_role_gives_what_the_file_of_its_team_gives():
    more = "grantable:\n  - {id: x, requesters: [everyone], approvers: none, longest: 1h, roles: [sales-viewer]}\n"
    policy = load(bundle(text=main() + more))
    path = "/api/v2/dags/sales_a/dagRuns"
    assert not allowed(policy, "GET", path, "all")
    holder = policy.identify(claims(groups=["all"]), held(["x"]))
    assert evaluate(request("GET", path), holder, policy).rule == f"view/{SALES}"
    assert not isinstance(evaluate(request("GET", "/api/v2/dags/sales_secret"), holder, policy), Allow)


def test_a_half_written_file_is_refused_where_it_says_so():
    assert problems(f"end_mark: true\n{GOOD_SALES}") == [
        f"{SALES}:1:1: the file has no end mark: it is half written (if it is whole, end it with a line `...`)"
    ]
    assert load(bundle(f"end_mark: true\n{GOOD_SALES}...\n"))


def test_the_limits_of_a_file_are_its_own():
    many = ", ".join(f'"/api/v2/dags/{number}"' for number in range(MOST_COMBINATIONS + 1))
    [text] = problems(rules(f"{{id: a, plane: inbound, deny: true, dags: team, paths: [{many}]}}"))
    assert f"the rules have more than {MOST_COMBINATIONS} combinations" in text
    ends = [
        f"{{id: r{day}, plane: inbound, deny: true, dags: team, until: 2030-01-{day + 1:02}}}"
        for day in range(MOST_ENDS + 2)
    ]
    assert load(bundle(rules(*ends[:MOST_ENDS])))
    [text] = problems(rules(*ends))
    assert text.startswith(f"{SALES}:{MOST_ENDS + 2}:")
    assert f"end at more than {MOST_ENDS} times" in text
    listed = "".join(f"\n  - {{file: t/{number}.yaml, team: hr}}" for number in range(MOST_INCLUDED + 1))
    with pytest.raises(PolicyError, match=f"at most {MOST_INCLUDED}"):
        load(Bundle(main(include=f"{listed}\n").encode(), "policy.yaml"))


def test_a_pattern_of_test_files_does_not_mean_files_with_rules():
    text = main().replace("version: 1\n", 'version: 1\ntest_files: ["teams/*.yaml"]\n')
    assert load(bundle(text=text)).rules.keys() == load(bundle()).rules.keys()


def test_the_names_of_files_are_known_before_the_policy_is_read():
    assert named(main().encode()) == (SALES, HR)
    assert included(main().encode()) == {SALES, HR}
    assert named(b"include: [a, {file: 7}, {team: x}, {file: ../x.yaml}, {file: a.yaml}]\n") == ("a.yaml",)
    assert named(b"include: {file: a.yaml}\n") == ()


def test_without_its_tests_a_policy_has_the_rules_of_its_teams():
    broken = GOOD_HR + "tests: [{who: qqq}]\ncallers: 7\n"
    policy = load_without_tests(bundle(hr=broken))
    assert policy.rules.keys() == load(bundle()).rules.keys()


def test_the_last_good_content_counts_without_its_tests():
    broken = GOOD_HR + "tests: [{who: qqq, operation: dags:read, expect: deny}]\nnever: [{}]\n"
    parts = (Part(HR, broken.encode(), status=LAST_GOOD), bundle().parts[1])
    assert load(Bundle(main().encode(), "policy.yaml", parts)).rules.keys() == load(bundle()).rules.keys()


def test_a_file_that_is_left_out_denies_its_roles_all_that_it_might_deny():
    parts = (bundle().parts[0], Part(SALES, b"older", status=LEFT_OUT))
    policy = load(Bundle(main().encode(), "policy.yaml", parts))
    assert [rule for rule in policy.rules if "left-out" in rule] == [f"left-out-egress/{SALES}", f"left-out/{SALES}"]
    assert policy.where(policy.rules[f"left-out/{SALES}"]) == "policy.yaml:3:5"
    assert not allowed(policy, "GET", "/api/v2/dags/sales_a", "airflow-sales-viewers")
    assert allowed(policy, "GET", "/api/v2/dags/hr_a", "airflow-sales-viewers")
    assert allowed(policy, "GET", "/api/v2/dags/sales_a", "airflow-hr-viewers")


def test_the_revision_says_which_content_is_in_force():
    whole = bundle()
    older = Part(SALES, GOOD_SALES.encode(), status=LAST_GOOD)
    without = Part(SALES, GOOD_SALES.encode(), status=LEFT_OUT)
    revisions = [Bundle(whole.data, "policy.yaml", (whole.parts[0], part)).revision for part in (older, without)]
    assert revisions[0] == whole.revision
    assert revisions[1] != whole.revision


def test_what_became_of_each_file_is_packed_with_it():
    parts = (Part(HR, b"x", status=LEFT_OUT), Part(SALES, b"yz", status=LAST_GOOD), Part("t.yaml", b"t"))
    packed = Bundle(b"main", "policy.yaml", parts).packed()
    assert unpacked(packed, "policy.yaml", several=True).parts == parts


def test_a_team_that_includes_a_file_uses_its_patterns():
    text = main().replace("dags: team", "dags: [x]")
    assert load(bundle(GOOD_SALES, GOOD_HR, text=text))
    assert VIEW % "sales" in GOOD_SALES
