"""The attack corpus as requests: every text in tests/attacks, and every request of tests/cases. Test support.

Read from the sources, so that an attack which is written tomorrow is in it. What is worked out when a test runs (a
token, a combination) has `HOLE` in its place: whoever sends the corpus puts there what they look for afterwards.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CASES = HERE.parent / "cases"
HOLE = "{hole}"
LONGEST_TRICK = 40
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_-]* ?: ?[^\r\n]+")
_HOST = re.compile(r"[^\s/{}()]*[.@:\[][^\s{}()]*")
_METHOD = re.compile(r"[A-Za-z]{3,9}|[A-Z]+[-\t ,/][A-Z]+")


@functools.cache
def texts() -> frozenset[str]:
    """Every text of the corpus; an expression within an f-string is a hole."""
    found: set[str] = set()
    for path in sorted(HERE.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                found.add(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    return frozenset(found - {""})


def targets() -> list[str]:
    """Paths and queries, and every trick at the end, at the start and in the middle of a path."""
    found = {text for text in texts() if text.startswith(("/", "http:", "https:", "HTTP:", "//", "*", "?"))}
    tricks = {text for text in texts() if len(text) <= LONGEST_TRICK and not text[0].isalnum()}
    for trick in tricks:
        found |= {f"/api/v2/dags{trick}", f"{trick}/api/v2/config", f"/api/v2/monitor/health{trick}config"}
    return sorted(found | {request.partition(" ")[2] for request in _requests()})


def header_lines() -> list[str]:
    """What looks like a line of a request's head."""
    return sorted(text for text in texts() if _HEADER.fullmatch(text))


def hosts() -> list[str]:
    """What may stand where a Host stands."""
    return sorted(text for text in texts() if len(text) <= LONGEST_TRICK and _HOST.fullmatch(text))


def methods() -> list[str]:
    """Methods, good and bad."""
    said = {request.partition(" ")[0] for request in _requests()}
    return sorted(said | {text for text in texts() if text.isupper() and _METHOD.fullmatch(text)})


def _requests() -> Iterator[str]:
    """`METHOD path` of the policies' cases."""
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()).get("cases", ()):
            if isinstance(case.get("request"), str):
                yield case["request"]
