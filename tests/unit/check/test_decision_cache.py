"""What is remembered of verdicts never changes an answer, is bounded, and is nobody's who proved nothing."""

import itertools
import random
from dataclasses import replace

import jwt
import pytest

from authz.authn.sessions import Authenticator
from authz.check import decision_cache
from authz.check.assertions import AssertionMinter
from authz.check.decision_cache import DecisionCache
from authz.check.parts import Snapshot
from authz.check.recorder import Recorder
from authz.check.service import Service
from authz.core.errors import RequestError
from authz.core.model import Allow, Claims, Deny, HttpRequest, Identity, Level
from authz.core.parked import Parked
from authz.core.reasons import Reason
from tests.support.factories.policies import narrowing, run
from tests.support.factories.tokens import ISS, make_key
from tests.support.rigs.service import KEY, POLICY, SIGNING_KEY, Rig, load, read, state_of
from tests.support.simulators.idp import MemorySink

OTHER_KEY = make_key("ES256", kid="k2")
# Rights on some DAGs: lists are allowed where Airflow narrows them, and two people see different ones by one rule.
SOME_DAGS = POLICY.replace('operations: ["dags:read"]}', 'operations: ["dags:read"], dags: ["sales*", x]}').replace(
    "  - {id: agents",
    """  - {id: too, plane: inbound, roles: [viewer, copilot], operations: ["dags:read", "dag_runs:read"], dags: [y]}
  - {id: no-secrets, deny: true, plane: inbound, roles: [viewer], dags: ["*_secret"]}
  - {id: connections, plane: inbound, roles: [copilot], paths: ["/api/v2/connections"]}
  - {id: agents""",
)
NARROW = POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations")


def asked(target="/api/v2/dags", **changes):
    parts = {"plane": "inbound", "audience": "", "method": "GET", "authority": "gate.test", "target": target}
    return HttpRequest(**{**parts, **changes})


def identity(*roles, subject="alice"):
    claims = Claims(
        issuer_name="corp",
        issuer=ISS,
        subject=subject,
        client_id="",
        username=subject,
        full_name="",
        groups=frozenset(),
        audiences=frozenset(),
        expires_at=0,
        issued_at=None,
        not_before=None,
    )
    return Identity(claims=claims, roles=frozenset(roles))


@pytest.fixture
def table():
    return DecisionCache()


def decide(table, http, who, policy):
    question = table.question(http, policy)
    decision = table.decide(http, question, who, policy)
    verdict = table.verdict(question, who, decision)
    assert verdict is None or verdict.decision is decision
    return verdict


def test_the_same_question_gets_the_same_verdict(table):
    policy, alice = load(), identity("viewer")
    first = decide(table, asked(), alice, policy)
    assert isinstance(first.decision, Allow)
    assert decide(table, asked(), alice, policy) is first


@pytest.mark.parametrize(
    "other",
    [
        {"target": "/api/v2/variables"},
        {"target": "/api/v2/dags?limit=1"},
        {"method": "DELETE"},
        {"authority": "other.test"},
        {"plane": "egress"},
        {"narrowed": True},
        {"base": "/airflow"},
        {"base": "/api"},
        {"plane": "egress", "destination": "orders"},
        {"plane": "egress", "host": "orders.internal"},
    ],
)
def test_another_question_is_decided_again(table, other):
    policy, alice = load(), identity("viewer")
    first = decide(table, asked(), alice, policy)
    second = decide(table, asked(**other), alice, policy)
    assert second is not first
    assert second.question is not first.question


def test_an_equal_identity_is_another_one(table):
    """Whoever is verified anew is judged anew: equal claims do not borrow a verdict."""
    policy = load()
    first = decide(table, asked(), identity("viewer"), policy)
    assert decide(table, asked(), identity("viewer"), policy) is not first
    assert isinstance(decide(table, asked(), identity("copilot"), load(NARROW)).decision, Allow)
    assert isinstance(decide(table, asked(), identity("viewer"), load(NARROW)).decision, Deny)


EGRESS = """  - {id: runs, plane: egress, destinations: [orders], paths: ["/**"], dags: [sales], tasks: [load]}
  - {id: told, plane: egress, roles: [viewer], hosts: [orders.internal], paths: ["/**"]}
  - {id: tunnel, plane: egress, destinations: [orders], methods: [CONNECT], dags: [sales]}
  - {id: agents"""


def call(target="/v1", **changes):
    return asked(target, **{"plane": "egress", "destination": "orders", "authority": "orders.internal", **changes})


def test_what_was_decided_for_one_run_answers_for_no_other(table):
    policy = load(POLICY.replace("  - {id: agents", EGRESS))
    outcomes = {}
    for _ in range(2):
        for dag, task, level in itertools.product(("sales", "hr"), ("load", "x"), tuple(Level)):
            who = replace(identity(), run=run(dag, task, level))
            decision = decide(table, call(), who, policy).decision
            assert outcomes.setdefault((dag, task, level), decision) == decision
        assert decide(table, call(), identity(), policy).decision.reason is Reason.NO_ROLE
        assert decide(table, call(), identity("viewer"), policy).decision.rule == "told"
    allowed = [key for key, decision in outcomes.items() if isinstance(decision, Allow)]
    assert allowed == [("sales", "load", "verified")]
    assert [decision.dag_id for decision in outcomes.values()] == [dag for dag, _, _ in outcomes]


