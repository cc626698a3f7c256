"""Signing out for good: real Envoy with its login, the demo's provider, and the real `authz serve`."""

import contextlib
import json
import time

import httpx
import pytest

from tests.e2e.login_site import LoginSite

DAGS, LOGOUT, SIGNOUT = "/api/v2/dags", "/api/v2/auth/logout", "/oauth2/signout"
LOGIN = "/api/v2/auth/login"


@pytest.fixture(scope="module")
def running_site(real_site):
    """Here the authorizer is the real one, too."""
    return real_site


@pytest.fixture
def browser(site):
    with site.browser() as browser:
        assert site.log_in(browser, DAGS).status_code == 200
        site.upstream.reset()
        yield browser


@contextlib.contextmanager
def replayed(site, cookies):
    """Another browser, with cookies that were saved."""
    with site.browser() as thief:
        thief.cookies[site.url] = dict(cookies)
        yield thief


def decision(site, answer):
    return site.gate.decision(answer.headers["x-authz-decision"])


@pytest.mark.parametrize("start", [LOGOUT, SIGNOUT])
def test_saved_cookies_are_worth_nothing_after_a_sign_out(site, browser, start):
    saved = dict(site.cookies(browser))
    steps = []
    answer = browser.navigate(site.url + start)
    while answer.status_code in {302, 303} and str(answer.url).startswith(site.url):
        steps.append(answer.url.path)
        answer = browser.navigate(str(answer.url.join(answer.headers["location"])))
    assert steps == [SIGNOUT, LOGOUT, SIGNOUT][0 if start == SIGNOUT else 1 :]
    assert str(answer.url).startswith(f"{site.provider.issuer}/logout")
    assert site.cookie("BearerToken") not in site.cookies(browser)
    with replayed(site, saved) as thief:
        script = thief.script(site.url + DAGS)
        assert script.status_code == 401
        record = decision(site, script)
        assert (record["reason"], record["subject"]) == ("revoked", "")
        assert json.loads(script.text)["error"] == "invalid_token"
        page = thief.navigate(site.url + DAGS)
        assert (page.status_code, page.headers["location"]) == (302, SIGNOUT)
        assert "__Host-authz-signout=1" in page.headers["set-cookie"]
        thief.navigate(site.url + SIGNOUT)  # and there the old cookies go
        assert site.cookie("BearerToken") not in site.cookies(thief)
    assert site.upstream.requests == []


def test_a_refreshed_token_of_an_ended_session_is_worth_nothing_either(site):
    site.moods(access_token_s=4)  # on a busy machine too, it lives until the sign-out
    with site.browser() as browser:
        site.log_in(browser, DAGS)
        saved, begun = dict(site.cookies(browser)), time.monotonic()
        assert browser.navigate(site.url + LOGOUT).status_code == 302
        site.moods(access_token_s=600)
        site.upstream.reset()
        with replayed(site, saved) as thief:
            site.envoy.pause(max(0.0, 4.2 - (time.monotonic() - begun)))
            answer = thief.script(site.url + DAGS)
            assert answer.status_code == 401
            assert decision(site, answer)["reason"] == "revoked"
            assert site.cookies(thief)[site.cookie("BearerToken")] != saved[site.cookie("BearerToken")], "was refreshed"
    assert site.upstream.requests == []


def test_who_signs_in_again_is_let_in_again_and_other_sessions_stay(site, browser):
    with site.browser() as other:
        assert site.log_in(other, DAGS).status_code == 200  # the same person elsewhere
        browser.open(site.url + LOGOUT)
        assert browser.cookies[site.url].get(site.cookie("BearerToken")) is None
        assert other.script(site.url + DAGS).status_code == 200
    assert site.log_in(browser, DAGS).status_code == 200
    assert browser.script(site.url + DAGS).status_code == 200


def test_a_person_without_a_role_gets_403_with_a_link_that_signs_out(site):
    with site.browser() as browser:
        page = site.log_in(browser, DAGS, "nina")
        assert page.status_code == 403
        assert "none of your groups has a role here" in page.text
        assert "nina" in page.text
        assert f'<a href="{LOGOUT}">Sign out</a>' in page.text
        browser.open(site.url + LOGOUT)
        assert site.cookie("BearerToken") not in site.cookies(browser)
    assert site.upstream.requests == []


def test_a_session_beside_another_token_never_gets_through(site, browser):
    own = site.cookies(browser)[site.cookie("BearerToken")]
    beside = browser.script(site.url + DAGS, headers={"authorization": f"Bearer {own}"})
    assert beside.status_code in {400, 401}
    for planted in ({"BearerToken": "x"}, {"IdToken": "y"}, {"__Secure-IdToken": "z", "theme": "dark"}):
        site.cookies(browser).update(planted)
        answer = browser.script(site.url + DAGS)
        assert answer.status_code == 400, planted
        assert decision(site, answer)["reason"] == "ambiguous_credentials"
        page = browser.navigate(site.url + DAGS)
        assert f'<a href="{LOGOUT}">' in page.text
        for name in planted:
            del site.cookies(browser)[name]
    assert site.upstream.requests == []
    assert browser.script(site.url + DAGS).status_code == 200


def test_saved_cookies_are_worth_nothing_after_a_sign_out_without_tls_too(envoy_binary, tmp_path):
    with LoginSite(tmp_path, envoy_binary, real=True, secure=False) as site, site.browser() as browser:
        assert site.log_in(browser, DAGS).status_code == 200
        saved = dict(site.cookies(browser))
        browser.open(site.url + LOGOUT)
        site.upstream.reset()
        with replayed(site, saved) as thief:
            assert thief.script(site.url + DAGS).status_code == 401
        assert site.upstream.requests == []


@pytest.mark.parametrize("link", ["/dags/sales_daily?tab=runs", "{site}/dags/sales_daily?tab=runs"])
def test_airflows_own_login_route_leads_through_the_login_back_to_the_page(site, link):
    """As Airflow's UI asks for it when its session is gone. No rule gives ann `session:login`."""
    with site.browser() as browser:
        wanted = str(httpx.URL(site.url + LOGIN).copy_merge_params({"next": link.format(site=site.url)}))
        page = browser.open(wanted)
        assert str(page.url).startswith(f"{site.provider.issuer}/authorize")
        site.upstream.reset()
        back = browser.navigate(site.sign_in(browser, page))
        assert httpx.URL(back.headers["location"]) == httpx.URL(wanted)
        answer = browser.navigate(back.headers["location"])
        assert (answer.status_code, answer.headers["location"]) == (302, "/dags/sales_daily?tab=runs")
        assert decision(site, answer)["reason"] == "signed_in"
        assert site.upstream.requests == []


def test_a_script_without_a_session_gets_401_at_airflows_login_route(site):
    with site.browser() as browser:
        assert browser.script(f"{site.url}{LOGIN}?next=/dags").status_code == 401
    assert site.upstream.requests == []


@pytest.mark.parametrize(
    "link", ["//evil.test", "/\\evil.test", "https:evil.test", "https://evil.test/", "/%09/evil.test"]
)
def test_airflows_login_route_leads_to_no_other_site(site, browser, link):
    answer = browser.navigate(f"{site.url}{LOGIN}?next={link}")
    assert (answer.status_code, answer.headers["location"]) == (302, "/")
    assert site.upstream.requests == []
