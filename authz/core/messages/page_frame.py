"""The frame of every page that the gate, or Envoy in its place, may show to a person.

Law: one style for all pages, in light and dark with a contrast of at least 4.5 (WCAG 2.2, 1.4.3), readable at 390
pixels. A page has no script and fetches nothing. All text is escaped here; a link is a path of ours, an empty reference
(this page again), or the contact that the operator has set. `authz.airflow.pages` has the same style: a test compares
them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

STYLE: Final = (
    ":root{color-scheme:light dark;--ink:#1d2125;--soft:#565d66;--paper:#fff;--line:#d8dce1;--link:#0b57b8;"
    "--code:#f0f2f4}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#aab1bb;--paper:#16181c;--line:#363b43;"
    "--link:#8ab8ff;--code:#24282f}}"
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;padding:12vh 1.25rem 2rem;background:var(--paper);"
    "color:var(--ink)}"
    "main{max-width:38rem;margin:0 auto;overflow-wrap:anywhere}h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}"
    "a{color:var(--link)}"
    ".go a{display:inline-block;padding:.5rem 1rem;border:1px solid var(--link);border-radius:.4rem;"
    "text-decoration:none;margin:0 .5rem .5rem 0}"
    ".by{color:var(--soft);margin:0 0 .5rem}"
    "dl{border-top:1px solid var(--line);padding-top:1rem;margin-top:1.5rem;display:grid;"
    "grid-template-columns:auto 1fr;gap:.25rem 1rem}"
    "dt{color:var(--soft)}dd{margin:0}code{background:var(--code);padding:.1rem .3rem;user-select:all}"
)
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The Content-Security-Policy that goes with every page."""

_MOST_CHARS: Final = 200
_mail = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII).fullmatch
_link = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/?=&#%+-]*)?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Branding:
    """The operator of this gate, for its pages. `contact` is an https URL or a mail address; "" is none."""

    organisation: str = ""
    contact: str = ""


NO_BRANDING: Final = Branding()


def check_organisation(text: str) -> str:
    """The name as it is, or a ValueError."""
    if not (text.isprintable() and len(text) <= _MOST_CHARS):
        raise ValueError(f"at most {_MOST_CHARS} characters, none of them a control character")
    return text


def check_contact(text: str) -> str:
    """The contact as it is, or a ValueError."""
    if text and not (len(text) <= _MOST_CHARS and (_mail(text) or _link(text))):
        raise ValueError("expected a mail address (data@example.com) or an https URL")
    return text


@dataclass(frozen=True, slots=True)
class Link:
    """One next step for the reader. `target` is a path of ours; "" loads the page again."""

    target: str
    text: str


def page(
    title: str,
    *paragraphs: str,
    links: Iterable[Link] = (),
    facts: Iterable[tuple[str, str]] = (),
    branding: Branding = NO_BRANDING,
) -> str:
    """The HTML of one page. `facts` are pairs of a name and a value to copy: a decision id, the time, an account."""
    by = f'<p class="by">{escape(branding.organisation)}</p>' if branding.organisation else ""
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs if paragraph)
    buttons = "".join(f'<a href="{escape(link.target)}">{escape(link.text)}</a>' for link in links)
    go = f'<p class="go">{buttons}</p>' if buttons else ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts if value)
    table = f"<dl>{rows}</dl>" if rows else ""
    heading = f"{title} · {branding.organisation}" if branding.organisation else title
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(heading)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{by}<h1>{escape(title)}</h1>{text}{go}{table}{_contact(branding)}</main></body></html>\n"
    )


def _contact(branding: Branding) -> str:
    if not branding.contact:
        return "<p>If you need help, ask the team that runs Airflow, and give them what is shown here.</p>"
    target = branding.contact if branding.contact.startswith("https://") else f"mailto:{branding.contact}"
    link = f'<a href="{escape(target)}">{escape(branding.contact)}</a>'
    return f"<p>If you need help: {link}. Tell them what is shown here.</p>"
