"""Logging in, staying, and leaving, through a real Envoy with the demo's provider."""

import base64
import json
import re

import httpx
import pytest

from tests.e2e.login_site import LoginSite, shown

OURS = re.compile(r"BearerToken|IdToken|RefreshToken|Oauth|CodeVerifier|authz-signout")


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_a_login_ends_on_the_page_that_was_asked_for(site, browser):
    answer = site.log_in(browser, "/dags?tags=a&x=%2F")
    assert answer.status_code == 200
    assert str(answer.url) == f"{site.url}/dags?tags=a&x=%2F"
    check = site.authz.only
    token = shown(check)["authorization"].removeprefix("Bearer ")
    assert claims(token)["preferred_username"] == "ann"
    assert claims(token)["sid"]
    assert check.attributes.context_extensions["signout"] == "/oauth2/signout"
    assert site.upstream.only.target == "/dags?tags=a&x=%2F"


def test_the_session_lives_in_cookies_that_no_script_and_no_other_host_can_touch(site, browser):
    page = site.begin(browser)
    flow = browser.navigate(site.url + "/dags")
    done = browser.navigate(site.sign_in(browser, page))
    lines = [line for answer in (flow, done) for line in answer.headers.get_list("set-cookie")]
    made = [line for line in lines if "=deleted" not in line]
    assert {re.split(r"[=.]", line)[0].removeprefix("__Host-") for line in made} == {
        *("OauthNonce", "CodeVerifier", "BearerToken", "OauthHMAC", "OauthExpires", "RefreshToken")
    }
    for line in made:
        name, *attributes = re.split(r"; ?", line.lower())
        assert name.startswith("__host-")
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(attributes)
        assert "." not in name.partition("=")[2].partition(".")[2], "a JWT in the clear"
    assert browser.refused == []


def test_the_provider_is_asked_with_pkce_and_the_fixed_redirect_uri(site, browser):
    asked = httpx.URL(browser.navigate(site.url + "/dags").headers["location"]).params
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{site.url}/oauth2/callback"
    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid profile"


def test_nothing_of_the_session_reaches_the_upstream(real_site):
    real_site.reset()
    with real_site.browser() as browser:
        browser.cookies[real_site.url] = {"theme": "dark", "_token": "x"}
        answer = real_site.log_in(browser, "/api/v2/dags")
    assert answer.status_code == 200
    received = real_site.upstream.only
    assert received.all("cookie") == ["theme=dark"]
    assert not OURS.search(received.head.decode())
    assert received.all("authorization") == []
    assert received.all("x-authz-user") == ["ann"]
    assert len(received.all("x-authz-assertion")) == 1
    assert [name for name, _value in received.headers if "oauth" in name] == []


def test_a_cookie_that_looks_like_the_sessions_makes_it_ambiguous(real_site):
    real_site.reset()
    with real_site.browser() as browser:
        assert real_site.log_in(browser, "/api/v2/dags").status_code == 200
        real_site.upstream.reset()
        real_site.cookies(browser)["BearerToken"] = "planted by a sibling of this host"
        assert browser.script(real_site.url + "/api/v2/dags").status_code == 400
    assert real_site.upstream.requests == []


def test_an_expired_session_is_renewed_also_for_scripts(real_site):
    real_site.reset()
    real_site.moods(access_token_s=1)
    with real_site.browser() as browser:
        site, target = real_site, real_site.url + "/api/v2/dags"
        assert site.log_in(browser, "/api/v2/dags").status_code in {200, 401}  # a second is short
        before = dict(site.cookies(browser))
        site.moods(access_token_s=600)
        site.envoy.pause(1.2)
        site.upstream.reset()
        answer = browser.script(target)
        assert answer.status_code == 200
        after = site.cookies(browser)
        assert before[site.cookie("BearerToken")] != after[site.cookie("BearerToken")]
        assert not OURS.search(site.upstream.only.head.decode())
        assert browser.script(target).status_code == 200


def test_a_program_gets_401_and_no_redirect(real_site):
    real_site.reset()
    for headers in ({}, {"sec-fetch-mode": "cors"}, {"sec-fetch-mode": "NAVIGATE"}, {"accept": "text/html"}):
        answer = httpx.get(f"{real_site.url}/api/v2/dags", headers=headers, verify=real_site.tls)
        assert answer.status_code == 401
        assert "location" not in answer.headers
        assert answer.headers["x-authz-decision"], "the authorizer answers it, and records it"
    assert real_site.upstream.requests == []


