"""The rendered login: what holds whatever the settings say. What Envoy makes of it is in tests/e2e/test_login_*.py."""

import base64
import dataclasses
import re
from functools import cache
from types import MappingProxyType

import pytest
from envoy_data_plane.envoy.extensions.filters.http.oauth2.v3 import OAuth2Config

from authz.core.request import cookies
from authz.envoy_config import reply_bodies
from authz.envoy_config.inbound import foreign_cookies
from authz.envoy_config.inbound import login as filters
from authz.envoy_config.render import render, render_sds
from tests.support import envoy_settings
from tests.unit.settings.test_login import login

CHECK = "envoy.filters.http.ext_authz"
LOGIN = ("envoy.filters.http.csrf", "envoy.filters.http.oauth2")


def airflow(**changes):
    return {"name": "airflow", "address": "127.0.0.1:8081", "audience": "airflow", **changes}


def plan(*upstreams, tls=True, gate=MappingProxyType({}), **changes):
    pair = {"tls": {"certificate": "/tls/edge.pem", "key": "/tls/edge-key.pem"}} if tls else {}
    inbound = {"listen": "127.0.0.1:8080", "upstreams": upstreams or [airflow()], "login": login(**changes), **pair}
    return envoy_settings.parsed({"inbound": inbound, "sds": "/run/sds"}, **gate)


@cache
def rendered(made):
    """Rendering takes a tenth of a second, and the tests look often."""
    return render(made)


def listener(made):
    (only,) = rendered(made)["static_resources"]["listeners"]
    return only["filter_chains"][0]


def manager(made):
    return listener(made)["filters"][0]["typed_config"]


def oauth2(made):
    return manager(made)["http_filters"][4]["typed_config"]["config"]


def hosts(made):
    return {host["name"]: host for host in manager(made)["route_config"]["virtual_hosts"]}


def routes(made, host="airflow"):
    return {route["name"]: route for route in hosts(made)[host]["routes"]}


def switched_off(place):
    config = place.get("typed_per_filter_config", {})
    return {name for name, one in config.items() if one.get("disabled")}


PLANS = [
    pytest.param(plan(), id="tls"),
    pytest.param(plan(tls=False), id="tls-in-front"),
    pytest.param(plan(tls=False, public_url="http://localhost:8080"), id="plaintext"),
    pytest.param(plan(airflow(base_path="/airflow")), id="base-path"),
    pytest.param(plan(end_session_endpoint="https://idp.test/logout"), id="end-session"),
    pytest.param(plan(end_session_endpoint="https://idp.test/logout", keep_id_token=True), id="id-token"),
    pytest.param(plan(split_cookies=True), id="split"),
]


@pytest.mark.parametrize("made", PLANS)
def test_the_filters_stand_in_their_order(made):
    names = [entry["name"] for entry in manager(made)["http_filters"]]
    before = ["authz.client_headers", "authz.header_room", "envoy.filters.http.header_to_metadata"]
    assert names == [*before, *LOGIN, CHECK, "envoy.filters.http.router"]
    assert not any(entry.get("disabled") or entry.get("is_optional") for entry in manager(made)["http_filters"])


@pytest.mark.parametrize("made", PLANS)
def test_where_the_check_is_off_nothing_is_forwarded(made):
    for route in routes(made).values():
        if CHECK in switched_off(route):
            assert "route" not in route, route["name"]
            assert {"direct_response", "redirect"} & route.keys()
        if "route" in route:
            assert switched_off(route) <= {"envoy.filters.http.csrf"}
    assert CHECK not in switched_off(hosts(made)["airflow"])


@pytest.mark.parametrize("made", PLANS)
def test_redirects_without_the_check_lead_to_fixed_places(made):
    public = made.edge.inbound.login.public
    for route in routes(made).values():
        if redirect := route.get("redirect"):
            assert "prefix_rewrite" not in redirect
            assert "regex_rewrite" not in redirect
            assert redirect.get("path_redirect") or redirect["host_redirect"] == public.authority


