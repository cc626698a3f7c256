"""Who may ask, approve, end and see what."""

from dataclasses import replace

import pytest

from authz.core.grants import (
    Actor,
    Approved,
    Ended,
    Grant,
    GrantRefusedError,
    Ledger,
    Refusal,
    Requested,
    approve,
    described,
    end,
    request,
    view,
    visible,
)
from authz.core.grants import asking as module
from tests.support.factories.grants import (
    DAY,
    HOUR,
    LOCAL,
    NIGHT,
    ONCALL,
    approved,
    caller,
    ended,
    policy,
    requested,
    who,
)
from tests.support.factories.tokens import ISS, NOW

POLICY = policy()
ANA, BO, EVE = caller("ana", "viewer"), caller("bo", "lead"), caller("eve", "viewer")


def ledger(*events):
    made = Ledger()
    for event in events:
        made.apply(event)
    return made


def refused(call, *arguments):
    with pytest.raises(GrantRefusedError) as caught:
        call(*arguments)
    assert caught.value.hint
    assert str(caught.value) == f"{caught.value.message} ({caught.value.hint})"
    return caught.value.refusal


class TestRequest:
    def test_what_is_recorded_is_what_was_asked_for(self):
        assert request(ledger(), POLICY, ANA, requested()) == requested()

    def test_an_entry_that_needs_no_approval_is_open_whatever_the_caller_says(self):
        assert request(ledger(), POLICY, EVE, requested(entry="night")).open
        assert not request(ledger(), POLICY, ANA, requested(open=True)).open

    @pytest.mark.parametrize(
        ("entry", "asks"), [("gone", ANA), ("oncall", caller("x")), ("oncall", BO), ("oncall", caller("x", "editor"))]
    )
    def test_only_requesters_may_ask_and_they_are_shown_what_for(self, entry, asks):
        with pytest.raises(GrantRefusedError, match=r"you may ask for: night|night, oncall") as caught:
            request(ledger(), POLICY, asks, requested(entry=entry))
        assert caught.value.refusal is Refusal.NOT_A_REQUESTER
        assert refused(request, ledger(), policy(ONCALL), BO, requested()) is Refusal.NOT_A_REQUESTER

    @pytest.mark.parametrize("seconds", [0, -1, 3 * DAY + 1, 30 * DAY])
    def test_the_duration_is_at_most_the_longest(self, seconds):
        assert refused(request, ledger(), POLICY, ANA, requested(seconds=seconds)) is Refusal.TOO_LONG
        assert request(ledger(), POLICY, ANA, requested(seconds=3 * DAY)).seconds == 3 * DAY
        with pytest.raises(GrantRefusedError, match="`duration` is not from 1s to 3d, the longest for this entry"):
            request(ledger(), POLICY, ANA, requested(seconds=seconds))

    @pytest.mark.parametrize("reason", ["", " ", "a\nb", "x" * 501, "right \u202e left", "nul\0", "\u200b"])
    def test_a_reason_is_one_visible_line(self, reason):
        assert refused(request, ledger(), POLICY, ANA, replace(requested(), reason=reason)) is Refusal.INVALID
        assert request(ledger(), POLICY, ANA, replace(requested(), reason="ünïcode 名前" * 20))

    @pytest.mark.parametrize("subject", ["", "a" * 1025, "a\nb", "\udcff"])
    def test_an_account_that_no_line_could_name_is_refused(self, subject):
        assert refused(request, ledger(), POLICY, ANA, requested(subject=subject)) is Refusal.INVALID

    def test_asking_again_for_what_waits_makes_no_second_one(self):
        before = ledger(requested())
        found = request(before, POLICY, ANA, requested("g0000002"))
        assert isinstance(found, Grant)
        assert found.id == "g0000001"
        assert isinstance(request(before, POLICY, ANA, requested("g0000002", seconds=60)), Requested)
        active = ledger(requested(), approved())
        assert isinstance(request(active, POLICY, ANA, requested("g0000002")), Requested)

    def test_limits_for_one_holder_and_in_all(self, monkeypatch):
        monkeypatch.setattr(module, "MOST_OPEN_OF_ONE", 2)
        monkeypatch.setattr(module, "MOST_OF_ONE", 3)
        monkeypatch.setattr(module, "MOST", 4)
        events = [requested("g0000001", seconds=1), requested("g0000002", seconds=2)]
        assert refused(request, ledger(*events), POLICY, ANA, requested("g0000009")) is Refusal.TOO_MANY
        assert request(ledger(*events), POLICY, EVE, requested("g0000009", subject="eve"))
        events += [ended("g0000001"), ended("g0000002")]
        assert request(ledger(*events), POLICY, ANA, requested("g0000009"))
        events += [requested("g0000003"), ended("g0000003")]
        assert refused(request, ledger(*events), POLICY, ANA, requested("g0000009")) is Refusal.TOO_MANY
        events += [requested("g0000004", subject="x")]
        assert refused(request, ledger(*events), POLICY, EVE, requested("g0000009", subject="eve")) is Refusal.TOO_MANY

    def test_a_local_account_asks_for_others_within_the_policy(self):
        found = request(ledger(), POLICY, LOCAL, requested())
        assert (found.local, found.holder) == ("root", who("ana"))
        assert refused(request, ledger(), POLICY, LOCAL, requested(seconds=4 * DAY)) is Refusal.TOO_LONG
        assert refused(request, ledger(), POLICY, LOCAL, requested(entry="gone")) is Refusal.NOT_A_REQUESTER


