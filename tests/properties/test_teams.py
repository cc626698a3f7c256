"""One rule for all teams decides exactly as the rules that a person would write for each of them."""

from dataclasses import replace
from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision.decide import evaluate
from authz.core.errors import PolicyError
from authz.core.model import Plane
from authz.core.policy.overlap import glob_of, globs
from authz.core.proof.diff import changes
from tests.support.examples import examples
from tests.support.factories.policies import claims, load, request, run

SOME = examples(60)
NAMES = ("a", "b", "ab", "a_b", "b-a", "viewer")
PATTERNS = ("{team}_*", "{team}", "*_{team}", "{team}.*", "x_{team}_*", "*{team}*")
LEVELS = ("viewer", "op")
FORMS = (
    'plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read", "dag_runs:*"], dags: team',
    'plane: inbound, roles: ["{team}-op"], operations: ["dags:*"], dags: team',
    'plane: inbound, roles: ["{team}-viewer", "{team}-op"], operations: ["pools:read"]',
    'deny: true, plane: inbound, roles: ["{team}-op"], operations: ["dag_runs:create"], dags: team',
    'deny: true, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: ["*_secret"]',
    'plane: egress, dags: team, hosts: [a.test], paths: ["/x/**"]',
    'plane: egress, roles: ["{team}-op"], hosts: [b.test], paths: ["/x/**"], dags: team, identity: asserted',
    'deny: true, plane: egress, roles: ["{team}-op"], dags: team, methods: [DELETE]',
)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True)
forms = st.lists(st.sampled_from(FORMS), min_size=1, max_size=5, unique=True).map(lambda drawn: [FORMS[0], *drawn])
REQUESTS = [
    *(
        request(method, f"/api/v2/dags/{dag}{more}", narrowed=narrowed)
        for dag in ("a", "a_b", "a_b_x", "ab_x", "b.x", "x_a_y", "a_secret", "~")
        for method, more in (("GET", ""), ("POST", "/dagRuns"), ("DELETE", ""))
        for narrowed in (False, True)
    ),
    *(request("GET", f"/api/v2/{path}", narrowed=narrowed) for path in ("dags", "pools") for narrowed in (False, True)),
    *(request(method, "/x/y", plane="egress", host=f"{name}.test") for method in ("GET", "DELETE") for name in "ab"),
]
RUNS = [None, run("a_b_x"), run("ab_x", level="verified-bearer"), run("b.x", level="asserted")]


def askers(teams):
    """Callers with no group, with one, and with two."""
    held = [f"{team}-{level}s" for team in teams for level in LEVELS]
    return [(), *((group,) for group in held), *combinations(held, 2)]


def for_all(teams, owned, rules):
    listed = ", ".join(f'"{pattern}"' for pattern in owned)
    roles = "".join(f'\n  "{{team}}-{level}": {{groups: ["{{team}}-{level}s"]}}' for level in LEVELS)
    written = "\n".join(f"{{id: r{index}, {rule}}}" for index, rule in enumerate(rules))
    return load(
        written, roles=f"{roles}\n", top=f"version: 1\nteams: [{{names: [{', '.join(teams)}], dags: [{listed}]}}]"
    )


def one_by_one(teams, owned, rules):
    """The same, written by hand; ids sort alike."""
    roles = "".join(f'\n  "{team}-{level}": {{groups: ["{team}-{level}s"]}}' for team in teams for level in LEVELS)
    lines = []
    for team in teams:
        listed = ", ".join(f'"{pattern.replace("{team}", team)}"' for pattern in owned)
        lines += [
            f"{{id: r{index}.{team}, {rule.replace('dags: team', f'dags: [{listed}]').replace('{team}', team)}}}"
            for index, rule in enumerate(rules)
        ]
    return load("\n".join(lines), roles=f"{roles}\n")


def overlapping(teams, owned):
    return any(
        globs(glob_of(mine.replace("{team}", one)), glob_of(other.replace("{team}", another)))
        for one, another in combinations(teams, 2)
        for mine in owned
        for other in owned
    )


def loaded(teams, owned, rules):
    """The policy; None if two teams own a DAG."""
    try:
        return for_all(teams, owned, rules)
    except PolicyError as error:
        if all("a DAG may have two owners" in problem.message for problem in error.problems):
            return None
        raise


@SOME
@given(names, patterns, forms)
def test_a_rule_for_all_teams_decides_as_a_rule_for_each(teams, owned, rules):
    policy = loaded(teams, owned, rules)
    assert (policy is None) == overlapping(teams, owned)
    if policy is None:
        return
    by_hand = one_by_one(teams, owned, rules)
    for groups in askers(teams):
        who, same = (each.identify(claims(groups=groups)) for each in (policy, by_hand))
        assert who == same
        for asked, calling in product(REQUESTS, RUNS):
            if calling is None or asked.plane is Plane.EGRESS:
                made = evaluate(asked, replace(who, run=calling), policy)
                expected = evaluate(asked, replace(who, run=calling), by_hand)
                assert repr(made).replace("/", ".") == repr(expected).replace("/", ".")  # but for the rules' ids


@SOME
@given(names, patterns, forms)
def test_the_prover_finds_no_difference_to_rules_for_each(teams, owned, rules):
    policy = loaded(teams, owned, rules)
    if policy is not None:
        assert list(changes(policy, one_by_one(teams, owned, rules))) == []
