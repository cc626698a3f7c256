"""The candidate's verdict is in the record and the metrics, and nothing of it reaches an answer."""

import json
import logging
from math import inf
from types import SimpleNamespace

import pytest

from authz.authn.sessions import Session
from authz.check.check_record import CheckRecord
from authz.check.shadow import Candidate, Shadow
from authz.core.decision.decide import evaluate
from authz.core.documents.moments import moment_text
from authz.core.model import HeldGrant, HttpRequest, Plane
from authz.core.policy.rules import held
from authz.core.reasons import word_of
from authz.core.shadow import Changes
from authz.ops.metrics import Metrics
from tests.support.factories.decision_logs import claims, request
from tests.support.factories.tokens import ISS, NOW, access_claims, sign
from tests.support.rigs.service import KEY, POLICY, Rig, load, message
from tests.unit.check.test_privacy import GROUPS, hiding
from tests.unit.check.test_recorder import SCHEMA

NARROWER = POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations")
WIDER = POLICY.replace("roles:\n", "roles:\n  other: {groups: [others]}\n", 1).replace(
    "roles: [viewer], operations", "roles: [viewer, other], operations"
)
OTHER_ISSUER = POLICY.replace("max_lifetime: 1h", "max_lifetime: 2h")


class Beside:
    """A rig whose checks are compared with `candidate`, which the test sets by a text."""

    def __init__(self, text=None, **parts):
        self.rig = Rig(**parts)
        self.metrics = Metrics()
        self.candidate = None
        self.rig.service._shadow = Shadow(lambda: self.candidate, self.metrics)
        self.set(text)

    def set(self, text):
        policy = load(text) if text is not None else None
        changes = Changes(self.rig.policy, policy) if policy is not None else None
        self.candidate = None if policy is None else Candidate(policy=policy, beside=self.rig.policy, changes=changes)

    def shadow(self, *request, **parts):
        """What the record says of the candidate, after a check that is answered as without one."""
        answer = self.rig.check(*request, **parts)
        plain = Rig()
        assert (answer.http, answer.reason) == ((found := plain.check(*request, **parts)).http, found.reason)
        return self.rig.record.get("shadow")


def test_both_verdicts_are_on_record_and_counted_by_the_rule_in_force():
    beside = Beside(NARROWER)
    token = beside.rig.token()
    revision = beside.candidate.policy.revision[:12]
    for _ in range(3):  # new, known, and prepared
        denied = {"revision": revision, "decision": "deny", "reason": "no_rule", "rule": ""}
        assert beside.shadow(token=token) == denied
        assert beside.shadow("GET", "/api/v2/monitor/health") == {"revision": revision}
    assert beside.metrics._compared == {("readers", "loss"): 3, ("health", "agree"): 3}
    SCHEMA.validate(beside.rig.record)


def test_another_candidate_or_none_is_on_record_from_the_next_check_on_also_of_a_prepared_answer():
    beside = Beside(NARROWER)
    token = beside.rig.token()
    for text, decision in ((NARROWER, "deny"), (POLICY, None), (NARROWER, "deny")):
        beside.set(text)
        for _ in range(3):
            shadow = beside.shadow(token=token)
            assert (shadow["revision"], shadow.get("decision")) == (load(text).revision[:12], decision)
    beside.set(None)
    assert beside.shadow(token=token) is None
    assert beside.rig.record["decision"] == "allow"


def test_roles_follow_from_all_claims_also_of_a_token_whose_groups_are_not_kept():
    beside = Beside(WIDER, max_token_bytes=99_999)
    token = sign(access_claims(groups=["others"], pad="x" * 20_000), KEY)
    for _ in range(3):
        beside.rig.check(token=token)
        assert beside.rig.record["decision"] == "deny"
        assert beside.rig.record["shadow"]["decision"] == "allow"
    assert beside.metrics._compared == {("", "gain"): 3}


def test_a_caller_whose_issuer_has_another_entry_is_counted_and_never_guessed():
    beside = Beside(OTHER_ISSUER)
    for _ in range(3):
        assert beside.shadow(token=beside.rig.token())["unknown"] == "issuer"
        assert "unknown" not in beside.shadow("GET", "/api/v2/monitor/health")  # anonymous: no issuer to differ
    assert beside.metrics._not_compared == {"issuer": 3, "token": 0, "error": 0}


