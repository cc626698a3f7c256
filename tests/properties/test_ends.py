"""A policy in which things end decides, at any time, as the policy that somebody writes then without what has ended."""

import json
import random

import pytest

from authz.core.decision.decide import evaluate
from authz.core.documents.moments import moment_text
from authz.core.model import Plane
from authz.core.policy import as_of, ends
from tests.support.examples import SHARE
from tests.support.factories.policies import claims
from tests.support.factories.small_policies import CLIENTS, GROUPS, SUBJECTS, loaded, policy, requests

T0 = 1_800_000_000
TIMES = [T0, T0 + 60, T0 + 61, T0 + 3600]
KINDS = ("groups", "clients", "subjects")
NO_ONE = "no one has this group"


def with_ends(rng, made):
    """The policy with ends here and there, and for each list of members who is in it until when."""
    made = json.loads(json.dumps(made))
    for rule in made["rules"]:
        if rng.random() < 0.5:
            rule["until"] = moment_text(rng.choice(TIMES))
    for role in made["roles"].values():
        for kind in KINDS:
            if kind in role:
                role[kind] = [
                    {"name": name, "until": moment_text(rng.choice(TIMES))} if rng.random() < 0.5 else name
                    for name in role[kind]
                ]
        if rng.random() < 0.3:
            role["issuers"] = [made["issuers"][0]["name"]]
    return made


def by_hand(made, now):
    """The same policy, written at that time by somebody who removes what has ended."""
    over = {moment_text(time) for time in TIMES if time <= now}
    made = json.loads(json.dumps(made))
    made["rules"] = [rule for rule in made["rules"] if rule.pop("until", None) not in over]
    for role in made["roles"].values():
        had = any(kind in role for kind in KINDS)
        for kind in KINDS:
            left = [
                member["name"] if isinstance(member, dict) else member
                for member in role.get(kind, ())
                if not (isinstance(member, dict) and member["until"] in over)
            ]
            role.pop(kind, None)
            if left:
                role[kind] = left
        if had and not any(kind in role for kind in KINDS):
            role["groups"] = [NO_ONE]
    return made


def caller(rng, issuer):
    who = {"groups": rng.sample(GROUPS, rng.randint(0, 3)), "client": rng.choice(["", *CLIENTS])}
    return claims(**who, subject=rng.choice(["someone", *SUBJECTS]), issuer=issuer)


@pytest.mark.parametrize("seed", range(max(20, round(400 * SHARE))))
def test_it_decides_as_a_policy_that_is_written_then(seed):
    rng = random.Random(seed)  # noqa: S311 examples, not secrets
    plane = rng.choice([*Plane])
    made, _ = policy(rng, plane)
    made = with_ends(rng, made)
    written = loaded(made)
    stepped = written
    asked = [(caller(rng, rng.choice(made["issuers"])["name"]), *pair) for pair in requests(rng, plane, 20)]
    for now in (T0 - 1, *TIMES, T0 + 10**6):
        expected, found = loaded(by_hand(made, now)), as_of(written, now)
        stepped = as_of(stepped, now)
        assert found.valid_until > now
        assert all(end > now for end in ends(found))
        assert (found.edition, found.airflow_roles) == (stepped.edition, expected.airflow_roles)
        for who, request, run in asked:
            theirs = expected.identify(who)
            for one in (found, stepped):
                identity = one.identify(who)
                assert (identity.roles, identity.airflow_role) == (theirs.roles, theirs.airflow_role)
                ours = evaluate(request, with_run(identity, run), one)
                assert ours == evaluate(request, with_run(theirs, run), expected), (now, request)


def with_run(identity, run):
    return identity if run is None else type(identity)(claims=identity.claims, roles=identity.roles, run=run)