@pytest.mark.parametrize("made", PLANS)
def test_what_needs_no_origin_brings_a_bearer_token_or_no_cookie(made):
    free = [route for route in routes(made).values() if "route" in route and switched_off(route)]
    bearer, plain = [route["match"]["headers"] for route in free]
    assert bearer == [{"name": "authorization", "string_match": {"prefix": "Bearer "}}]
    assert oauth2(made)["pass_through_matcher"] == bearer, "what needs no origin must not become a session"
    assert plain == [{"name": "cookie", "present_match": True, "invert_match": True}]
    with_origin = [route for route in routes(made).values() if "route" in route and not switched_off(route)]
    for other in (*free, *with_origin):
        assert other["route"] == with_origin[0]["route"]
        assert {**other["match"], "headers": None} == {**with_origin[0]["match"], "headers": None}


@pytest.mark.parametrize("made", PLANS)
def test_the_session_is_encrypted_and_for_this_site_alone(made):
    config = oauth2(made)
    assert config["forward_bearer_token"] is True
    assert {"disable_token_encryption", "preserve_authorization_header", "cookie_domain"} & config.keys() == set()
    assert set(config["cookie_configs"]) == {f"{kind}_cookie_config" for kind in filters.NAMES}
    assert all(one == {"same_site": "LAX", "path": "/"} for one in config["cookie_configs"].values())
    names = config["credentials"]["cookie_names"].values()
    assert all(name.startswith("__Host-") is made.edge.inbound.login.is_secure for name in names)
    assert config.get("disable_id_token_set_cookie", False) is not made.edge.inbound.login.keep_id_token


@pytest.mark.parametrize("name", filters.NAMES.values())
def test_the_gate_knows_each_cookie_of_a_session(name):
    for prefix in ("", "__Host-"):
        for suffix in ("", ".1", "_0", "_15", "_chunks"):
            assert cookies.read((f"{prefix}{name}{suffix}=x; a=b".encode(),)).left == "a=b"


