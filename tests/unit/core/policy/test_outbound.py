"""Who a rule about runs concerns, by the plain definitions."""

import pytest

from authz.core.model import Level
from authz.core.policy.outbound import SATISFIED, concerns, is_tunnel, strong_enough, sure
from authz.core.policy.patterns import parse_glob
from tests.support.factories.policies import run

LEVELS = ("verified", "verified-bearer", "asserted")
GLOBS = (parse_glob("sales_*"), parse_glob("x"))


def test_levels_are_in_order():
    assert {str(level): [str(weaker) for weaker in weaker_ones] for level, weaker_ones in SATISFIED.items()} == {
        "verified": ["verified", "verified-bearer", "asserted"],
        "verified-bearer": ["verified-bearer", "asserted"],
        "asserted": ["asserted"],
    }


@pytest.mark.parametrize(
    ("level", "accepted"), [("verified", (1, 1, 1)), ("verified-bearer", (0, 1, 1)), ("asserted", (0, 0, 1))]
)
def test_a_run_is_strong_enough_for_its_own_level_and_weaker_ones(level, accepted):
    assert tuple(strong_enough(run(level=level), Level(least)) for least in LEVELS) == accepted
    assert not strong_enough(None, Level(level))


def test_only_a_verified_run_is_sure_with_or_without_a_bound_key():
    assert [sure(run(level=level)) for level in LEVELS] == [True, True, False]
    assert not sure(None)


@pytest.mark.parametrize(
    ("name", "surely", "allowed", "denied"),
    [
        ("sales_a", True, True, True),
        ("x", True, True, True),
        ("hr", True, False, False),
        ("sales_a", False, True, True),
        ("hr", False, False, True),
        (None, False, False, True),
    ],
)
def test_deny_rules_also_concern_a_run_whose_name_is_unknown_or_not_verified(name, surely, allowed, denied):
    assert concerns(GLOBS, name, surely=surely, deny=False) is allowed
    assert concerns(GLOBS, name, surely=surely, deny=True) is denied


def test_what_a_rule_for_tunnels_is():
    assert is_tunnel(("CONNECT",))
    assert not is_tunnel(())
    assert not is_tunnel(("GET",))
