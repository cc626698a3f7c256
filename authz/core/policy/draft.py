"""The policy file between reading and compiling: every entry that has the right shape, with its place.

Law: one mistake must not hide another. When the file as a whole does not fit the schema, every entry is kept without
the keys that do not fit, so that references from and to it are checked in the same run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from authz.core import catalogue
from authz.core.documents.wording import near
from authz.core.documents.yaml_document import Document, Loc, validate
from authz.core.errors import Problem
from authz.core.policy import built_in
from authz.core.policy.rules import AUTHENTICATED
from authz.core.policy.schema import (
    IssuerEntry,
    PolicyFile,
    RoleDraft,
    RoleEntry,
    RuleDraft,
    RuleEntry,
    slim,
    slim_role,
)

_Entry = TypeVar("_Entry", bound=BaseModel)

_BODY: Final = frozenset({"issuers", "roles", "rules"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The entries by position or name.

    `roles` also has the built-in roles that the policy uses, and those that they include; `built_in` says where it
    uses them. `partial` has the places of entries that lost a key: what such an entry lacks is no mistake.
    `role_names` and `issuer_names` also have those of which nothing could be kept.
    """

    document: Document
    catalogue: catalogue.Catalogue
    issuers: Mapping[int, IssuerEntry]
    roles: Mapping[str, RoleDraft]
    rules: Mapping[int, RuleDraft]
    role_names: frozenset[str]
    issuer_names: frozenset[str]
    built_in: Mapping[str, Loc]
    partial: frozenset[Loc] = frozenset()


def draft(document: Document) -> tuple[Draft, list[Problem]]:
    """The draft of a document, and the mistakes in the document's shape."""
    whole, problems = validate(document, PolicyFile)
    table, version_problems = _catalogue(document)
    made = _whole(document, whole, table) if whole is not None else _salvaged(document, table)
    return made, problems + version_problems


def check_end(document: Document) -> Iterator[Problem]:
    """Mistakes at the end of a file that says that it has an end mark.

    The key must come before everything that a half-written file could lack, or such a file could lack the key.
    """
    if document.data.get("end_mark") is not True:
        return
    keys = list(document.data)
    above = keys[: keys.index("end_mark")]
    late = [key for key in above if key in _BODY]
    if late:
        message = f"`end_mark` stands below `{late[0]}`: a file that is half written would not have it"
        yield document.problem(("end_mark",), message, "put it at the top, beside `version`", key=True)
    if not document.end_mark:
        hint = "if it is whole, end it with a line `...`"
        yield document.problem(("end_mark",), "the file has no end mark: it is half written", hint, key=True)


def _whole(document: Document, whole: PolicyFile, table: catalogue.Catalogue) -> Draft:
    used = built_in.used(whole.role_drafts)
    roles = built_in.completed(whole.role_drafts, used)
    return Draft(
        document=document,
        catalogue=table,
        issuers=dict(enumerate(whole.issuers)),
        roles=roles,
        rules=dict(enumerate(whole.drafts)),
        role_names=frozenset({AUTHENTICATED, *roles}),
        issuer_names=frozenset(entry.name for entry in whole.issuers),
        built_in=used,
    )


def _salvaged(document: Document, table: catalogue.Catalogue) -> Draft:
    raw_issuers, raw_rules = (_mappings(document.data.get(key)) for key in ("issuers", "rules"))
    raw_roles = document.data.get("roles")
    named = raw_roles if isinstance(raw_roles, dict) else {}
    partial: set[Loc] = set()
    entries = {
        name: slim_role(_salvage(item, RoleEntry, ("roles", name), {}, partial))
        for name, item in named.items()
        if isinstance(item, dict)
    }
    used = built_in.used(entries)
    roles = built_in.completed(entries, used)
    return Draft(
        document=document,
        catalogue=table,
        issuers={
            index: _salvage(item, IssuerEntry, ("issuers", index), _stand_in_issuer(index), partial)
            for index, item in raw_issuers.items()
        },
        roles=roles,
        rules={
            index: slim(_salvage(item, RuleEntry, ("rules", index), {"id": f"{index}.without-id"}, partial))
            for index, item in raw_rules.items()
        },
        role_names=frozenset({AUTHENTICATED, *named, *roles, *_mentioned(raw_roles, raw_rules.values(), "roles")}),
        issuer_names=frozenset(
            {str(item.get("name")) for item in raw_issuers.values()}
            | _mentioned(document.data.get("issuers"), named.values(), "issuers")
        ),
        built_in=used,
        partial=frozenset(partial),
    )


def _mentioned(section: Any, entries: Iterable[Any], key: str) -> set[str]:
    """The names under `key` of all entries, if the section that should define them could not be read at all."""
    if section is None or (isinstance(section, tuple) and all(isinstance(item, dict) for item in section)):
        return set()
    if isinstance(section, dict):
        return set()
    listed = [entry[key] for entry in entries if isinstance(entry, dict) and isinstance(entry.get(key), tuple)]
    return {str(name) for names in listed for name in names}


def _mappings(items: Any) -> dict[int, dict[str, Any]]:
    listed = items if isinstance(items, tuple) else ()
    return {index: item for index, item in enumerate(listed) if isinstance(item, dict)}


def _stand_in_issuer(index: int) -> dict[str, Any]:
    return {
        "name": f"{index}.without-name",
        "issuer": f"https://{index}.without-issuer",
        "audiences": {"inbound": (f"{index}.without-audience",)},
        "algorithms": ("RS256",),
    }


def _salvage(
    item: dict[str, Any], model: type[_Entry], loc: Loc, stand_in: Mapping[str, Any], partial: set[Loc]
) -> _Entry:
    """The entry without the keys that do not fit; `stand_in` has values for the required ones."""
    try:
        return model.model_validate(item)
    except ValidationError as failure:
        broken = {detail["loc"][0] for detail in failure.errors()}
    partial.add(loc)
    return model.model_validate({**stand_in, **{key: value for key, value in item.items() if key not in broken}})


def _catalogue(document: Document) -> tuple[catalogue.Catalogue, list[Problem]]:
    """The catalogue that the policy names; the newest if it names none or an unknown one."""
    versions = catalogue.versions()
    wanted = document.data.get("airflow")
    if wanted in versions:
        return catalogue.load(wanted), []
    problems = []
    if isinstance(wanted, str) and wanted:
        hint = near(wanted, versions) or "known: " + ", ".join(versions)
        problems = [document.problem(("airflow",), f"there is no catalogue for Airflow `{wanted}`", hint)]
    return catalogue.load(versions[-1]), problems
