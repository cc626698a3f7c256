"""Logging in, staying in and getting out, in real Chromium: each test with the certified and the embedded provider."""

import contextlib
import re

import httpx
import pytest
from playwright.sync_api import Error, expect

from tests.browser.airflow_pages import fetched, finished, log_out, trigger
from tests.e2e.envoy_harness import wait_for

pytestmark = pytest.mark.e2e

ME = "/ui/auth/me"
SESSION = ("BearerToken", "OauthHMAC", "OauthExpires", "IdToken", "RefreshToken")
PROGRAM = "replay/1"
OURS = (*SESSION, "OauthNonce", "CodeVerifier")


def requests_to(context, url):
    """What the browser asks of a site from now on, page loads and scripts alike."""
    seen = []
    context.on("request", lambda request: seen.append(request.url) if request.url.startswith(url) else None)
    return seen


def here(context):
    """What the browser keeps of the gate's site."""
    return [cookie for cookie in context.cookies() if cookie["domain"] == "localhost"]


def signed_out(page, edge):
    """The provider sends people back to the start page, which says so, and begins no login."""
    page.wait_for_url(f"{edge.url}/")
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def who(page):
    status, text = fetched(page, ME)
    assert status == httpx.codes.OK, text
    return text


def test_a_login_ends_on_the_page_first_asked_for(page, edge):
    edge.sign_in(page, "viewer", "/dags/sales_daily?tab=runs")
    expect(page.get_by_text("sales_daily").first).to_be_visible()
    assert '"ann"' in who(page)


def test_who_loses_the_session_while_the_ui_is_open_comes_back_to_the_page(context, page, edge):
    """A team's member, whose rules are those of docs/policy.md: none of them gives `session:login`."""
    edge.sign_in(page, "team", "/dags/sales_daily")
    expect(page.get_by_test_id("trigger-dag-button")).to_be_visible()
    context.clear_cookies()  # the provider's too, so that its page shows up again
    with contextlib.suppress(Error):  # what the UI asks in the background may have led it away already, or just now
        page.evaluate("document.querySelector('[data-testid=trigger-dag-button]')?.click()")
    page.wait_for_url(f"{edge.provider.issuer}/**")
    edge.provider.sign_in(page, "team")
    page.wait_for_url(re.compile(rf"^{re.escape(edge.url)}/dags/sales_daily(/runs)?/?(\\?.*)?$"))
    expect(page.get_by_text("sales_daily").first).to_be_visible()
    assert '"sam"' in who(page)


def test_a_second_tab_needs_no_second_login(context, edge):
    edge.sign_in(context.new_page(), "viewer")
    asked = requests_to(context, edge.provider.issuer)
    second = context.new_page()
    second.goto(f"{edge.url}/dags")
    assert '"ann"' in who(second)
    assert asked == []


def test_several_tabs_can_log_in_at_once(context, edge):
    pages = {path: context.new_page() for path in ("/dags", "/dags/sales_daily", "/assets")}
    for path, page in pages.items():
        page.goto(edge.url + path)
    for page in pages.values():
        edge.provider.sign_in(page, "viewer")
    for path, page in pages.items():
        page.wait_for_url(edge.url + path)
        assert '"ann"' in who(page)


def test_a_run_that_a_person_triggers_succeeds(page, edge, airflow):
    edge.sign_in(page, "user", "/dags/sales_daily")
    run = trigger(page, "sales_daily")
    assert finished(page, "sales_daily", run) == "success"
    with airflow.client("admin") as client:
        runs = client.get("/api/v2/dags/sales_daily/dagRuns").json()["dag_runs"]
    assert {entry["dag_run_id"]: entry["triggering_user_name"] for entry in runs}[run] == "ben"


def bearer(context):
    return [cookie["value"] for cookie in context.cookies() if cookie["name"].endswith("BearerToken")]


def test_an_expired_session_is_renewed_without_a_login(context, page, edge):
    edge.provider.token_seconds(2)
    try:
        edge.sign_in(page, "viewer")
        asked = requests_to(context, edge.provider.issuer)

        def renewed_by(ask):
            before = bearer(context)

            def look():
                ask()
                return bearer(context) != before

            wait_for(look, "the session was not renewed", pause=lambda _s: page.wait_for_timeout(100))

        renewed_by(lambda: who(page))
        renewed_by(lambda: page.goto(f"{edge.url}/dags"))
        assert '"ann"' in who(page)
        assert asked == []
    finally:
        edge.provider.token_seconds(600)


