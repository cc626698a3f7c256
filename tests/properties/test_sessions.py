"""A cache changes no answer: over policy edits, keys, time and token sizes, at both doors and through the service.

The reference is a new authenticator, or a new service, for every question: it has never seen a token before.
"""

import functools
import json
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from authz.authn.run_identity import RunIdentities
from authz.authn.sessions import Authenticator, Session
from authz.check.parts import Runs
from authz.core import policy
from authz.core.caching.rate_limit import FairShare
from authz.core.decision.decide import evaluate
from authz.core.errors import DeniedError
from authz.core.model import HttpRequest, Plane
from authz.core.parked import Parked
from authz.core.request.canonical import canonical
from tests.support.examples import examples
from tests.support.factories.proofs import CLAIM, prove, task_key, thumbprint
from tests.support.factories.tokens import ISS, NOW, access_claims, make_key, sign
from tests.support.rigs.service import Rig, message, read, state_of

KEY, NEXT, TASK = make_key("ES256", kid="k1"), make_key("ES256", kid="k2"), task_key()
LIMIT = 16 * 1024  # from here on the groups of a token are not kept
HOST = "orders.internal:8090"


@functools.cache
def policy_of(readers, contractors, max_lifetime, path):
    """A policy that gives and takes by groups what it gives by client, so that a lost group widens and narrows."""
    text = f"""
version: 1
issuers:
  - name: corp
    issuer: {ISS}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [ES256]
    max_lifetime: {max_lifetime}
    groups: [{path}]
roles:
  readers: {{groups: [{readers}]}}
  contractors: {{groups: [{contractors}]}}
  agents: {{groups: [agents], agent: true}}
  etl: {{clients: [etl]}}
rules:
  - {{id: read, plane: inbound, roles: [readers, etl], operations: ["dags:read"]}}
  - {{id: out, plane: egress, roles: [etl], hosts: [orders.internal], methods: [GET], paths: ["/v1/orders"]}}
  - {{id: not-them, deny: true, roles: [contractors]}}
"""
    return policy.load(policy.Bundle(text.encode(), "policy.yaml"))


policies = st.tuples(
    st.sampled_from(["readers", "others"]),
    st.sampled_from(["contractors", "contractors", "readers", "others"]),
    st.sampled_from(["1h", "1h", "1h", "2h", "5m"]),
    st.sampled_from(["groups", "groups", "groups", "realm_access.roles"]),
)
sizes = st.sampled_from([0, LIMIT - 40, LIMIT + 40, LIMIT + 6000]) | st.integers(LIMIT - 12, LIMIT + 12)