def test_what_is_public_needs_no_login(real_site):
    real_site.reset()
    for path in ("/api/v2/monitor/health", "/api/v2/version"):
        answer = httpx.get(real_site.url + path, verify=real_site.tls)
        assert answer.status_code == 200
    stale = base64.urlsafe_b64encode(bytes(range(64))).rstrip(b"=").decode()  # in the form of Envoy's cookies
    with real_site.browser() as browser:  # a script of a page whose session is long gone asks for it too
        browser.cookies[real_site.url] = {real_site.cookie("BearerToken"): stale, real_site.cookie("OauthHMAC"): "b"}
        assert browser.script(f"{real_site.url}/api/v2/monitor/health").status_code == 200
    assert len(real_site.upstream.requests) == 3
    assert not any(OURS.search(request.head.decode()) for request in real_site.upstream.requests)


def test_a_bearer_token_of_ones_own_passes_to_the_decision(real_site):
    real_site.reset()
    made = httpx.post(f"{real_site.provider.issuer}/dev/token", json={"user": "ann"}).json()["access_token"]
    for token, status in ((made, 200), (made[:-8] + "AAAAAAAA", 401)):
        answer = httpx.get(
            f"{real_site.url}/api/v2/dags", headers={"authorization": f"Bearer {token}"}, verify=real_site.tls
        )
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
    assert len(real_site.upstream.requests) == 1


def test_several_tabs_log_in_at_once(site, browser):
    pages = [site.begin(browser, f"/tab{number}") for number in range(3)]
    back = [site.sign_in(browser, page) for page in pages]
    for number in (1, 0, 2):
        answer = browser.open(back[number])
        assert answer.status_code == 200
        assert str(answer.url) == f"{site.url}/tab{number}"
    assert not [name for name in site.cookies(browser) if re.search("Nonce|Verifier", name)]


def test_signing_out_asks_the_authorizer_first_and_ends_at_the_provider(site, browser):
    site.log_in(browser)
    site.upstream.reset()
    asked = browser.navigate(site.url + "/oauth2/signout?x=1")
    assert (asked.status_code, asked.headers["location"]) == (302, f"{site.url}/api/v2/auth/logout")
    assert site.cookie("BearerToken") in site.cookies(browser)
    for near in (
        "authz-signout=1",
        "__Host-authz-signout=0",
        "x__Host-authz-signout=1",
        "a=__Host-authz-signout=1",
    ):
        name, _, value = near.partition("=")
        browser.cookies[site.url] = {**site.cookies(browser), name: value}
        assert browser.navigate(site.url + "/oauth2/signout").headers["location"] == asked.headers["location"], near
    site.cookies(browser)["__Host-authz-signout"] = "1"
    gone = browser.navigate(site.url + "/oauth2/signout")
    assert gone.status_code == 302
    target = httpx.URL(gone.headers["location"])
    assert str(target).startswith(f"{site.provider.issuer}/logout?")
    assert dict(target.params) == {"client_id": "airflow-gate", "post_logout_redirect_uri": f"{site.url}/"}
    left = [name for name in site.cookies(browser) if name.startswith("__Host-")]
    assert left == ["__Host-authz-signed-out"]
    assert browser.refused == [], "a browser takes a deletion as it takes the cookie"
    assert site.upstream.requests == []