def replay(edge, cookies, path, **headers):
    """A request with saved cookies, from a program that is no browser."""
    line = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
    headers = {"cookie": line, "user-agent": PROGRAM, **headers}
    return httpx.get(edge.url + path, headers=headers, verify=False)  # noqa: S501 - a test authority


def replayed(relay):
    """Whether Airflow was asked by `replay` since the relay was cleared. Open pages ask too, at any time."""
    return f"user-agent: {PROGRAM}".encode() in relay.received


def test_signing_out_ends_the_session_for_good(context, page, edge, relay):
    edge.sign_in(page, "viewer", "/dags/sales_daily")
    saved = here(context)
    assert replay(edge, saved, ME).status_code == httpx.codes.OK
    assert replayed(relay)

    log_out(page)
    edge.provider.confirm_sign_out(page)
    signed_out(page, edge)
    assert here(context) == []

    relay.clear()
    refused = replay(edge, saved, ME)
    assert (refused.status_code, refused.json()["error"]) == (httpx.codes.UNAUTHORIZED, "invalid_token")
    page_again = replay(edge, saved, "/dags", **{"sec-fetch-mode": "navigate", "accept": "text/html"})
    assert page_again.status_code != httpx.codes.OK
    assert not replayed(relay)


@pytest.mark.parametrize("provider", ["certified"], indirect=True)
def test_a_session_that_ends_at_the_provider_ends_here(context, page, edge, relay):
    """OpenID Connect Back-Channel Logout: nobody came by at the gate."""
    edge.sign_in(page, "viewer")
    saved = here(context)
    assert replay(edge, saved, ME).status_code == httpx.codes.OK
    assert replayed(relay)

    page.goto(f"{edge.provider.issuer}/session/end")
    edge.provider.confirm_sign_out(page)

    def refused():
        return replay(edge, saved, ME).status_code == httpx.codes.UNAUTHORIZED

    wait_for(refused, "the session goes on", pause=lambda _s: page.wait_for_timeout(100), seconds=20)
    relay.clear()
    assert replay(edge, saved, ME).json()["error"] == "invalid_token"
    forged = httpx.post(f"{edge.url}/oauth2/backchannel-logout", data={"logout_token": "a.b.c"}, verify=False)  # noqa: S501 - a test authority
    assert forged.status_code == httpx.codes.BAD_REQUEST
    assert not replayed(relay)


def pieces(context):
    """The cookies that hold the access token, without the prefix."""
    names = (cookie["name"].removeprefix("__Host-") for cookie in here(context))
    return sorted(name for name in names if name.startswith("BearerToken"))


@pytest.mark.parametrize("provider", ["embedded"], indirect=True)
def test_a_person_with_12_kib_of_groups_works_as_all_others(context, page, edge):
    edge.provider.more_groups(900)
    try:
        edge.sign_in(page, "viewer", "/dags/sales_daily")
        expect(page.get_by_text("sales_daily").first).to_be_visible()
        assert '"ann"' in who(page)
        large = pieces(context)
        assert large == [*(f"BearerToken_{at}" for at in range(6)), "BearerToken_chunks"]
        log_out(page)
        signed_out(page, edge)
        assert here(context) == []

        edge.sign_in(page, "viewer", "/dags")
        assert '"ann"' in who(page)
        assert pieces(context) == large
    finally:
        edge.provider.more_groups(0)


@pytest.mark.parametrize("provider", ["embedded"], indirect=True)
def test_a_person_who_leaves_groups_keeps_no_piece_of_the_larger_token(context, page, edge):
    edge.provider.more_groups(900)
    try:
        edge.sign_in(page, "viewer")
        assert len(pieces(context)) == 7
        edge.provider.more_groups(0)
        context.clear_cookies(name="__Host-BearerToken_0")  # a session that is not whole is renewed
        assert '"ann"' in who(page)
        assert pieces(context) == ["BearerToken"]
        page.goto(f"{edge.url}/dags")
        assert '"ann"' in who(page)
    finally:
        edge.provider.more_groups(0)


def ours(cookie):
    return any(name in cookie["name"] for name in OURS)


def test_the_back_button_shows_nothing_after_signing_out(page, edge):
    edge.sign_in(page, "viewer", "/dags/sales_daily")
    log_out(page)
    edge.provider.confirm_sign_out(page)
    signed_out(page, edge)
    page.goto(f"{edge.url}/dags/sales_daily")
    assert page.url.startswith(edge.provider.issuer)
    page.go_back()
    expect(page.get_by_test_id("dag-id")).to_have_count(0)
