import pytest

from authz.core.errors import RequestError
from authz.core.reasons import Reason
from authz.core.request.path import (
    MAX_PATH_BYTES,
    METHODS,
    CanonicalPath,
    below,
    canonical_host,
    canonical_method,
    canonicalise,
    is_base,
    tunnel,
)


@pytest.mark.parametrize(
    ("target", "path", "segments"),
    [
        ("/", "/", ("",)),
        ("/api/v2/dags", "/api/v2/dags", ("api", "v2", "dags")),
        ("/api/v2/dags/", "/api/v2/dags/", ("api", "v2", "dags", "")),
        ("/a?b=c", "/a", ("a",)),
        ("/?/../x", "/", ("",)),
        ("/a?b?c#d\x00é", "/a", ("a",)),
        ("/%64ags", "/dags", ("dags",)),
        ("/a%2Fb", "/a/b", ("a", "b")),
        ("/a%2f", "/a/", ("a", "")),
        ("/manual__2026-01-01T00%3A00%3A00%2B00%3A00", "/manual__2026-01-01T00:00:00+00:00", None),
        ("/a;x=1", "/a;x=1", ("a;x=1",)),
        ("/a%3Bx", "/a;x", ("a;x",)),
        ("/a%20b", "/a%20b", ("a b",)),
        ("/a.", "/a.", ("a.",)),
        ("/...", "/...", ("...",)),
        ("/.hidden/..x", "/.hidden/..x", (".hidden", "..x")),
        ("/a%3F%23b", "/a%3F%23b", ("a?#b",)),
        ("/100%25", "/100%25", ("100%",)),
        ("/%25zz", "/%25zz", ("%zz",)),
        ("/%C3%A9", "/%C3%A9", ("é",)),
        ("/%c3%a9%20x", "/%C3%A9%20x", ("é x",)),
        ('/{a}|"<>^`', "/%7Ba%7D%7C%22%3C%3E%5E%60", ('{a}|"<>^`',)),
        ("/a:@!$&'()*+,;=-_.~", "/a:@!$&'()*+,;=-_.~", ("a:@!$&'()*+,;=-_.~",)),
        ("/http:/x", "/http:/x", ("http:", "x")),
    ],
)
def test_canonical_form(target, path, segments):
    result = canonicalise(target)
    assert result.path == path
    assert result.segments == (segments or tuple(path[1:].split("/")))
    assert canonicalise(result.path) == result


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("", "the request target does not start with a slash"),
        ("*", "the request target does not start with a slash"),
        ("?x", "the request target does not start with a slash"),
        ("api/v2/dags", "the request target does not start with a slash"),
        ("http://host/api", "the request target does not start with a slash"),
        ("/a#b", "the path holds a raw character that must be escaped"),
        ("/a b", "the path holds a raw character that must be escaped"),
        ("/a\tb", "the path holds a raw character that must be escaped"),
        ("/a\x7f", "the path holds a raw character that must be escaped"),
        ("/a\n", "the path holds a raw character that must be escaped"),
        ("/é", "the path holds a raw character that must be escaped"),
        ("/\udcff", "the path holds a raw character that must be escaped"),
        ("/a\\b", "the path holds a raw character that must be escaped"),
        ("/%", "the path holds an invalid percent-escape"),
        ("/%4", "the path holds an invalid percent-escape"),
        ("/%zz", "the path holds an invalid percent-escape"),
        ("/%u0041", "the path holds an invalid percent-escape"),
        ("/%\uff14\uff11", "the path holds a raw character that must be escaped"),
        ("/%ff", "the path's escapes are not UTF-8"),
        ("/%c0%ae", "the path's escapes are not UTF-8"),
        ("/%ed%a0%80", "the path's escapes are not UTF-8"),
        ("/a%00", "the path holds an escaped control character or backslash"),
        ("/a%0a", "the path holds an escaped control character or backslash"),
        ("/a%7F", "the path holds an escaped control character or backslash"),
        ("/a%C2%85", "the path holds an escaped control character or backslash"),
        ("/a%E2%80%A8", "the path holds an escaped control character or backslash"),
        ("/a%5Cb", "the path holds an escaped control character or backslash"),
        ("/a%252e", "the path is escaped more than once"),
        ("/a%25%34%31", "the path is escaped more than once"),
        ("//", "the path holds an empty segment"),
        ("//a", "the path holds an empty segment"),
        ("/a//b", "the path holds an empty segment"),
        ("/a//", "the path holds an empty segment"),
        ("/%2F", "the path holds an empty segment"),
        ("/a%2F%2fb", "the path holds an empty segment"),
        ("/.", "the path holds a dot segment"),
        ("/a/..", "the path holds a dot segment"),
        ("/a/../b", "the path holds a dot segment"),
        ("/a/./b", "the path holds a dot segment"),
        ("/a/%2e%2E/b", "the path holds a dot segment"),
        ("/a%2f..%2fb", "the path holds a dot segment"),
        ("/a/..;/b", "the path holds a dot segment"),
        ("/a/.;x=1/b", "the path holds a dot segment"),
        ("/a/..%3bx", "the path holds a dot segment"),
        ("/a%20", "a segment of the path begins or ends with a space"),
        ("/%20a", "a segment of the path begins or ends with a space"),
        ("/%20", "a segment of the path begins or ends with a space"),
        ("/a%20/b", "a segment of the path begins or ends with a space"),
        ("/a/b%20%2Fc", "a segment of the path begins or ends with a space"),
    ],
)
def test_refused_paths(target, detail):
    with pytest.raises(RequestError) as caught:
        canonicalise(target)
    assert caught.value.reason is Reason.BAD_PATH
    assert caught.value.detail == detail


