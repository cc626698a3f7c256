import pytest

from authz.core.lint.egress_map import NOWHERE, Lead, WayOut, WaysOut, lead, overlap

ORDERS = WayOut(name="orders", hosts=("orders.internal", "o.internal"), ports=(443,), listen="127.0.0.1:9101")
FILES = WayOut(name="files", hosts=("files.internal",), path="/files", tunnel=True, ports=(8443,))
DEEP = WayOut(name="deep", hosts=("deep.internal",), path="/files/deep")
ANY = WayOut(name="any", hosts=("*.internal",), ports=(443,), tunnel=True)
TEAM = WayOut(name="team", hosts=("*.team.internal",), listen="unix:/run/team.sock")
WAYS = WaysOut(file="authz.yaml", listen="127.0.0.1:8090", destinations=(ANY, ORDERS, FILES, DEEP, TEAM))
OPEN = WaysOut(file="authz.yaml", listen="0.0.0.0:8090", destinations=(ORDERS,), others=(443,))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("GET orders.internal /v1", Lead("orders")),
        ("GET o.internal:8443 /v1", Lead("orders")),
        ("GET x.internal /v1", Lead("any")),
        ("GET a.b.team.internal /v1", Lead("team")),
        ("GET internal /v1", NOWHERE),
        ("GET other.test /v1", NOWHERE),
        # base URLs
        ("GET 127.0.0.1:9101 /v1", Lead("orders", "orders.internal")),
        ("GET localhost:9101 /v1", Lead("orders", "orders.internal")),
        ("GET 127.0.0.1:9102 /v1", NOWHERE),
        ("GET localhost:8090 /files", Lead("files", "files.internal", "/files")),
        ("GET 127.0.0.1:8090 /files/x", Lead("files", "files.internal", "/files")),
        ("GET 127.0.0.1:8090 /files/deep/x", Lead("deep", "deep.internal", "/files/deep")),
        ("GET 127.0.0.1:8090 /filesystem", NOWHERE),
        ("GET 127.0.0.1 /", NOWHERE),
        # tunnels: an exact host, the port of the address, and only where it says so
        ("CONNECT files.internal:8443 -", Lead("files")),
        ("CONNECT files.internal:443 -", NOWHERE),
        ("CONNECT x.internal:443 -", NOWHERE),
        ("CONNECT orders.internal:443 -", NOWHERE),
        ("CONNECT 127.0.0.1:9101 -", NOWHERE),
    ],
)
def test_where_a_call_leads(asked, expected):
    assert leads(WAYS, asked) == expected


def leads(ways, asked):
    method, authority, path = asked.split(" ")
    host, _, port = authority.partition(":")
    return lead(ways, method=method, host=host, port=int(port) if port else None, path=path)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("GET orders.internal /v1", Lead("orders")),
        ("GET other.test /v1", Lead()),
        ("GET localhost:8090 /v1", Lead()),
        ("CONNECT other.test:443 -", NOWHERE),
    ],
)
def test_hosts_that_are_no_destinations(asked, expected):
    assert leads(OPEN, asked) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.b", "a.b", True), ("a.b", "c.b", False), ("*.b", "a.b", True), ("*.b", "b", False), ("*.b", "*.b", True),
        ("*.b", "*.a.b", True), ("*.a.b", "*.c.b", False), ("*.a.b", "c.b", False), ("*.ab", "*.b", False),
    ],
)  # fmt: skip
def test_patterns_that_share_a_host(one, other, expected):
    assert overlap(one, other) is overlap(other, one) is expected
