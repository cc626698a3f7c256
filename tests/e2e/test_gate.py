"""Through the real Envoy and the real `authz serve`: who passes, who does not, and what each side is told."""

import json

import jwt
import pytest

from tests.e2e.gate import now
from tests.e2e.stack import AUDIENCE, KEY, ORDERS, id_of
from tests.support.factories.tokens import b64, dump, make_key, sign_hmac

pytestmark = pytest.mark.e2e

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


# --- what passes


def test_a_reader_lists_dags(stack):
    answer = stack.get("/api/v2/dags?limit=5", token=stack.token())
    assert answer.status == 200
    seen = stack.upstream.only
    assert (seen.method, seen.target) == ("GET", "/api/v2/dags?limit=5")
    assert id_of(answer) == seen.all("x-authz-decision")[0]


@pytest.mark.parametrize("dag", ["sales_daily", "sales_%64aily"])
def test_a_service_account_triggers_its_own_dag_and_the_body_arrives(stack, dag):
    token = stack.etl(aud="airflow")
    answer = stack.get(f"/api/v2/dags/{dag}/dagRuns", token=token, method="POST", body=b'{"logical_date": null}')
    assert answer.status == 200
    assert stack.upstream.only.target == "/api/v2/dags/sales_daily/dagRuns"
    assert stack.upstream.only.body == b'{"logical_date": null}'


def test_a_task_reads_orders_through_the_egress_listener(stack):
    answer = stack.get("/v1/orders/7?x=1", token=stack.etl(), **ORDERS)
    assert answer.status == 200
    seen = stack.upstream.only
    assert (seen.target, seen.all("host")) == ("/v1/orders/7?x=1", ["orders.internal"])
    assert seen.all("authorization") == []
    assert seen.all("x-authz-assertion") == [], "the upstream has no audience configured"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_anybody_reads_the_health(stack, method):
    answer = stack.get("/api/v2/monitor/health", method=method)
    assert answer.status == 200
    assert [name for name, _ in stack.upstream.only.headers if name.startswith("x-authz-")] == ["x-authz-decision"]


def test_a_path_with_an_encoded_slash_arrives_as_it_was_sent(stack):
    assert stack.get("/api/v2/pools/a%2Fb", token=stack.token()).status == 200
    assert stack.upstream.only.target == "/api/v2/pools/a%2Fb"


def test_requests_of_one_connection_are_different_people(stack):
    alice, bob = stack.token(), stack.token(sub="bob", preferred_username="bob.b", jti="t-2")
    for token in (alice, bob, alice):
        stack.get("/api/v2/dags", token=token)
    assert [seen.all("x-authz-subject") for seen in stack.upstream.requests] == [["alice"], ["bob"], ["alice"]]


# --- what the upstream is told


def test_the_upstream_learns_who_asks_and_can_verify_it(stack):
    stack.get("/api/v2/dags", token=stack.token())
    seen = stack.upstream.only
    assert seen.all("x-authz-subject") == ["alice"]
    assert seen.all("x-authz-user") == ["alice.a"]
    assert seen.all("x-authz-issuer") == [stack.idp.url]
    assert seen.all("x-authz-client") == ["cli"]
    assert seen.all("x-authz-roles") == ["op,viewer"]
    (assertion,) = seen.all("x-authz-assertion")
    published = jwt.PyJWKSet.from_dict(stack.gate.get("/jwks.json").json())
    header = jwt.get_unverified_header(assertion)
    key = published[header["kid"]]
    claims = jwt.decode(assertion, key, algorithms=["ES256"], audience=AUDIENCE, issuer="https://gate.test")
    assert header["typ"] == "authz-assertion+jwt"
    assert (claims["sub"], claims["roles"], claims["airflow_role"]) == ("alice", ["op", "viewer"], "op")
    assert claims["exp"] - claims["iat"] <= 60
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(assertion, key, algorithms=["ES256"], audience="another-airflow")


def test_credentials_end_at_the_gate_and_other_cookies_go_on(stack):
    token = stack.token()
    ours = f"BearerToken={token}; RefreshToken=c; OauthHMAC=d; OauthNonce.1=e; __Host-IdToken={token}; _token=g"
    assert stack.get("/api/v2/dags", f"Cookie: theme=dark; {ours}", "Cookie: lang=de", token=token).status == 200
    seen = stack.upstream.only
    assert seen.all("authorization") == []
    assert seen.all("cookie") == ["theme=dark; lang=de"]
    assert token.encode() not in seen.head


def test_a_cookie_that_is_no_text_never_becomes_one_of_ours(stack):
    cookies = b"Cookie: _token=x; lang=\xc3\xa9; Id\xffToken=y; theme=dark"
    assert stack.get("/api/v2/dags", cookies, token=stack.token()).status == 200
    assert stack.upstream.only.all("cookie") == [b"lang=\xc3\xa9; theme=dark".decode("latin-1")]


