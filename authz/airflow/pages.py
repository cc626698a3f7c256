"""The pages that people see who reach Airflow in a browser and are not let in.

Law: a page says what somebody can do about it, and nothing of what the request held or why it was refused: that stands
in the API server's log.
"""

from collections.abc import Mapping

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}}</style></head>
<body><h1>{title}</h1>
<p>{text}</p></body></html>
"""

GATE = _PAGE.format(
    title="Airflow is behind a gate",
    text="This Airflow has no login of its own. Open it at the address of its gate; if you already did, your session "
    "there has ended or your account is known to no role: ask those who run the gate.",
)
REFUSED = _PAGE.format(
    title="Airflow could not verify who you are",
    text="The gate in front of this Airflow sent a proof of your identity that Airflow does not accept. Load the page "
    "again. If that does not help, tell those who run the gate; the log of Airflow's API server says why.",
)
NO_KEYS = _PAGE.format(
    title="Airflow cannot verify anybody just now",
    text="Airflow does not have the keys of the gate in front of it. Load the page again in a moment. If that does not "
    "help, tell those who run the gate.",
)
