"""Airflow's UI as a person uses it: what is clicked, and what can be seen."""

import json
import re
from functools import partial
from urllib.parse import quote, unquote

import httpx
from playwright.sync_api import expect

from tests.e2e.envoy_harness import wait_for

RUN_TIMEOUT_S = 60


def expect_menu(page, menus):
    """Wait until the main menu has these, each with exactly these entries in this order."""
    for name, words in menus.items():
        page.get_by_role("button", name=name).click()
        items = page.get_by_role("menuitem")
        expect(items).to_have_text(words, use_inner_text=True)
        wait_for(partial(_closed, page, items), f"the menu {name} stays open", pause=page.wait_for_timeout)


def _closed(page, items):
    """Press Escape; a menu that is still opening does not hear it."""
    page.keyboard.press("Escape")
    try:
        expect(items).to_have_count(0, timeout=1000)
    except AssertionError:
        return False
    return True


def expect_dags(page, names):
    """Wait until the page of DAGs shows exactly these, in whatever order."""
    links = page.get_by_test_id("dag-id")
    expect(links).to_have_count(len(names))
    for name in names:
        expect(links.filter(has_text=name).first).to_be_visible()


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
