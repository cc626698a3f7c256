"""Every module that keeps a bounded table stands in docs/security.md, which says who can fill it and what then happens.

A new table is found by what it is made of, so that nobody has to remember the page.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = re.compile(
    r"\b(?:LRUCache|TTLCache|SecondChance|FairShare|BoundedSemaphore|queue\.Queue)\b[\[\](), \w]*\("
    r"|lru_cache\(maxsize=|^_MOST_(?:KEPT|KNOWN|WAITING|SEEN|QUESTIONS|STANDINGS|ASSERTED|ISSUERS|SETS)\b",
    re.MULTILINE,
)
ELSEWHERE = {
    "core.caching.clock_cache": "the cache itself",
    "core.proof.space": "the prover: no request reaches it",
    "core.traffic.evaluating": "of commands: no request reaches it",
    "serve.run_identity": "wiring",
}
OUTSIDE = {"airflow", "cli", "envoy_config", "_generated"}  # not the serving process


def modules():
    for path in sorted((ROOT / "authz").rglob("*.py")):
        parts = path.relative_to(ROOT / "authz").with_suffix("").parts
        if parts[0] not in OUTSIDE and TABLE.search(path.read_text()):
            yield ".".join(parts)


def test_every_bounded_table_says_who_can_fill_it():
    text = (ROOT / "docs/security.md").read_text()
    section = text.partition("## What one caller can fill\n")[2].partition("\n## ")[0]
    firsts = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ")]
    named = {name for first in firsts for name in re.findall(r"`([a-z_.]+)`", first)}
    found = set(modules())
    assert len(found) > 10, "the pattern finds what it looks for"
    assert found - named == set(ELSEWHERE)
    for name in named:
        path = ROOT / "authz" / Path(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), f"{name} is no module"
