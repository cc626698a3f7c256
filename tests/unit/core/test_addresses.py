"""Addresses as settings write them: what each form means, and what a refusal says."""

import pytest

from authz.core.addresses import HostPort, SocketPath, own_hosts, parse_address, same_place, shown


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("unix:/run/a.sock", SocketPath("/run/a.sock")),
        ("127.0.0.1:80", HostPort("127.0.0.1", 80, is_ip=True)),
        ("[2001:DB8::1]:80", HostPort("2001:db8::1", 80, is_ip=True)),
        ("airflow-0.svc.internal:65535", HostPort("airflow-0.svc.internal", 65535, is_ip=False)),
        ("localhost:1", HostPort("localhost", 1, is_ip=False)),
    ],
)
def test_addresses(address, parsed):
    assert parse_address(address) == parsed


FORM = "an address is written host:port, [v6]:port or unix:/path"
BRACKETS = "no IPv6 address is between the brackets"
NAME = "the part before the port is not a host name"
SOCKET = "a Unix socket is written unix:/absolute/path"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        *(
            (text, FORM)
            for text in (
                "",
                "host",
                "host:",
                "host:0",
                "host:65536",
                "host:8o",
                "host:\u0663",
                "host:-1",
                "host:" + "9" * 5000,
            )
        ),
        ("[::1]", FORM),
        *((text, NAME) for text in (":80", "-host:80", "a b:80", "::1:80", "http://host:80")),
        *((text, BRACKETS) for text in ("[nope]:80", "[]:80", "[127.0.0.1]:80")),
        *((text, SOCKET) for text in ("unix:", "unix:relative", "unix:/a\0b", "unix:/run/")),
    ],
)
def test_addresses_that_are_none_are_named_in_the_refusal(address, why):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_address(address)
    assert str(caught.value) == f"{address!r}: {why}"


@pytest.mark.parametrize("address", ["u:hunter2@h", "u:hunter2@h:443", "[u:hunter2@h]:443", "unix:u:hunter2@h"])
def test_a_refusal_quotes_nothing_that_may_be_a_password(address):
    assert shown(address) == "this value"
    with pytest.raises(ValueError, match=r"^this value: ") as caught:
        parse_address(address)
    assert "hunter2" not in str(caught.value)
    assert shown("a:b") == "'a:b'"


@pytest.mark.parametrize(
    ("listen", "hosts"),
    [
        ("unix:/run/a.sock", ("localhost",)),
        ("127.0.0.1:8090", ("127.0.0.1", "localhost")),
        ("10.0.0.7:8090", ("10.0.0.7", "localhost")),
        ("0.0.0.0:8090", ("127.0.0.1", "localhost")),
        ("[::]:8090", ("[::1]", "localhost")),
        ("[2001:DB8::1]:8090", ("[2001:db8::1]", "localhost")),
    ],
)
def test_a_client_on_this_machine_addresses_a_listener_by_its_number_or_as_localhost(listen, hosts):
    assert own_hosts(listen) == hosts


@pytest.mark.parametrize(
    ("address", "listen", "same"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.2:80", "127.0.0.1:80", False),
        ("127.0.0.2:80", "0.0.0.0:80", True),
        ("10.0.0.7:80", "0.0.0.0:80", False),  # it may be another machine's
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "10.0.0.7:80", False),
        ("LocalHost:80", "127.0.0.1:80", True),
        ("localhost:80", "[::1]:80", True),
        ("localhost:80", "[::]:80", True),
        ("localhost:80", "10.0.0.7:80", False),
        ("orders.internal:80", "127.0.0.1:80", False),  # DNS is not asked
        ("[::1]:80", "[::]:80", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:80", False),
        ("localhost:80", "unix:/a", False),
    ],
)
def test_a_client_of_an_address_reaches_the_listener_or_not(address, listen, same):
    assert same_place(address, listen) is same
