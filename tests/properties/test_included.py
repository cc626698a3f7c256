"""What a team writes in its file stays within its confines, whatever it writes: by brute force over small policies.

Rules apply by the plain definition of each condition (`authz.core.decision.conditions`), never by the algebra that
checks the confines. Lists that are not narrowed (`~`), anonymous callers and unsure runs are among the requests.
"""

import json
import random
from functools import cache

import pytest

from authz.core.decision.conditions import Facts, conditions
from authz.core.decision.decide import evaluate, narrows, route_of, shows
from authz.core.errors import PolicyError
from authz.core.model import Allow, Plane
from authz.core.policy import AUTHENTICATED, Bundle, Effect, load
from authz.core.policy.bundle import LEFT_OUT, Part
from authz.core.policy.confines import Confines
from authz.core.policy.outbound import sure
from authz.core.policy.overlap import glob_of
from tests.support.examples import SHARE
from tests.support.factories import small_policies as small
from tests.support.factories.policies import identity

NAME = "teams/a.yaml"
ROLES = ["r0", "r1", "r2"]
TRIES = max(200, round(2000 * SHARE))
POINTS = 60


def drawn(rng, plane):
    """A policy file, its confines for the file of a team, and that file's rules, often within the confines."""
    made = small.drawn(rng, plane.value)
    entry = {"file": NAME, "roles": small.names(rng, ROLES)}
    if rng.random() < 0.8:
        entry["dags"] = small.names(rng, small.GLOBS)
    if rng.random() < 0.4:
        entry["operations"] = small.names(rng, small.OPERATIONS, 3)
    if rng.random() < 0.8 or len(entry) == 2:
        entry["destinations"] = small.names(rng, small.DESTINATIONS)
    rules = [small.rule(rng, number, plane.value) for number in range(rng.randint(1, 2))]
    for rule in rules:
        for key in ("roles", "dags", "operations", "destinations"):
            if key in entry and (key in rule or rng.random() < 0.6) and rng.random() < 0.8:
                rule[key] = entry[key]
        if rule.get("deny") and rng.random() < 0.5:
            rule.pop("roles", None)
        if plane is Plane.EGRESS and rule.get("deny"):
            rule.pop("dags", None)
            rule.pop("tasks", None)
        if plane is Plane.INBOUND:
            rule.pop("destinations", None)
        else:
            rule.pop("operations", None)
    return made, entry, rules


def compiled(made, entry, rules):
    """The policy with the file; with None in place of the rules, the file is left out, and of the entry, not named."""
    return load(Bundle(*written(made, entry, rules)))


def written(made, entry, rules):
    """The parts of the bundle."""
    top = f"include: {json.dumps([entry])}\n" if entry is not None else ""
    sections = "".join(f"{key}: {json.dumps(made[key])}\n" for key in ("issuers", "roles", "rules"))
    file = json.dumps({"rules": rules}).encode()
    part = Part(NAME, b"", status=LEFT_OUT) if rules is None else Part(NAME, file)
    return f"version: 1\n{top}{sections}".encode(), "policy.yaml", (part,) if entry is not None else ()


@cache
def policies(plane):
    """Policies with a file of a team that is within its confines, without it, and with it left out."""
    return [*_policies(plane)]


def _policies(plane):
    for number in range(TRIES):
        rng = random.Random(f"{plane}{number}")  # noqa: S311 a test draws
        made, entry, rules = drawn(rng, plane)
        try:
            without = compiled(made, None, None)
            left_out = compiled(made, entry, None)
        except PolicyError:
            continue
        policy = within_or_none(made, entry, rules)
        if policy is not None:
            yield rng, entry, without, policy, left_out


def within_or_none(made, entry, rules):
    """The policy with the file; None if the file has a mistake, and then no other one has."""
    found = Bundle(*written(made, entry, rules))
    try:
        return load(found)
    except PolicyError as refused:
        if {problem.file for problem in refused.problems} == {NAME}:
            return None
        raise


