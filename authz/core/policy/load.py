"""The files of a policy → compiled policy, or every mistake in them at once.

Law: all or nothing. A bundle with any mistake is refused as a whole, and each mistake has its place.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from authz.core import collector
from authz.core.caching.interning import Shared
from authz.core.catalogue import Catalogue
from authz.core.documents.yaml_document import parse
from authz.core.errors import PolicyError, Problem
from authz.core.model import Issuer, Plane
from authz.core.policy import built_in
from authz.core.policy.airflow_roles import airflow_roles
from authz.core.policy.bundle import Bundle
from authz.core.policy.bundle import included as names_of_included
from authz.core.policy.case_draft import CaseSection, check_files, of_parts
from authz.core.policy.compiled import Gate, Policy
from authz.core.policy.confines import Confines
from authz.core.policy.draft import Draft, check_end, draft
from authz.core.policy.grant_checks import check_grantable
from authz.core.policy.included import OF_TESTS, check_include, check_sections, included
from authz.core.policy.index import Index
from authz.core.policy.issuers import check_issuers, compile_issuer
from authz.core.policy.roles import Roster, check_roles, compile_grantable, compile_roles
from authz.core.policy.rule_checks import check_never, check_rules
from authz.core.policy.rule_compiler import compile_rule
from authz.core.policy.rules import NEVER, Effect, Grantable, Role, Rule
from authz.core.policy.team_checks import check_teams

_OF_TESTS: Final = (*OF_TESTS, "test_files")


class Drafted(NamedTuple):
    """A bundle that was read: the draft, what each file says about tests, and every mistake found so far."""

    draft: Draft
    sections: list[CaseSection]
    problems: list[Problem]


class Parts(NamedTuple):
    """The compiled entries of a policy before its tables are made; nothing of the file's text is kept.

    `ended` are rules that are left out because they have ended; `since` is the last time at which a rule or a member
    of a role did.
    """

    file: str
    revision: str
    end_mark: bool
    catalogue: Catalogue
    issuers: list[Issuer]
    roles: dict[str, Role]
    rules: dict[str, Rule]
    grantable: dict[str, Grantable]
    confines: dict[str, Confines]
    since: float = -NEVER
    ended: tuple[Rule, ...] = ()


def load(bundle: Bundle) -> Policy:
    """Compile a policy, whose tests are not run: a server and its commands load with `authz.core.cases.load`.

    It is the policy as it is written: what has an end is in force, whatever the time is. See `authz.core.policy.ends`.

    Raises:
        PolicyError: with every problem, sorted by place.
    """
    with collector.resting():
        return assembled(_checked(bundle))


def _checked(bundle: Bundle) -> Parts:
    drafted = read(bundle)
    if drafted.problems:
        raise PolicyError(drafted.problems)
    return parts_of(drafted.draft, bundle)


def load_without_tests(bundle: Bundle) -> Policy:
    """The policy as `load` compiles it, whatever its tests and the files that it names say.

    Raises:
        PolicyError: with every problem of the rest.
    """
    drafted = read(bundle, tests=False)
    if drafted.problems:
        raise PolicyError(drafted.problems)
    return assembled(parts_of(drafted.draft, bundle))


def read(bundle: Bundle, *, tests: bool = True) -> Drafted:
    """All entries, and all mistakes but those in what tests say and refer to; without `tests`, as if it had none.

    Raises:
        PolicyError: the policy file is no YAML, or has too many mistakes.
    """
    document = parse(bundle.data, bundle.file, error=PolicyError)
    ended = [*check_end(document)]
    if not tests:
        document.leave_out(_OF_TESTS)
        names = names_of_included(bundle.data)
        bundle = replace(bundle, parts=tuple(part for part in bundle.parts if part.name in names))
    drafted, problems = draft(document, bundle.airflow)
    problems += [*ended, *check_files(document, bundle), *check_include(drafted)]
    problems += [*check_issuers(drafted), *check_teams(drafted), *check_roles(drafted), *check_rules(drafted)]
    problems += check_grantable(drafted)
    of_teams, found = included(drafted, bundle, tests=tests)
    drafted = replace(drafted, included=of_teams)
    others, amiss = of_parts(bundle)
    sections = [drafted.cases, *others]
    problems += [*found, *amiss, *check_never(drafted, sections), *check_sections(drafted)]
    return Drafted(drafted, sections, problems)


def parts_of(drafted: Draft, bundle: Bundle, *, left_out: Effect = Effect.DENY) -> Parts:
    """The compiled entries of a draft without mistakes.

    In place of files that are left out there are the widest rules of the effect `left_out` that they might have: with
    deny rules, nothing is allowed that such a file may forbid.
    """
    return Parts(
        file=bundle.file,
        revision=bundle.revision,
        end_mark=drafted.document.end_mark,
        catalogue=drafted.catalogue,
        issuers=[compile_issuer(entry, bundle.file) for entry in drafted.issuers.values()],
        roles=compile_roles(drafted),
        rules={rule.id: rule for rule in sorted(_all_rules(drafted, left_out), key=lambda rule: rule.id)},
        grantable=compile_grantable(drafted),
        confines={one.confines.name: one.confines for one in drafted.included},
    )


def assembled(parts: Parts) -> Policy:
    """The policy with its tables, which take the memory that the text had: let go of the draft before."""
    rules, catalogue = parts.rules.values(), parts.catalogue
    airflow = airflow_roles(parts.roles, rules, catalogue)
    return Policy(
        file=parts.file,
        revision=parts.revision,
        end_mark=parts.end_mark,
        catalogue=catalogue,
        issuers=MappingProxyType({issuer.issuer: issuer for issuer in parts.issuers}),
        roles=MappingProxyType(parts.roles),
        rules=MappingProxyType(parts.rules),
        grantable=MappingProxyType(parts.grantable),
        confines=MappingProxyType(parts.confines),
        airflow_roles=MappingProxyType(airflow),
        roster=Roster(parts.roles.values(), [issuer.name for issuer in parts.issuers], airflow),
        gates=MappingProxyType({plane: _gate(rules, plane, catalogue) for plane in Plane}),
        edition=f"{parts.revision} since {parts.since}" if parts.since > -NEVER else parts.revision,
        valid_until=min(_ends(parts), default=NEVER),
        since=parts.since,
        ended=parts.ended,
    )


def _ends(parts: Parts) -> Iterable[float]:
    """Every time at which something in the policy ends."""
    yield from (rule.until for rule in parts.rules.values() if rule.until < NEVER)
    yield from (member.until for role in parts.roles.values() for member in role.ends)


def _all_rules(drafted: Draft, left_out: Effect) -> Iterable[Rule]:
    return [*_rules(drafted), *built_in.rules(drafted.built_in, drafted.document), *_instead(drafted, left_out)]


def _instead(drafted: Draft, effect: Effect) -> Iterator[Rule]:
    """The widest rules that the files which are left out might have."""
    for one in drafted.included:
        if one.document is None:
            line, column = one.place
            yield from (replace(rule, line=line, column=column) for rule in one.confines.widest(effect))


def _rules(drafted: Draft) -> Iterable[Rule]:
    """The compiled rules; equal parts are one object, because there may be ten thousand rules."""
    share: Shared[Any] = Shared(sys.maxsize)
    for loc, entry in drafted.rules:
        yield compile_rule(entry, drafted.document.place(loc), share)
    for one in drafted.included:
        if one.document is not None:
            for loc, entry in one.rules:
                yield compile_rule(entry, one.document.place(loc), share, file=one.file)


def _gate(rules: Iterable[Rule], plane: Plane, catalogue: Catalogue) -> Gate:
    deny, public, allow = (
        Index(rules, plane=plane, effect=effect, catalogue=catalogue)
        for effect in (Effect.DENY, Effect.PUBLIC, Effect.ALLOW)
    )
    return Gate(deny=deny, public=public, allow=allow)
