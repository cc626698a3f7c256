"""What holds for every policy and every outbound call. The reference is written from the documentation."""

import re

from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.model import Allow, Level
from authz.core.policy import Effect
from authz.core.reasons import Reason
from tests.support.examples import examples
from tests.support.factories.policies import caller, identity, load, request, tunnel

FEW = examples(80)
LEVELS = tuple(map(str, Level))  # the surest first
ROLES = ("viewer", "copilot", "authenticated")
KEYS = ("roles", "hosts", "destinations", "methods", "paths", "dags", "tasks")


def some(*entries):
    return st.lists(st.sampled_from(entries), min_size=1, max_size=3, unique=True)


CONDITIONS = {
    "roles": some(*ROLES),
    "hosts": some("a.test", "b.a.test", "*.test", "*.a.test"),
    "destinations": some("orders", "files"),
    "methods": some("GET", "HEAD", "POST", "DELETE"),
    "paths": some("/", "/x", "/x/{y}", "/x*", "/**", "/x/**"),
    "dags": some("*", "s_*", "s_a", "*_a", "s*a", "x"),
    "tasks": some("load", "l*", "g.load", "g.*", "*"),
    "identity": st.sampled_from(LEVELS),
}
PLACES, CALLERS = ("hosts", "destinations"), ("roles", "dags", "tasks", "identity")


def rule(effect, *must, may=(), **more):
    wanted = {"effect": st.just(effect), **{key: CONDITIONS[key] for key in must}, **more}
    return st.fixed_dictionaries(wanted, optional={key: CONDITIONS[key] for key in may if key not in wanted})


CONNECT = st.just(["CONNECT"])
allow_rules = st.one_of(
    rule("allow", "paths", place, who, may=("methods", *PLACES, *CALLERS)) for place in PLACES for who in CALLERS
)
allowed_tunnels = st.one_of(
    rule("allow", place, who, methods=CONNECT, may=(*PLACES, *CALLERS)) for place in PLACES for who in CALLERS
)
deny_rules = st.one_of(
    rule("deny", key, may=("methods", "paths", *PLACES, *CALLERS[:-1]))
    for key in ("methods", "paths", *PLACES, *CALLERS[:-1])
) | rule("deny", methods=CONNECT, may=(*PLACES, *CALLERS[:-1]))
rules = allow_rules | allow_rules | allowed_tunnels | deny_rules
calls = st.builds(
    lambda method, path, host, destination: (
        tunnel(f"{host}:443", destination=destination)
        if method == "CONNECT"
        else request(method, path, plane="egress", host=host, destination=destination)
    ),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PUT", "CONNECT", "CONNECT"]),
    st.sampled_from(["/", "/x", "/x/1", "/xy", "/y"]),
    st.sampled_from(["a.test", "b.a.test", "test", "other"]),
    st.sampled_from(["", "orders", "files", "other"]),
)
runs = st.builds(
    caller,
    st.sampled_from(["s_a", "s_b", "x", "a"]),
    st.sampled_from(["load", "g.load", "other"]),
    st.sampled_from(LEVELS),
    roles=st.lists(st.sampled_from(ROLES[:-1]), max_size=2, unique=True),
)
service_accounts = st.lists(st.sampled_from(ROLES[:-1]), max_size=2, unique=True).map(lambda names: identity(*names))
callers = st.none() | service_accounts | runs | runs | runs
several = st.lists(st.tuples(calls, callers), min_size=1, max_size=15)


def written(name, rule):
    words = [f"id: {name}, plane: egress", *(["deny: true"] if rule["effect"] == "deny" else [])]
    words += [f"{key}: {rule[key]}" for key in KEYS if key in rule]
    words += [f"identity: {rule['identity']}"] if "identity" in rule else []
    return "{" + ", ".join(words) + "}"


tables = st.lists(rules, min_size=2, max_size=8).map(
    lambda drawn: {f"r{(index * 7) % 11:02}": rule for index, rule in enumerate(drawn)}
)


def policy_of(table):
    return load("\n".join(written(name, rule) for name, rule in table.items()))


# The reference: every rule is looked at, every condition by a regular expression.


def glob(pattern):
    return "".join(".*" if character == "*" else re.escape(character) for character in pattern)


def path_regex(pattern):
    return re.sub(r"\{\w+\}", "[^/]+", re.sub(r"(?<!\*)\*(?!\*)", "[^/]*", pattern)).replace("/**", "/.*")


def host_regex(pattern):
    return glob(pattern).replace(".*", ".+", 1)


def about_run(rule, key, name, run):
    """A deny rule about runs applies where it is not sure which one it is."""
    if rule["effect"] == "deny" and (run is None or run.level == "asserted"):
        return True
    return run is not None and any(re.fullmatch(glob(value), name) for value in rule[key])


