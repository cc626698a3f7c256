"""Every page of the gate, of Envoy and of Airflow's side: readable for all, in light and dark, wide and narrow.

`make screenshots` keeps the pictures in docs/img/pages/.
"""

import os
from pathlib import Path

import pytest

from authz.airflow import pages as airflow_pages
from authz.core.messages import pages
from authz.core.messages.page_frame import Branding
from authz.core.model import Claims, Deny, Identity
from authz.core.reasons import ANSWERS, Reason
from authz.envoy_config import reply_bodies
from authz.envoy_config.inbound import login_pages
from tests.browser.chromium import new_context

AXE = Path(__file__).parent / "provider" / "node_modules" / "axe-core" / "axe.min.js"
BRANDING = Branding(organisation="Example Data Platform", contact="data-platform@example.com")
DECISION = "926a3e91b7e7441cfa435aae"
ANN = Identity(
    claims=Claims(
        issuer_name="corp",
        issuer="https://idp.example.com",
        subject="1234",
        client_id="",
        username="ann@example.com",
        full_name="Ann",
        groups=frozenset(),
        audiences=frozenset(),
        expires_at=0,
        issued_at=None,
        not_before=None,
    ),
    roles=frozenset({"sales-team", "viewer"}),
)
OPERATIONS = {Reason.NO_RULE: ("dag_runs:create", "finance_close")}
SIGN_OUT = "/api/v2/auth/logout"


def of_the_gate():
    """One page for each reason that a browser can be shown."""
    for reason, answer in ANSWERS.items():
        if answer.http >= 400:
            operation, dag_id = OPERATIONS.get(reason, ("", ""))
            deny = Deny(reason=reason, operation=operation, dag_id=dag_id)
            who = ANN if answer.http == 403 else None
            html = pages.as_html(
                deny, who, DECISION, sign_out=SIGN_OUT, login=True, at=1_800_000_000.0, branding=BRANDING
            )
            yield f"gate-{answer.http}-{reason.value}", html.decode()


def of_envoy():
    for name, found in {**vars(reply_bodies), **vars(login_pages)}.items():
        if isinstance(found, reply_bodies.Page):
            yield f"edge-{name.lower().replace('_', '-')}", found.html(BRANDING)


def of_airflow():
    branding = airflow_pages.Branding(organisation=BRANDING.organisation, contact=BRANDING.contact)
    for name, found in vars(airflow_pages).items():
        if isinstance(found, airflow_pages.Page):
            yield f"airflow-{name.lower().replace('_', '-')}", found.html(DECISION, branding, at=1_800_000_000.0)


ALL = {**dict(of_the_gate()), **dict(of_envoy()), **dict(of_airflow())}
# Many reasons have the same page, on purpose: an answer is no oracle. One picture of each is enough.
DIFFERENT = {html: name for name, html in reversed(ALL.items())}


@pytest.fixture(scope="module")
def folder():
    """Where the pictures go; None when none are wanted."""
    found = os.environ.get("AUTHZ_SCREENSHOTS")
    if found is None:
        return None
    made = Path(found) / "pages"
    made.mkdir(exist_ok=True)
    return made


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_for_all(browser, folder, scheme, width):
    context = new_context(browser)
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 640})
    for html, name in DIFFERENT.items():
        page.set_content(html)
        page.add_script_tag(path=AXE)
        found = page.evaluate("() => axe.run()")
        problems = [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
        assert problems == [], name
        assert any(rule["id"] == "color-contrast" for rule in found["passes"]), name
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
        assert page.locator("p.go a").count() >= 1, f"{name} has no next step"
        assert page.get_by_role("link", name=BRANDING.contact).count() == 1, name
        if folder is not None:
            page.screenshot(path=folder / f"{name}-{scheme}-{width}.jpg", type="jpeg", quality=55)
    context.close()


def test_each_place_has_pages():
    places = {name.partition("-")[0] for name in ALL}
    assert places == {"gate", "edge", "airflow"}
