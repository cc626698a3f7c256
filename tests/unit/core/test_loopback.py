"""Whether a host is this machine, by its name alone."""

import pytest

from authz.core.loopback import is_loopback, names_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("idp.localhost", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("127.1.2.3", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("notlocalhost", False),
        ("example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_names_loopback(host, expected):
    assert names_loopback(host) is expected
    assert is_loopback(host) is (expected and host != "idp.localhost")  # that one depends on DNS
