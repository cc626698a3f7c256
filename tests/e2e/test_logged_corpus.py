"""No log holds a secret after the whole attack corpus: real Envoy with a login in front, real gate, an upstream behind.

The corpus gives the targets, hosts, methods and lines (`tests/attacks/corpus.py`). Each request carries canaries in the
places where a secret may stand, each place its own, so that what is found says where it came from.
"""

import base64
import contextlib
import itertools
import re
from pathlib import Path
from typing import Final

import pytest

from authz.check import wire
from authz.core import edge
from tests.attacks import corpus
from tests.e2e.envoy_harness import wait_for, whole_lines
from tests.e2e.login_site import LoginSite
from tests.e2e.raw_http import Connection, request

pytestmark = pytest.mark.e2e

CRITICAL: Final = ("--component-log-level", "oauth2:critical")  # docs/login.md
UUID: Final = "2f1c7cf4-6f07-4d9b-9a1e-0d1b7f0f5a11"
LOGIN_MD: Final = Path(__file__).parents[2] / "docs" / "login.md"
ENDS_HERE: Final = {*wire.NEVER_FORWARDED, *edge.IDENTITY_HEADERS, "x-request-id", "x-forwarded-for"}
CANARY: Final = re.compile(r"canary7[a-z0-9]+Secret", re.IGNORECASE)
SESSION: Final = ("BearerToken", "IdToken", "RefreshToken", "OauthHMAC", "OauthExpires", "OauthNonce", "CodeVerifier")
FORMS: Final = ("{0}", "eyJhbGciOiJSUzI1NiJ9.{0}.{0}", '"{0}"', "{0}==")


def canary(place):
    """The secret of one place."""
    return f"canary7{re.sub('[^a-z0-9]', '', place.lower())}Secret"


OF_SESSIONS: Final = {canary(f"cookie{name}{suffix}") for name in SESSION for suffix in ("", ".0", ".flow7")}


def cookies():
    """Lines with a session cookie of each name, alone, in chunks, of one sign-in, and with each prefix."""
    for name, prefix in itertools.product(SESSION, ("", "__Host-", "__Secure-")):
        for suffix, form in itertools.product(("", ".0", ".flow7"), FORMS):
            value = form.format(canary(f"cookie{name}{suffix}"))
            yield f"Cookie: theme=dark; {prefix}{name}{suffix}={value}"
    for name in ("_token", "session", "authz-signout"):
        yield f"Cookie: {name}={canary('cookie' + name)}"


def lookalikes():
    """What has the form of Envoy's own encrypted cookies reaches its filter, and its log at the default level."""
    value = base64.urlsafe_b64encode(canary("lookalike").encode().ljust(32, b"x")).rstrip(b"=").decode()
    plain = canary("lookalike").ljust(42, "x") + "A"
    for name in SESSION:
        for text in (value, plain):
            yield f"Cookie: {name}={text}"
            yield f"Cookie: {name}.0={text}; {name}.1={text}"


def credentials():
    """Lines with a credential or a proof, and lines that often end up in a log."""
    for scheme, form in itertools.product(("Bearer", "bearer", "Basic", "DPoP", "Token"), FORMS):
        yield f"Authorization: {scheme} {form.format(canary('authorization'))}"
    for name in (*edge.READ_ON_EGRESS, *wire.NEVER_FORWARDED, *edge.IDENTITY_HEADERS, "dpop", "x-api-key"):
        if name not in {"cookie", "accept", "traceparent"}:
            yield f"{name}: {canary(name)}"
    for name in ("X-Request-Id", "Traceparent", "Tracestate", "Baggage", "Referer", "X-Forwarded-For", "Forwarded"):
        for form in ("{0}", "00-{0}-00-01", f"{UUID}, {{0}}", "https://user:{0}@x.test/?token={0}"):
            yield f"{name}: {form.format(canary(name))}"


def filled(text, place):
    """A text of the corpus with a canary in its holes."""
    return text.replace(corpus.HOLE, canary(place))


def aimed(target):
    """A target of the corpus with a canary in its query. A path is logged, and meant to be: its holes hold none."""
    path, mark, query = target.partition("?")
    return path.replace(corpus.HOLE, "x") + "?" + filled(query, "query") + f"{'&' * bool(mark)}t={canary('query')}"


CALLBACK: Final = "/oauth2/callback?code={0}&state={0}&error={0}&error_description={0}"


