from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.request.return_path import return_path

ORIGIN = "https://airflow.example.com"
LOGIN = "/api/v2/auth/login"


def back(link, *, origin=ORIGIN):
    return return_path(f"{LOGIN}?next={quote(link, safe='')}", origin, "/start")


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("/dags/sales_daily?tab=runs", "/dags/sales_daily?tab=runs"),
        (f"{ORIGIN}/dags/sales_daily/runs/a%2Fb?x=1&y=2", "/dags/sales_daily/runs/a%2Fb?x=1&y=2"),
        (f"{ORIGIN}/", "/"),
        ("/", "/"),
        ("/a//b", "/a//b"),
    ],
)
def test_a_page_of_this_site_is_gone_back_to(link, path):
    assert back(link) == path


@pytest.mark.parametrize(
    "link",
    [
        *(
            "//evil.test",
            "///evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "\\/evil.test",
            "https:evil.test",
            "https:/evil.test",
        ),
        *("https://evil.test/", f"{ORIGIN}.evil.test/", f"{ORIGIN}@evil.test/", f"{ORIGIN}:1/", f"{ORIGIN}//evil.test"),
        *(
            f"{ORIGIN}/\\evil.test",
            "http://airflow.example.com/",
            "HTTPS://EVIL.TEST/",
            "javascript:alert(1)",
            "data:,x",
        ),
        *(
            "/\t/evil.test",
            "\t//evil.test",
            "/\n/evil.test",
            "/\r\nset-cookie: a=b",
            " //evil.test",
            "/ x",
            "/\x00",
            "/é",
        ),
        *("", "dags", "?next=/x", "#", ORIGIN, "/" + "x" * 4096),
    ],
)
def test_every_other_link_gives_the_start_page(link):
    assert back(link) == "/start"


@pytest.mark.parametrize("query", ["", "?", "?next", "?next=", "?next=/a&next=/b", "?nextt=/a"])
def test_without_one_next_it_is_the_start_page(query):
    assert return_path(LOGIN + query, ORIGIN, "/start") == "/start"


@given(st.text(alphabet="/\\:ahtps.%?#@ \t\n\r\u2215é", max_size=30), st.sampled_from(["", ORIGIN, "/", "//"]))
def test_no_browser_is_led_off_site(text, before):
    """Resolved as a browser does it: backslashes are slashes, and tabs and line ends are nothing."""
    path = back(before + text)
    read = path.replace("\\", "/").translate({9: None, 10: None, 13: None})
    assert urlsplit(urljoin(f"{ORIGIN}/x", read))[:2] == ("https", "airflow.example.com")


@pytest.mark.parametrize("link", ["/a+b", "/a%20b"])
def test_a_space_is_no_part_of_a_link_in_either_spelling(link):
    """A plus in a query is a space (WHATWG URL §5.1)."""
    assert return_path(f"{LOGIN}?next={link}", ORIGIN, "/start") == "/start"