class TestApprove:
    def test_an_approver_approves_from_now_on(self):
        found = approve(ledger(requested()), POLICY, BO, "g0000001", NOW + 9)
        assert found == Approved(id="g0000001", at=NOW + 9, by=who("bo"))

    def test_not_ones_own_even_with_the_role(self):
        both = caller("ana", "viewer", "lead")
        assert refused(approve, ledger(requested()), POLICY, both, "g0000001", NOW) is Refusal.OWN_REQUEST
        assert refused(approve, ledger(requested()), policy(NIGHT), both, "g0000001", NOW) is Refusal.OWN_REQUEST
        assert refused(approve, ledger(requested(entry="night", open=True)), POLICY, ANA, "g0000001", NOW)

    def test_another_issuers_account_of_the_same_name_needs_the_role_itself(self):
        other = caller("ana", "viewer", issuer="https://other.test")
        assert refused(approve, ledger(requested()), POLICY, other, "g0000001", NOW) is Refusal.UNKNOWN
        lead = caller("ana", "lead", issuer="https://other.test")
        assert approve(ledger(requested()), POLICY, lead, "g0000001", NOW).by.issuer == "https://other.test"

    @pytest.mark.parametrize("name", ["g0000001", "g0000009", "", "../x"])
    def test_without_the_role_it_does_not_exist(self, name):
        assert refused(approve, ledger(requested()), POLICY, EVE, name, NOW) is Refusal.UNKNOWN

    def test_who_approved_it_once_and_has_lost_the_role_may_not_approve_again(self):
        assert refused(approve, ledger(requested(), approved()), POLICY, caller("bo"), "g0000001", NOW) is (
            Refusal.NOT_AN_APPROVER
        )

    def test_again_is_no_mistake_and_changes_nothing(self):
        found = approve(ledger(requested(), approved()), POLICY, caller("cy", "lead"), "g0000001", NOW + 99)
        assert isinstance(found, Grant)

    def test_what_has_ended_is_not_approved(self):
        assert refused(approve, ledger(requested(), ended()), POLICY, BO, "g0000001", NOW) is Refusal.ENDED

    def test_what_the_policy_does_not_permit_any_more_is_not_approved(self):
        shorter = policy(ONCALL.replace("3d", "59m"))
        assert refused(approve, ledger(requested()), shorter, BO, "g0000001", NOW) is Refusal.NARROWED
        assert refused(approve, ledger(requested()), policy(NIGHT), LOCAL, "g0000001", NOW) is Refusal.NARROWED
        needs = policy(ONCALL, NIGHT.replace("none", "[lead]"))
        opened = ledger(requested(entry="night", open=True))
        assert refused(approve, opened, needs, BO, "g0000001", NOW) is Refusal.NARROWED

    @pytest.mark.parametrize("act", [approve, end])
    @pytest.mark.parametrize("subject", ["b" * 1025, "bo\u202e"])
    def test_an_account_that_no_line_could_name_is_refused(self, act, subject):
        asked = ledger(requested())
        assert refused(act, asked, POLICY, caller(subject, "lead"), "g0000001", NOW) is Refusal.INVALID

    @pytest.mark.parametrize("events", [(requested(),), (requested(), approved())], ids=["waiting", "active"])
    def test_an_agent_does_not_approve(self, events):
        agent = replace(BO, is_agent=True)
        assert refused(approve, ledger(*events), POLICY, agent, "g0000001", NOW) is Refusal.AGENT
        assert isinstance(end(ledger(*events), POLICY, agent, "g0000001", NOW), Ended)

    def test_an_account_of_the_machine_has_a_name_that_a_line_can_say(self):
        long = replace(LOCAL, actor=Actor(local="r" * 201))
        assert refused(approve, ledger(requested()), POLICY, long, "g0000001", NOW) is Refusal.INVALID
        assert refused(request, ledger(), POLICY, long, requested()) is Refusal.INVALID

    def test_a_local_account_approves_what_others_asked_for(self):
        assert approve(ledger(requested()), POLICY, LOCAL, "g0000001", NOW).by == Actor(local="root")


