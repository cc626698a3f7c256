"""The names that a release promises to keep, one a line: `python -m scripts.released_names` writes them at a release.

Law: data for one test. `tests/repository/test_released_names.py` fails when a name of the last release is gone, so that
a name goes only in a commit that takes it out of the file, and says so in the changelog.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from authz.airflow import options
from authz.cli import main as authz
from authz.core import catalogue
from authz.core.policy.editors import case_file_schema, included_file_schema, json_schema
from authz.core.reasons import Reason
from authz.core.version import __version__
from scripts import docs, record_schema

FILE = Path(__file__).resolve().parent.parent / "tests" / "repository" / "released_names.txt"


def names() -> Iterator[str]:
    """All of them, each after its kind."""
    schemas = {"policy": json_schema(), "tests": case_file_schema(), "team": included_file_schema()}
    schemas["record"] = json.loads(record_schema.schema())
    for kind, schema in schemas.items():
        yield from (f"{kind} {path}" for path in _properties(schema))
    for version in catalogue.versions():
        yield from (f"operation {name}" for name in catalogue.load(version).operations)
    for section, model in docs.sections():
        prefix = "" if section == docs.WHOLE_FILE else f"{section}."
        yield from (f"settings {prefix}{name}" for name in model.model_fields)
    yield from (f"reason {reason}" for reason in Reason)
    for row in list(docs.metrics())[2:]:
        name, kind, labels = (cell.strip().replace("`", "") for cell in row.split("|")[1:4])
        yield f"metric {name} {kind}"
        yield from (f"metric {name} {label}" for label in labels.split(", ") if label != "none")
    yield from (f"command {path}" for path in _commands(authz, "authz"))
    yield from (f"airflow [authz] {name}" for name in (*options._NAMES, *options.WORKERS))  # noqa: SLF001 no one else needs them


def text() -> str:
    """The file."""
    return "\n".join([f"# {__version__}", *sorted(set(names())), ""])


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    """The path of each property of a JSON Schema, and of each word that it may have."""
    yield from _below(schema, schema, "", ())


def _below(part: Any, whole: dict[str, Any], path: str, refs: tuple[str, ...]) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _below(one, whole, path, refs)
        return
    if not isinstance(part, dict):
        return
    if (ref := part.get("$ref")) and ref not in refs:
        yield from _below(whole["$defs"][ref.rpartition("/")[2]], whole, path, (*refs, ref))
    words = [*part.get("enum", ()), *([part["const"]] if "const" in part else ())]
    yield from (f"{path}={word}" for word in words if isinstance(word, str))
    for name, inner in part.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from _below(inner, whole, below, refs)
    for key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "then", "else"):
        yield from _below(part.get(key), whole, path, refs)
    yield from _below(part.get("additionalProperties"), whole, f"{path}.*", refs)
    yield from _below(list(part.get("patternProperties", {}).values()), whole, f"{path}.*", refs)


def _commands(command: click.Command, name: str) -> Iterator[str]:
    yield name
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield from (f"{name} {option}" for option in (*parameter.opts, *parameter.secondary_opts))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _commands(found, f"{name} {child}")


if __name__ == "__main__":
    FILE.write_text(text())