@pytest.mark.parametrize("cookie", ["_token=x", "IdToken=x;BearerToken=y", "CodeVerifier.abc=1"])
def test_a_cookie_header_with_nothing_but_our_cookies_is_gone(stack, cookie):
    assert stack.get("/api/v2/monitor/health", f"Cookie: {cookie}").status == 200
    assert stack.upstream.only.all("cookie") == []


def test_a_name_beyond_ascii_arrives_encoded(stack):
    stack.get("/api/v2/dags", token=stack.token(preferred_username="zoë\r\nx-authz-roles: admin", jti="t-3"))
    assert stack.upstream.only.all("x-authz-user") == ["zo%C3%AB%0D%0Ax-authz-roles:%20admin"]
    assert stack.upstream.only.all("x-authz-roles") == ["op,viewer"]


# --- what does not pass: (reason, status, target, parts, token)


def bad_tokens(stack):
    good = stack.token()
    header, payload, signature = good.split(".")
    thief = make_key("ES256", kid="thief")
    return {
        "expired": stack.token(iat=now() - 900, exp=now() - 600),
        "not_yet_valid": stack.token(nbf=now() + 600),
        "lifetime_too_long": stack.token(exp=now() + 7200),
        "audience": stack.token(aud="somebody-else"),
        "unknown_issuer": stack.token(iss="https://idp.evil.example"),
        "bad_signature": stack.token(thief, headers={"kid": "k1"}),
        "unknown_key": stack.token(thief),
        "algorithm": sign_hmac({"iss": stack.idp.url, "aud": "airflow", "sub": "alice"}, KEY.public_pem),
        "token_malformed": f"{header}.{payload}.{signature}.x",
        "token_type": stack.token(headers={"typ": "logout+jwt"}),
        "claim_invalid": stack.token(sub=""),
        "token_too_large": stack.token(name="n" * 80_000),
    }


BAD_TOKENS = (
    *("expired", "not_yet_valid", "lifetime_too_long", "audience", "unknown_issuer", "bad_signature", "unknown_key"),
    *("algorithm", "token_malformed", "token_type", "claim_invalid", "token_too_large"),
)


@pytest.mark.parametrize("reason", BAD_TOKENS)
def test_a_bad_token_is_401_and_only_the_decision_log_says_why(stack, reason):
    answer = stack.get("/api/v2/dags", token=bad_tokens(stack)[reason])
    assert answer.status == 401
    assert answer.header("www-authenticate") == 'Bearer realm="airflow", error="invalid_token"'
    assert answer.header("content-type") == "application/json"
    body = json.loads(answer.body)
    assert body == {"error": "invalid_token", "message": "A valid token is needed.", "decision_id": id_of(answer)}
    assert stack.gate.decision(id_of(answer))["reason"] == reason
    assert stack.upstream.requests == []


def test_alg_none_is_401(stack):
    payload = stack.token().split(".")[1]
    unsigned = f"{b64(dump({'alg': 'none', 'typ': 'at+jwt', 'kid': 'k1'}))}.{payload}."
    answer = stack.get("/api/v2/dags", token=unsigned)
    assert answer.status == 401
    assert stack.upstream.requests == []


@pytest.mark.parametrize("target", ["/api/v2/dags", "/api/v2/variables", "/nothing/here", "/"])
@pytest.mark.parametrize("plane", [{}, ORDERS])
def test_anonymous_callers_get_the_same_401_everywhere(stack, target, plane):
    answer = stack.get(target, **plane)
    assert answer.status == 401
    assert answer.header("www-authenticate") == 'Bearer realm="airflow"'
    assert json.loads(answer.body)["error"] == "authentication_required"
    assert stack.gate.decision(id_of(answer))["reason"] == "no_token"
    assert stack.upstream.requests == []


FORBIDDEN = {
    "no_rule": ("GET", "/api/v2/config", {}),
    "unknown_route": ("GET", "/api/v9/dags", {}),
    "no_role": ("GET", "/api/v2/dags", {"groups": [], "realm_access": None}),
    "deny_rule": ("DELETE", "/api/v2/dags/x", {"client_id": "copilot"}),
}


@pytest.mark.parametrize("reason", FORBIDDEN)
def test_a_user_without_the_right_is_403_and_the_body_has_the_reason(stack, reason):
    method, target, claims = FORBIDDEN[reason]
    answer = stack.get(target, token=stack.token(**claims), method=method)
    assert answer.status == 403
    body = json.loads(answer.body)
    assert (body["error"], body["user"], body["decision_id"]) == (reason, "alice.a", id_of(answer))
    assert stack.gate.decision(id_of(answer))["reason"] == reason
    assert stack.upstream.requests == []


