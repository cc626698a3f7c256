"""Viewer, user, op and admin see four Airflows, a team its own DAGs, and whoever has no group a clear page."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.airflow_pages import expect_dags, expect_menu, fetched

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("provider", ["certified"], indirect=True)]

READ = ["Deadlines", "Jobs", "XComs", "Required Actions"]
OPERATED = ["Variables", "Pools", "Providers", "Plugins", "Connections", "Config"]
ALL = ["example_simplest_dag", "finance_close", "sales_daily", "tutorial_dag", "tutorial_taskflow_api"]


def test_a_viewer_sees_dags_and_may_change_nothing(page, edge):
    edge.sign_in(page, "viewer", "/dags")
    for name in ALL:
        expect(page.get_by_test_id("dag-id").filter(has_text=name).first).to_be_visible()
    status, text = fetched(page, "/api/v2/dags/sales_daily/dagRuns", "POST", '{"logical_date": null}')
    assert status == httpx.codes.FORBIDDEN
    assert "dag_runs:create" in text


def test_a_forbidden_page_says_who_one_is_and_what_was_missing(page, edge):
    edge.sign_in(page, "viewer")
    answer = page.goto(f"{edge.url}/api/v2/connections")
    assert answer.status == httpx.codes.FORBIDDEN
    expect(page.get_by_role("heading", name="You do not have access to this")).to_be_visible()
    expect(page.get_by_text("connections:read")).to_be_visible()
    expect(page.get_by_text("ann", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("role", "menus"),
    [
        ("viewer", {"Browse": READ, "Admin": ["Pools"]}),
        ("user", {"Browse": READ, "Admin": ["Pools"]}),
        ("op", {"Browse": READ, "Admin": OPERATED}),
        ("admin", {"Browse": ["Audit Log", *READ], "Admin": OPERATED}),
    ],
    ids=["viewer", "user", "op", "admin"],
)
def test_the_menu_shows_what_the_role_may_do(page, edge, role, menus, screenshot):
    edge.sign_in(page, role)
    expect_menu(page, menus)
    page.get_by_role("button", name="Admin").click()
    expect(page.get_by_role("menuitem").first).to_be_visible()
    if role in {"viewer", "admin"}:
        screenshot(page, role)


def test_a_person_without_a_group_gets_the_no_access_page_with_their_name(page, edge):
    edge.sign_in(page, "nobody", "/dags")
    expect(page.get_by_role("heading", name="You do not have access to this")).to_be_visible()
    expect(page.get_by_text("nina", exact=True)).to_be_visible()


def test_a_team_sees_its_own_dags_only(page, edge):
    edge.sign_in(page, "team", "/dags")
    expect_dags(page, ["sales_daily"])
    status, _text = fetched(page, "/api/v2/dags/finance_close")
    assert status == httpx.codes.FORBIDDEN


@pytest.mark.parametrize(
    ("role", "paths", "missing"),
    [
        ("team", ("/dags/finance_close", "/dags/finance_close/runs"), "dags:read on the DAG finance_close"),
        ("viewer", ("/connections",), "connections:read"),
    ],
)
def test_a_page_of_what_one_may_not_see_says_what_is_missing(page, edge, role, paths, missing):
    edge.sign_in(page, role, "/dags")
    expect(page.get_by_test_id("dag-id").first).to_be_visible()
    for path in paths:
        answer = page.goto(f"{edge.url}{path}")
        assert answer.status == httpx.codes.FORBIDDEN
        expect(page.get_by_text(missing)).to_be_visible()
        expect(page.get_by_role("link", name="To the start page")).to_be_visible()