def test_a_token_that_was_refused_on_a_public_route_might_be_someones_under_the_candidate():
    beside = Beside(NARROWER)
    expired = beside.rig.token(exp=1, iat=0)
    assert beside.shadow("GET", "/api/v2/monitor/health", token=expired)["unknown"] == "token"
    assert beside.shadow(token=expired) is None  # no policy decided this
    assert beside.metrics._not_compared["token"] == 1


class Broken:
    """Changes that cannot be asked, as a bug would have it."""

    same_callers = False

    def __init__(self):
        self.works = False

    def may_differ(self, *_):
        if not self.works:
            raise ZeroDivisionError("the secret path /api/v2/dags")
        return True


def test_an_exception_in_the_candidate_is_counted_and_named_and_the_check_is_untouched(caplog):
    beside = Beside(NARROWER)
    token = beside.rig.token()
    broken = Broken()
    good = beside.candidate
    beside.candidate = Candidate(policy=good.policy, beside=good.beside, changes=broken)
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            assert beside.shadow(token=token) == {"revision": good.policy.revision[:12], "unknown": "error"}
    assert beside.metrics._not_compared["error"] == 4
    [told] = [entry for entry in caplog.messages if "candidate" in entry]
    assert "ZeroDivisionError at " in told
    assert "secret" not in caplog.text
    broken.works = True
    assert beside.shadow(token=token)["decision"] == "deny"  # what was prepared meanwhile is not used


def test_a_policy_that_the_changes_are_not_about_is_evaluated_anyway():
    beside = Beside(NARROWER)
    beside.rig.policy = load(NARROWER)
    beside.rig.check(token=beside.rig.token())
    assert beside.rig.record["shadow"] == {"revision": beside.candidate.policy.revision[:12]}
    assert beside.metrics._compared == {("", "agree"): 1}


def test_a_private_record_names_no_one_for_the_candidate():
    beside = Beside(NARROWER)
    hiding(beside.rig, hashed=["subject", "client", "groups", "user"])
    token = beside.rig.token(sub="canary-subject", client_id="canary-client", groups=GROUPS)
    for _ in range(3):
        beside.rig.settle(beside.rig.ask(token=token))
    assert beside.rig.record["shadow"]["decision"] == "deny"
    assert not any(b"canary" in line for line in beside.rig.sink.lines)


def test_without_a_candidate_a_record_is_as_before_and_with_one_it_is_little_longer():
    plain, beside = Rig(), Beside(POLICY)
    token = plain.token()
    for _ in range(3):
        for rig in (plain, beside.rig):
            rig.service.check(message(headers=[("authorization", f"Bearer {token}".encode())]))
    assert "shadow" not in plain.record
    assert len(beside.rig.sink.lines[-1]) - len(plain.sink.lines[-1]) == len(',"shadow":{"revision":"123456789012"}')
    assert json.loads(beside.rig.sink.lines[-1])["shadow"] == {"revision": beside.candidate.policy.revision[:12]}


def test_the_callers_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr("authz.check.shadow._MOST_KNOWN", 2)
    beside = Beside(WIDER)
    for number in range(5):
        beside.shadow("GET", f"/api/v2/dags/{number}", token=beside.rig.token(jti=str(number)))
        for table in (beside.rig.service._shadow._known, beside.rig.service._shadow._of_callers):
            assert 0 < len(table) <= 2
    assert beside.metrics._compared == {("readers", "agree"): 5}


PUBLIC = POLICY.replace("health:read", "version:read")


def test_the_comparisons_of_anonymous_callers_are_of_their_requests_and_bounded(monkeypatch):
    monkeypatch.setattr("authz.check.shadow._MOST_KNOWN", 2)
    beside = Beside(PUBLIC)
    kept = beside.rig.service._shadow._of_anonymous
    for _ in range(2):
        assert beside.shadow("GET", "/api/v2/monitor/health")["decision"] == "deny"
        assert beside.shadow("GET", "/api/v2/version")["decision"] == "allow"
        for number in range(5):
            assert "decision" not in beside.shadow("GET", f"/api/v2/dags/{number}")
            assert len(kept) <= 2
    beside.set(POLICY)
    assert "decision" not in beside.shadow("GET", "/api/v2/monitor/health")


def test_a_long_path_of_an_anonymous_caller_is_not_remembered():
    beside = Beside(PUBLIC)
    for length, kept in ((600, 0), (100, 1)):
        assert beside.shadow("GET", "/" + "a" * length) == {"revision": beside.candidate.policy.revision[:12]}
        assert len(beside.rig.service._shadow._of_anonymous) == kept


