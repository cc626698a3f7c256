"""What must log nobody in, lead nobody away and change nothing: a clear answer each time, and nothing is forwarded."""

import base64
import json
import re

import httpx
import pytest

from authz.envoy_config.inbound import login_pages
from authz.envoy_config.reply_bodies import Page
from tests.e2e.cookie_browser import COOKIE_LIMIT
from tests.e2e.envoy_harness import wait_for
from tests.e2e.login_site import LoginSite, shown

SESSION = re.compile(r"BearerToken|OauthHMAC|RefreshToken|IdToken")


def state(**fields):
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


def read(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


PAGES = {page.error: page for page in vars(login_pages).values() if isinstance(page, Page)}


def refused(site, browser, link, error):
    """A page for people and JSON for others, both safe to show; no session; nobody asked; nothing forwarded."""
    before = dict(site.cookies(browser))
    answer = browser.navigate(link)
    assert answer.status_code == 401, answer.text
    assert PAGES[error].title in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "location" not in answer.headers
    assert re.findall(r'(?:href|src|action)="([^"]*)"', answer.text) == ["/"]
    assert "<script" not in answer.text
    assert not [name for name in site.cookies(browser) if SESSION.search(name)]
    assert site.upstream.requests == []
    if site.authz:
        assert site.authz.checks == []
    browser.cookies[site.url] = before
    told = browser.script(link)
    assert told.status_code == 401
    assert told.headers["content-type"] == "application/json"
    assert told.json()["error"] == error
    for value in httpx.URL(link).params.values():
        assert len(value) < 5 or (value not in answer.text and value not in told.text)
    return answer


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "login_stale"),
        ("?code=abc", "login_stale"),
        ("?state=abc", "login_stale"),
        ("?code=abc&state=no-json", "login_stale"),
        (f"?code=abc&state={state(url='https://evil.test/')}", "login_stale"),
        (f"?code=abc&state={state(url='https://evil.test/', csrf_token='a.b', flow_id='a')}", "login_stale"),
        ("?error=access_denied&state=abc", "login_refused"),
        ("?state=abc&error=access_denied&error_description=<b>x</b>", "login_refused"),
        ("?error=invalid_scope", "login_provider_error"),
        ("?error=%3Cscript%3E&error_description=access_denied", "login_provider_error"),
    ],
)
def test_a_callback_without_a_login_that_began_is_refused(site, browser, query, error):
    refused(site, browser, f"{site.url}/oauth2/callback{query}", error)


def test_the_state_of_another_browser(site, browser):
    with site.browser() as attacker:
        link = site.sign_in(attacker, site.begin(attacker))
        site.begin(browser)  # the victim has a login of its own under way
        refused(site, browser, link, "login_stale")


def test_a_state_whose_page_was_exchanged_leads_nowhere_else(site, browser):
    """The page to go to is in the state and not signed: only who can set our cookies could use that."""
    asked = httpx.URL(browser.navigate(site.url + "/dags").headers["location"])
    known = read(asked.params["state"])
    with site.browser() as attacker:
        link = httpx.URL(site.sign_in(attacker, site.begin(attacker)))
    forged = state(**{**known, "csrf_token": known["csrf_token"].partition(".")[0] + ".x", "url": "https://evil.test/"})
    refused(site, browser, str(link.copy_merge_params({"state": forged})), "login_stale")


def test_a_code_is_good_once(site, browser):
    page = site.begin(browser)
    link = site.sign_in(browser, page)
    flow = dict(site.cookies(browser))
    assert browser.open(link).status_code == 200
    site.reset()
    browser.cookies[site.url] = flow  # as if the browser had not logged in yet
    refused(site, browser, link, "login_failed")


def test_a_login_that_lost_its_cookies(site, browser):
    link = site.sign_in(browser, site.begin(browser))
    browser.cookies[site.url] = {name: value for name, value in site.cookies(browser).items() if "Verifier" not in name}
    refused(site, browser, link, "login_stale")


