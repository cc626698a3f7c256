"""What the real Recorder wrote under small random policies is replayed as the engine decides, under any policy.

More than ten thousand records when all tests run: of each policy, under itself and under a changed one.
"""

import random

import pytest

from authz.core.decision.decide import evaluate
from authz.core.model import Allow, Identity, Plane
from authz.core.policy import NEVER
from authz.core.record import decision_in, entry_in, fields_of
from authz.core.replay import rebuild
from authz.core.traffic.changes import Comparison, Outcome
from authz.core.traffic.evaluating import Traffic
from tests.support.examples import SHARE
from tests.support.factories import small_policies
from tests.support.factories.decision_logs import Writer, claims

PER_POLICY = 30
POLICIES = max(20, round(250 * SHARE))  # of each plane
CHANGES = (Outcome.ALLOWED, Outcome.DENIED)


def callers(rng, policy, plane):
    """The claims of a token that the policy accepts on the plane; None for an anonymous caller, and a run by itself."""
    issuers = [issuer for issuer in policy.issuers.values() if plane in issuer.audiences]
    if not issuers or rng.random() < 0.15:
        return None
    groups = [group for group in (*small_policies.GROUPS, "of-no-policy") if rng.random() < 0.4]
    issuer, subject = rng.choice(issuers), rng.choice(["s0", "alice", "bob"])
    return claims(issuer.issuer, subject, groups=groups, client=rng.choice(["", "c0", "c1"]), name=issuer.name)


def traffic_of(lines, policy, **options):
    traffic = Traffic(policy, Comparison(policy, **options))
    for line in lines:
        traffic.learn(line)
    for line in lines:
        assert traffic.read(line) is None
    return traffic


def held(rng, who):
    """Grants of a caller with a token, often none; their ends are in no record."""
    entries = [entry for entry in small_policies.GRANTS if rng.random() < 0.4] if who is not None else ()
    return tuple(sorted(small_policies.grant(rng, entry, f"g{number}", NEVER) for number, entry in enumerate(entries)))


def decided(asked, who, grants, run, policy):
    """The engine's own decision for this caller and request."""
    if who is not None:
        identity = policy.identify(who, grants)
        identity.run = run
    else:
        identity = None if run is None else Identity(claims=claims(""), roles=frozenset(), run=run)
    return evaluate(asked, identity, policy)


def counts(traffic):
    found = dict.fromkeys(Outcome, 0)
    for kind, tally in traffic.found.items():
        found[kind.outcome] += tally.count
    return {outcome: count for outcome, count in found.items() if count}


def expected(told, policy):
    """The outcomes by the engine: what was decided, and what the policy decides about the same."""
    found = {}
    for asked, who, grants, run, was in told:
        now = decided(asked, who, grants, run, policy)
        if (was.reason, was.rule) == (now.reason, now.rule):
            outcome = Outcome.SAME
        elif isinstance(was, Allow) is isinstance(now, Allow):
            outcome = Outcome.OTHER_REASON
        else:
            outcome = Outcome.ALLOWED if isinstance(now, Allow) else Outcome.DENIED
        found[outcome] = found.get(outcome, 0) + 1
    return found


@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
def test_records_are_replayed_as_the_engine_decides(plane):
    first = random.randrange(1_000_000)  # noqa: S311 no secret
    records, changed = 0, 0
    for seed in range(first, first + POLICIES):
        rng = random.Random(seed)  # noqa: S311 no secret
        made, old = small_policies.policy(rng, plane.value)
        _made, new = small_policies.policy(rng, plane.value, made)
        writer, told = Writer(old), []
        for asked, run in small_policies.requests(rng, plane, PER_POLICY):
            who = callers(rng, old, plane)
            grants = held(rng, who)
            told.append((asked, who, grants, run, writer.ask(asked, who, run, grants=grants)))
        lines = b"".join(writer.sink.lines).splitlines()
        assert counts(traffic_of(lines, old)) == {Outcome.SAME: PER_POLICY}, seed
        assert counts(traffic_of(lines, old, check=True)) == {Outcome.SAME: PER_POLICY}, seed
        found = counts(traffic_of(lines, new))
        assert found == expected(told, new), seed
        assert_requests(lines, told)
        records += PER_POLICY
        changed += sum(found.get(outcome, 0) for outcome in CHANGES)
    assert records == POLICIES * PER_POLICY
    assert changed > 0  # the policies are not all alike


def assert_requests(lines, told):
    """Each record is rebuilt to the request that was asked."""
    entries = dict(filter(None, map(entry_in, lines)))
    parts = [one for one in map(decision_in, lines) if one is not None]
    for one, (asked, who, grants, run, _was) in zip(parts, told, strict=True):
        case = rebuild(fields_of(one), entries)
        assert (case.request, case.run, case.grants) == (asked, run, grants)
        assert (case.caller is None) == (who is None)
