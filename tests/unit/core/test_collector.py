"""Python's cyclic garbage collector rests while many objects are made."""

import gc

import pytest

from authz.core.collector import resting


@pytest.fixture(params=[True, False], ids=["on", "off"])
def before(request):
    """Whether collection was on before; the tests' own state comes back."""
    kept = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if kept else gc.disable)()


def test_the_collector_rests_during_the_block_and_is_afterwards_as_before(before):
    with resting():
        assert not gc.isenabled()
    assert gc.isenabled() is before


def test_an_exception_leaves_it_as_before(before):
    with pytest.raises(LookupError), resting():
        raise LookupError
    assert gc.isenabled() is before


def test_a_block_within_a_block_does_not_end_the_outer_one(before):
    with resting():
        with resting():
            pass
        assert not gc.isenabled()
    assert gc.isenabled() is before
