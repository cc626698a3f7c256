"""Airflow's UI as a person uses it: what is clicked, and what can be seen."""

import json
import re
from urllib.parse import quote, unquote

import httpx
from playwright.sync_api import expect

from tests.e2e.envoy_harness import wait_for

RUN_TIMEOUT_S = 60


def menu(page):
    """The words of the main menu; the page has finished loading it."""
    expect(page.get_by_role("button", name="User")).to_be_visible()
    page.wait_for_load_state("networkidle")
    names = ("Home", "Dags", "Assets", "Browse", "Admin", "Docs", "Security")
    return [name for name in names if page.get_by_label(name, exact=True).count()]


def entries(page, name):
    """What a menu offers."""
    page.get_by_role("button", name=name).click()
    items = page.get_by_role("menuitem")
    expect(items.first).to_be_visible()
    words = items.all_inner_texts()
    page.keyboard.press("Escape")
    expect(items).to_have_count(0)
    return words


def dag_list(page):
    """The DAGs on the page of DAGs."""
    links = page.get_by_test_id("dag-id")
    expect(links.first).to_be_visible()
    return sorted(links.all_inner_texts())


def trigger(page, dag):
    """Trigger a run on the page of the DAG; returns the run's id, which the next page's address has."""
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url(re.compile(rf"/dags/{dag}/runs/"))
    return unquote(page.url.rpartition("/runs/")[2].partition("?")[0])


def finished(page, dag, run):
    """Wait until the run has ended and the page of it says how; returns its state."""
    path = f"/api/v2/dags/{dag}/dagRuns/{quote(run)}"
    found = []

    def ended():
        status, text = fetched(page, path)
        found[:] = [json.loads(text)["state"]] if status == httpx.codes.OK else [text]
        return found[0] in {"success", "failed"}

    wait_for(ended, "the run has not ended", pause=lambda _s: page.wait_for_timeout(200), seconds=RUN_TIMEOUT_S)
    expect(page.get_by_text(found[0].capitalize(), exact=True).first).to_be_visible()
    return found[0]


def log_out(page):
    """As a person does it: the menu, the entry, the question."""
    page.get_by_role("button", name="User").click()
    page.get_by_role("menuitem", name="Logout").click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()


def fetched(page, path, method="GET", body=None):
    """What a script of the page gets: status and text."""
    return page.evaluate(
        """async ([path, method, body]) => {
            const headers = body === null ? {} : {"content-type": "application/json"};
            const answer = await fetch(path, {method, headers, body});
            return [answer.status, await answer.text()];
        }""",
        [path, method, body],
    )
