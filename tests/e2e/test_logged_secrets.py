"""No log holds what a caller wrote where a secret may stand: token cookies, the request's id, the trace, the way here.

Envoy runs at its default level (info) and, for the file of a login, at the level that docs/login.md names.
"""

import base64
import secrets
from pathlib import Path

import pytest

from authz.envoy_config.inbound.login_pages import FOREIGN_COOKIE
from tests.e2e.envoy_harness import wait_for, whole_lines
from tests.e2e.login_site import LoginSite

pytestmark = pytest.mark.e2e

LOGIN_MD = Path(__file__).parents[2] / "docs" / "login.md"
CANARY = "canary7Secret"
UUID = "2f1c7cf4-6f07-4d9b-9a1e-0d1b7f0f5a11"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}"


def plain_tokens():
    """What a caller may take for a token: with dots, opaque, quoted, padded, of the wrong length, in odd bytes."""
    yield JWT
    yield CANARY
    yield f'"{CANARY}"'
    yield f"{CANARY}=="
    yield f" {CANARY}"
    yield f"{CANARY} {CANARY}"
    yield f"ya29.{CANARY}/+"
    yield CANARY + "x" * (44 - len(CANARY))
    yield CANARY + "x" * (63 - len(CANARY))
    yield CANARY + "x" * (42 - len(CANARY)) + "1"  # as long as an encrypted one, with bits that none has
    yield CANARY + "x" * 4000
    yield f"{CANARY}.é"
    yield f"{CANARY}\xff"


def lines(name, value):
    """The cookie alone, among others, in a second line, doubled, and beside bytes that are no text."""
    pair = f"{name}={value}".encode("latin-1")
    yield [b"Cookie: " + pair]
    yield [b"Cookie: a=1; " + pair + b"; b=2"]
    yield [b"Cookie: a=1;" + pair + b";"]
    yield [b"Cookie: a=1", b"Cookie: " + pair]
    yield [b"Cookie: " + pair, b"Cookie: a=1"]
    yield [b"Cookie: " + name.encode() + b"=; " + pair]
    yield [b"Cookie: caf\xe9=\xff; " + pair]
    yield ["Cookie: café=é; ".encode() + pair]
    yield [b"Cookie: a=1;\t" + name.encode() + b" = " + value.encode("latin-1")]


@pytest.fixture(scope="module")
def loud(envoy_binary, tmp_path_factory):
    with LoginSite(tmp_path_factory.mktemp("loud"), envoy_binary, secure=False, log=()) as site:
        yield site


def all_logs(site):
    """All that Envoy wrote; the last line of the access log is one of ours, so nothing is on its way."""
    marked = f"/last-{secrets.token_hex(8)}"
    site.get(marked)

    def complete():
        return any(line["path"] == marked for line in whole_lines(site.folder / "access.log"))

    wait_for(complete, "the access log is not written", pause=site.envoy.pause)
    return (site.folder / "access.log").read_text() + site.envoy.log.read_text()


@pytest.mark.parametrize("kind", ["BearerToken", "IdToken", "RefreshToken"])
def test_a_token_in_the_clear_ends_before_the_filter_that_would_log_it(loud, kind):
    loud.reset()
    name = loud.cookie(kind)
    shots = [("/dags", headers) for value in plain_tokens() for headers in lines(name, value)]
    shots += [
        (target, ["Sec-Fetch-Mode: navigate", f"Cookie: {name}={value}".encode("latin-1")])
        for target in ("/dags", "/oauth2/callback?code=a&state=b", "/oauth2/signout")
        for value in plain_tokens()
    ]
    for target, headers in shots:
        answer = loud.get(target, *headers)
        assert answer.status == 401, headers
        assert CANARY.encode() not in answer.body
    assert loud.upstream.requests == []
    assert loud.authz.checks == []
    assert CANARY not in all_logs(loud)