def test_the_service_account_triggers_no_other_dag(stack):
    answer = stack.get("/api/v2/dags/finance/dagRuns", token=stack.etl(aud="airflow"), method="POST", body=b"{}")
    assert answer.status == 403
    assert "dag_runs:create on the DAG finance" in json.loads(answer.body)["message"]
    assert stack.upstream.requests == []


@pytest.mark.parametrize(
    ("target", "parts", "status"),
    [
        ("/v1/orders", {"method": "POST"}, 403),
        ("/v1/payments", {}, 403),
        ("/v1/orders/7/items", {}, 403),
        ("/v1/orders", {"host": "orders.internal.evil.test"}, 403),
        ("/v1%2Forders", {}, 400),
    ],
)
def test_the_egress_listener_lets_out_only_what_a_rule_names(stack, target, parts, status):
    answer = stack.get(target, token=stack.etl(), **{**ORDERS, **parts})
    assert answer.status == status
    assert stack.upstream.requests == []


@pytest.mark.parametrize(
    ("headers", "target", "reason"),
    [
        (["Authorization: Basic eDp5"], "/api/v2/dags", "bad_authorization"),
        (["Host: other.test"], "/api/v2/dags", "bad_host"),
        ([], "/api/v2/dags%0a", "bad_path"),
        ([], "/api/v2/dags?access_token=x", "bad_authorization"),
    ],
)
def test_a_request_without_one_reading_is_400(stack, headers, target, reason):
    answer = stack.get(target, *headers)
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == reason
    assert stack.upstream.requests == []


# --- what a browser sees


@pytest.mark.parametrize(
    ("target", "token", "status", "text"),
    [
        ("/api/v2/dags", None, 401, "Please sign in"),
        ("/api/v2/config", {"preferred_username": "<b>mallory</b>"}, 403, "You do not have access to this"),
        ("/api/v2/%2e%2fdags", None, 400, "This request cannot be understood"),
    ],
)
def test_a_browser_gets_a_small_page(stack, target, token, status, text):
    answer = stack.get(target, BROWSER, token=stack.token(**token) if token else None)
    assert answer.status == status
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("content-security-policy").startswith("default-src 'none'")
    assert answer.header("cache-control") == "no-store"
    page = answer.body.decode()
    assert text in page
    assert id_of(answer) in page
    assert "<b>" not in page
    assert "&lt;b&gt;mallory" in page or not token


# --- what operators see


def test_the_decision_log_the_access_log_and_the_answer_agree(stack):
    token, trace = stack.token(), "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = [
        stack.get("/api/v2/dags?secret=1", trace, token=token),
        stack.get("/api/v2/config", trace, token=token),
        stack.get("/v1/orders", trace, token=stack.etl(), **ORDERS),
        stack.get("/api/v2/dags", trace),
    ]
    for answer in asked:
        record, line = stack.gate.decision(id_of(answer)), stack.logged(id_of(answer))
        shared = ("reason", "rule", "revision", "subject", "method", "host", "path", "plane")
        # Envoy writes an empty string as none at all
        assert {name: line[name] or "" for name in shared} == {name: record[name] for name in shared}
        assert line["status"] == answer.status
        assert record["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert record["trace"] in line["trace"]
        assert record["revision"] == stack.gate.get("/readyz").json()["revision"]
    reasons = [stack.gate.decision(id_of(answer))["reason"] for answer in asked]
    assert reasons == ["rule", "no_rule", "rule", "no_token"]


def test_metrics_count_what_was_decided(stack):
    allowed = 'authz_checks_total{decision="allow",plane="inbound",reason="rule"}'
    denied = 'authz_checks_total{decision="deny",plane="inbound",reason="no_rule"}'
    outside = 'authz_checks_total{decision="allow",plane="egress",reason="rule"}'
    hits = 'authz_token_cache_total{result="hit"}'
    before = {name: stack.gate.metric(name) for name in (allowed, denied, outside, hits, "authz_check_seconds_count")}
    token = stack.token(jti="metrics")
    for _ in range(3):
        stack.get("/api/v2/dags", token=token)
    stack.get("/api/v2/config", token=token)
    stack.get("/v1/orders", token=stack.etl(), **ORDERS)
    gained = {name: stack.gate.metric(name) - value for name, value in before.items()}
    assert gained == {allowed: 3, denied: 1, outside: 1, hits: 3, "authz_check_seconds_count": 5}


def test_envoy_counts_denials_as_denials_and_nothing_as_an_error(stack):
    before = stack.envoy.stat("http.inbound.ext_authz.authz.denied")
    stack.get("/api/v2/dags")
    assert stack.envoy.stat("http.inbound.ext_authz.authz.denied") == before + 1
    assert stack.envoy.stat("http.inbound.ext_authz.authz.error") == 0