class TestEnd:
    @pytest.mark.parametrize(
        "by", [ANA, BO, LOCAL, caller("ana")], ids=["holder", "approver", "local", "holder-without-role"]
    )
    def test_holder_approvers_and_local_accounts_may(self, by):
        found = end(ledger(requested()), POLICY, by, "g0000001", NOW + 9)
        assert found == Ended(id="g0000001", at=NOW + 9, by=by.actor)

    def test_who_approved_it_may_also_without_the_role_now(self):
        assert isinstance(end(ledger(requested(), approved()), POLICY, caller("bo"), "g0000001", NOW), Ended)

    def test_others_may_not(self):
        assert refused(end, ledger(requested()), POLICY, EVE, "g0000001", NOW) is Refusal.UNKNOWN

    def test_again_is_no_mistake(self):
        assert isinstance(end(ledger(requested(), ended()), POLICY, ANA, "g0000001", NOW), Grant)
        over = ledger(requested(open=True))
        over.pass_time(NOW + HOUR)
        assert isinstance(end(over, POLICY, ANA, "g0000001", NOW), Grant)

    def test_the_holder_may_end_what_the_policy_has_not_any_more(self):
        assert isinstance(end(ledger(requested()), policy(NIGHT), ANA, "g0000001", NOW), Ended)


class TestVisible:
    EVENTS = (
        requested(),
        requested("g0000002", subject="eve", at=NOW + 1),
        requested("g0000003", subject="bo", entry="night", open=True),
    )

    def test_own_ones_and_those_that_one_may_approve_the_newest_first(self):
        def seen(by):
            return [grant.id for grant in visible(ledger(*self.EVENTS), POLICY, by)[0]]

        assert seen(ANA) == ["g0000001"]
        assert seen(BO) == ["g0000002", "g0000001", "g0000003"]
        assert seen(caller("cy", "lead")) == ["g0000002", "g0000001"]
        assert seen(caller("cy")) == []
        assert seen(LOCAL) == ["g0000002", "g0000001", "g0000003"]

    def test_what_one_may_ask_for(self):
        assert [entry.id for entry in visible(ledger(), POLICY, ANA)[1]] == ["oncall", "night"]
        assert [entry.id for entry in visible(ledger(), POLICY, BO)[1]] == ["night"]
        assert described(POLICY.grantable["oncall"]) == {
            "entry": "oncall",
            "description": "Help",
            "longest_seconds": 3 * DAY,
            "approvers": ["lead"],
        }


class TestViews:
    def test_each_state(self):
        book = ledger(requested())
        grant = book.get("g0000001")
        shown = view(grant, POLICY)
        assert shown["state"] == "waiting"
        assert shown["requester"] == {"issuer": ISS, "subject": "ana", "name": ""}
        assert not {"approved_by", "ended_at", "requested_by"} & shown.keys()
        book.apply(approved())
        assert (view(grant, POLICY)["state"], view(grant, policy(NIGHT))["state"]) == ("active", "suspended")
        assert view(grant, POLICY)["approved_by"]["subject"] == "bo"
        book.apply(Ended(id="g0000001", at=NOW + 120, by=LOCAL.actor))
        shown = view(grant, POLICY)
        assert (shown["state"], shown["ended_by"], "until" in shown) == ("ended", {"local": "root"}, False)

    def test_an_end_by_time_names_no_one(self):
        book = ledger(requested(open=True, local="root"))
        book.pass_time(NOW + HOUR)
        shown = view(book.get("g0000001"), POLICY)
        assert (shown["state"], "ended_by" in shown, shown["requested_by"]) == ("ended", False, {"local": "root"})
