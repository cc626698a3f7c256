"""URLs are read strictly, and alike by everybody who reads one."""

import pytest

from authz.core.urls import Url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://idp.example.com", "https://idp.example.com/"),
        ("https://IDP.example.com:443/x?key=secret", "https://idp.example.com/x"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("https://a.b:8443?x=secret", "https://a.b:8443/"),
        ("https://a_b.c", "https://a_b.c/"),
    ],
)
def test_its_text_is_the_url_without_its_query(text, shown):
    made = Url.parse(text)
    assert str(made) == shown
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    ("text", "authority", "address", "origin", "target"),
    [
        ("https://idp.test", "idp.test", "idp.test:443", "https://idp.test", "/"),
        ("https://idp.test:443/", "idp.test", "idp.test:443", "https://idp.test", "/"),
        ("https://IDP.test:8443/a?b=c?d", "idp.test:8443", "idp.test:8443", "https://idp.test:8443", "/a?b=c?d"),
        ("http://127.0.0.1:80?", "127.0.0.1", "127.0.0.1:80", "http://127.0.0.1", "/?"),
        ("http://[::1]:9/", "[::1]:9", "[::1]:9", "http://[::1]:9", "/"),
    ],
)
def test_its_parts(text, authority, address, origin, target):
    made = Url.parse(text)
    assert (made.authority, made.address, made.origin, made.target) == (authority, address, origin, target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "idp.example.com",
        "//idp.example.com",
        "ftp://x/",
        "https://",
        "https:///x",
        "https://user@x/",
        "https://user:pw@x/",
        "https://x/#fragment",
        "https://x?a#fragment",
        "https://x/a b",
        "https://x/\r\nHost: y",
        "https://x\t/",
        "https://x:0/",
        "https://x:65536/",
        "https://x:/",
        "https://x:1:2/",
        "https://x\\@y/",
        "https://x,y/",
        "https://-x/",
        "https://x./",
        "https://b\xfccher.example/",
        "https://x/b\xfccher",
        "https://x:\u0661/",
        "HTTPS://x/",
        " https://x/",
        "https://x/\n",
        "https://[::1/",
        "https://[::1::2]/",
        "https://[1.2.3.4]/",
    ],
)
def test_what_is_no_url_is_refused_and_not_quoted(text):
    with pytest.raises(ValueError, match="URL") as caught:
        Url.parse(text)
    assert not text or text not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_target_below_it_keeps_its_path():
    assert Url.parse("http://a.test/base/").below("/x?y").target == "/base/x?y"
    assert Url.parse("http://a.test:81").below("/x") == Url.parse("http://a.test:81/x")