@pytest.mark.parametrize("kind", ["BearerToken", "IdToken", "RefreshToken"])
def test_a_token_in_pieces_in_the_clear_ends_there_too(loud, kind):
    """Envoy 1.40 puts `_0`, `_1` and so on together before it decrypts, and prints what that gives."""
    loud.reset()
    name = loud.cookie(kind)
    for value in plain_tokens():
        if len(value) > 200 or " " in value.strip():
            continue
        for pieces in ([value, "A"], [CANARY, value], [value, *["A"] * 11], [CANARY] * 3):
            pairs = [f"{name}_{at}={piece}" for at, piece in enumerate(pieces)]
            for order in (pairs, list(reversed(pairs))):
                cookie = "; ".join([f"{name}_chunks={len(pieces)}", *order]).encode("latin-1")
                for more in ((), ("Sec-Fetch-Mode: navigate",)):
                    answer = loud.get("/dags", b"Cookie: " + cookie, *more)
                    assert answer.status == 401, cookie
                    assert CANARY.encode() not in answer.body
    assert loud.upstream.requests == []
    assert loud.authz.checks == []
    assert CANARY not in all_logs(loud)


def test_a_token_cookie_in_the_clear_is_401_and_deleted(site, browser):
    browser.cookies[site.url] = {site.cookie("BearerToken"): JWT, "theme": "dark"}
    told = browser.script(site.url + "/dags")
    assert (told.status_code, told.json()["error"]) == (401, FOREIGN_COOKIE.error)
    assert browser.cookies[site.url] == {"theme": "dark"}
    browser.cookies[site.url] = {site.cookie("BearerToken"): JWT, "theme": "dark"}
    shown = browser.navigate(site.url + "/dags")
    assert shown.status_code == 401
    assert FOREIGN_COOKIE.title in shown.text
    assert site.log_in(browser).status_code == 200


def test_a_session_that_envoy_made_is_none_of_these(loud):
    """Tokens of every length: the padding of the last block makes sixteen forms."""
    loud.reset()
    for groups in range(24):
        loud.moods(more_groups=groups)
        with loud.browser() as browser:
            assert loud.log_in(browser).status_code == 200
            assert browser.script(loud.url + "/dags").status_code == 200
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies[loud.url].items())
    assert loud.get("/dags", f"Cookie: {cookie}; café=é".encode()).status == 200


def test_a_session_of_another_secret_is_no_canary(loud):
    """What Envoy encrypted, with whatever secret, gets to the filter, which may print it: it is no use to a reader."""
    loud.reset()
    value = base64.urlsafe_b64encode(bytes(range(16)) + secrets.token_bytes(64)).rstrip(b"=").decode()
    name = loud.cookie("BearerToken")
    assert loud.get("/dags", f"Cookie: {name}={value}", "Sec-Fetch-Mode: navigate").status == 302


def test_a_bearer_token_passes_with_whatever_cookies(loud):
    """A program's own token does not go through the filter; the gate judges both (docs/sessions.md)."""
    loud.reset()
    answer = loud.get("/dags", "Authorization: Bearer x", f"Cookie: {loud.cookie('BearerToken')}={JWT}")
    assert answer.status == 200, "the scripted authorizer allows"
    assert CANARY not in all_logs(loud)


def test_no_log_of_the_whole_gate_holds_a_token_of_a_cookie(envoy_binary, tmp_path):
    """The real gate: what ends at Envoy, and what passes it."""
    with LoginSite(tmp_path, envoy_binary, real=True, secure=False, log=()) as site:
        for name in (
            "BearerToken",
            "IdToken",
            "RefreshToken",
            "OauthHMAC",
            "OauthExpires",
            "OauthNonce.a",
            "CodeVerifier",
        ):
            for value in (JWT, CANARY, f"{CANARY}.x", CANARY + "x" * (43 - len(CANARY) - 1) + "A"):
                cookie = f"Cookie: {name}={value}"
                site.get("/api/v2/dags", cookie, f"Authorization: Bearer {JWT}")
                if name.endswith("Token") and value.endswith("A"):
                    continue  # see the next test
                site.get("/api/v2/dags", cookie, cookie)
                for line in ("Sec-Fetch-Mode: navigate", "Accept: application/json"):
                    for target in ("/api/v2/dags", "/oauth2/callback", "/oauth2/signout"):
                        site.get(target, cookie, line)
        assert site.upstream.requests == []
        text = all_logs(site)
        text += "".join(path.read_text() for path in site.gate.folder.rglob("*.log"))
        text += (site.gate.folder / "decisions.jsonl").read_text()
        assert '"reason":"no_token"' in text
        assert CANARY not in text


