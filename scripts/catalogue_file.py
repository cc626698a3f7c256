"""A catalogue's data file as records: read, brought in step with a walk of Airflow's routes, and written again.

Law: what a person decided stays (operation, `dag`, `narrowed`, `why`), as long as Airflow has the route. What is new
gets the operation of the routes that Airflow guards in the same way, and the mark `review`, with which no catalogue
loads. The order is Airflow's, per method, because the first route that fits wins. The same input gives the same bytes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

WIDTH = 120
UNKNOWN = "unknown:unknown"
PAGES = "ui:pages"  # the UI's pages: Airflow answers them all by its catch-all route
# Those that show a single thing are the operation that reads it; the first segment of their paths.
PAGES_OF_ONE_THING = frozenset({"configs", "connections", "dags", "jobs", "plugins", "pools", "providers", "variables"})
PLUGINS = "plugins:use"  # routes that are there only with the plugins that need them


@dataclass(frozen=True)
class Walked:
    """One route of Airflow's, from `catalogue_walk.py`. `role` is None where FAB was not asked."""

    method: str
    path: str
    role: str | None
    checks: tuple[str, ...] = ()
    section: str = ""
    managers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One record of the file."""

    path: str
    methods: Mapping[str, str]
    marks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A data file. `head` is everything above the routes, verbatim: the operations are people's alone."""

    head: str
    entries: Sequence[Entry]
    left_out: Sequence[Mapping[str, Any]]
    never: frozenset[str]

    def decisions(self) -> dict[tuple[str, str], tuple[str, Mapping[str, Any]]]:
        """What is decided of each method and shape of path."""
        return {
            (method, shape(entry.path)): (operation, entry.marks)
            for entry in self.entries
            for method, operation in entry.methods.items()
        }


def read(text: str) -> Document:
    """The records of a file."""
    head, found, _ = text.partition("\nroutes:\n")
    if not found:
        raise ValueError("there is no line `routes:`")
    data = yaml.safe_load(text)
    entries = [
        Entry(record["path"], record["methods"], {k: v for k, v in record.items() if k not in {"path", "methods"}})
        for record in data["routes"]
    ]
    never = frozenset(name for name, operation in data["operations"].items() if operation.get("never"))
    return Document(head, entries, data.get("no_operation") or (), never)


def shape(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"\{[a-z_]+(:path)?\}", r"{\1}", path)


def overlap(one: str, other: str) -> bool:
    """Whether some path fits both templates."""
    return _overlap(shape(one)[1:].split("/"), shape(other)[1:].split("/"))


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    if not one or not other:
        return not one and not other
    if "{:path}" in {one[0], other[0]}:
        return True
    if one[0] == other[0] or (one[0] == "{}" and other[0]) or (other[0] == "{}" and one[0]):
        return _overlap(one[1:], other[1:])
    return False


def covers(entry: Entry, route: Walked) -> bool:
    """Whether an entry that ends with `{…:path}` takes all of a route's paths."""
    prefix, found, _ = shape(entry.path).partition("{:path}")
    return bool(found) and route.method in entry.methods and route.path.startswith(prefix)


@dataclass(frozen=True)
class Update:
    """A file in step with a walk; `new` and `gone` are `METHOD path`."""

    document: Document
    sections: Mapping[int, str]
    new: Sequence[str]
    gone: Sequence[str]


def update(document: Document, walked: Sequence[Walked]) -> Update:
    """Bring the file in step."""
    decided = document.decisions()
    left = {(method, shape(record["path"])) for record in document.left_out for method in record["methods"]}
    present = {(route.method, shape(route.path)) for route in walked}
    kept = [entry for entry in document.entries if _stays(entry, document.never, present)]
    guards = _guards(walked, decided)
    entries: list[Entry] = [entry for entry in kept if PAGES not in entry.methods.values()]
    sections: dict[int, str] = {}
    new: list[str] = []
    section = ""
    for route in walked:
        key = (route.method, shape(route.path))
        if key in left or any(covers(entry, route) or _is(entry, route) for entry in kept):
            continue
        if key in decided:
            operation, marks = decided[key]
        else:
            operation, marks = _proposal(route, guards)
            new.append(f"{route.method} {route.path}")
        size = len(entries)
        _place(entries, Entry(route.path, {route.method: operation}, marks))
        if route.section != section and len(entries) > size:
            sections[size] = section = route.section
    pages = [entry for entry in kept if PAGES in entry.methods.values()]
    sections[len(entries)] = "the UI's pages: Airflow answers every other path with the same page, which holds no data"
    kept_keys = {(method, shape(entry.path)) for entry in kept for method in entry.methods}
    gone = [f"{method} {path}" for method, path in decided if (method, path) not in present | kept_keys]
    present_paths = {path for _, path in present}
    left_out = [record for record in document.left_out if shape(record["path"]) in present_paths]
    return Update(replace(document, entries=[*entries, *pages], left_out=left_out), sections, new, gone)


