import pytest

from authz.core.model import Level
from authz.core.runs.run_claim import MAX_NAME, claim_of, read_run
from tests.support.factories.proofs import CLAIM, RUN


def test_the_claim_names_a_run_and_no_level():
    assert read_run(CLAIM, Level.VERIFIED) == RUN
    assert read_run(CLAIM, Level.ASSERTED).level is Level.ASSERTED
    assert claim_of(RUN) == CLAIM


@pytest.mark.parametrize("value", [None, [], "x", {}, {**CLAIM, "level": "verified"}, list(CLAIM)])
def test_it_has_exactly_its_members(value):
    with pytest.raises(ValueError, match="exactly"):
        read_run(value, Level.VERIFIED)


@pytest.mark.parametrize("member", ["dag_id", "run_id", "task_id"])
def test_names_have_one_spelling(member):
    for good in ("a", "ä b", "a.b", "manual__2026-01-01T00:00:00+00:00", "x" * MAX_NAME):
        assert good in read_run({**CLAIM, member: good}, Level.VERIFIED)
    for bad in ("", " a", "a ", "a\n", "\u00a0a", "a\x00b", "a\u2028b", "x" * (MAX_NAME + 1), None, 1, ["a"]):
        with pytest.raises(ValueError, match=member):
            read_run({**CLAIM, member: bad}, Level.VERIFIED)


@pytest.mark.parametrize(("member", "least"), [("map_index", -1), ("try_number", 1)])
def test_numbers_are_whole_and_bounded(member, least):
    for good in (least, 5, 2**31 - 1):
        assert good in read_run({**CLAIM, member: good}, Level.VERIFIED)
    for bad in (least - 1, 2**31, True, 1.0, "1", None):
        with pytest.raises(ValueError, match=member):
            read_run({**CLAIM, member: bad}, Level.VERIFIED)
