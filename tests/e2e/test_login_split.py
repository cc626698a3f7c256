"""A session whose token is larger than a cookie: kept in several, with `split_cookies` and Envoy 1.40."""

import json
import subprocess
import time

import httpx
import pytest

from authz.envoy_config.render import render, to_json
from tests.e2e.cookie_browser import COOKIE_LIMIT
from tests.e2e.envoy_harness import newest, oldest, wait_for
from tests.e2e.login_site import LoginSite, shown

pytestmark = pytest.mark.e2e

LARGE = 900  # groups, 12 KiB of claims: six pieces
LARGER = 1900  # more than ten pieces
TOO_LARGE = 3500  # more than sixteen


@pytest.fixture(scope="module", params=[False, True], ids=["no-id-token", "id-token"])
def running_site(request, tmp_path_factory):
    with LoginSite(tmp_path_factory.mktemp("split"), newest(), split_cookies=True, keep_id_token=request.param) as site:
        yield site


def kept(site, browser, kind="BearerToken"):
    """The cookies that hold the token, without the prefix."""
    names = (name.removeprefix("__Host-") for name in site.cookies(browser))
    return sorted(name for name in names if name.startswith(kind))


def bearer(check):
    return shown(check)["authorization"].removeprefix("Bearer ")


def sign_out(site, browser):
    site.cookies(browser)["__Host-authz-signout"] = "1"
    return browser.navigate(f"{site.url}/oauth2/signout")


@pytest.mark.parametrize(("groups", "pieces"), [(LARGE, 6), (LARGER, 13)])
def test_a_large_token_is_kept_in_pieces_and_arrives_whole(site, browser, groups, pieces):
    site.moods(more_groups=groups)
    assert site.log_in(browser, "/dags").status_code == 200
    assert browser.refused == []
    numbered = [f"BearerToken_{at}" for at in range(pieces)]
    assert kept(site, browser) == sorted([*numbered, "BearerToken_chunks"])
    assert max(len(f"{name}={value}") for name, value in site.cookies(browser).items()) < COOKIE_LIMIT
    assert len(bearer(site.authz.only)) > groups * 14
    site.authz.reset()
    assert browser.script(f"{site.url}/dags").status_code == 200
    assert len(bearer(site.authz.only)) > groups * 14


def test_a_sign_out_removes_each_piece_and_the_next_login_works(site, browser):
    site.moods(more_groups=LARGER)
    site.log_in(browser)
    assert len(kept(site, browser)) == 14
    assert sign_out(site, browser).status_code == 302
    assert site.cookies(browser) == {"__Host-authz-signed-out": "1"}
    assert browser.refused == []
    site.upstream.reset()
    assert browser.navigate(f"{site.url}/dags").headers["location"].startswith(site.provider.issuer)
    assert site.upstream.requests == []
    assert site.log_in(browser).status_code == 200
    assert len(kept(site, browser)) == 14


def test_a_smaller_token_after_a_larger_one(site, browser):
    """The provider's answer to a renewal has fewer groups; the pieces of before go."""
    site.moods(more_groups=LARGE, access_token_s=1)
    site.log_in(browser)
    assert len(kept(site, browser)) == 7
    site.moods(more_groups=0, access_token_s=600)

    def renewed():
        assert browser.script(f"{site.url}/dags").status_code == 200
        return kept(site, browser) == ["BearerToken"]

    wait_for(renewed, "the session is not renewed", pause=time.sleep)
    site.authz.reset()
    assert browser.script(f"{site.url}/dags").status_code == 200
    assert len(bearer(site.authz.only)) < COOKIE_LIMIT


def test_pieces_that_stayed_are_no_dead_end(site, browser):
    """Whatever piece a browser still has of an earlier session, and whichever it lost of this one."""
    site.moods(more_groups=LARGE)
    site.log_in(browser)
    whole = dict(site.cookies(browser))
    stray = {site.cookie("BearerToken_9"): "A" * 3930, site.cookie("IdToken_3"): "A" * 3930}
    without = [site.cookie(name) for name in ("BearerToken_0", "BearerToken_3", "BearerToken_chunks")]
    for cookies in (whole | stray, *({name: whole[name] for name in whole if name != lost} for lost in without)):
        browser.cookies[site.url] = dict(cookies)
        answer = browser.navigate(f"{site.url}/dags")
        assert answer.status_code == 200, "renewed, where it was not whole"
        assert browser.script(f"{site.url}/dags").status_code == 200
        del cookies[site.cookie("RefreshToken")]
        browser.cookies[site.url] = dict(cookies)
        assert site.log_in(browser).status_code == 200, "another login makes it whole"


def test_a_token_too_large_for_all_the_pieces_is_a_431_page(site, browser):
    site.moods(more_groups=TOO_LARGE)
    answer = site.log_in(browser)
    assert answer.status_code == 431
    assert "too many groups" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert kept(site, browser) == []
    assert site.upstream.requests == []
    site.moods(more_groups=LARGE)
    assert site.log_in(browser).status_code == 200


def test_a_renewal_with_a_too_large_token_is_431_until_the_token_is_smaller(site, browser):
    site.moods(more_groups=LARGE)
    site.log_in(browser)
    del site.cookies(browser)[site.cookie("BearerToken_0")]  # a session that is not whole is renewed
    site.reset()
    site.moods(more_groups=TOO_LARGE)
    assert browser.navigate(f"{site.url}/dags").status_code == 431
    assert browser.script(f"{site.url}/dags").json()["error"] == "too_large"
    assert (site.authz.checks, site.upstream.requests) == ([], [])
    site.moods(more_groups=0)
    assert browser.navigate(f"{site.url}/dags").status_code == 200
    assert kept(site, browser) == ["BearerToken"]


def test_nothing_of_a_piece_reaches_the_upstream(tmp_path):
    with LoginSite(tmp_path, newest(), real=True, split_cookies=True) as site, site.browser() as browser:
        site.moods(more_groups=LARGE)
        assert site.log_in(browser, "/api/v2/dags").status_code == 200
        assert b"BearerToken" not in site.upstream.only.head
        site.upstream.reset()
        site.cookies(browser)[site.cookie("BearerToken_9")] = "A" * 3930
        site.cookies(browser)["theme"] = "dark"
        assert browser.script(f"{site.url}/api/v2/dags").status_code == 200
        assert b"BearerToken" not in site.upstream.only.head
        assert site.upstream.only.all("cookie") == ["theme=dark"]
        site.upstream.reset()
        site.upstream.reset()
        asked = httpx.post(f"{site.provider.issuer}/dev/token", json={"user": "ann"})
        bearer = f"Authorization: Bearer {asked.json()['access_token']}"
        assert site.get("/api/v2/dags", bearer, "Cookie: RefreshToken_0=a.b; RefreshToken_chunks=2; a=b").status == 200
        assert site.upstream.only.all("cookie") == ["a=b"]


def test_an_older_envoy_does_not_know_it_and_does_not_start(tmp_path):
    """So it is a setting, and none of its own accord."""
    if not oldest().exists():
        pytest.skip("the oldest supported Envoy is not installed")
    site = LoginSite(tmp_path, newest(), secure=False, split_cookies=True)
    with site:
        config = tmp_path / "split.json"
        config.write_text(to_json(render(site.envoy.settings)))
    for binary, fits in ((newest(), True), (oldest(), False)):
        asked = subprocess.run(
            [binary, "--mode", "validate", "-c", config, "--log-level", "error"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (asked.returncode == 0) is fits
        assert fits or "token_cookie_chunking" in asked.stderr + asked.stdout
    assert json.loads(config.read_text())["static_resources"]
