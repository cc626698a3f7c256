"""Reads the files that `include` names, and checks them and their confines.

Law: what such a file says, it says within its confines. Each of its limits is its own, so that whatever a team writes
takes nothing from another team. Each mistake has its place in the file that has it: the other files are good.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from authz.core.documents.wording import Vocabulary
from authz.core.documents.yaml_document import Document, Loc, parse, validate
from authz.core.errors import PolicyError, Problem
from authz.core.policy.bundle import INCLUDE, LAST_GOOD, LEFT_OUT, Bundle, Part
from authz.core.policy.case_draft import CaseSection, of_broken, of_whole
from authz.core.policy.confines import Confines
from authz.core.policy.draft import Draft, Included, check_end
from authz.core.policy.include_schema import IncludedFile, IncludeEntry
from authz.core.policy.reach import Reach
from authz.core.policy.rule_checks import Known, check_never, equal_ids, in_all, references, shape
from authz.core.policy.rule_schema import RuleDraft, RuleEntry, slim
from authz.core.policy.rules import AUTHENTICATED, GRANT, NEVER, of_file
from authz.core.policy.salvage import mappings, salvage

OF_TESTS: Final = ("callers", "tests", "never")
"""The keys that say what must be so, and give no one anything."""

MOST_COMBINATIONS: Final = 5_000
"""Combinations of entries in the rules of one file."""

MOST_ENDS: Final = 10
"""Different times at which rules of one file end: at each of them the tables of the policy are made again."""


class _Read(NamedTuple):
    """A file as it was read: its rules as they are written."""

    document: Document
    rules: dict[Loc, RuleDraft]
    section: CaseSection
    partial: frozenset[Loc]


def check_include(draft: Draft) -> Iterator[Problem]:
    """Every mistake in the entries of `include`."""
    names = Vocabulary(team.name for team in draft.made.teams)
    known = {team.name for team in draft.made.teams}
    first: dict[str, int] = {}
    for index, entry in draft.include.items():
        loc: Loc = (INCLUDE, index)
        if first.setdefault(entry.file, index) != index:
            line = draft.document.place((INCLUDE, first[entry.file]))[0]
            hint = f"the first is on line {line}: remove one of them"
            yield draft.document.problem((*loc, "file"), f"`{entry.file}` is included twice", hint)
        if entry.team and entry.team not in known and draft.written.whole:
            hint = names.near(entry.team) or "it must be a team of `teams`"
            yield draft.document.problem((*loc, "team"), f"unknown team `{entry.team}`", hint)
        for position, role in enumerate(entry.roles):
            if role == AUTHENTICATED:
                message = f"`{role}` is everyone, and a deny rule of the file would reach everyone"
                yield draft.document.problem((*loc, "roles", position), message, "name roles of the team")
            elif role not in draft.role_names:
                hint = Vocabulary(draft.role_names).near(role) or "define it under `roles`"
                yield draft.document.problem((*loc, "roles", position), f"unknown role `{role}`", hint)
        if loc not in draft.partial and not entry.team:
            yield from _lacking(entry, loc, draft.document)


def _lacking(entry: IncludeEntry, loc: Loc, document: Document) -> Iterator[Problem]:
    """Confines in which there can be no rule."""
    if not (entry.dags or entry.operations or entry.destinations):
        hint = "name its `team`, or `dags`, `operations` or `destinations`"
        yield document.problem(loc, "the rules of this file could be about nothing", hint)
    elif not entry.roles and not (entry.dags and entry.destinations):
        yield document.problem(loc, "the rules of this file could be for no one", "name its `team`, or `roles`")


def confines_of(entry: IncludeEntry, draft: Draft) -> Confines:
    """What an entry of `include` says, with the roles and DAGs of its team."""
    of_team = [name for name, origin in draft.made.origins.items() if entry.team and origin.team == entry.team]
    dags = [glob for team in draft.made.teams if entry.team == team.name for glob in team.dags]
    return Confines(
        name=entry.file,
        roles=tuple(dict.fromkeys((*of_team, *(role for role in entry.roles if role != AUTHENTICATED)))),
        dags=tuple(dict.fromkeys((*dags, *entry.dags))),
        operations=entry.operations,
        destinations=entry.destinations,
    )


def included(draft: Draft, bundle: Bundle, *, tests: bool) -> tuple[tuple[Included, ...], list[Problem]]:
    """The files of `include`, and the mistakes in their rules and shape. `tests`: with what they say of tests.

    Tests and `never` of a file count only as it was found: what was good under another policy need not be now.
    """
    parts = {part.name: part for part in bundle.parts}
    known = Known(draft)
    reach = Reach(draft.catalogue, known.words)
    found: dict[str, Included] = {}
    problems: list[Problem] = []
    for index, entry in draft.include.items():
        part = parts.get(entry.file)
        if part is None or part.problem or entry.file in found:
            continue  # `check_files` and `check_include` report it
        confines, file = confines_of(entry, draft), bundle.path_of(part)
        place = draft.document.place((INCLUDE, index))
        if part.status == LEFT_OUT:
            found[entry.file] = Included(file=file, place=place, confines=confines)
            continue
        try:
            read, amiss = _read(part, file, tests=tests and part.status != LAST_GOOD)
        except PolicyError as error:
            problems += error.problems
            continue
        rules = [(loc, confines.completed(rule)) for loc, rule in read.rules.items()]
        problems += [*amiss, *_mistakes(rules, read, draft, (known, reach, confines))]
        found[entry.file] = Included(
            file=file,
            place=place,
            confines=confines,
            document=read.document,
            rules=tuple((loc, replace(rule, id=of_file(rule.id, entry.file))) for loc, rule in rules),
            section=read.section,
        )
    return tuple(found.values()), problems


def check_sections(draft: Draft) -> Iterator[Problem]:
    """Every mistake in the entries of `never` of these files, each of which has a limit of its own.

    Rules of other teams do not count for it: they would make mistakes in this file.
    """
    for one in draft.included:
        if one.section is not None:
            yield from check_never(draft, [one.section], [*draft.rules, *one.rules])


def _read(part: Part, file: str, *, tests: bool) -> tuple[_Read, list[Problem]]:
    """One file.

    Raises:
        PolicyError: it is no YAML, or has too many mistakes.
    """
    document = parse(part.data, file, error=PolicyError)
    if not tests:
        document.leave_out(OF_TESTS)
    whole, problems = validate(document, IncludedFile)
    problems += check_end(document)
    if whole is not None:
        drafts: dict[Loc, RuleDraft] = {("rules", index): rule for index, rule in enumerate(whole.drafts)}
        return _Read(document, drafts, of_whole(document, whole), frozenset()), problems
    partial: set[Loc] = set()
    drafts = {
        ("rules", index): slim(salvage(item, RuleEntry, ("rules", index), {"id": f"{index}.without-id"}, partial))
        for index, item in mappings(document.data.get("rules")).items()
    }
    return _Read(document, drafts, of_broken(document), frozenset(partial)), problems


def _mistakes(
    rules: Sequence[tuple[Loc, RuleDraft]], read: _Read, draft: Draft, by: tuple[Known, Reach, Confines]
) -> Iterator[Problem]:
    """Every mistake in the rules of one file; `rules` are completed."""
    document, (known, reach, confines) = read.document, by
    yield from equal_ids(document, rules)
    yield from in_all(document, rules, MOST_COMBINATIONS)
    ends = set()
    for place, entry in rules:
        complete = place not in read.partial
        found = [*(shape(entry) if complete else ()), *references(entry, draft, known)]
        if complete and not found:
            found += confines.outside(entry, known.words)
        if complete and not found:
            found += reach.unreachable(entry)
        ends |= {entry.until} - {NEVER}
        if len(ends) > MOST_ENDS:
            message = f"with this rule the rules of the file end at more than {MOST_ENDS} times"
            found.append((("until",), message, "let more of them end together"))
            ends.clear()
        if entry.id == GRANT:
            found.append((("id",), f"`{entry.id}` is what the rules of `grantable` are called", "choose another id"))
        for loc, message, hint in found:
            yield document.problem((*place, *loc), message, hint)