@pytest.mark.parametrize("kept", [False, True], ids=["no-id-token", "id-token"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_who_comes_back_from_the_providers_sign_out_sees_that_it_worked(envoy_binary, tmp_path, kept, secure):
    with (
        LoginSite(tmp_path, envoy_binary, secure=secure, keep_id_token=kept) as site,
        site.browser() as browser,
    ):
        site.log_in(browser)
        site.upstream.reset()
        site.authz.reset()
        site.cookies(browser)[site.cookie("authz-signout")] = "1"
        page = browser.open(site.url + "/oauth2/signout")
        assert (page.status_code, str(page.url)) == (200, f"{site.url}/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-store"
        assert "You are signed out" in page.text
        assert site.cookies(browser) == {}
        assert browser.refused == []
        assert (site.authz.checks, site.upstream.requests) == ([], [])
        again = browser.navigate(site.url + "/")
        assert again.headers["location"].startswith(site.provider.issuer), "the page is shown once"
        assert site.log_in(browser, "/").status_code == 200


def test_the_signed_out_page_is_for_a_browser_without_a_session_that_opens_the_start_page(site, browser):
    site.log_in(browser)
    session = dict(site.cookies(browser))
    site.cookies(browser)["__Host-authz-signout"] = "1"
    browser.navigate(site.url + "/oauth2/signout")
    ((name, value),) = site.cookies(browser).items()
    assert (name, value) == ("__Host-authz-signed-out", "1")
    mark = {name: value}

    def asked(target, cookies, ask=browser.navigate):
        site.reset()
        browser.cookies[site.url] = dict(cookies)
        return ask(site.url + target)

    assert "You are signed out" in asked("/?a=b", mark | {"theme": "dark"}).text
    for target, cookies in (
        ("/dags", mark),
        ("//", mark),
        ("/", {name: "0"}),
        ("/", {f"x{name}": "1"}),
        ("/", {"authz-signed-out": "1"}),
        ("/", {"a": f"{name}=1"}),
    ):
        answer = asked(target, cookies)
        assert answer.headers["location"].startswith(site.provider.issuer), (target, cookies)
    for cookies in (session | mark, {key: session[key] for key in session if "Refresh" in key} | mark):
        assert asked("/", cookies).status_code == 200
        assert site.upstream.only.target == "/"
    assert asked("/", mark, browser.script).status_code == 200
    assert len(site.authz.checks) == 1, "a script's request is judged as ever"


def test_the_paths_of_the_login_never_lead_to_the_upstream(site):
    headers = {"authorization": "Bearer x", "cookie": "__Host-authz-signout=1"}
    for path in ("/oauth2/callback", "/oauth2/callback?code=a&state=b"):
        answer = httpx.get(site.url + path, headers=headers, verify=site.tls)
        assert answer.status_code == 404, path
    for method in ("GET", "POST", "DELETE"):
        answer = httpx.request(method, f"{site.url}/oauth2/signout", headers=headers, verify=site.tls)
        assert answer.headers["location"].startswith(site.provider.issuer)
    assert site.upstream.requests == []


def test_with_the_id_token_kept_the_provider_gets_it_back(envoy_binary, tmp_path):
    with LoginSite(tmp_path, envoy_binary, real=True, keep_id_token=True) as site, site.browser() as browser:
        assert site.log_in(browser, "/api/v2/dags").status_code == 200
        assert not OURS.search(site.upstream.only.head.decode())
        site.cookies(browser)["__Host-authz-signout"] = "1"
        left = browser.navigate(site.url + "/oauth2/signout")
        target = httpx.URL(left.headers["location"])
        assert claims(target.params["id_token_hint"])["preferred_username"] == "ann"
        assert target.params["post_logout_redirect_uri"] == f"{site.url}/"
        assert site.cookies(browser) == {"__Host-authz-signed-out": "1"}
        assert browser.refused == []


def test_without_an_end_of_sessions_at_the_provider_there_is_a_page(envoy_binary, tmp_path):
    with LoginSite(tmp_path, envoy_binary, secure=False, end_session_endpoint="") as site, site.browser() as browser:
        assert site.log_in(browser).status_code == 200
        site.cookies(browser)["authz-signout"] = "1"
        left = browser.navigate(site.url + "/oauth2/signout")
        assert (left.status_code, left.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "You are signed out" in left.text
        assert left.headers["cache-control"] == "no-store"
        assert site.cookies(browser) == {}


def test_without_tls_cookies_have_their_plain_names(envoy_binary, tmp_path):
    with LoginSite(tmp_path, envoy_binary, secure=False) as site, site.browser() as browser:
        assert site.log_in(browser).status_code == 200
        assert {"BearerToken", "OauthHMAC"} <= set(site.cookies(browser))
        site.cookies(browser)["authz-signout"] = "1"
        assert browser.navigate(site.url + "/oauth2/signout").headers["location"].startswith(site.provider.issuer)
        assert "BearerToken" not in site.cookies(browser)


def test_who_comes_under_another_name_is_led_to_the_public_one(site, browser):
    answer = browser.navigate(site.url + "/dags?x=1", headers={"host": f"localhost:{site.port}"})
    assert (answer.status_code, answer.headers["location"]) == (302, site.url + "/dags?x=1")
    assert "set-cookie" not in answer.headers
    assert site.authz.checks == []