def applies(rule, asked, who):
    deny, run = rule["effect"] == "deny", who.run
    in_tunnel = asked.method == "CONNECT"
    least = rule.get("identity") or ("verified" if not deny and {"dags", "tasks"} & rule.keys() else None)
    return (
        ("roles" not in rule or bool({*who.roles, "authenticated"} & set(rule["roles"])))
        and ("hosts" not in rule or any(re.fullmatch(host_regex(host), asked.host) for host in rule["hosts"]))
        and ("destinations" not in rule or asked.destination in rule["destinations"])
        and ((deny or rule.get("methods") == ["CONNECT"]) if in_tunnel else said(rule, asked))
        and ("dags" not in rule or about_run(rule, "dags", run and run.dag_id, run))
        and ("tasks" not in rule or about_run(rule, "tasks", run and run.task_id, run))
        and (least is None or (run is not None and LEVELS.index(run.level) <= LEVELS.index(least)))
    )


def said(rule, asked):
    """Method and path, of which a tunnel tells nothing."""
    methods = {asked.method, "GET"} if asked.method == "HEAD" else {asked.method}
    return ("methods" not in rule or bool(methods & set(rule["methods"]))) and (
        "paths" not in rule or any(re.fullmatch(path_regex(path), asked.path) for path in rule["paths"])
    )


def reference(table, asked, who):
    if who is None:
        return Reason.NO_TOKEN, ""
    applying = {name: rule["effect"] for name, rule in table.items() if applies(rule, asked, who)}
    for effect, reason in (("deny", Reason.DENY_RULE), ("allow", Reason.RULE)):
        if effect in applying.values():
            return reason, min(name for name, found in applying.items() if found == effect)
    if who.run is None:
        return None, ""
    surest = identity(*who.roles, run=who.run._replace(level=Level.VERIFIED))
    weak = any(rule["effect"] == "allow" and applies(rule, asked, surest) for rule in table.values())
    return Reason.IDENTITY_TOO_WEAK if weak else Reason.NO_RULE, ""


@FEW
@given(tables, several)
def test_the_index_agrees_with_the_plain_reference(table, asks):
    policy = policy_of(table)
    for asked, who in asks:
        decision = evaluate(asked, who, policy)
        reason, rule = reference(table, asked, who)
        assert decision.rule == rule
        if reason is None:
            assert decision.reason in {Reason.NO_ROLE, Reason.NO_RULE, Reason.UNKNOWN_ROUTE}
            assert (decision.reason is Reason.NO_ROLE) is (not who.roles)
        else:
            assert decision.reason is reason
        assert decision.dag_id == (who.run.dag_id if who is not None and who.run is not None else "")


@FEW
@given(tables, several)
def test_an_explanation_finds_the_same_rules_without_the_index(table, asks):
    policy = policy_of(table)
    for asked, who in asks:
        explanation, decision = explain(asked, who, policy), evaluate(asked, who, policy)
        assert explanation.decision == decision
        applying = {
            effect: [c.rule for c in explanation.considered if c.applies and c.effect is effect] for effect in Effect
        }
        if decision.reason in {Reason.DENY_RULE, Reason.RULE}:
            assert decision.rule == min(
                applying[Effect.DENY if decision.rule in applying[Effect.DENY] else Effect.ALLOW]
            )
        elif decision.reason is not Reason.NO_TOKEN:
            assert not any(applying.values())
        assert all(explanation.lines())
        assert explanation.as_json()["reason"] == decision.reason


@FEW
@given(tables, rules, several)
def test_an_allow_rule_only_widens_and_a_deny_rule_only_narrows(table, more, asks):
    for name in ("a", "z"):
        before, after = policy_of(table), policy_of({**table, name: more})
        for asked, who in asks:
            was, now = (isinstance(evaluate(asked, who, policy), Allow) for policy in (before, after))
            assert (was or not now) if more["effect"] == "deny" else (now or not was)


@FEW
@given(tables, st.lists(st.tuples(calls, runs), min_size=1, max_size=15))
def test_a_run_of_a_higher_level_may_do_all_that_one_of_a_lower_level_may(table, asks):
    policy = policy_of(table)
    for asked, who in asks:
        by_level = [
            isinstance(evaluate(asked, identity(*who.roles, run=who.run._replace(level=level)), policy), Allow)
            for level in Level
        ]
        assert by_level == sorted(by_level, reverse=True)


@FEW
@given(tables, st.lists(st.tuples(calls, runs), min_size=1, max_size=15))
def test_a_caller_that_hides_its_run_gets_only_what_rules_without_runs_allow(table, asks):
    """Without its run a caller has what rules without runs give it, and deny rules about runs all apply to it."""
    about_nobody = {name: rule for name, rule in table.items() if not {"dags", "tasks", "identity"} & rule.keys()}
    policy, plain = policy_of(table), policy_of(about_nobody) if about_nobody else None
    for asked, who in asks:
        hidden = evaluate(asked, identity(*who.roles), policy)
        if isinstance(hidden, Allow):
            assert plain is not None
            assert isinstance(evaluate(asked, identity(*who.roles), plain), Allow)
            assert isinstance(evaluate(asked, who, plain), Allow)


@FEW
@given(tables, several)
def test_no_tunnel_without_a_rule_that_says_so(table, asks):
    policy = policy_of({name: rule for name, rule in table.items() if rule.get("methods") != ["CONNECT"]})
    for asked, who in asks:
        if asked.method == "CONNECT":
            assert not isinstance(evaluate(asked, who, policy), Allow)