def test_an_encoded_slash_is_flagged_but_is_no_part_of_equality():
    encoded, plain = canonicalise("/pools/a%2Fb"), canonicalise("/pools/a/b")
    assert encoded == plain
    assert hash(encoded) == hash(plain)
    assert (encoded.encoded_slash, plain.encoded_slash) == (True, False)
    assert canonicalise("/pools/a%2fb").encoded_slash is True
    assert canonicalise("/pools/a%20b?x=%2F").encoded_slash is False


def test_length_is_bounded_in_both_forms():
    longest = "/" + "a" * (MAX_PATH_BYTES - 1)
    assert canonicalise(longest + "?" + "q" * 100_000) == CanonicalPath(path=longest, segments=(longest[1:],))
    assert canonicalise(longest[:-3] + "%41").path == longest[:-3] + "A"
    grows = "/" + "{" * (MAX_PATH_BYTES // 2)
    for target in (longest + "a", "/" + "%41" * (MAX_PATH_BYTES // 3 + 1), grows):
        with pytest.raises(RequestError, match=r"^bad_path: the path is too long$"):
            canonicalise(target)


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("airflow", "airflow", None),
        ("Airflow.Example.COM", "airflow.example.com", None),
        ("my_host-1:65535", "my_host-1", 65535),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]", "[::1]", None),
        ("[2001:DB8::1]:443", "[2001:db8::1]", 443),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("a" * 63 + "." + "b" * 63, "a" * 63 + "." + "b" * 63, None),
    ],
)
def test_canonical_host(authority, host, port):
    assert canonical_host(authority) == (host, port)
    assert canonical_host(host) == (host, None)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "0x7f000001", "0x7f.0x0.0x0.0x1",
        "017700000001", "127.0.0.0x1", "169.254.0xa9fe", "256.1.1.1", "1.2.3.4.5", "999", "0", "0x", "a.0x", "a.b.1",
        "metadata.0", "1.2.3.08", "0XA9FEA9FE", "a-b.09",
    ],
)  # fmt: skip
def test_what_ends_in_a_number_is_an_address_in_four_decimal_numbers_or_refused(host):
    """Whoever connects may read each of these as an IPv4 address (WHATWG URL §3.5, inet_aton)."""
    for authority in (host, f"{host}:80"):
        with pytest.raises(RequestError) as failure:
            canonical_host(authority)
        assert failure.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "1.a", "0x7f.test", "x1", "v1.2a", "0xg", "a.0x7fz", "1-2"]
)
def test_dotted_decimal_addresses_and_names_with_numbers_stay(host):
    assert canonical_host(host) == (host, None)


@pytest.mark.parametrize("target", ["", "orders.internal:443", "ORDERS.internal:443"])
def test_a_tunnel_is_asked_for_by_host_and_port(target):
    assert tunnel("Orders.Internal:443", target) == ("orders.internal", 443)
    assert tunnel("[::1]:443", "[::1]:443") == ("[::1]", 443)


@pytest.mark.parametrize(
    ("authority", "target", "reason"),
    [
        ("orders.internal", "", Reason.BAD_HOST),
        ("orders.internal:443", "orders.internal", Reason.BAD_PATH),
        ("orders.internal:443", "orders.internal:80", Reason.BAD_PATH),
        ("orders.internal:443", "evil.test:443", Reason.BAD_PATH),
        ("orders.internal:443", "/", Reason.BAD_HOST),
        ("orders.internal:443", "/orders.internal:443", Reason.BAD_HOST),
        ("orders.internal:443", "http://orders.internal:443", Reason.BAD_HOST),
        ("orders.internal:443", "user@orders.internal:443", Reason.BAD_HOST),
        ("2130706433:80", "2130706433:80", Reason.BAD_HOST),
        ("a:443,b:443", "", Reason.BAD_HOST),
        ("", "", Reason.BAD_HOST),
    ],
)
def test_a_tunnel_goes_where_its_host_says_or_nowhere(authority, target, reason):
    with pytest.raises(RequestError) as failure:
        tunnel(authority, target)
    assert failure.value.reason is reason


