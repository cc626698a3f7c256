"""The policy file between reading and compiling: every entry that has the right shape, with its place.

Law: one mistake must not hide another. When the file as a whole does not fit the schema, the entries that do are kept,
so that what refers to them, and what they refer to, is checked in the same run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from authz import catalogue
from authz.errors import Problem
from authz.policy.rules import AUTHENTICATED
from authz.policy.schema import IssuerEntry, PolicyFile, RoleEntry, RuleEntry
from authz.wording import near
from authz.yamlfile import Document, validate

_Entry = TypeVar("_Entry", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The well-formed entries by position or name. `role_names` and `issuer_names` have those of broken entries too."""

    document: Document
    catalogue: catalogue.Catalogue
    issuers: Mapping[int, IssuerEntry]
    roles: Mapping[str, RoleEntry]
    rules: Mapping[int, RuleEntry]
    role_names: frozenset[str]
    issuer_names: frozenset[str]


def draft(document: Document) -> tuple[Draft, list[Problem]]:
    """The draft of a document, and what is wrong with the document's shape."""
    whole, problems = validate(document, PolicyFile)
    data = document.data
    roles = data.get("roles")
    issuers = data.get("issuers")
    table, version_problems = _catalogue(document)
    return Draft(
        document=document,
        catalogue=table,
        issuers=dict(enumerate(whole.issuers)) if whole else dict(_items(issuers, IssuerEntry)),
        roles=whole.roles if whole else _named(roles),
        rules=dict(enumerate(whole.rules)) if whole else dict(_items(data.get("rules"), RuleEntry)),
        role_names=frozenset({AUTHENTICATED, *(roles if isinstance(roles, dict) else ())}),
        issuer_names=frozenset(
            str(item.get("name")) for item in (issuers if isinstance(issuers, tuple) else ()) if isinstance(item, dict)
        ),
    ), problems + version_problems


def _items(items: Any, model: type[_Entry]) -> Iterator[tuple[int, _Entry]]:
    for index, item in enumerate(items if isinstance(items, tuple) else ()):
        entry = _salvage(item, model)
        if entry is not None:
            yield index, entry


def _named(roles: Any) -> dict[str, RoleEntry]:
    found = {name: _salvage(role, RoleEntry) for name, role in (roles.items() if isinstance(roles, dict) else ())}
    return {name: role for name, role in found.items() if role is not None}


def _salvage(item: Any, model: type[_Entry]) -> _Entry | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        return None


def _catalogue(document: Document) -> tuple[catalogue.Catalogue, list[Problem]]:
    """The catalogue that the policy asks for; the newest where it asks for none or for an unknown one."""
    versions = catalogue.versions()
    wanted = document.data.get("airflow")
    if wanted in versions:
        return catalogue.load(wanted), []
    problems = []
    if isinstance(wanted, str) and wanted:
        hint = near(wanted, versions) or "known: " + ", ".join(versions)
        problems = [document.problem(("airflow",), f"there is no catalogue for Airflow `{wanted}`", hint)]
    return catalogue.load(versions[-1]), problems
