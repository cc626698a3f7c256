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


NARROWED = request("GET", "/api/v2/dags", narrowed=True)


def naming(*allowed, denied=()):
    """An allow whose assertion names these DAGs."""
    return Allow(Reason.RULE, "readers", "dags:read", "", DagGrant(allowed, tuple(denied)), "viewer")


@pytest.mark.parametrize("narrowed", [True, False])
def test_other_dags_are_other_rights_where_airflow_narrows_the_request(narrowed):
    found = compared(ALLOW, naming("b*"), asked=request("GET", "/api/v2/dags", narrowed=narrowed))
    rights = {"rights": {"dags": {"lost": ("a*",), "gained": ("b*",)}}}
    assert found.outcome == ("rights" if narrowed else "agree")
    assert found.fields == {"revision": SHOWN, **(rights if narrowed else {})}


@pytest.mark.parametrize(
    ("ours", "theirs", "differs"),
    [
        (naming("a*", "b"), naming("b"), {"lost": ("a*",)}),
        (naming("b"), naming("a*", "b"), {"gained": ("a*",)}),
        (naming("*"), naming("*", denied=["a_secret"]), {"denied": ("a_secret",)}),
        (naming("*", denied=["a_secret", "b"]), naming("*", denied=["b"]), {"denied_before": ("a_secret",)}),
        (
            naming(*"abcdef"),
            naming(*"defghijk", denied=["x"]),
            {"lost": ("a", "b", "c"), "gained": ("g", "h", "i"), "denied": ("x",), "left_out": 2},
        ),
    ],
)
def test_the_patterns_that_one_policy_has_alone_are_on_record_three_of_a_kind(ours, theirs, differs):
    assert compared(ours, theirs, asked=NARROWED).fields["rights"] == {"dags": differs}


def test_of_very_many_patterns_only_their_number_is_on_record():
    many = [f"dag-{number:04}" for number in range(600)]
    assert compared(naming(*many[:500]), naming(*many[100:600]), asked=NARROWED).fields["rights"]["dags"] == {
        "lost": ("dag-0000", "dag-0001", "dag-0002"),
        "gained": ("dag-0500", "dag-0501", "dag-0502"),
        "left_out": 194,
    }
    found = compared(naming(*many[:501]), naming(*many[100:600]), asked=NARROWED)
    assert (found.outcome, found.fields["rights"]) == ("rights", {"dags": {"left_out": 1001}})


@pytest.mark.parametrize(("role", "differs"), [("admin", {"airflow": ("viewer", "admin")}), ("viewer", None)])
def test_another_airflow_role_is_other_rights_if_the_operation_does_not_need_as_much(role, differs):
    them = identity("viewer")
    them.airflow_role = role
    found = compared(ALLOW, ALLOW, them=them)
    assert (found.outcome, found.fields.get("rights")) == ("rights" if differs else "agree", differs)


@pytest.mark.parametrize("marked", [True, False])
def test_the_mark_of_an_agent_is_a_right_that_the_assertion_says(marked):
    us, them = identity("viewer"), identity("viewer")
    us.agent, them.agent = not marked, marked
    found = compared(ALLOW, ALLOW, us=us, them=them)
    assert (found.outcome, found.fields["rights"]) == ("rights", {"agent": marked})


def test_all_that_differs_is_on_record_beside_another_rule():
    them = identity("viewer")
    them.agent, them.airflow_role = True, "op"
    other = Allow(Reason.RULE, "others", "dags:read", "", DagGrant(("*",)), "viewer")
    assert compared(ALLOW, other, asked=NARROWED, them=them).fields == {
        "revision": SHOWN, "decision": "allow", "reason": "rule", "rule": "others",
        "rights": {"airflow": ("viewer", "op"), "agent": True, "dags": {"lost": ("a*",), "gained": ("*",)}},
    }  # fmt: skip


def test_anonymous_callers_have_no_rights_to_compare():
    public = Allow(Reason.PUBLIC, "health", "health:read")
    assert compared(public, public, us=None, them=None) is SAME


@pytest.mark.parametrize("why", UNKNOWN)
def test_what_is_not_known_has_a_word_and_no_verdict(why):
    assert unknown(why, REVISION) == (None, why, {"revision": SHOWN, "unknown": why})