@functools.cache
def token_of(groups, size, client, kid, *, bound):
    """A token of `size` characters, give or take two; a cached one, so that the same is asked with again."""
    changes = {"groups": list(groups), "client_id": client, "azp": client, "aud": ["airflow", "airflow-egress"]}
    claims = access_claims(**changes, **({"cnf": {"jkt": thumbprint(TASK)}} if bound else {}))
    key = KEY if kid == "k1" else NEXT
    missing = size - len(sign({**claims, "pad": ""}, key))
    return sign({**claims, "pad": "x" * (missing * 3 // 4)} if missing > 0 else claims, key)


token_kinds = st.tuples(
    st.sampled_from([("contractors",), ("contractors", "readers"), ("readers",), ("agents", "nobody-knows"), ()]),
    sizes,
    st.sampled_from(["etl", "etl", "other"]),
    st.sampled_from(["k1", "k1", "k1", "k2"]),
)
steps = st.tuples(
    st.integers(0, 2),  # which of the policies
    st.sampled_from([0, 0, 1]),  # which of the tokens
    st.sampled_from(["bearer", "proof", "proof of its key"]),
    st.sampled_from([Plane.EGRESS, Plane.INBOUND]),
    st.sampled_from([0, 0, 0, 60, 300, -60]),
    st.sampled_from(["both", "both", "both", "first", "second"]),
)
stories = st.tuples(
    st.lists(policies, min_size=3, max_size=3),
    st.lists(token_kinds, min_size=2, max_size=2),
    st.lists(steps, min_size=2, max_size=8),
)
# A contractor's large token under another policy: without its groups no deny rule counts, and the client is allowed.
LOST_GROUPS = (
    [("readers", "contractors", "1h", "groups"), ("others", "contractors", "1h", "groups")],
    [(("contractors",), LIMIT + 6000, "etl", "k1")],
    [
        (number, 0, form, Plane.EGRESS, 0, "both")
        for form in ("bearer", "proof", "proof of its key")
        for number in (0, 1)
    ],
)
BOTH = state_of(KEY, NEXT)
KEYS = {
    "both": {"corp": BOTH},
    "first": {"corp": state_of(KEY, previous=BOTH.keyset)},
    "second": {"corp": state_of(NEXT, previous=BOTH.keyset)},
}


def request_of(plane, token, form):
    """A request of the plane that the policies above are about."""
    target, host = ("/v1/orders", HOST) if plane is Plane.EGRESS else ("/api/v2/dags", "gate.test")
    line = (f"Bearer {token}".encode(),) if form == "bearer" else ()
    return HttpRequest(plane=plane.value, audience="", method="GET", authority=host, target=target, authorization=line)


class Question(NamedTuple):
    """One check, and what is in force then."""

    token: str
    form: str
    plane: Plane
    policy: policy.Policy
    keys: dict
    wall: float


def answer(authenticator, question):
    """All that comes of a question, but the object itself."""
    token, form, plane, policy_now, keys, wall = question
    http = request_of(plane, token, form)
    times = {"wall": wall, "monotonic": wall - NOW + 1000.0}
    try:
        if form == "bearer":
            found = authenticator.authenticate(http, plane, policy_now, keys, **times)
        else:
            found = authenticator.bound(token, plane, policy_now, keys, **times)
    except DeniedError as error:
        return error.reason
    if not isinstance(found, Session):
        return found
    decision = evaluate(canonical(http), found.identity, policy_now)
    return found.identity, decision, found.standing.planes, found.starts, found.ends, found.thumbprint, found.issuer


def new_authenticator():
    return Authenticator(capacity=100, max_token_bytes=99_999, count=lambda _: None)


@examples(300)
@given(stories)
@example(LOST_GROUPS)
def test_the_authenticator_answers_as_if_it_kept_nothing(story):
    written, kinds, asked = story
    cached, wall = new_authenticator(), float(NOW)
    for policy_at, token_at, form, plane, seconds, which in asked:
        wall = max(float(NOW), wall + seconds)
        token = token_of(*kinds[token_at], bound=form == "proof of its key")
        question = Question(token, form, plane, policy_of(*written[policy_at]), KEYS[which], wall)
        assert answer(cached, question) == answer(new_authenticator(), question)


class _Fresh:
    """No proof was used before: what is compared is who calls, not how often."""

    def first(self, *_):
        return True


def service_of():
    rig = Rig(max_token_bytes=99_999)
    identities = RunIdentities(
        authenticator=rig.authenticator,
        keys={},
        issuer="https://gate.test",
        isolated=True,
        states=None,
        replays=_Fresh(),
        share=FairShare(10_000, 60),
    )
    rig.service._runs = Runs(identities=identities, exchange=None, count=lambda *_: None)
    return rig


def served(rig, question):
    """The answer of the service and its record, without what is new each time."""
    token, form, plane, policy_now, keys, wall = question
    rig.policy, rig.keys = policy_now, keys
    rig.clock.advance(wall - rig.clock.wall())
    http = request_of(plane, token, "bearer")
    lines = [("authorization", http.authorization[0])]
    if form != "bearer" and plane is Plane.EGRESS:
        proof = prove(TASK, token, htu=f"http://{HOST}/v1/orders", iat=int(wall), airflow=CLAIM)
        lines = [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", proof)]
    outcome = rig.service.check(
        message("GET", http.target, headers=lines, plane=plane.value, host=http.authority, audience="up")
    )
    if isinstance(outcome, Parked):
        return outcome.begin(lambda: None), rig.wanted.pop()
    found = read(outcome)
    record = {name: value for name, value in rig.record.items() if name not in {"id", "latency_us", "time"}}
    headers = {name: value for name, value in found.set.items() if name not in {"x-authz-assertion", "x-request-id"}}
    headers.pop("x-authz-decision", None)
    metadata = {name: value for name, value in found.metadata.items() if name != "decision_id"}
    return found.http, headers, found.removed, metadata, json.dumps(record, sort_keys=True)


@examples(60)
@given(stories)
@example(LOST_GROUPS)
def test_the_service_answers_as_if_it_kept_nothing(story):
    """Decisions, prepared records, prepared answers and assertions are kept by identity: the same must come of it."""
    written, kinds, asked = story
    cached, wall = service_of(), float(NOW)
    for policy_at, token_at, form, plane, seconds, which in asked:
        wall = max(wall, wall + seconds)
        token = token_of(*kinds[token_at], bound=form == "proof of its key")
        question = Question(token, form, plane, policy_of(*written[policy_at]), KEYS[which], wall)
        assert served(cached, question) == served(service_of(), question)
