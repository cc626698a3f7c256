"""Options that several commands have."""

import pytest
from click.testing import CliRunner

from authz.cli import main


@pytest.mark.parametrize("workers", ["0", "257", "\u0664", "+4", "9" * 5000, "many", ""])
def test_a_number_of_workers_has_ascii_digits_and_an_end(workers):
    found = CliRunner().invoke(main, ["envoy", "--workers", workers])
    assert (found.exit_code, "is not a number from 1 to 256, nor auto" in found.output) == (2, True)
