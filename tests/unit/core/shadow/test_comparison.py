"""How two verdicts on one check compare, and what the record says about the candidate's."""

import pytest

from authz.core.model import Allow, DagGrant, Deny
from authz.core.reasons import Reason
from authz.core.shadow import OUTCOMES, UNKNOWN, Side, agreed, compare, unknown
from tests.support.factories.policies import identity, request

REVISION = "0123456789abcdef" * 4
SHOWN = REVISION[:12]
SAME = agreed(REVISION)
ALLOW = Allow(Reason.RULE, "readers", "dags:read", "", DagGrant(("a*",)), "viewer")
DENY = Deny(Reason.NO_RULE)
WHO = identity("viewer")


def compared(ours, theirs, *, asked=None, us=WHO, them=WHO):
    return compare(asked or request("GET", "/api/v2/dags"), Side(us, ours), Side(them, theirs), SAME)


@pytest.mark.parametrize("decision", [ALLOW, DENY], ids=["allow", "deny"])
def test_the_same_verdict_leaves_only_the_candidates_revision(decision):
    assert compared(decision, decision) is SAME
    assert SAME == ("agree", None, {"revision": SHOWN})


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        (DENY, ALLOW, "gain"),
        (ALLOW, DENY, "loss"),
        (DENY, Deny(Reason.DENY_RULE, "no"), "agree"),
        (ALLOW, Allow(Reason.RULE, "others", "dags:read", "", ALLOW.dags, "viewer"), "agree"),
    ],
)
def test_another_verdict_reason_or_rule_is_on_record(ours, theirs, outcome):
    found = compared(ours, theirs)
    assert (found.outcome, found.unknown) == (outcome, None)
    word = "allow" if isinstance(theirs, Allow) else "deny"
    assert found.fields == {"revision": SHOWN, "decision": word, "reason": theirs.reason, "rule": theirs.rule}
    assert type(found.fields["reason"]) is str
    assert outcome in OUTCOMES


@pytest.mark.parametrize(("narrowed", "outcome"), [(True, "rights"), (False, "agree")])
def test_other_dags_are_other_rights_where_airflow_narrows_the_request(narrowed, outcome):
    other = Allow(Reason.RULE, "readers", "dags:read", "", DagGrant(("b*",)), "viewer")
    found = compared(ALLOW, other, asked=request("GET", "/api/v2/dags", narrowed=narrowed))
    assert found.outcome == outcome
    assert found.fields == {"revision": SHOWN, **({"rights": True} if narrowed else {})}


@pytest.mark.parametrize(("role", "outcome"), [("admin", "rights"), ("viewer", "agree")])
def test_another_airflow_role_is_other_rights_if_the_operation_does_not_need_as_much(role, outcome):
    them = identity("viewer")
    them.airflow_role = role
    assert compared(ALLOW, ALLOW, them=them).outcome == outcome


def test_the_mark_of_an_agent_is_a_right_that_the_assertion_says():
    them = identity("viewer")
    them.agent = True
    assert compared(ALLOW, ALLOW, them=them).outcome == "rights"


def test_anonymous_callers_have_no_rights_to_compare():
    public = Allow(Reason.PUBLIC, "health", "health:read")
    assert compared(public, public, us=None, them=None) is SAME


@pytest.mark.parametrize("why", UNKNOWN)
def test_what_is_not_known_has_a_word_and_no_verdict(why):
    assert unknown(why, REVISION) == (None, why, {"revision": SHOWN, "unknown": why})