@pytest.mark.parametrize("status", [400, 500, 503])
def test_a_token_endpoint_in_trouble(site, browser, status):
    link = site.sign_in(browser, site.begin(browser))
    site.moods(token_status=status)
    answer = refused(site, browser, link, "login_failed")
    assert "told to fail" not in answer.text


def test_a_provider_that_cannot_be_reached(envoy_binary, tmp_path):
    closed = "http://127.0.0.1:1/token"
    with LoginSite(tmp_path, envoy_binary, secure=False, token_endpoint=closed) as site, site.browser() as browser:
        refused(site, browser, site.sign_in(browser, site.begin(browser)), "login_failed")
        # a session that cannot be renewed: scripts are judged as nobody's, people begin again
        browser.cookies[site.url] = {"RefreshToken": "A" * 43}  # the form of an encrypted one
        assert browser.script(site.url + "/ui/config").status_code == 200, "the scripted authorizer allows"
        assert "authorization" not in shown(site.authz.only)
        assert not SESSION.search(site.upstream.only.head.decode())
        assert browser.navigate(site.url + "/dags").headers["location"].startswith(site.provider.issuer)


@pytest.mark.parametrize(
    "target", ["//evil.test/x", "/\\evil.test/x", "/%5Cevil.test/x", "///evil.test", "/x//evil.test"]
)
def test_the_way_back_never_leads_off_site(site, browser, target):
    answer = browser.navigate(site.url, extensions={"target": target.encode()})
    assert answer.status_code == 302
    wanted = read(httpx.URL(answer.headers["location"]).params["state"])["url"]
    assert wanted.startswith(f"{site.url}/")
    page = browser.navigate(answer.headers["location"])
    done = browser.navigate(site.sign_in(browser, page))
    assert done.headers["location"].startswith(f"{site.url}/")
    assert httpx.URL(done.headers["location"]).host == "127.0.0.1"


@pytest.mark.parametrize("target", ["https:evil.test", "https://evil.test/x", "evil.test", "\\\\evil.test"])
def test_a_target_that_is_no_path_begins_no_login_elsewhere(site, browser, target):
    answer = browser.navigate(
        site.url, extensions={"target": target.encode()}, headers={"host": f"127.0.0.1:{site.port}"}
    )
    if answer.status_code == 302:
        assert answer.headers["location"].startswith((f"{site.url}/", f"{site.provider.issuer}/"))
        assert "evil.test" not in httpx.URL(answer.headers["location"]).host
    else:
        assert answer.status_code in {400, 404}
    assert site.upstream.requests == []


def test_cookies_in_the_clear_are_no_credential(real_site):
    real_site.reset()
    token = httpx.post(f"{real_site.provider.issuer}/dev/token", json={"user": "ann"}).json()["access_token"]
    for names in (("BearerToken",), ("IdToken", "BearerToken"), ("BearerToken", "OauthHMAC", "OauthExpires")):
        for prefix in ("", "__Host-", "__Secure-"):
            kept = {prefix + name: token if "Token" in name else "9999999999" for name in names}
            with real_site.browser() as browser:
                browser.cookies[real_site.url] = kept
                answer = browser.script(real_site.url + "/api/v2/dags")
                assert answer.status_code in {401, 431}, kept.keys()
                browser.cookies[real_site.url] = kept
                answer = browser.navigate(real_site.url + "/api/v2/dags")
                assert answer.status_code in {302, 401, 431}
                assert answer.status_code != 302 or answer.headers["location"].startswith(real_site.provider.issuer)
    assert real_site.upstream.requests == []


