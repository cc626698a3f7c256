"""A policy in which things end decides, at any time, as the policy that somebody writes then without what has ended."""

import random

import pytest

from authz.core.decision.decide import evaluate
from authz.core.model import Plane
from authz.core.policy import as_of, ends
from tests.support.examples import SHARE
from tests.support.factories.ending import T0, TIMES, by_hand, with_ends
from tests.support.factories.policies import claims
from tests.support.factories.small_policies import CLIENTS, GROUPS, SUBJECTS, loaded, policy, requests


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
