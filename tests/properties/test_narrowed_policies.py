"""A policy without the rights that a log did not use gives no one more, and decides that log as before."""

import random

import pytest

from authz.core.documents import yaml_document
from authz.core.model import Plane
from authz.core.policy import Bundle, load
from authz.core.proof.conditions import conditions
from authz.core.proof.diff import changes
from authz.core.traffic.evaluating import Traffic
from authz.core.traffic.narrowing import proposal
from authz.core.traffic.usage import use
from tests.properties.test_replayed_policies import CHANGES, callers, counts, held, traffic_of
from tests.support.examples import SHARE
from tests.support.factories import small_policies
from tests.support.factories.decision_logs import Writer

POLICIES = max(30, round(300 * SHARE))  # of each plane


@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
def test_a_narrowed_policy_gives_no_one_more_and_decides_its_log_as_before(plane):
    first = random.randrange(1_000_000)  # noqa: S311 no secret
    narrower = 0
    for seed in range(first, first + POLICIES):
        rng = random.Random(seed)  # noqa: S311 no secret
        made, policy = small_policies.policy(rng, plane.value)
        text = small_policies.text(made)
        writer = Writer(policy)
        for asked, run in small_policies.requests(rng, plane, rng.choice([2, 10, 60])):
            who = callers(rng, policy, plane)
            writer.ask(asked, who, run, grants=held(rng, who))
        lines = b"".join(writer.sink.lines).splitlines()
        traffic = Traffic(policy, use)
        for line in lines:
            traffic.read(line)
        narrowed_text = proposal(yaml_document.parse(text.encode(), "policy.yaml"), text, policy, traffic.found)
        narrowed = load(Bundle(narrowed_text.encode(), "policy.yaml"))
        assert not [one for one in conditions(policy, narrowed) if one.widens], seed
        found = list(changes(policy, narrowed))
        assert not [change for change in found if change.gained], seed
        assert not set(CHANGES) & set(counts(traffic_of(lines, narrowed))), seed
        narrower += bool(found)
    assert narrower > POLICIES / 4
