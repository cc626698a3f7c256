"""Without the gate nothing passes, and each caller is told so: a page or JSON that names the gate, when to retry."""

import json
import re

import pytest

from authz.envoy_config.reply_bodies import GATE_AWAY, UPSTREAM_AWAY
from tests.e2e.answers import REQUEST_ID, is_now
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, settings_for, wait_for
from tests.e2e.gate import Gate, token
from tests.e2e.login_site import LoginSite
from tests.e2e.raw_http import exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz, allow, deny
from tests.e2e.stack import KEY
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

pytestmark = pytest.mark.e2e

NAVIGATION = ("Sec-Fetch-Mode: navigate", "Accept: text/html")
# What a caller may write there, and no answer may repeat.
FOREIGN_ID = "X-Request-Id: <b>mine</b>"
DECISION = "926a3e91b7e7441cfa435aae"


def facts(answer):
    """The names and values below the line of a page."""
    return dict(re.findall(r"<dt>(.*?)</dt><dd><code>(.*?)</code></dd>", answer.body.decode()))


def says(ask, page, decision=None):
    """Both answers, for a browser that opens a page and for a program, say what `page` says, when, and of what."""
    shown, told = ask(*NAVIGATION, FOREIGN_ID), ask("Accept: application/json", FOREIGN_ID)
    found, body = facts(shown), json.loads(told.body)
    assert is_now(found["Time"])
    assert is_now(body["time"])
    assert REQUEST_ID.fullmatch(found["Request"])
    assert REQUEST_ID.fullmatch(body["request_id"])
    assert found["Request"] != body["request_id"]
    assert found.get("Decision") == body.get("decision_id") == decision
    assert body["message"] == page.text
    for answer in (shown, told):
        assert answer.status == 503
        assert answer.header("retry-after") == "5"
        assert answer.header("cache-control") == "no-store"
    assert (told.header("content-type"), json.loads(told.body)["error"]) == ("application/json", page.error)
    assert shown.header("content-type") == "text/html; charset=utf-8"
    assert page.title in shown.body.decode()
    assert "frame-ancestors 'none'" in shown.header("content-security-policy")


def test_a_gate_that_is_away_is_named(envoy_binary, tmp_path):
    with EchoUpstream() as upstream:
        settings = settings_for((f"127.0.0.1:{free_port()}",), upstream.address, tmp_path)
        with Envoy(settings, tmp_path, envoy_binary, alone=True) as envoy:
            says(lambda *lines: exchange(envoy.inbound, request("/x", *lines)), GATE_AWAY)
            says(lambda *lines: exchange(envoy.egress, request("/x", *lines, host="orders.internal")), GATE_AWAY)
        assert upstream.requests == []


def test_a_gate_that_hangs_is_named(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, envoy={"authz_timeout": "200ms"})
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            authz.answer = authz.hang
            says(lambda *lines: exchange(envoy.inbound, request("/x", *lines)), GATE_AWAY)
            authz.released.set()
        assert upstream.requests == []


def test_a_gate_that_is_not_ready_is_named(envoy_binary, tmp_path):
    """It runs, and cannot read its policy: Envoy's health check finds that out."""
    with IdP([KEY]) as idp, EchoUpstream() as upstream:
        with Gate(tmp_path / "gate", idp, policy="version: 1\nrules: [\n", ready=False) as gate:
            settings = settings_for(gate.endpoints, upstream.address, tmp_path)
            with Envoy(settings, tmp_path, envoy_binary, alone=True) as envoy:
                assert gate.get("/readyz").status_code == 503
                says(lambda *lines: exchange(envoy.inbound, request("/x", *lines)), GATE_AWAY)
        assert upstream.requests == []


def test_what_the_gate_answers_itself_stays_as_it_is(gate):
    gate.authz.answer = lambda *_: deny(status=503)
    for lines in ((), NAVIGATION):
        answer = gate.get("/x", *lines)
        assert (answer.status, answer.body, answer.header("retry-after")) == (503, b"denied by script", None)
    assert gate.upstream.requests == []


def test_an_upstream_that_is_away_is_named_with_the_decision_id(envoy_binary, tmp_path):
    with ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), f"127.0.0.1:{free_port()}", tmp_path)
        authz.answer = lambda *_: allow(metadata={"decision_id": DECISION})
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            says(lambda *lines: exchange(envoy.inbound, request("/x", *lines)), UPSTREAM_AWAY, DECISION)
        assert authz.checks


def test_the_id_of_an_upstream_that_is_away_leads_to_the_decision_log(envoy_binary, tmp_path):
    with IdP([KEY]) as idp, Gate(tmp_path / "gate", idp) as gate:
        settings = settings_for(gate.endpoints, f"127.0.0.1:{free_port()}", tmp_path)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            bearer = f"Authorization: Bearer {token(KEY, iss=idp.url)}"
            shown, told = (exchange(envoy.inbound, request("/api/v2/dags", bearer, *more)) for more in (NAVIGATION, ()))
        for decision_id in (facts(shown)["Decision"], json.loads(told.body)["decision_id"]):
            assert gate.decision(decision_id)["decision"] == "allow"


def test_what_an_upstream_answers_itself_stays_as_it_is(gate):
    gate.upstream.status = 503
    answer = gate.get("/x", *NAVIGATION)
    assert (answer.status, json.loads(answer.body)["target"]) == (503, "/x")


def test_a_gate_that_is_away_is_named_behind_a_login_too(envoy_binary, tmp_path):
    with LoginSite(tmp_path, envoy_binary) as site, site.browser() as browser:
        site.log_in(browser)
        site.upstream.reset()
        site.authz.close()
        wait_for(lambda: not site.envoy.healthy("authz"), "Envoy does not notice", pause=site.envoy.pause)
        shown, told = browser.navigate(site.url + "/dags"), browser.script(site.url + "/dags")
        assert (shown.status_code, told.status_code) == (503, 503)
        assert GATE_AWAY.title in shown.text
        assert told.json()["error"] == GATE_AWAY.error
        assert {answer.headers["retry-after"] for answer in (shown, told)} == {"5"}
        assert site.upstream.requests == []
