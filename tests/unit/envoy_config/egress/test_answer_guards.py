import re

import pytest

from authz.envoy_config.egress.answer_guards import _SEVERAL, same_host

HOSTS = ("orders.internal", "*.orders.test")


def stays(location, hosts=HOSTS, ports=(8443,)):
    """What Envoy asks of a Location: RE2 has no syntax here that `re` reads otherwise."""
    return bool(re.fullmatch(same_host(hosts, ports), location)) and not re.fullmatch(_SEVERAL, location)


@pytest.mark.parametrize(
    "location",
    [
        *("", "/", "/a/b?c=http://d#e", "a/b", "./a", "?page=2", "#top", "/a,b", "/a:b", "/a b", "/caf\xe9"),
        *("https://orders.internal", "http://orders.internal/", "HTTPS://Orders.Internal:443/x?y"),
        *("https://orders.internal:8443/x", "https://eu.orders.test/x", "https://a.b.orders.test:80#x"),
    ],
)
def test_a_redirect_to_the_same_host_stays(location):
    assert stays(location)


@pytest.mark.parametrize(
    "location",
    [
        *("https://evil.test/", "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "/a\\b"),
        *("https://orders.internal.evil.test/", "https://orders.internal@evil.test/", "https://x@orders.internal/"),
        *("https://orders.internal:8444/", "https://evilorders.test/", "https://orders.test/", "https:orders.internal"),
        *("javascript:alert(1)", "ftp://orders.internal/", "https://ordersXinternal/", "https:///orders.internal"),
        *("https://orders.internal\\@evil.test", "https://orders.internal:443@evil.test/", "a:b"),
        *("/a,https://evil.test/", "https://orders.internal/, //evil.test", "/a,\thttp:evil.test"),
        *("/\t/evil.test/", "\t//evil.test", "/\n/evil.test", "/./\t/evil.test", "?\t", "a\t/", "\xa0//evil.test"),
        *("https://orders.internal/\t", "https://orders.internal:443\t@evil.test/", " //evil.test"),
        *("https://evil.test/.orders.test", "https://evil.test?.orders.test", "https://-.evil.test/orders.test"),
    ],
)
def test_every_other_location_is_a_redirect_to_another_host(location):
    assert not stays(location)


def test_without_hosts_only_a_redirect_that_names_none_stays():
    assert stays("/a", hosts=(), ports=())
    assert not stays("https://orders.internal/", hosts=(), ports=())
