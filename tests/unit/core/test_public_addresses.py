import pytest

from authz.core.public_addresses import is_never_a_service, is_not_public

HERE = ("127.0.0.1", "0.0.0.0", "169.254.169.254", "168.63.129.16", "100.100.100.200", "[::1]", "[fe80::1]")
MAPPED = ("[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[::]")


@pytest.mark.parametrize("host", [*HERE, *MAPPED])
def test_this_machine_its_link_and_metadata_are_no_services(host):
    assert is_never_a_service(host)
    assert is_not_public(host)


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.1", "100.64.0.1", "[fd00::1]", "[::ffff:8.8.8.8]"])
def test_a_private_address_may_be_that_of_a_service(host):
    assert not is_never_a_service(host)
    assert is_not_public(host)


@pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700::1111]", "localhost", "orders.internal", "*.internal", ""])
def test_public_addresses_and_names(host):
    assert not is_never_a_service(host)
    assert not is_not_public(host)