def test_tries_of_a_task_share_a_decision_and_nothing_else(table):
    policy = load(POLICY.replace("  - {id: agents", EGRESS))
    first, second = (
        decide(table, call(), replace(identity(), run=run("sales", "load", try_number=number)), policy)
        for number in (1, 2)
    )
    assert first.decision is second.decision
    assert first is not second


def test_many_runs_with_the_same_question_are_bounded_too(table):
    policy = load(POLICY.replace("  - {id: agents", EGRESS))
    for number in range(2 * decision_cache._MOST_KEPT):
        question = table.question(call(), policy)
        table.decide(call(), question, replace(identity(), run=run(f"d{number}")), policy)
        assert len(question.decisions) <= decision_cache._MOST_KEPT
        assert len(table) <= decision_cache._MOST_KEPT


@pytest.mark.parametrize("target", ["", "orders.internal:443", "ORDERS.internal:443"])
def test_a_tunnel_is_decided_by_its_own_rule(target, table):
    http = call(target, method="CONNECT", authority="orders.internal:443")
    policy = load(POLICY.replace("  - {id: agents", EGRESS))
    who = replace(identity(), run=run("sales", "load"))
    assert decide(table, http, who, policy).decision.rule == "tunnel"
    assert decide(table, call(), who, policy).decision.rule == "runs"


def test_another_policy_forgets_everything(table):
    alice = identity("viewer")
    assert isinstance(decide(table, asked(), alice, load()).decision, Allow)
    assert isinstance(decide(table, asked(), alice, load(NARROW)).decision, Deny)
    assert len(table) == 2


def test_equal_roles_share_a_decision_and_nothing_else(table):
    policy = load()
    first, second = (decide(table, asked(), identity("viewer", subject=name), policy) for name in ("alice", "bob"))
    assert first.decision is second.decision
    assert first is not second
    assert isinstance(decide(table, asked(), identity("copilot"), load(NARROW)).decision, Allow)
    assert isinstance(decide(table, asked(), identity(), policy).decision, Deny)


def test_it_is_bounded(table):
    policy, alice = load(), identity("viewer")
    for number in range(3 * decision_cache._MOST_KEPT):
        decide(table, asked(f"/api/v2/dags/{number}"), alice, policy)
        assert len(table) <= 2 * decision_cache._MOST_KEPT
        assert len(table._questions) <= decision_cache._MOST_KEPT


def test_many_callers_with_the_same_question_are_bounded_too(table):
    policy = load()
    for number in range(2 * decision_cache._MOST_KEPT):
        decide(table, asked(), identity("viewer", subject=str(number)), policy)
        assert len(table) <= 1 + decision_cache._MOST_KEPT


def test_many_roles_with_the_same_question_are_bounded_too(table):
    policy = load()
    http = asked()
    for number in range(2 * decision_cache._MOST_KEPT):
        question = table.question(http, policy)
        table.decide(http, question, identity(str(number)), policy)
        assert len(question.decisions) <= decision_cache._MOST_KEPT
        assert len(table) <= decision_cache._MOST_KEPT


def test_a_very_long_target_is_not_kept(table):
    policy, alice = load(), identity("viewer")
    assert decide(table, asked("/api/v2/dags?tags=" + "x" * 600), alice, policy) is None
    assert len(table) == len(table._questions) == 0


def test_what_cannot_be_canonical_is_refused_each_time(table):
    for _ in range(2):
        with pytest.raises(RequestError):
            table.question(asked("/api/../v2"), load())
    assert not table._questions


def test_only_requests_with_a_good_token_are_kept():
    rig = Rig()
    forged = rig.token(OTHER_KEY, headers={"kid": "k1"})
    for number in range(20):
        rig.check("GET", f"/api/v2/dags/{number}")
        rig.check("GET", f"/api/v2/dags/{number}", token=forged)
        rig.check("GET", f"/api/v2/dags/{number}", token="x.y.z")
    assert len(rig.service._verdicts) == 0
    token = rig.token()
    for decisions in (1, 2, 2):  # the first time the decision is kept, from the second time on its record and answer
        rig.check("GET", "/api/v2/dags/1", token=token)
        assert len(rig.service._verdicts) == decisions


