"""The pages for people who reach Airflow in a browser and are not let in.

Law: a page says what the reader can do about it. It does not show what the request contained or why it was refused:
that is in the API server's log. The style is that of the gate's pages (`authz.core.messages.page_frame`). Code that
runs inside Airflow may not import that, so a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
STYLE = (
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Branding:
    """Who runs this Airflow: `[authz] organisation` and `contact`, an https URL or a mail address."""

    organisation: str = ""
    contact: str = ""


NO_BRANDING = Branding()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: what happened, what to do, and the one link (`""` loads the page again)."""

    title: str
    text: str
    link: str
    link_text: str

    def html(self, decision: str = "", branding: Branding = NO_BRANDING, *, at: float = 0.0) -> str:
        """The page.

        `decision` is the id of the gate's decision, if the gate has sent one; `at` is the time in seconds since the
        epoch, and 0.0 shows none.
        """
        by = f'<p class="by">{escape(branding.organisation)}</p>' if branding.organisation else ""
        time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""
        facts = _facts(("Time", time), ("Decision", decision))
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
            f"<body><main>{by}<h1>{escape(self.title)}</h1><p>{escape(self.text)}</p>"
            f'<p class="go"><a href="{escape(self.link)}">{escape(self.link_text)}</a></p>{facts}'
            f"{_help(branding.contact)}</main></body></html>\n"
        )


def _facts(*facts: tuple[str, str]) -> str:
    rows = "".join(f"<dt>{name}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts if value)
    return f"<dl>{rows}</dl>" if rows else ""


def _help(contact: str) -> str:
    if not contact:
        return "<p>If you need help, ask the team that runs Airflow, and give them what is shown here.</p>"
    target = contact if contact.startswith("https://") else f"mailto:{contact}"
    return f'<p>If you need help: <a href="{escape(target)}">{escape(contact)}</a>. Tell them what is shown here.</p>'


GATE = Page(
    title="Airflow is behind a gate",
    text="This Airflow has no sign-in page of its own: open it at the address where you usually sign in. If you just "
    "did, your session there has ended.",
    link="/",
    link_text="To the start page",
)
REFUSED = Page(
    title="Airflow could not verify who you are",
    text="The gate in front of this Airflow let you in, and Airflow does not accept the gate's word for it. Your "
    "sign-in and your account are not the cause. Airflow's log says what is.",
    link="",
    link_text="Try again",
)
NO_KEYS = Page(
    title="Airflow cannot verify anyone right now",
    text="Airflow does not have the keys of the gate in front of it. Try again in a moment.",
    link="",
    link_text="Try again",
)
NO_GRANT = Page(
    title="Airflow cannot tell which DAGs are yours right now",
    text="The gate in front of this Airflow did not answer. Try again in a moment.",
    link="",
    link_text="Try again",
)