def test_a_session_of_one_host_is_none_on_another(site, browser):
    site.log_in(browser)
    site.reset()
    del site.cookies(browser)[site.cookie("RefreshToken")]  # with it a session is renewed, wherever it is brought
    answer = browser.script(site.url + "/dags", headers={"host": f"other.test:{site.port}"})
    assert answer.status_code == 200, "the scripted authorizer allows"
    assert "authorization" not in shown(site.authz.only)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_change_with_a_session_must_come_from_our_own_pages(site, browser, method):
    site.log_in(browser)
    site.reset()
    target = site.url + "/api/v2/dags/x"
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in site.cookies(browser).items())}
    foreign = (
        {},
        {"origin": "null"},
        {"origin": "https://evil.test"},
        {"origin": f"https://127.0.0.1:{site.port}.evil.test"},
        {"origin": f"https://127.0.0.1:{site.port + 1}"},
        {"origin": "null", "referer": site.url + "/"},
        {"referer": "https://evil.test/" + site.url},
    )
    for headers in foreign:
        answer = httpx.request(method, target, headers=cookie | headers, verify=site.tls)
        assert answer.status_code == 403, headers
        assert answer.json()["error"] == "foreign_origin"
    assert site.authz.checks == []
    assert site.upstream.requests == []
    for headers in ({"origin": site.url}, {"referer": site.url + "/dags"}):
        assert httpx.request(method, target, headers=cookie | headers, verify=site.tls).status_code == 200
    assert len(site.upstream.requests) == 2


def test_programs_need_no_origin(site):
    for headers in ({"authorization": "Bearer x"}, {"authorization": "Bearer x", "cookie": "a=b"}, {}):
        assert httpx.post(site.url + "/api/v2/dags/x", headers=headers, verify=site.tls).status_code == 200
    assert len(site.upstream.requests) == 3
    for headers in ({"authorization": "bearer x", "cookie": "a=b"}, {"authorization": "Basic eDp5", "cookie": "a=b"}):
        assert httpx.post(site.url + "/api/v2/dags/x", headers=headers, verify=site.tls).status_code == 403
    assert len(site.upstream.requests) == 3


def test_a_token_too_large_for_a_cookie_is_431_and_does_not_loop(site, browser):
    site.moods(more_groups=3500)  # 48 KiB of claims
    answer = site.log_in(browser)
    assert site.cookie("BearerToken") in browser.refused
    assert answer.status_code == 431
    assert "too many groups" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert browser.script(site.url + "/dags").json()["error"] == "too_large"
    assert site.upstream.requests == []
    assert browser.navigate(site.url + "/oauth2/signout").status_code == 302, "there is a way out"
    site.cookies(browser)["__Host-authz-signout"] = "1"
    browser.navigate(site.url + "/oauth2/signout")
    site.moods(more_groups=0)
    assert site.log_in(browser).status_code == 200


def test_a_token_that_just_fits(site, browser):
    site.moods(more_groups=90)
    assert site.log_in(browser).status_code == 200
    assert browser.refused == []
    assert len(site.cookies(browser)[site.cookie("BearerToken")]) > COOKIE_LIMIT * 0.6


@pytest.mark.parametrize("kilobytes", [59, 90, 129, 160])
def test_cookies_of_many_kilobytes_get_a_clear_answer(site, browser, kilobytes):
    browser.cookies[site.url] = {f"c{number}": "x" * 1020 for number in range(kilobytes)}
    answer = browser.script(site.url + "/dags")
    assert answer.status_code == (200 if kilobytes < 128 else 431)
    assert len(site.upstream.requests) == (1 if kilobytes < 128 else 0)


def test_no_log_of_access_holds_a_code_a_state_or_a_token(site, browser):
    link = httpx.URL(site.sign_in(browser, site.begin(browser, "/dags?secret-query=1")))
    flow = dict(site.cookies(browser))
    browser.open(str(link))
    browser.cookies[site.url] = flow
    browser.navigate(str(link))
    browser.navigate(str(link.copy_merge_params({"state": "forged-state"})))
    browser.navigate(f"{site.url}/oauth2/callback?error=x&error_description=canary-text")
    browser.script(f"{site.url}/dags?secret-query=2")
    token = site.authz.checks[0].attributes.request.http.header_map.SerializeToString()
    assert b"eyJ" in token
    marked = "/the-last-line"
    browser.script(site.url + marked)

    def complete():
        return marked in (site.folder / "access.log").read_text()

    wait_for(complete, "the log is not written", pause=site.envoy.pause)
    text = (site.folder / "access.log").read_text()
    assert '"path":"/oauth2/callback"' in text
    for canary in (link.params["code"], link.params["state"], "forged-state", "canary-text", "secret-query", "eyJ"):
        assert canary not in text