@pytest.mark.parametrize("made", PLANS)
def test_only_navigations_are_sent_to_the_provider(made):
    (matcher,) = oauth2(made)["deny_redirect_matcher"]
    assert matcher == {
        "name": "sec-fetch-mode",
        "string_match": {"exact": "navigate"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    assert oauth2(made)["allow_failed_matcher"] == [matcher]


def test_what_the_provider_is_asked():
    made = plan(
        authorization_endpoint="https://idp.test/a?x=1",
        parameters=("audience=airflow", "prompt=login"),
        scopes=("openid", "offline_access"),
        client_auth="basic",
    )
    config = oauth2(made)
    assert config["authorization_endpoint"] == "https://idp.test/a?x=1&audience=airflow&prompt=login"
    assert config["auth_scopes"] == ["openid", "offline_access"]
    assert config["auth_type"] == "BASIC_AUTH"
    assert config["redirect_uri"] == "https://airflow.test/oauth2/callback"
    assert oauth2(plan(parameters=("a=b",)))["authorization_endpoint"] == "https://idp.test/authorize?a=b"
    assert "auth_type" not in oauth2(plan())


def test_without_the_id_token_the_provider_gets_no_empty_hint():
    made = plan(end_session_endpoint="https://idp.test:8443/logout", client_id="our gate")
    assert "end_session_endpoint" not in oauth2(made)
    redirect = routes(made)["login.sign-out"]["redirect"]
    assert (redirect["scheme_redirect"], redirect["host_redirect"]) == ("https", "idp.test:8443")
    assert redirect["path_redirect"] == (
        "/logout?client_id=our%20gate&post_logout_redirect_uri=https%3A%2F%2Fairflow.test%2F"
    )
    kept = plan(end_session_endpoint="https://idp.test/logout", keep_id_token=True)
    assert oauth2(kept)["end_session_endpoint"] == "https://idp.test/logout"
    assert "redirect" not in routes(kept)["login.sign-out"]


@pytest.mark.parametrize("made", PLANS)
def test_signing_out_needs_the_authorizers_marker(made):
    names = list(routes(made))
    assert names.index("login.sign-out") < names.index("login.ask-to-sign-out") < names.index("login.callback")
    secure = made.edge.inbound.login.is_secure
    (header,) = routes(made)["login.sign-out"]["match"]["headers"]
    marked = re.compile(header["string_match"]["safe_regex"]["regex"])
    name = "__Host-authz-signout" if secure else "authz-signout"
    for good in (f"{name}=1", f"a=b; {name}=1", f"{name}=1; a=b", f"a=b;{name}=1;c=d", f"a=b,{name}=1"):
        assert marked.fullmatch(good), good
    for bad in (f"{name}=0", f"{name}=11", f"x{name}=1", f"a={name}=1", f"{name}", f"{name} =1", ""):
        assert not marked.fullmatch(bad), bad
    told = hosts(made)["airflow"]["typed_per_filter_config"][CHECK]["check_settings"]["context_extensions"]
    assert told["signout"] == "/oauth2/signout"
    ask = routes(made)["login.ask-to-sign-out"]["redirect"]["path_redirect"]
    assert ask == (made.edge.inbound.upstreams[0].base_path or "") + "/api/v2/auth/logout"


def test_logout_tokens_of_the_provider_have_a_way_past_the_login():
    made = plan(gate={"revocation": {"backchannel": "127.0.0.1:9170"}})
    heard = routes(made)["login.backchannel"]
    assert heard["match"] == {"path": "/oauth2/backchannel-logout"}
    assert switched_off(heard) == {*LOGIN, CHECK}
    (cluster,) = [found for found in render(made)["static_resources"]["clusters"] if found["name"] == "backchannel"]
    assert heard["route"]["cluster"] == cluster["name"]
    assert "9170" in str(cluster["load_assignment"])
    assert "transport_socket" not in cluster
    without = plan()
    assert "login.backchannel" not in routes(without)
    assert "backchannel" not in str(render(without))


def test_other_hosts_of_the_listener_are_as_without_a_login():
    made = plan(airflow(hosts=("airflow.test",)), airflow(name="other", hosts=("other.test",)))
    found = hosts(made)
    assert switched_off(found["other"]) == switched_off(found["nowhere"]) == set(LOGIN)
    assert list(routes(made, "other")) == ["no-execution-api", "other.forward"]
    assert "signout" not in str(found["other"])
    assert switched_off(found["airflow"]) == set()


def test_an_airflow_with_a_base_path_is_found_from_the_root():
    assert routes(plan(airflow(base_path="/airflow")))["login.start-page"]["redirect"]["path_redirect"] == "/airflow/"
    assert "login.start-page" not in routes(plan())


@pytest.mark.parametrize("made", PLANS)
def test_the_scheme_is_the_public_urls(made):
    scheme = manager(made).get("scheme_header_transformation")
    assert scheme == ({"scheme_to_overwrite": "https"} if made.edge.inbound.login.is_secure else None)


COMMANDS = re.compile(r"%(START_TIME(\(%Y-%m-%d %H:%M:%S UTC\))?|REQ\(X-REQUEST-ID\)|DYNAMIC_METADATA\([^)]*\))%")


@pytest.mark.parametrize("made", PLANS)
def test_the_authorizers_answers_are_left_alone_and_all_others_are_pages_that_are_not_stored(made):
    page, told, untouched, *others = manager(made)["local_reply_config"]["mappers"]
    assert untouched == {"filter": {"response_flag_filter": {"flags": ["UAEX"]}}}
    for entry in (page, told):
        assert "response.code_details.startsWith('ext_authz_error')" in str(entry["filter"]), "it did not answer at all"
    for entry in (page, told, *others):
        headers = {option["header"]["key"]: option["header"]["value"] for option in entry["headers_to_add"]}
        assert headers["cache-control"] == "no-store"
        text = str(entry["filter"])
        too_large = "matched_policy[headers_too_large" in text or "OAuth token exceeds" in text
        assert entry.get("status_code") == (431 if too_large else None), "any other status stays Envoy's"
        body = entry["body_format_override"]
        text = str(body.get("json_format") or body["text_format_source"]["inline_string"])
        assert text.count("START_TIME") == text.count("%REQ(X-REQUEST-ID)%") == 1
        decided = "upstream_unavailable" in text or reply_bodies.UPSTREAM_AWAY.title in text
        assert text.count("ext_authz:decision_id)%") == (1 if decided else 0), "only then there is one"
        assert "%" not in COMMANDS.sub("", text), "a command of the formatter"
        assert "body" not in entry


def test_without_a_login_envoy_says_what_is_away_and_that_headers_are_too_large():
    made = envoy_settings.parsed({"inbound": {"listen": "127.0.0.1:1", "upstreams": [airflow()]}})
    *others, entry = manager(made)["local_reply_config"]["mappers"]
    errors = {word for word in ("gate_unavailable", "upstream_unavailable") if word in str(others)}
    assert (len(others), errors) == (6, {"gate_unavailable", "upstream_unavailable"})
    assert entry["filter"]["status_code_filter"]["comparison"]["value"]["default_value"] == 431
    assert entry["body_format_override"]["json_format"]["error"] == "headers_too_large"


def test_lines_of_a_401_carry_no_details():
    logs = manager(plan())["access_log"]
    for others, unauthorized in (logs[:2], logs[2:]):  # with and without userinfo in the Host
        line = unauthorized["typed_config"]["log_format"]["json_format"]
        assert line["details"] == "unauthorized"
        one, rest = (log["filter"]["and_filter"]["filters"][0]["status_code_filter"] for log in (unauthorized, others))
        assert one["comparison"]["value"]["default_value"] == rest["comparison"]["value"]["default_value"] == 401
        assert (one["comparison"].get("op", "EQ"), rest["comparison"]["op"]) == ("EQ", "NE")
        assert line.keys() == others["typed_config"]["log_format"]["json_format"].keys()


def test_the_token_endpoint_is_verified_and_bounded():
    def provider(**changes):
        clusters = rendered(plan(tls=False, **changes))["static_resources"]["clusters"]
        (found,) = [cluster for cluster in clusters if cluster["name"] == "provider"]
        return found

    made = provider(token_endpoint="https://idp.test:8443/token?x=1", provider_ca="/ca.pem")
    context = made["transport_socket"]["typed_config"]
    assert context["sni"] == "idp.test"
    checked = context["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/ca.pem"}
    assert checked["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "idp.test"}}]
    assert made["type"] == "STRICT_DNS"
    (bounds,) = made["circuit_breakers"]["thresholds"]
    assert bounds["max_requests"] == 128
    plain = provider(token_endpoint="http://127.0.0.1:9000/token")
    assert "transport_socket" not in plain
    assert plain["type"] == "STATIC"


def test_no_secret_is_in_what_is_rendered_and_each_is_named_in_a_file():
    made = plan()
    files = render_sds(made)
    assert sorted(files) == [
        f"/run/sds/{name}.yaml" for name in ("listener_certificate", "login_client_secret", "login_cookie_secret")
    ]
    secret = files["/run/sds/login_client_secret.yaml"]["resources"][0]
    assert secret["generic_secret"] == {"secret": {"filename": "/run/client.secret"}}
    pair = files["/run/sds/listener_certificate.yaml"]["resources"][0]["tls_certificate"]
    assert pair["watched_directory"] == {"path": "/tls"}
    assert "inline" not in str(files)
    common = listener(made)["transport_socket"]["typed_config"]["common_tls_context"]
    assert "tls_certificates" not in common
    (config,) = common["tls_certificate_sds_secret_configs"]
    assert config["sds_config"]["path_config_source"] == {"path": "/run/sds/listener_certificate.yaml"}
    assert rendered(made)["node"] == {"id": "airflow-envoy-authz", "cluster": "airflow-envoy-authz"}, "SDS needs both"


def test_without_the_folder_certificates_are_read_at_start():
    inbound = {"listen": "127.0.0.1:1", "upstreams": [airflow()], "tls": {"certificate": "/c", "key": "/k"}}
    made = envoy_settings.parsed({"inbound": inbound, "sds": ""})
    assert render_sds(made) == {}


def encrypted(blocks):
    """What Envoy makes of a token: an IV and so many blocks."""
    return base64.urlsafe_b64encode(bytes(range(16)) * (blocks + 1)).rstrip(b"=").decode()


@pytest.mark.parametrize("made", PLANS)
def test_a_token_cookie_that_envoy_did_not_make_is_known_by_its_form(made):
    """RE2 and Python agree on this pattern; tests/e2e/test_logged_secrets.py asks Envoy."""
    login = made.edge.inbound.login
    pattern = re.compile(foreign_cookies.foreign(login))
    prefix = "__Host-" if login.is_secure else ""
    for name in ("BearerToken", "IdToken", "RefreshToken"):
        for blocks in range(1, 300):
            good = encrypted(blocks)
            for cookie in (f"{prefix}{name}={good}", f"a=1; {prefix}{name}={good}; b=2", f"{prefix}{name}={good};"):
                assert not pattern.fullmatch(cookie)
            for other in (good + "A", good[:-1], good + "=", f"{good}.{good}", f'"{good}"', f"{good} x"):
                assert pattern.fullmatch(f"{prefix}{name}={other}")
                assert pattern.fullmatch(f"a=1;{prefix}{name}={other};b=2")
        for at in (0, 1, 9, 10, 15):
            piece = f"{prefix}{name}_{at}={'A' * 3930}"
            for cookie in (piece, f"a=1; {piece}; {prefix}{name}_chunks=16", f"{prefix}{name}_1=A; b=2"):
                assert not pattern.fullmatch(cookie)
            for other in ("a.b.c", "A" * 3930 + "=", '"A"', "A B"):
                assert pattern.fullmatch(f"a=1; {prefix}{name}_{at}={other}; b=2")
        for short in ("A", "opaque", "A" * 200):
            assert pattern.fullmatch(f"{prefix}{name}_0={short}")
            assert pattern.fullmatch(f"{prefix}{name}_chunks=2; {prefix}{name}_0 = {short} ; {prefix}{name}_1=A")
        assert not pattern.fullmatch(f"{prefix}{name}=")
        assert not pattern.fullmatch(f"{prefix}{name}Other=a.b")
        assert not pattern.fullmatch(f"x{prefix}{name}=a.b")
    assert not pattern.fullmatch("theme=dark; note=BearerToken.x")


def test_split_cookies_are_a_field_of_envoys():
    made = plan(split_cookies=True)
    assert oauth2(made)["token_cookie_chunking"] == {"max_cookie_size": 4000, "max_chunks": 16}
    assert "login.too-large" not in routes(made), "no cookie is thrown away, and another login makes a session whole"
    assert "login.too-large" in routes(plan())


def test_without_the_setting_there_is_nothing_that_an_older_envoy_does_not_know():
    assert "token_cookie_chunking" not in oauth2(plan())
    assert "_chunks" not in str(render(plan()))


def test_a_sign_out_deletes_each_piece_that_there_may_be():
    made = plan(split_cookies=True)
    headers = routes(made)["login.sign-out"]["response_headers_to_add"]
    lines = [one["header"]["value"] for one in headers if one["header"]["key"] == "set-cookie"]
    deleted = {line.partition("=")[0].removeprefix("__Host-") for line in lines}
    for name in ("BearerToken", "IdToken", "RefreshToken"):
        assert {name, f"{name}_chunks", *(f"{name}_{at}" for at in range(16))} <= deleted
    assert {"OauthHMAC", "OauthExpires", "authz-signout"} <= deleted
    assert all("Max-Age=0" in line for line in lines)


def test_envoy_data_plane_does_not_know_what_is_written_by_hand():
    """Where it does, `newer_fields` can go."""
    known = {field.name for field in dataclasses.fields(OAuth2Config)}
    assert "disable_id_token_set_cookie" in known
    assert "token_cookie_chunking" not in known


@pytest.mark.parametrize("made", PLANS)
def test_the_page_after_the_providers_sign_out_is_no_redirect_and_comes_before_all_others(made):
    ends = bool(made.edge.inbound.login.end_session_endpoint)
    assert ("login.signed-out" in routes(made)) is ends, "without such an endpoint the sign-out is that page itself"
    if ends:
        page = routes(made)["login.signed-out"]
        assert page["match"]["path"] == "/"
        assert page["direct_response"]["status"] == 200
        assert "redirect" not in page
        assert cookies.read((b"authz-signed-out=1; __Host-authz-signed-out=1",)).left == ""


def test_the_page_comes_before_the_start_page_of_a_base_path():
    names = list(routes(plan(airflow(base_path="/airflow"), end_session_endpoint="https://idp.test/logout")))
    assert names.index("login.signed-out") < names.index("login.public-name") < names.index("login.start-page")
