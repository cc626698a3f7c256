"""The clock of another server against ours."""

import pytest

from authz.core.doctor import clocks


@pytest.mark.parametrize("apart", [-7, 7, 3600])
def test_clocks_that_are_apart_are_found_with_both_times(apart):
    found = clocks.finding("http://x", "Envoy", 1_700_000_000 + apart, 1_700_000_000)
    assert found.id == "clock"
    assert "here 2023-11-14 22:13:20 UTC, at Envoy 2023-11-14" in found.text
    assert found.text.endswith(f": {abs(apart)} s apart")


@pytest.mark.parametrize("there", [None, 1_700_000_000, 1_700_000_006, 1_699_999_994])
def test_clocks_that_agree_or_are_not_known_are_no_finding(there):
    assert clocks.finding("http://x", "Envoy", there, 1_700_000_000) is None


def test_a_date_is_read_and_what_is_none_is_unknown():
    assert clocks.of_date("Tue, 14 Nov 2023 22:13:20 GMT") == 1_700_000_000
    assert clocks.of_date("yesterday") is None
    assert clocks.of_date("") is None