def points(rng, plane, policy):
    """Requests and their callers: with roles, which runs that are sure do not have, and anonymous ones."""
    for request, run in small.requests(rng, plane, POINTS):
        held = frozenset() if sure(run) else frozenset(rng.sample(ROLES, rng.randint(0, 2)))
        roles = frozenset(more for role in held if role in policy.roles for more in policy.roles[role].includes)
        anonymous = run is None and rng.random() < 0.1
        yield request, None if anonymous else identity(*roles, run=run)


def holds(rule, request, caller, policy):
    facts = Facts(request=request, identity=caller, route=route_of(request, policy), policy=policy)
    return all(condition.holds for condition in conditions(rule, facts))


def within(confines, rule, request, caller, policy):
    """Whether one of the widest rules of the same effect applies there too."""
    return any(holds(wide, request, caller, policy) for wide in confines if wide.effect is rule.effect)


def widest(entry, left_out):
    """The widest rules of both effects: what stands in place of a file that is left out, and what it might allow."""
    confines = Confines(
        name=NAME,
        roles=tuple(entry["roles"]),
        dags=tuple(map(glob_of, entry.get("dags", ()))),
        operations=tuple(entry.get("operations", ())),
        destinations=tuple(entry.get("destinations", ())),
    )
    denying = [rule for rule in left_out.rules.values() if rule.id.startswith("left-out")]
    assert {rule.id for rule in denying} == {rule.id for rule in confines.widest(Effect.DENY)}
    return [*denying, *confines.widest(Effect.ALLOW)]


@pytest.mark.parametrize("plane", list(Plane))
def test_no_rule_of_a_team_applies_outside_of_its_confines(plane):
    reached = 0
    for rng, entry, without, policy, left_out in policies(plane):
        confines = widest(entry, left_out)
        own = [rule for rule in policy.rules.values() if rule.file]
        for request, caller in points(rng, plane, without):
            for rule in own:
                if request.plane in rule.planes and holds(rule, request, caller, policy):
                    reached += 1
                    assert within(confines, rule, request, caller, policy), (rule, request, caller)
                    ours = caller is not None and (caller.roles & {*entry["roles"]} or sure(caller.run))
                    assert ours, (rule, request, caller)
    assert reached > TRIES / 10


@pytest.mark.parametrize("plane", list(Plane))
def test_no_decision_changes_outside_of_the_confines(plane):
    changed = 0
    for rng, entry, without, policy, left_out in policies(plane):
        confines = widest(entry, left_out)
        for request, caller in points(rng, plane, without):
            before, after = evaluate(request, caller, without), evaluate(request, caller, policy)
            if isinstance(before, Allow) != isinstance(after, Allow):
                changed += 1
                assert any(holds(wide, request, caller, policy) for wide in confines), (request, caller)
                assert caller is not None
                assert caller.roles & {*entry["roles"]} or sure(caller.run)
    assert changed > TRIES / 50


@pytest.mark.parametrize("plane", list(Plane))
def test_what_a_file_might_forbid_is_not_allowed_while_it_is_left_out(plane):
    allowed = denied = 0
    for rng, _, without, policy, left_out in policies(plane):
        for request, caller in points(rng, plane, without):
            if isinstance(evaluate(request, caller, left_out), Allow):
                allowed += 1
                decision = evaluate(request, caller, policy)
                assert isinstance(decision, Allow), (request, caller)
                if caller is not None and narrows(request, caller, route_of(request, policy)):
                    for dag in small.DAGS:
                        assert shows(request, caller, policy, dag) or not shows(request, caller, left_out, dag)
            elif isinstance(evaluate(request, caller, without), Allow):
                denied += 1
    assert allowed > TRIES / 10
    assert denied > TRIES / 50


def test_everyone_with_a_token_is_never_a_role_of_a_team():
    rng = random.Random(1)  # noqa: S311 a test draws
    made, entry, rules = drawn(rng, Plane.INBOUND)
    with pytest.raises(PolicyError, match="is everyone"):
        compiled(made, {**entry, "roles": [AUTHENTICATED]}, rules)
