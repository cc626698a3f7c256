"""Debian's Chromium, driven by Playwright: never a browser that Playwright downloads.

Names that end in `.test` lead to this machine, so that the gate, the provider and a foreign page are different sites,
as they are for people.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.missing import skip_or_fail

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
PATIENCE_MS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser; each test opens a context of its own in it, which is like a new user profile."""
    if not CHROMIUM.exists():
        skip_or_fail("Chromium is not installed: run `scripts/system-packages`")
    expect.set_options(timeout=PATIENCE_MS)  # what is expected may take as long as what is clicked on
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser):
    """A fresh profile. The certificate of the gate is of a test authority that no browser knows."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    return context
