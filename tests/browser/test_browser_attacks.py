"""What a page, its scripts, other sites and Airflow itself get to see or do: nothing of the session."""

import re

import httpx
import pytest

from tests.browser.test_login import OURS, ours

pytestmark = pytest.mark.e2e

RUNS = "/api/v2/dags/sales_daily/dagRuns"
FORM = """<!doctype html><form method="post" enctype="text/plain" action="{action}">
<input name='{{"logical_date": null, "note": "' value='"}}'></form><script>document.forms[0].submit()</script>"""


def runs(airflow):
    with airflow.client("admin") as client:
        return client.get(RUNS).json()["total_entries"]


def test_scripts_of_a_page_cannot_read_any_of_our_cookies(context, page, edge):
    edge.sign_in(page, "viewer")
    kept = [cookie for cookie in context.cookies() if cookie["domain"] == "localhost" and ours(cookie)]
    assert kept
    assert all(cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Lax" for cookie in kept)
    readable = page.evaluate("() => document.cookie")
    assert not any(name in readable for name in OURS)


def test_no_identity_assertion_or_session_of_the_client_reaches_airflow(context, page, edge, relay):
    edge.sign_in(page, "viewer", "/dags")
    page.evaluate("() => { document.cookie = '_token=forged-token; path=/; secure' }")
    status, text = page.evaluate(
        """async () => {
            const forged = {"x-authz-user": "forged-admin", "x-authz-roles": "forged-role",
                            "x-authz-assertion": "forged.assertion.x"};
            const answer = await fetch("/ui/auth/me", {headers: forged});
            return [answer.status, await answer.text()];
        }"""
    )
    assert (status, '"ann"' in text) == (httpx.codes.OK, True)
    received = relay.received
    assert b"\r\nx-authz-assertion: " in received
    assert b"forged" not in received
    assert not re.search(rb"\r\nauthorization:", received, re.IGNORECASE)
    for name in OURS:
        assert name.encode() not in received
    for cookie in context.cookies():
        if cookie["domain"] == "localhost" and ours(cookie):
            assert cookie["value"].encode() not in received


def post_from(page, context, foreign, action):
    """Open a foreign page whose form posts to the gate; returns the gate's answer."""
    body = FORM.format(action=action)
    context.route(f"{foreign}/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    with page.expect_response(action) as answer:
        page.goto(f"{foreign}/")
    return answer.value


def test_a_form_of_a_page_on_the_same_site_is_refused_by_its_origin(context, page, edge, airflow):
    """Another port is another origin but the same site: the browser sends the cookies along."""
    edge.sign_in(page, "admin")
    before = runs(airflow)
    assert post_from(page, context, "https://localhost:1", edge.url + RUNS).status == httpx.codes.FORBIDDEN
    assert runs(airflow) == before


def test_a_form_of_another_site_comes_without_a_session(context, page, edge, airflow, relay):
    """The cookies are Lax: who posts from elsewhere is nobody, and is sent to log in for a page, not for this POST."""
    edge.sign_in(page, "admin")
    before = runs(airflow)
    relay.clear()
    answer = post_from(page, context, "https://evil.test", edge.url + RUNS)
    assert answer.status == httpx.codes.FOUND
    assert answer.headers["location"].startswith(edge.provider.metadata["authorization_endpoint"])
    assert f"POST {RUNS}".encode() not in relay.received
    assert runs(airflow) == before


def test_a_script_without_a_session_gets_401_and_no_redirect(page, edge):
    answer = httpx.get(f"{edge.url}/ui/auth/me", headers={"sec-fetch-mode": "cors"}, verify=False)  # noqa: S501
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert "location" not in answer.headers
