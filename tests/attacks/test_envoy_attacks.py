"""What an operator, a sibling application or a stolen session could do to the way around the check (d-18, 23, 24)."""

import pytest

from authz.envoy_config.render import render
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, settings_for
from tests.e2e.raw_http import exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz

CHECK = "envoy.filters.http.ext_authz"


def managers(config):
    """Every HTTP connection manager of a configuration."""
    for listener in config["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for item in chain["filters"]:
                yield item["typed_config"]


def walk(value):
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def test_d18_nothing_stands_between_the_check_and_the_router_and_no_route_is_exempt(tmp_path):
    config = render(settings_for(("127.0.0.1:1",), "127.0.0.1:2", tmp_path))
    found = list(managers(config))
    assert len(found) == 2
    for manager in found:
        names = [item["name"] for item in manager["http_filters"]]
        assert names[-2:] == [CHECK, "envoy.filters.http.router"]
        assert not any(item.get("disabled") for item in manager["http_filters"])
        check = manager["http_filters"][-2]["typed_config"]
        assert not check.get("clear_route_cache")
        assert not check.get("failure_mode_allow")
    exempt = [
        part
        for part in walk(config)
        if isinstance(part, dict) and "check_settings" not in part and part.get("disabled")
    ]
    assert exempt == []


@pytest.mark.parametrize("percent", [0, 1])
def test_d18_switching_the_check_off_denies_instead_of_allowing(tmp_path, percent):
    """`filter_enabled` at 0 % is how such a filter is switched off in an emergency; ours then denies."""

    def switch_off(config):
        for manager in managers(config):
            check = manager["http_filters"][-2]["typed_config"]
            check["filter_enabled"] = {
                "runtime_key": "test.enabled",
                "default_value": {"numerator": percent, "denominator": "MILLION"},
            }

    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        with Envoy(settings_for((authz.endpoint,), upstream.address, tmp_path), tmp_path, alter=switch_off) as envoy:
            answers = [exchange(envoy.inbound, request("/api/v2/dags")) for _ in range(20)]
        assert {answer.status for answer in answers} <= {403, 503}
        assert upstream.requests == []


@pytest.mark.parametrize(
    "target",
    [
        "/oauth2/callback?code=stolen&state=foreign",
        "/callback?code=stolen&state=foreign",
        "/auth/oauth-authorized/corp?code=stolen",
        "/api/v2/auth/login?next=//evil.example.com",
        "/login?next=https:evil.example.com",
        "/logout?post_logout_redirect_uri=/%5Cevil.example.com",
    ],
)
def test_d23_without_a_login_its_usual_paths_neither_redirect_nor_set_a_cookie(lane, target):
    """It has no login, no callback and no redirect of its own: nothing sets a session or leads off the site."""
    answer = lane.get(target)
    assert answer.status in {400, 401}
    assert answer.header("location") is None
    assert answer.header("set-cookie") is None
    assert lane.stack.upstream.requests == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", None])
def test_d24_cookies_alone_change_nothing_wherever_the_request_comes_from(lane, method, origin):
    """A browser sends cookies by itself; here they are no credential, so a forged form does nothing."""
    token = lane.operator()
    cookies = "; ".join(f"{name}={token}" for name in ("BearerToken", "IdToken", "_token", "session", "OauthHMAC"))
    headers = [f"Cookie: {cookies}", *([f"Origin: {origin}"] if origin else [])]
    assert lane.refused("/api/v2/variables/x", *headers, method=method) == 401
