"""With a candidate every answer is what it is without, and the record says what the engine decides under it."""

import json
import random
from collections import Counter
from math import inf

import pytest

from authz.check.assertions import AssertionMinter
from authz.check.shadow import Candidate, Shadow
from authz.core.grants import Holding
from authz.core.model import HeldGrant, Plane
from authz.core.reasons import DENIED_BY_POLICY, Reason, word_of
from authz.core.replay import decide_again, rebuild
from authz.core.shadow import Changes
from authz.ops.metrics import Metrics
from tests.properties.test_replay import service as with_runs
from tests.support.factories import small_policies
from tests.support.factories.proofs import CLAIM, run_token
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.service import Rig, message

POLICIES = 60  # of each plane, most of them near the one before
PAIRS = 1_100  # of policies, on each plane
REQUESTS = 4  # of each pair, each asked twice
SEED = 20261130
EVALUATED = {Reason.RULE, Reason.PUBLIC, *DENIED_BY_POLICY}


class Newest:
    """A sink that keeps the newest decision, and every identity entry."""

    file, offers = 1, ()

    def __init__(self):
        self.record, self.entries = None, {}

    def turn(self):
        pass

    def put(self, lines):
        for found in map(json.loads, lines.splitlines()):
            if found["type"] == "identity":
                self.entries[found["id"]] = found
            else:
                self.record = found
        return True


def rig():
    """A service without signing keys, whose answers differ in the decision's id alone."""
    made = with_runs()
    made.service._answers._minter = AssertionMinter([], issuer="", lifetime=60)
    made.sink = made.service._recorder._sink = Newest()
    return made


class Callers:
    """Tokens of callers with some of the memberships that the small policies know."""

    def __init__(self, made: Rig, rng):
        self._rng = rng
        self._tokens = {
            plane: [
                made.token(
                    groups=groups, client_id=client, realm_access=None, exp=NOW + 540, iat=NOW - 200,
                    aud="airflow" if plane is Plane.INBOUND else "outbound", pad=pad,
                )
                for groups in ([], ["g0"], ["g1", "g2"], ["g0", "g1", "g2"])
                for client in ("other", "c0")
                for pad in ("", *(["x" * 14_000] if len(groups) == 2 and client == "c0" else []))
            ]
            for plane in Plane
        }  # fmt: skip
        self._expired = made.token(exp=NOW - 100, iat=NOW - 200)

    def headers(self, plane, run):
        kind = self._rng.random()
        if kind < 0.15:
            return []
        if kind < 0.2:
            return [("authorization", f"Bearer {self._expired}".encode())]
        if run is not None and kind < 0.6:
            claim = {**CLAIM, "dag_id": run.dag_id, "task_id": run.task_id}
            return [("proxy-authorization", f"Bearer {run_token(airflow=claim)}".encode())]
        return [("authorization", f"Bearer {self._rng.choice(self._tokens[plane])}".encode())]


@pytest.fixture
def believing(monkeypatch):
    """The small policies believe the issuer of the tokens."""
    drawn = small_policies.issuers_of

    def issuers_of(rng):
        issuers = drawn(rng)
        issuers[0] |= {"issuer": ISS, "audiences": small_policies.BOTH, "groups": ["groups"]}
        issuers[0]["algorithms"] = ["RS256", "ES256"]
        return issuers

    monkeypatch.setattr(small_policies, "issuers_of", issuers_of)


def asked(request, headers):
    narrowed = "narrowed" if request.narrowed else ""
    target = request.path or f"{request.host}:443"
    host = request.host if request.path else target
    return message(
        request.method, target, headers=headers, plane=request.plane.value, host=host,
        audience="airflow", dags=narrowed, destination=request.destination,
    )  # fmt: skip


def without_id(answer, made):
    return answer.replace(made.sink.record["id"].encode(), b"-" * 24)


@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
@pytest.mark.parametrize("beside", [True, False], ids=["changes", "every rule"])
@pytest.mark.usefixtures("believing")
def test_a_candidate_changes_no_answer_and_its_verdict_is_on_record(plane, beside):
    rng = random.Random(SEED)  # noqa: S311 no secret
    metrics = Metrics()
    plain, shadowed = rig(), rig()
    newest = None
    shadowed.service._shadow = Shadow(lambda: newest, metrics)
    callers = Callers(plain, rng)
    drawn = small_policies.near(rng, plane.value, POLICIES)
    seen, differing = Counter(), 0
    for number in range(PAIRS if beside else PAIRS // 10):
        at = rng.randrange(1, POLICIES)
        policy, candidate = (drawn[at - 1], drawn[at]) if number % 2 else rng.sample(drawn, 2)
        newest = Candidate(
            policy=candidate, beside=policy if beside else None, changes=Changes(policy, candidate) if beside else None
        )
        plain.policy = shadowed.policy = policy
        held = [small_policies.grant(rng, entry, f"g-{entry}", inf) for entry in small_policies.GRANTS]
        holdings = tuple(Holding(issuer=ISS, subject="alice", held=one) for one in held if rng.random() < 0.4)
        for one in (plain, shadowed):
            one.authenticator._granted.put(holdings)
        for request, run in small_policies.requests(rng, plane, REQUESTS):
            sent = asked(request, callers.headers(plane, run))
            for _ in range(2):  # the second time from memory
                answers = [one.service.check(sent) for one in (plain, shadowed)]
                assert without_id(answers[0], plain) == without_id(answers[1], shadowed), (SEED, number)
                kept = {name: value for name, value in shadowed.sink.record.items() if name not in {"shadow", "id"}}
                assert kept == {name: value for name, value in plain.sink.record.items() if name != "id"}
                seen[agree(shadowed, candidate)] += 1
                differing += counting(shadowed, policy) != counting(shadowed, candidate)
    counted = Counter(metrics._not_compared)
    for (_, outcome), count in metrics._compared.items():
        counted[outcome] += count
    del seen["none"]
    assert +counted == +seen
    assert min(seen["agree"], seen["gain"], seen["loss"], differing) >= (5 if beside else 0)


def counting(made, policy):
    """The ids of the grants on record that count under the policy."""
    record = made.sink.record
    held = (HeldGrant(one["entry"], one["id"], inf, one["seconds"], "open" not in one)
            for name in ("grants", "suspended") for one in record.get(name, ()))  # fmt: skip
    return {one.id for one in held if policy.permits(one)}


def agree(made, candidate):
    """The newest record's verdict under the candidate is the engine's; returns the outcome."""
    record = made.sink.record
    shadow = record.get("shadow")
    if record["reason"] not in EVALUATED:
        assert shadow is None
        return "none"
    if shadow.get("unknown") == "token":
        assert (record["reason"], record["identity"]) == ("public", "")
        return "token"
    case = rebuild(record, made.sink.entries)
    decision = decide_again(case, candidate)
    told = tuple(shadow.get(name, record[name]) for name in ("decision", "reason", "rule"))
    assert told == (word_of(decision.reason), decision.reason, decision.rule), (record, decision)
    assert shadow["revision"] == candidate.revision[:12]
    if told[0] != record["decision"]:
        return "gain" if told[0] == "allow" else "loss"
    return "rights" if shadow.get("rights") else "agree"