def _stays(entry: Entry, never: frozenset[str], present: set[tuple[str, str]]) -> bool:
    """Entries that are people's alone: the UI's pages, plugins' places, and `never` where it covers more."""
    if set(entry.methods.values()) <= {PAGES, PLUGINS, *never}:
        return any((method, shape(entry.path)) not in present for method in entry.methods)
    return False


def _is(entry: Entry, route: Walked) -> bool:
    return shape(entry.path) == shape(route.path) and route.method in entry.methods


def _guards(walked: Iterable[Walked], decided: Mapping[tuple[str, str], tuple[str, Any]]) -> dict[Any, Counter[str]]:
    """Which operations the routes have that Airflow guards with the same checks."""
    found: dict[Any, Counter[str]] = {}
    for route in walked:
        if route.checks and (route.method, shape(route.path)) in decided:
            operation = decided[route.method, shape(route.path)][0]
            found.setdefault((route.method, route.checks), Counter())[operation] += 1
    return found


def _proposal(route: Walked, guards: Mapping[Any, Counter[str]]) -> tuple[str, dict[str, Any]]:
    counted = guards.get((route.method, route.checks), Counter())
    operation = min(counted, key=lambda name: (-counted[name], name), default=UNKNOWN)
    asked = "; ".join(route.checks) or "nothing"
    marks: dict[str, Any] = {} if "{dag_id}" in route.path or "dag" not in asked.lower() else {"dag": "~"}
    return operation, {**marks, "review": f"new: Airflow checks {asked} (lowest role: {route.role or 'not asked'})"}


def _place(entries: list[Entry], new: Entry) -> None:
    """Add a method to the entry of its path, unless a later entry would then lose its turn."""
    (method,) = new.methods
    for index in range(len(entries) - 1, -1, -1):
        entry = entries[index]
        if entry.path == new.path and entry.marks == new.marks and method not in entry.methods:
            entries[index] = replace(entry, methods={**entry.methods, **new.methods})
            return
        if method in entry.methods and overlap(entry.path, new.path):
            break
    entries.append(new)


def render(document: Document, sections: Mapping[int, str]) -> str:
    """The whole file."""
    return "\n".join([document.head, *_lines(document, sections)]) + "\n"


def _lines(document: Document, sections: Mapping[int, str]) -> Iterator[str]:
    yield "routes:"
    for index, entry in enumerate(document.entries):
        if index in sections:
            yield f"\n  # {sections[index]}"
        methods = _flow({method: entry.methods[method] for method in _METHODS if method in entry.methods})
        yield from _record(entry.path, methods, entry.marks)
    if document.left_out:
        yield "\n# Airflow routes that have no operation: only a rule about `paths` can allow them."
        yield "no_operation:"
    for record in document.left_out:
        methods = "[" + ", ".join(record["methods"]) + "]"
        yield from _record(record["path"], methods, {"why": record["why"]})


_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _record(path: str, methods: str, marks: Mapping[str, Any]) -> Iterator[str]:
    parts = [f'path: "{path}"', f"methods: {methods}"]
    parts += [f"{name}: {_scalar(marks[name])}" for name in ("dag", "narrowed", "why", "review") if name in marks]
    line = f"  - {{{', '.join(parts)}}}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"  - {parts[0]}"
    yield from (f"    {part}" for part in parts[1:])


def _flow(methods: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{method}: {operation}" for method, operation in methods.items()) + "}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