@pytest.mark.parametrize(
    "authority",
    [
        "", ".", ":80", "a..b", ".a", "a..", "a:", "a:0", "a:080", "a:65536", "a:100000", "a:8o", "a:+8", "a:80:80",
        "a:\u0661", "a,b", "a.test,b.test", "user@a", "user:pass@a", "a b", " a", "a\t", "a\n", "a/b", "a?b", "a#b",
        "a\\b", "a%41", "a;b", "bücher.example", "\u212aelvin", "[::1", "::1", "[]", "[:]", "[::1]x", "[fe80::1%eth0]",
        "[1.2.3.4]", "[::g]", "a.test.", "a.test.:80", "a.test..", "[0::1]", "[::0001]", "[0:0:0:0:0:0:0:1]:80",
        "[2001:db8:0:0::1]", "a" * 64, ".".join(["a" * 63] * 4), "a." * 30_000, "*", "*.example.com",
    ],
)  # fmt: skip
def test_refused_hosts(authority):
    with pytest.raises(RequestError) as caught:
        canonical_host(authority)
    assert caught.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    ("authority", "detail"),
    [
        ("", "not one host name with an optional port"),
        ("a,b", "not one host name with an optional port"),
        ("a." * 126 + "ab", "the host name is too long"),
        ("a:65536", "the port is out of range"),
        ("[::g]", "not one host name with an optional port"),
        ("[1.2.3.4]", "the brackets hold no IPv6 address"),
        ("[0::1]", "the IPv6 address is not in its shortest spelling"),
        ("127.1", "the host ends in a number and is not an IPv4 address of four decimal numbers"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_host(authority, detail):
    with pytest.raises(RequestError) as caught:
        canonical_host(authority)
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_HOST, detail)


def test_a_host_has_at_most_253_bytes_and_a_port_is_at_most_65535():
    longest = "a." * 126 + "a"
    assert canonical_host(f"{longest}:65535") == (longest, 65535)
    assert canonical_host("a:1") == ("a", 1)


def test_a_refusal_says_what_is_wrong_with_a_tunnel_or_a_method():
    for ask, detail in (
        (lambda: tunnel("orders.internal", ""), "a tunnel needs a port"),
        (lambda: tunnel("orders.internal:443", "other:443"), "the tunnel's target differs from the Host"),
        (lambda: canonical_method("TRACE"), "not a method that policies know"),
    ):
        with pytest.raises(RequestError) as caught:
            ask()
        assert caught.value.detail == detail


def test_methods_are_a_closed_list_and_case_sensitive():
    assert sorted(METHODS) == ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    assert [canonical_method(method) for method in sorted(METHODS)] == sorted(METHODS)
    for method in ("", "get", "Get", " GET", "GET ", "TRACE", "CONNECT", "PROPFIND", "PURGE", "GET\n", "QUERY"):
        with pytest.raises(RequestError) as caught:
            canonical_method(method)
        assert caught.value.reason is Reason.BAD_METHOD


def test_no_detail_repeats_the_request():
    for target in ("/se%63ret/../x", "/secret\\", "secret", "/secret%"):
        with pytest.raises(RequestError) as caught:
            canonicalise(target)
        assert "secret" not in str(caught.value)


BASE = "/team/airflow"


@pytest.mark.parametrize(
    ("target", "inner"),
    [
        ("/team/airflow", "/"),
        ("/team/airflow/", "/"),
        ("/team/airflow?next=/x", "/"),
        ("/team/airflow/api/v2/dags", "/api/v2/dags"),
        ("/team/airflow/api/v2/dags/", "/api/v2/dags/"),
        ("/team%2fairflow%2Fapi/v2/dags", "/api/v2/dags"),
        ("/te%61m/airflow/api%2fv2/dags", "/api/v2/dags"),
        ("/team/airflow/%65xecution/x", "/execution/x"),
        ("/team/airflow%2fexecution%2fx", "/execution/x"),
        ("/team/airflow/team/airflow/execution/x", "/team/airflow/execution/x"),
        ("/team/airflow/api/v2/pools/a%20b", "/api/v2/pools/a%20b"),
    ],
)
def test_below_a_base_path(target, inner):
    asked = canonicalise(target)
    found = below(asked, BASE)
    assert found == canonicalise(inner)
    assert found.encoded_slash == asked.encoded_slash


@pytest.mark.parametrize(
    "target",
    [
        "/", "/api/v2/dags", "/execution/x", "/team", "/team/", "/airflow", "/team/airflowx", "/team/airflow-x/api",
        "/team/airflow.", "/team/airflow;x", "/team/airflow;x/api/v2/dags", "/TEAM/airflow/api",
        "/team/AIRFLOW/api/v2/dags", "/team/airflow%3b/api", "/x/team/airflow/api", "/teamairflow", "/tea/m/airflow",
    ],
)  # fmt: skip
def test_not_below_a_base_path(target):
    assert below(canonicalise(target), BASE) is None


@pytest.mark.parametrize("text", ["/a", "/airflow", "/a/b", "/a.b/~c", "/..a", "/a..", "/.a"])
def test_base_paths(text):
    assert is_base(text)
    assert canonicalise(text).path == text


@pytest.mark.parametrize(
    "text", ["", "/", "a", "/a/", "//a", "/a//b", "/.", "/..", "/./a", "/a/../b", "/a%20b", "/a;b", "/é", "/a\n", "/a?"]
)
def test_no_base_paths(text):
    assert not is_base(text)
