"""Write the tables of the documentation that come from the code, or (`--check`) fail when they are out of step.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; nothing else of a page is touched.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from authz.core.reasons import ANSWERS, Reason
from authz.core.record import OutboundFields, OwnFields, SharedFields
from authz.ops.metrics import Metrics
from authz.serve.supervisor.view import families
from authz.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["docs/settings.md", "docs/reasons.md", "docs/metrics.md", "docs/decision-log.md"]


def reasons() -> Iterator[str]:
    """Every reason and what it means."""
    yield "| reason | HTTP | gRPC | public word | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for reason in Reason:
        answer = ANSWERS[reason]
        yield f"| `{reason}` | {answer.http} | {answer.grpc.name} | `{answer.public}` | {answer.help} |"


def decision_log() -> Iterator[str]:
    """Every field of a line of the decision log."""
    yield "| field | JSON | meaning |"
    yield "| --- | --- | --- |"
    parts = (OwnFields, SharedFields, OutboundFields)
    hints = {name: hint for part in parts for name, hint in get_type_hints(part, include_extras=True).items()}
    names = {str: "text", int: "number", float: "number", tuple: "list of texts"}
    for name, hint in hints.items():
        plain, text = get_args(hint)
        yield f"| `{name}` | {names.get(get_origin(plain) or plain, 'object or null')} | {text} |"


def metrics() -> Iterator[str]:
    """Every metric of ours; those of the process are Prometheus's own."""
    yield "| metric | type | labels | meaning |"
    yield "| --- | --- | --- | --- |"
    made = Metrics()
    made.policy_loaded("0" * 64)
    made.engine("aio")
    made.key_refresh("corp", "changed")
    made.watch_keys(lambda: {"corp": 1.0})
    of_many = families({0: None}, {0: 0})
    for family in (*made.registry.collect(), *of_many):
        if family.name.startswith("authz_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            name = family.name + ("_total" if family.type == "counter" else "")
            shown = ", ".join(f"`{label}`" for label in labels) or "none"
            yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate
        elif candidate is not annotation:
            yield from _sections(candidate)


def _default(value: Any, kind: str) -> str:
    """The default as one would write it in the file."""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
            if value >= 2 * seconds and value % seconds == 0:
                return f"`{value / seconds:g}{unit}`"
        return f"`{value:g}s`"
    if "KiB" in kind:
        return f"`{value // 1024}KiB`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value not in {None, ""} else "none"


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every key of the settings file."""
    if not prefix:
        yield "| setting | default | meaning |"
        yield "| --- | --- | --- |"
    for name, field in model.model_fields.items():
        inner = list(_sections(field.annotation))
        many = "tuple" in str(field.annotation)
        if inner:
            yield from settings(inner[0], f"{prefix}{name}{'[]' if many else ''}.")
        else:
            default = "required" if field.is_required() else _default(field.default, str(field.metadata))
            yield f"| `{prefix}{name}` | {default} | {field.description} |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {"reasons": reasons, "metrics": metrics, "settings": settings}
TABLES["decision_log"] = decision_log


def fill(text: str) -> str:
    """The page with its tables made anew."""

    def table(match: re.Match[str]) -> str:
        rows = "\n".join(TABLES[match[1]]())
        return f"<!-- table: {match[1]} -->\n{rows}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    """Command line: write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a table is out of step")
    check = parser.parse_args().check
    for page in PAGES:
        path = ROOT / page
        old = path.read_text()
        new = fill(old)
        if new != old and check:
            sys.exit(f"{page} is out of step with the code: run `make docs` and commit the result")
        if new != old:
            path.write_text(new)


if __name__ == "__main__":
    main()