class Shots:
    """Fires at one site, and keeps count of what was answered."""

    def __init__(self, site):
        self.site = site
        self.host = f"127.0.0.1:{site.port}"
        self.answered = self.fired = 0

    def fire(self, target, *lines, host=None, **parts):
        data = request(target.encode("utf-8", "surrogatepass"), *map(as_bytes, lines), host=host or self.host, **parts)
        self.fired += 1
        answer = None
        closed = contextlib.suppress(AssertionError, OSError, ValueError)  # without an answer, or with none in time
        with closed, Connection(("127.0.0.1", self.site.port), timeout=2) as connection:
            connection.send(data)
            answer = connection.response(head=data.startswith(b"HEAD "))
        if answer is not None:
            self.answered += 1
            assert answer.status == 200 or not CANARY.search(answer.body.decode("latin-1")), data
        return self

    def all(self, *, quiet):
        """The whole corpus. `quiet`: at the documented level, what else Envoy would print is in it."""
        sessions, others = itertools.cycle(cookies()), itertools.cycle(credentials())
        for target in corpus.targets():
            self.fire(aimed(target), next(sessions), "Sec-Fetch-Mode: navigate")
            self.fire(aimed(target), next(others), next(others), next(sessions))
        for line in corpus.header_lines():
            if not line.lower().startswith(("user-agent", "host")):
                self.fire("/api/v2/dags", filled(line, "line"), next(sessions))
                self.fire("/api/v2/monitor/health", filled(line, "line"), next(others))
        for host in corpus.hosts():
            self.fire("/api/v2/dags", next(sessions), host=host.replace(corpus.HOLE, "x"))
            self.fire("/api/v2/dags", next(others), host=f"user:{canary('userinfo')}@{host.replace(corpus.HOLE, 'x')}")
        for method in corpus.methods():
            self.fire(f"/api/v2/dags?t={canary('query')}", next(sessions), next(others), method=method)
            self.fire(f"http://user:{canary('userinfo')}@gate.test/api/v2/dags?{canary('query')}", method=method)
        for target in ("/api/v2/dags", "/api/v2/monitor/health", "/oauth2/signout", "/oauth2/callback"):
            for line in (*cookies(), *credentials()):
                for more in ((), ("Sec-Fetch-Mode: navigate",), (f"Authorization: Bearer {canary('authorization')}",)):
                    self.fire(target, line, *more)
        if quiet:
            for line in (*cookies(), *lookalikes()):
                for form in ("{0}", "{0}.x", "%22{0}"):
                    self.fire(CALLBACK.format(form.format(canary("callback"))), line, "Sec-Fetch-Mode: navigate")
                self.fire("/api/v2/dags", line, "Sec-Fetch-Mode: navigate")


def as_bytes(line):
    return line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line


def everything(site):
    """All that was written or is shown, by its name: logs of Envoy and the gate, and the pages of both."""
    gate, marked = site.gate, "/last/of/all"
    site.get(marked)

    def complete():
        return any(line["path"] == marked for line in whole_lines(site.folder / "access.log"))

    wait_for(complete, "the access log is not written", pause=site.envoy.pause)
    gate.until(lambda: any(record["path"] == marked for record in gate.decisions), "the record is not written")
    found = {page: gate.get(page).text for page in ("/metrics", "/readyz", "/healthz", "/policy")}
    for page in ("/stats", "/stats/prometheus", "/clusters", "/server_info"):
        found[f"envoy {page}"] = site.envoy.admin(page).body.decode("latin-1")
    for path in (*site.folder.rglob("*.log"), *site.folder.rglob("*.jsonl")):
        found[str(path.relative_to(site.folder))] = path.read_text("utf-8", "replace")
    return found


def behind(site):
    """The headers in which a canary reached Airflow's side, and the canaries of session cookies that did in any."""
    headers = [header for seen in site.upstream.requests for header in seen.headers]
    ours = {text for _, value in headers for text in CANARY.findall(value) if text in OF_SESSIONS}
    return {name for name, value in headers if CANARY.search(value)}, ours


@pytest.mark.parametrize("level", [(), CRITICAL], ids=["default", "documented"])
def test_d30_no_secret_of_the_attack_corpus_is_in_any_log(envoy_binary, tmp_path, level):
    with LoginSite(tmp_path, envoy_binary, real=True, secure=False, log=level) as site:
        shots = Shots(site)
        shots.all(quiet=bool(level))
        texts = everything(site)
        reached, of_sessions = behind(site)
    assert " ".join(CRITICAL) in LOGIN_MD.read_text()
    assert shots.answered > 0.9 * shots.fired > 5000
    assert {"access.log", "envoy.log", "gate/authz.log", "gate/decisions.jsonl", "/metrics"} <= set(texts)
    leaks = {name: sorted(set(CANARY.findall(text)))[:9] for name, text in texts.items() if CANARY.search(text)}
    assert leaks == {}
    assert (reached & ENDS_HERE, of_sessions) == (set(), set())
    assert "dpop" in reached, "an application may have headers of its own"
