"""Write the parts of the documentation that come from the code, or (`--check`) fail when they are out of step.

The JSON Schema of the decision log is written whole.

A part stands between `<!-- table: NAME -->` and `<!-- end -->`; nothing else of a page is touched. The reference of the
settings has a section for each section of the file: its docstring, its example from `settings_examples.yaml`, its keys.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from authz.audit.status import LogStatus, WitnessStatus
from authz.core.doctor.kinds import KINDS
from authz.core.documents.quantities import size_text
from authz.core.ocsf import ATTRIBUTES
from authz.core.reasons import ANSWERS, Reason
from authz.core.record import AccessEntry, DagsFields, IdentityEntry, LogEntry, OutcomeEntry, RightsFields, ShadowFields
from authz.core.replay import GAPS
from authz.ops.log_views import VIEWS
from authz.ops.metrics import Metrics
from authz.serve.supervisor import log_view
from authz.serve.supervisor.view import families
from authz.sessions.grants_port import EVENTS, RESULTS
from authz.settings import Settings
from scripts import compatibility, decision_index, fronts_table, record_schema

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "docs/compatibility.md",
    "docs/settings.md",
    "docs/reasons.md",
    "docs/metrics.md",
    "docs/decision-log.md",
    "docs/decisions.md",
    "docs/doctor.md",
    "docs/fronts.md",
    "docs/howto/query.md",
    "docs/howto/ship.md",
]
EXAMPLES = ROOT / "scripts" / "settings_examples.yaml"
WHOLE_FILE = "authz.yaml"


def reasons() -> Iterator[str]:
    """Every reason and what it means."""
    yield "| reason | HTTP | gRPC | public word | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for reason in Reason:
        answer = ANSWERS[reason]
        yield f"| `{reason}` | {answer.http} | {answer.grpc.name} | `{answer.public}` | {answer.help} |"


def gaps() -> Iterator[str]:
    """Why a record cannot be evaluated again."""
    yield "| word | meaning |"
    yield "| --- | --- |"
    for gap, text in GAPS.items():
        yield f"| `{gap}` | {text} |"


def doctor() -> Iterator[str]:
    """Every finding of `authz doctor`."""
    yield "| id | severity | why it matters | what to do |"
    yield "| --- | --- | --- | --- |"
    for name, kind in KINDS.items():
        yield f"| `{name}` | {kind.severity} | {kind.why} | {kind.fix} |"


def views() -> Iterator[str]:
    """The views of `authz audit query --sql`."""
    yield "| a row is | view | columns |"
    yield "| --- | --- | --- |"
    for name, view in VIEWS.items():
        columns = ", ".join(f"`{column}` {kind.replace(chr(34), '')}" for column, kind in view.columns.items())
        yield f"| {view.text} | `{name}` | {columns} |"


def ocsf() -> Iterator[str]:
    """The attributes of an event of OCSF."""
    yield "| attribute | value |"
    yield "| --- | --- |"
    yield from (f"| {one.name} | {one.text} |" for one in ATTRIBUTES)


def metrics() -> Iterator[str]:
    """Every metric of ours; those of the process are Prometheus's own."""
    yield "| metric | type | labels | meaning |"
    yield "| --- | --- | --- | --- |"
    made = Metrics()
    made.policy_loaded("0" * 64)
    made.policy_refused("a test")
    made.engine("aio")
    made.watch_shadow(lambda: ("0" * 64, False))
    made.compared("a-rule", "agree")
    made.key_refresh("corp", "changed")
    made.watch_keys(lambda: {"corp": 1.0})
    made.watch_grants(lambda: (0, 0, 0, False), [(event, result) for event in EVENTS for result in RESULTS])
    made.watch_spans(lambda: {"exported": 0, "dropped": 0})
    of_many = families({0: None}, {0: 0})
    witness = WitnessStatus(name="w", known=0, cosigned_at=0, problem="", conflict=False, counts={"cosigned": 0})
    of_log = log_view.families(LogStatus(beat=0.0, witnesses=(witness,)), 0.0, 0, follows=True)
    for family in (*made.registry.collect(), *of_many, *of_log):
        if family.name.startswith("authz_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            name = family.name + ("_total" if family.type == "counter" else "")
            shown = ", ".join(f"`{label}`" for label in labels) or "none"
            yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


def supported() -> Iterator[str]:
    """What is supported of each part, and what CI tries."""
    yield "| part | supported | tried at every change |"
    yield "| --- | --- | --- |"
    yield from (f"| {part} | {what} | {in_ci} |" for part, what, in_ci in compatibility.ranges())


def tried() -> Iterator[str]:
    """What came of each version."""
    yield "| part | version | tried | outcome | tests | day | commit |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for one in compatibility.results():
        tests = one.tests or ""
        yield f"| {one.part} | {one.version} | {one.tried} | {one.outcome} | {tests} | {one.day} | `{one.commit}` |"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def examples() -> dict[str, str]:
    """The example of each section: a document after `--- # SECTION`."""
    parts = re.split(r"^--- # (\S+)\n", EXAMPLES.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def sections(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of the settings file with its path, in the order of the file; the file itself first."""
    yield path or WHOLE_FILE, model
    for name, field in model.model_fields.items():
        inner = _section(field)
        if inner is not None:
            yield from sections(inner, _below(path, name, field))


def _below(path: str, name: str, field: FieldInfo) -> str:
    """The path of the section `name` in the section `path`: `envoy.egress.destinations[]`."""
    return (f"{path}.{name}" if path else name) + ("[]" if "tuple" in str(field.annotation) else "")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a key holds, one or many of them; None if it holds a value."""
    found = list(dict.fromkeys(_models(field.annotation)))
    if len(found) > 1:
        sys.exit(f"scripts/docs.py: one key with several sections, which the page cannot show: {field}")
    return found[0] if found else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate
        elif candidate is not annotation:
            yield from _models(candidate)


def _default(field: FieldInfo) -> str:
    """The default as one would write it in the file."""
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        units = (("d", 86400), ("h", 3600), ("m", 60))
        unit, seconds = next(((u, s) for u, s in units if value >= 2 * s and value % s == 0), ("s", 1))
        return f"`{value / seconds:g}{unit}`"
    if "KiB" in str(field.metadata):
        return f"`{size_text(value) if value else '0B'}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value not in {None, ""} else "none"


def _choices(annotation: Any) -> str:
    """The words that a key takes, where these are all that it takes; else nothing."""
    inner = [part for part in get_args(annotation) if part not in {type(None), ...}]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in inner) if len(inner) > 1 else ""
    return _choices(inner[0]) if len(inner) == 1 else ""


def _key(path: str, name: str, field: FieldInfo) -> str:
    """One row of a section's table; a section within it is a link."""
    shown = f"[`{name}`](#{slug(_below(path, name, field))})" if _section(field) else f"`{name}`"
    choices, many = _choices(field.annotation), "tuple" in str(field.annotation)
    meaning = f"{field.description}; {'any' if many else 'one'} of {choices}" if choices else field.description
    return f"| {shown} | {_default(field)} | {meaning} |"


def settings() -> Iterator[str]:
    """The reference of the settings file: contents, then each section with its sentence, its example and its keys."""
    shown = {path: (model, " ".join((model.__doc__ or "").split("\n\n")[0].split())) for path, model in sections()}
    written = examples()
    wrong = [path for path in {**shown, **written} if not (shown.get(path, ("", ""))[1] and written.get(path))]
    if wrong:
        sys.exit(f"a section needs a docstring, and an example in {EXAMPLES.name}; look at {', '.join(wrong)}")
    for path, (_model, sentence) in shown.items():
        yield f"{'  ' * path.count('.') if path != WHOLE_FILE else ''}- [`{path}`](#{slug(path)}): {sentence}"
    for path, (model, sentence) in shown.items():
        level = 2 if path == WHOLE_FILE else max(2, min(4, path.count(".") + 1))
        yield from ("", f"{'#' * level} `{path}`", "", sentence, "", "```yaml", written[path].strip(), "```", "")
        yield "| key | default | meaning |"
        yield "| --- | --- | --- |"
        prefix = "" if path == WHOLE_FILE else path
        yield from (_key(prefix, name, field) for name, field in model.model_fields.items())


TABLES: dict[str, Callable[[], Iterator[str]]] = {"reasons": reasons, "metrics": metrics, "settings": settings}
TABLES["decision_log"] = record_schema.decision_table
TABLES["decision_shadow"] = lambda: record_schema.table(ShadowFields)
TABLES["decision_rights"] = lambda: record_schema.table(RightsFields)
TABLES["decision_rights_dags"] = lambda: record_schema.table(DagsFields)
TABLES["identity_entry"] = lambda: record_schema.table(IdentityEntry)
TABLES["access_entry"] = lambda: record_schema.table(AccessEntry)
TABLES["outcome_entry"] = lambda: record_schema.table(OutcomeEntry)
TABLES["log_entry"] = lambda: record_schema.table(LogEntry)
TABLES["gaps"] = gaps
TABLES["doctor"] = doctor
TABLES["views"] = views
TABLES["ocsf"] = ocsf
TABLES["supported"] = supported
TABLES["tried"] = tried
TABLES["fronts_counted"] = fronts_table.counted
TABLES["fronts_differing"] = fronts_table.differing
TABLES["decisions"] = decision_index.index


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
    made: dict[str, Callable[[str], str]] = dict.fromkeys(PAGES, fill)
    made[record_schema.FILE] = lambda _old: record_schema.schema()
    for page, make in made.items():
        path = ROOT / page
        old = path.read_text() if path.exists() else ""
        new = make(old)
        if new != old and check:
            sys.exit(f"{page} is out of step with the code: run `make docs` and commit the result")
        if new != old:
            path.write_text(new)


if __name__ == "__main__":
    main()
