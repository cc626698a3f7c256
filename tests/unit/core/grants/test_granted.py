"""What the serving thread sees: nothing after its end, whatever a policy permits, the same object."""

from authz.core.grants import Granted, Ledger
from authz.core.model import HeldGrant
from authz.core.policy import NEVER
from tests.support.factories.grants import DAY, HOUR, NIGHT, ONCALL, approved, policy, requested
from tests.support.factories.policies import claims
from tests.support.factories.tokens import ISS, NOW


def ledger(*events):
    made = Ledger()
    for event in events:
        made.apply(event)
    return made


def table(*events):
    granted = Granted()
    granted.put(ledger(*events).active())
    return granted


def held(granted, subject="ana", wall=NOW + 60, issuer=ISS):
    return granted.held(issuer, subject, wall)


def ids(found):
    return [grant.id for grant in found]


BOTH = (requested(), requested("g0000002", subject="eve"), approved(), approved("g0000002"))


def test_the_holder_has_it_and_no_one_else():
    granted = table(*BOTH)
    assert granted.any
    assert (ids(held(granted)), ids(held(granted, "eve"))) == (["g0000001"], ["g0000002"])
    assert held(granted, "bo") == ()
    assert held(granted, issuer="https://other.test") == (), "the same subject of another issuer"


def test_nothing_is_held_at_first():
    assert not Granted().any
    assert held(Granted()) == ()


def test_it_is_the_same_object_until_something_changes_for_this_identity():
    events = [*BOTH, requested("g0000003", subject="third", seconds=60, entry="night", open=True)]
    granted = table(*events)
    anas, eves = held(granted), held(granted, "eve")
    assert held(granted, wall=NOW + 61) is anas
    later = ledger(*events, requested("g0000004", subject="eve", entry="night", open=True))
    granted.put(later.active())
    assert held(granted) is anas
    assert ids(held(granted, "eve")) == ["g0000004", "g0000002"] != ids(eves)


def test_from_its_end_on_it_is_gone_and_a_clock_that_is_set_back_does_not_bring_it_back():
    granted = table(*BOTH)
    end = NOW + 60 + HOUR
    assert ids(held(granted, wall=end - 0.001)) == ["g0000001"]
    assert held(granted, "someone else", wall=end) == ()
    assert held(granted, wall=end - 100) == ()
    assert granted.ended == {"g0000001", "g0000002"}
    granted.put(ledger(*BOTH, requested("g0000003", entry="night", open=True)).active())
    assert ids(held(granted, wall=NOW + 60)) == ["g0000003"], "the ledger has not heard of the end yet"
    granted.put(ledger(requested("g0000003", entry="night", open=True)).active())
    assert ids(held(granted, wall=NOW + 60)) == ["g0000003"]
    assert granted.ended == frozenset()


def test_after_a_clock_that_was_far_ahead_new_grants_count():
    granted = table(*BOTH)
    held(granted, wall=NOW + 365 * DAY)
    granted.put(ledger(requested("g0000003", entry="night", open=True)).active())
    assert ids(held(granted)) == ["g0000003"]


def test_what_a_policy_does_not_permit_is_held_and_does_not_count_there():
    found = held(table(*BOTH, requested("g0000003", entry="night", open=True)))
    assert ids(found) == ["g0000003", "g0000001"]
    for under, counting in (
        (policy(), ["g0000003", "g0000001"]),
        (policy(NIGHT), ["g0000003"]),
        (policy(ONCALL.replace("3d", "1h"), NIGHT), ["g0000003", "g0000001"]),
        (policy(ONCALL.replace("3d", "59m"), NIGHT), ["g0000003"]),
        (policy(ONCALL, NIGHT.replace("none", "[lead]")), ["g0000001"]),
        (policy(ONCALL.replace("[lead]", "none"), NIGHT), ["g0000003", "g0000001"]),
    ):
        who = under.identify(claims(), found)
        assert (ids(who.grants), who.held) == (counting, found)
        assert {role for role in who.roles if role.startswith("grant/")} == {
            {"g0000001": "grant/oncall", "g0000003": "grant/night"}[name] for name in counting
        }


def test_a_grant_that_is_only_described_counts_where_the_entry_is():
    assert policy().permits(HeldGrant("oncall", "", NEVER, 0, is_approved=True))
    assert not policy(NIGHT).permits(HeldGrant("oncall", "", NEVER, 0, is_approved=True))


def test_putting_the_same_again_changes_nothing():
    granted = table(*BOTH)
    before = held(granted)
    granted.put(ledger(*BOTH).active())
    assert held(granted) is before
    granted.put(())
    assert not granted.any
    assert held(granted) == ()
