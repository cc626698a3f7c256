"""`callers`, `tests` and `never` between reading and compiling: every entry that has the right shape, with its place.

Law: as for the policy file's own sections (`authz.core.policy.draft`): one mistake must not hide another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from authz.core.documents.wording import Mistake
from authz.core.documents.yaml_document import Document, Loc, parse, validate
from authz.core.errors import PolicyError, Problem
from authz.core.policy.bundle import LEFT_OUT, MOST_FILES, NAMING, Bundle, included, listed, parse_name, unmatched
from authz.core.policy.case_schema import (
    CallerDraft,
    CallerEntry,
    CaseDraft,
    CaseEntry,
    CaseFile,
    slim_caller,
    slim_case,
)
from authz.core.policy.rule_schema import NeverDraft, NeverEntry, slim_never
from authz.core.policy.salvage import mappings, named_mappings, salvage

if TYPE_CHECKING:
    from authz.core.policy.include_schema import IncludedFile
    from authz.core.policy.schema import PolicyFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSection:
    """The callers, tests and entries of `never` of one file. `partial` has the places of entries that lost a key."""

    document: Document
    callers: Mapping[str, CallerDraft]
    tests: Mapping[int, CaseDraft]
    never: Mapping[int, NeverDraft]
    partial: frozenset[Loc] = frozenset()


def of_whole(document: Document, whole: "PolicyFile | CaseFile | IncludedFile") -> CaseSection:
    """The section of a file that fits its schema, whose annotations are those of the file and not of the drafts."""
    tests = cast("tuple[CaseDraft, ...]", whole.tests)
    callers = cast("Mapping[str, CallerDraft]", whole.callers)
    never = cast("tuple[NeverDraft, ...]", whole.never)
    return CaseSection(document=document, callers=callers, tests=dict(enumerate(tests)), never=dict(enumerate(never)))


def of_broken(document: Document) -> CaseSection:
    """What can be kept of a file that does not fit its schema."""
    partial: set[Loc] = set()
    callers = {
        name: slim_caller(salvage(item, CallerEntry, ("callers", name), {}, partial))
        for name, item in named_mappings(document.data.get("callers")).items()
    }
    tests = {
        index: slim_case(salvage(item, CaseEntry, ("tests", index), {}, partial))
        for index, item in mappings(document.data.get("tests")).items()
    }
    never = {
        index: slim_never(salvage(item, NeverEntry, ("never", index), {}, partial))
        for index, item in mappings(document.data.get("never")).items()
    }
    return CaseSection(document=document, callers=callers, tests=tests, never=never, partial=frozenset(partial))


def of_parts(bundle: Bundle) -> tuple[list[CaseSection], list[Problem]]:
    """The sections of the files that the policy file names, and the mistakes in their shape."""
    sections: list[CaseSection] = []
    problems: list[Problem] = []
    others = included(bundle.data)
    for part in bundle.parts:
        if part.problem or part.name in others:
            continue  # `check_files` reports it; `authz.core.policy.included` reads it
        try:
            section, found = section_of(parse(part.data, bundle.path_of(part), error=PolicyError))
        except PolicyError as error:
            problems += error.problems
            continue
        problems += found
        sections.append(section)
    return sections, problems


def section_of(document: Document) -> tuple[CaseSection, list[Problem]]:
    """The section of a file that is not the policy file, and the mistakes in its shape.

    Raises:
        PolicyError: it has too many.
    """
    whole, found = validate(document, CaseFile)
    return of_broken(document) if whole is None else of_whole(document, whole), found


def check_files(document: Document, bundle: Bundle) -> Iterator[Problem]:
    """Names that stand for no file, and files that cannot be read."""
    for key in NAMING:
        patterns = [name if isinstance(name, str) else "" for name in listed(document.data, key)]
        for position in unmatched(patterns, bundle.parts):
            if _is_name(patterns[position]):
                hint = "names are relative to the policy file's folder; `*` stands for a part of one name"
                yield document.problem((key, position), f"`{patterns[position]}` names no file", hint)
    if len(bundle.parts) > MOST_FILES:
        yield document.problem(("test_files",), f"these are more than {MOST_FILES} files", "name fewer, larger ones")
    yield from _unusable(bundle)


def _unusable(bundle: Bundle) -> Iterator[Problem]:
    for part in bundle.parts:
        if part.problem and part.status != LEFT_OUT:
            yield Problem(bundle.path_of(part), 0, 0, f"cannot be read: {part.problem}")
        elif not _is_name(part.name):
            hint = "rename it: printable characters, no backslash"
            yield Problem(bundle.path_of(part), 0, 0, "a file with this name cannot belong to a policy", hint)


def _is_name(name: str) -> bool:
    try:
        return bool(parse_name(name))
    except Mistake:
        return False