def test_at_the_documented_level_not_even_what_looks_encrypted_or_the_query_of_a_callback(envoy_binary, tmp_path):
    levels = ("--component-log-level", "oauth2:critical")
    assert " ".join(levels) in LOGIN_MD.read_text()
    with LoginSite(tmp_path, envoy_binary, secure=False, log=levels) as site:
        lookalike = CANARY + "x" * (43 - len(CANARY) - 1) + "A"
        for target in ("/dags", f"/oauth2/callback?code={CANARY}&state={CANARY}", f"/oauth2/callback?error={CANARY}"):
            for name in ("BearerToken", "RefreshToken", "CodeVerifier", "OauthNonce"):
                site.get(target, f"Cookie: {name}={lookalike}", "Sec-Fetch-Mode: navigate")
        assert CANARY not in all_logs(site)


WRITTEN = (
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
    "Baggage",
    "B3",
    "X-B3-Traceid",
    "X-Correlation-Id",
    "Referer",
    "X-Forwarded-For",
    "X-Real-Ip",
    "Forwarded",
    "Origin",
    "Cookie",
    "Proxy-Authorization",
    "X-Envoy-Original-Path",
    "X-Client-Trace-Id",
    "Accept",
    "Via",
    "From",
)


@pytest.mark.parametrize("egress", [False, True], ids=["inbound", "egress"])
def test_what_a_caller_writes_into_a_header_is_in_no_log(gate, egress):
    host = {"host": "orders.internal"} if egress else {}
    for name in WRITTEN:
        for value in (CANARY, f"00-{CANARY}-00-01", f"Bearer {CANARY}"):
            assert gate.get("/x", f"{name}: {value}", egress=egress, **host).status == 200
    gate.get("/last-line", egress=egress, **host)

    def complete():
        return "/last-line" in gate.envoy.log.with_name("access.log").read_text()

    wait_for(complete, "the access log is not written", pause=gate.envoy.pause)
    assert CANARY not in gate.envoy.log.with_name("access.log").read_text()
    assert CANARY not in gate.envoy.log.read_text()


@pytest.mark.parametrize("egress", [False, True], ids=["inbound", "egress"])
def test_the_id_of_a_request_is_envoys_own(gate, egress):
    host = {"host": "orders.internal"} if egress else {}
    for spelling in ("X-Request-Id", "x-request-id", "X-REQUEST-ID"):
        for written in (CANARY, UUID):
            gate.get("/x", f"{spelling}: {written}", f"{spelling}: {UUID}", egress=egress, **host)
    seen = [received.all("x-request-id") for received in gate.upstream.requests]
    assert all(len(ids) == 1 for ids in seen)
    assert len({ids[0] for ids in seen}) == 6
    assert not [ids for ids in seen if CANARY in ids[0] or UUID in ids[0]]


@pytest.mark.parametrize("egress", [False, True], ids=["inbound", "egress"])
def test_the_id_of_a_request_that_envoy_refuses_at_once_is_none_that_a_caller_wrote(gate, egress):
    """Envoy logs such a request as it came: it was refused before the caller's headers were removed."""
    host = {"host": "orders.internal"} if egress else {}
    for written in (CANARY, f"{UUID}, {CANARY}", CANARY.ljust(36, "-")):
        assert gate.get("/x#y", f"X-Request-Id: {written}", egress=egress, **host).status == 400
    last = f"/of-envoy-{egress}"
    assert gate.get(last, egress=egress, **host).status == 200
    path = gate.envoy.log.with_name("access.log")
    wait_for(lambda: last in path.read_text(), "the access log is not written", pause=gate.envoy.pause)
    assert CANARY not in path.read_text()
    line = whole_lines(path)[-1]
    assert [line["request_id"]] == gate.upstream.only.all("x-request-id")
    assert line["request_id"].count("-") == 4


def test_a_trace_that_is_one_is_logged(gate):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    gate.get("/traced", f"Traceparent: {trace}")
    found = []

    def logged():
        lines = whole_lines(gate.envoy.log.with_name("access.log"))
        found[:] = [line["trace"] for line in lines if line["path"] == "/traced"]
        return bool(found)

    wait_for(logged, "the access log is not written", pause=gate.envoy.pause)
    assert found == [trace]
    assert gate.upstream.only.all("traceparent") == [trace]