def test_callers_who_have_one_decision_and_other_roles_under_the_candidate_are_compared_apart():
    beside = Beside(WIDER.replace("groups: [others]", "subjects: [bob]"))
    tokens = {name: beside.rig.token(sub=name, groups=["x"], realm_access=None) for name in ("alice", "bob")}
    for _ in range(3):
        for name, decision in (("alice", None), ("bob", "allow")):
            assert beside.shadow(token=tokens[name]).get("decision") == decision
    beside.rig.check(token=beside.rig.token(jti="new"))
    assert len(beside.rig.service._shadow._of_callers) == 3


def test_where_roles_are_the_same_no_caller_is_looked_up():
    beside = Beside(POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations"))
    assert beside.candidate.changes.same_callers
    assert beside.shadow(token=beside.rig.token())["decision"] == "deny"
    assert beside.rig.service._shadow._known == {}
    beside.set(WIDER)
    assert not beside.candidate.changes.same_callers
    beside.shadow(token=beside.rig.token())
    assert len(beside.rig.service._shadow._known) == 1


def test_a_candidate_in_which_something_has_ended_is_compared_no_more():
    beside = Beside(NARROWER.replace("id: readers,", f"id: readers, until: {moment_text(NOW + 100)},"))
    token = beside.rig.token()
    for _ in range(3):
        assert beside.shadow(token=token)["decision"] == "deny"
    beside.rig.clock.set_wall(NOW + 100)
    for _ in range(3):
        beside.rig.check(token=token)
        assert "shadow" not in beside.rig.record


ENTRY = '\ngrantable:\n  - {id: more, requesters: [viewer], approvers: none, longest: 1d, operations: ["pools:read"]}\n'
MORE = load(POLICY + ENTRY)
OTHER = load(POLICY + ENTRY.replace("pools:read", "pools:delete"))
SHORTER = load(POLICY + ENTRY.replace("1d", "1h"))
APPROVED = load(POLICY + ENTRY.replace("none", "[viewer]"))
DAY_LONG = (HeldGrant("more", "g1", inf, 86_400, is_approved=True),)
OPEN = (HeldGrant("more", "g1", inf, 60, is_approved=False),)


@pytest.mark.parametrize(
    ("policy", "candidate", "grants", "ours", "theirs"),
    [
        (MORE, OTHER, held(["more"]), "allow", "deny"),
        (MORE, OTHER, (), "deny", None),
        (MORE, SHORTER, DAY_LONG, "allow", "deny"),
        (SHORTER, MORE, DAY_LONG, "deny", "allow"),
        (MORE, SHORTER, OPEN, "allow", None),
        (MORE, APPROVED, OPEN, "allow", "deny"),
        (APPROVED, MORE, OPEN, "deny", "allow"),
        (MORE, APPROVED, DAY_LONG, "allow", None),
        (load(), MORE, DAY_LONG, "deny", "allow"),
    ],
    ids=[
        *("gives-other-rights", "none-held", "too-long", "no-more-too-long", "short-enough"),
        *("approval-needed", "approval-no-more-needed", "approved", "entry-is-new"),
    ],
)
@pytest.mark.parametrize("with_changes", [True, False])
def test_of_the_grants_that_the_caller_holds_those_count_that_the_candidate_permits(  # noqa: PLR0917
    policy, candidate, grants, ours, theirs, with_changes
):
    who, asked = claims("https://idp.test", "ada"), request(Plane.INBOUND, "GET", "airflow.test", "/api/v2/pools")
    who.issuer, (issuer,) = ISS, policy.issuers.values()
    session = Session(
        identity=policy.identify(who), standing=SimpleNamespace(issuer=issuer), starts=0.0, ends=1e12, dies_at=1e12,
        marks=0, whole=True,
    )  # fmt: skip
    newest = Candidate(
        policy=candidate,
        beside=policy if with_changes else None,
        changes=Changes(policy, candidate) if with_changes else None,
    )
    shadow = Shadow(lambda: newest, Metrics())
    http = HttpRequest(plane="inbound", audience="", method="GET", authority="airflow.test", target="/api/v2/pools")
    for holding in (grants, (), grants):
        identity = policy.identify(who, holding)
        decision = evaluate(asked, identity, policy)
        check = CheckRecord(id="d", http=http, request=asked, identity=identity, account=session, policy=policy)
        shadow.compare(check, decision)
        expected = (ours, theirs) if holding else ("deny", None)
        assert (word_of(decision.reason), check.shadow.fields.get("decision")) == expected
