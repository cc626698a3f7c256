"""Why nothing can listen at an address, as far as the system says it."""

import pytest

from authz.system.listening import why_not


@pytest.mark.parametrize(
    "address", ["127.0.0.1:\u00b2", "127.0.0.1:\u0662", "127.0.0.1:", "127.0.0.1:http", "unix:/a:1"]
)
def test_an_address_without_a_port_has_no_reason(address):
    assert why_not(address) == ""