TARGETS = (
    *("/api/v2/dags", "/api/v2/dags?limit=2", "/api/v2/dags/sales", "/api/v2/variables", "/no/such", "/a/../b"),
    *("/api/v2/monitor/health", "/v1/orders", "/api/v2/dags?access_token=x", "/api/v2/connections"),
    *("/api/v2/dags/y/dagRuns", "/api/v2/dags/~/dagRuns", "/api/v2/dags/%7E/dagRuns"),
)
HEADERS = (
    (),
    (("cookie", b"RefreshToken=x; theme=dark"),),
    (("cookie", b"OauthHMAC=x"),),
    (("cookie", b"theme=dark"),),
    (("accept", b"text/html"), ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
)


class TwoServices:
    """One that keeps its memory, and one that is new for every check, with the same policy, keys and clock."""

    def __init__(self):
        self.rig = Rig()

    def check(self, *request, **parts):
        """What both told, and the wall time."""
        sink, seen = MemorySink(), []
        forgetful = Service(
            snapshot=lambda: Snapshot(policy=self.rig.policy, keys=self.rig.keys),
            authenticator=Authenticator(capacity=10, max_token_bytes=9999, count=seen.append),
            minter=AssertionMinter([SIGNING_KEY], issuer="https://gate.test", lifetime=60),
            clock=self.rig.clock,
            recorder=Recorder(sink, gate="gate-1", worker=0),
            observe=lambda *values: seen.append(values),
            want_key=lambda *_: False,
        )
        outcomes = [self.rig.ask(*request, **parts)]
        self.rig.service, kept = forgetful, self.rig.service
        outcomes.append(self.rig.ask(*request, **parts))
        self.rig.service = kept
        if isinstance(outcomes[0], Parked):
            outcomes = [outcome.resume() for outcome in outcomes]
        return [self._told(*pair) for pair in zip(outcomes, (self.rig.record, sink.records[-1]), strict=True)]

    def _told(self, outcome, record):
        """Everything but what is each decision's own: its id, and the assertion's times and signature."""
        answer = read(outcome)
        given = dict(answer.set)
        assert given.pop("x-authz-decision") == answer.metadata["decision_id"] == record["id"]
        token = given.pop("x-authz-assertion", "")
        claims = jwt.decode(token, options={"verify_signature": False}) if token else {}
        if claims:
            assert claims["iat"] <= self.rig.clock.wall() <= claims["exp"] - 30
            for name in ("jti", "iat", "exp", "nbf"):
                claims.pop(name, None)
        body = answer.body.replace(record["id"], "")
        metadata = {**answer.metadata, "decision_id": ""}
        return answer.code, answer.http, given, claims, answer.removed, body, metadata, {**record, "id": ""}


@pytest.mark.parametrize("seed", range(10))
def test_a_service_that_remembers_answers_like_one_that_never_does(seed):
    """Requests, callers, policies, keys and times at random."""
    chance = random.Random(seed)  # noqa: S311 reproducible
    both = TwoServices()
    rig = both.rig
    tokens = [
        None,
        rig.token(),
        rig.token(sub="bob", jti="t2", groups=["x"], realm_access=None),
        rig.token(client_id="copilot", jti="t3"),
        rig.token(client_id="sales-etl", jti="t4", aud="airflow-egress"),
        rig.token(exp=int(rig.clock.wall()) + 40, jti="t5"),
        rig.token(OTHER_KEY, jti="t6"),
    ]
    policies = [load(), load(NARROW), narrowing(load(SOME_DAGS)), narrowing(load(SOME_DAGS + "\n"), ())]
    verdicts_seen = set()
    rights_seen = set()
    for _ in range(250):
        if chance.random() < 0.1:
            rig.policy = chance.choice(policies)
        if chance.random() < 0.1:
            rig.keys = {"corp": state_of(*chance.choice([(KEY,), (KEY, OTHER_KEY)]))}
        if chance.random() < 0.2:
            rig.clock.advance(chance.choice([0.001, 1, 20, 31]))
        plane, audience = chance.choice([("inbound", "airflow"), ("inbound", "other"), ("inbound", ""), ("egress", "")])
        kept, anew = both.check(
            chance.choice(["GET", "GET", "DELETE"]),
            chance.choice(TARGETS),
            token=chance.choice(tokens),
            headers=chance.choice(HEADERS),
            plane=plane,
            audience=audience,
            host=chance.choice(["gate.test", "orders.internal"]),
            dags=chance.choice(["narrowed", "narrowed", "other", ""]),
        )
        assert kept == anew
        verdicts_seen.add(kept[-1]["reason"])
        claims = kept[3]
        rights_seen.add((*claims.get("dags", ()), *claims.get("dags_denied", ()), claims.get("airflow_role")))
    assert {"rule", "public", "no_token", "no_role", "no_rule"} <= verdicts_seen
    assert len(rights_seen) >= 3


def test_nothing_that_is_kept_shows_an_assertion():
    rig = Rig()
    token = rig.token()
    made = [rig.check(token=token).set["x-authz-assertion"] for _ in range(3)][-1]
    kept = [rig.service._verdicts._verdicts, rig.service._answers._allows, rig.minter._recent]
    assert all(kept)
    for thing in kept:
        assert made not in repr(dict(thing))
        assert token not in repr(dict(thing))
