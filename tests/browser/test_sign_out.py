"""Signing out in real Chromium, with the ID token kept in a cookie and without: the way ends at a page that says so.

That the page is readable for all is tested with the other pages (test_pages.py).
"""

import pytest
from playwright.sync_api import expect

from tests.e2e.envoy_harness import newest
from tests.e2e.login_site import LoginSite

pytestmark = pytest.mark.e2e

DAGS = "/api/v2/dags"


@pytest.fixture(scope="module", params=[False, True], ids=["no-id-token", "id-token"])
def kept(request):
    return request.param


@pytest.fixture(scope="module")
def site(kept, tmp_path_factory):
    with LoginSite(tmp_path_factory.mktemp("site"), newest(), real=True, keep_id_token=kept) as site:
        yield site


def here(context, site):
    """The names of the cookies that the browser would send to the gate."""
    return {cookie["name"] for cookie in context.cookies(site.url) if cookie["name"].startswith("__Host-")}


def test_sign_out_ends_at_the_signed_out_page_and_its_link_signs_in_again(context, page, site, kept):
    site.reset()
    page.goto(site.url + DAGS)
    site.provider.sign_in(page, "viewer")
    page.wait_for_url(site.url + DAGS)
    assert "__Host-BearerToken" in here(context, site)

    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/oauth2/signout")
    assert page.url == f"{site.url}/"
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    (at_provider,) = [url for url in asked if url.startswith(site.provider.issuer)]
    assert at_provider.startswith(f"{site.provider.issuer}/logout?")
    assert ("id_token_hint" in at_provider) is kept
    assert here(context, site) == set(), "what said it is gone too"
    site.upstream.reset()
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(f"{site.provider.issuer}/**")
    assert site.upstream.requests == []
    site.provider.sign_in(page, "viewer")
    page.wait_for_url(f"{site.url}/")
    page.goto(site.url + DAGS)
    assert site.upstream.requests[-1].target == DAGS
    assert b"authz-sign" not in site.upstream.requests[-1].head


def test_a_reload_of_the_signed_out_page_leads_to_the_login(page, site):
    page.goto(site.url + DAGS)
    site.provider.sign_in(page, "viewer")
    page.wait_for_url(site.url + DAGS)
    page.goto(f"{site.url}/oauth2/signout")
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.reload()
    page.wait_for_url(f"{site.provider.issuer}/**")
