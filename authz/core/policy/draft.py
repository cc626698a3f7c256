"""The policy file between reading and compiling: every entry that has the right shape, with its place.

Law: one mistake must not hide another. When the file as a whole does not fit the schema, every entry is kept without
the keys that do not fit, so that references from and to it are checked in the same run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from authz.core import catalogue
from authz.core.documents.wording import near
from authz.core.documents.yaml_document import Document, Loc, validate
from authz.core.errors import Problem
from authz.core.policy import built_in, teams
from authz.core.policy.bundle import BODY, NAMING
from authz.core.policy.case_draft import CaseSection, of_broken, of_whole
from authz.core.policy.confines import Confines
from authz.core.policy.grant_schema import NO_APPROVAL, GrantableDraft, GrantableEntry, slim_grantable
from authz.core.policy.include_schema import IncludeEntry
from authz.core.policy.overlap import glob_of
from authz.core.policy.patterns import TEAM
from authz.core.policy.rule_schema import RuleDraft, RuleEntry, slim
from authz.core.policy.rules import AUTHENTICATED, of_grant
from authz.core.policy.salvage import mappings, named_mappings, salvage
from authz.core.policy.schema import (
    IssuerEntry,
    PolicyFile,
    RoleDraft,
    RoleEntry,
    slim_role,
)
from authz.core.policy.team_schema import TeamEntry

_ON_TOP: Final = ("end_mark", *NAMING)
"""The keys that say what belongs to the policy: half of a file must not lack them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """What a file that `include` names has, and its confines.

    `rules` come with their places. They have their roles and the DAGs of the team, and their ids are those of the
    policy. A file that is left out has no rules and no section. `place` is that of its entry in the policy file.
    """

    file: str
    place: tuple[int, int]
    confines: Confines
    document: Document | None = None
    rules: Sequence[tuple[Loc, RuleDraft]] = ()
    section: CaseSection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The entries by position or name; a rule comes with its place.

    `roles` also has the built-in roles that the policy uses, and those that they include; `built_in` says where it
    uses them. `partial` has the places of entries that lost a key: what such an entry lacks is no mistake.
    `role_names` and `issuer_names` also have those of which nothing could be kept. `cases` are those of this file.
    `include` are its entries, `included` what the files that they name have.
    `roles` and `rules` have those of each team; `written` has what the file has for all teams, `made` what followed.
    They also have those of each entry of `grantable`; `granting` says of which one a role is.
    `entry_names` are their ids, None if the section could not be read at all.
    """

    document: Document
    catalogue: catalogue.Catalogue
    issuers: Mapping[int, IssuerEntry]
    roles: Mapping[str, RoleDraft]
    rules: Sequence[tuple[Loc, RuleDraft]]
    grantable: Mapping[int, GrantableDraft]
    granting: Mapping[str, int]
    entry_names: frozenset[str] | None
    written: teams.Written
    made: teams.Made
    role_names: frozenset[str]
    issuer_names: frozenset[str]
    built_in: Mapping[str, Loc]
    cases: CaseSection
    include: Mapping[int, IncludeEntry]
    included: Sequence[Included] = ()
    partial: frozenset[Loc] = frozenset()

    def role_loc(self, name: str) -> Loc:
        """Where the file has a role; one of a team where it has that for all teams."""
        if name in self.granting:
            return "grantable", self.granting[name]
        origin = self.made.origins.get(name)
        return ("roles", name) if origin is None else ("roles", origin.written)

    def for_team(self, name: str) -> str:
        """A note after a role's name in messages: which team's it is."""
        origin = self.made.origins.get(name)
        return f" of the team `{origin.team}`" if origin is not None and self.made.complete else ""


def draft(document: Document, airflow: str = "") -> tuple[Draft, list[Problem]]:
    """The draft of a document, and the mistakes in the document's shape; `airflow` as in `Bundle`."""
    whole, problems = validate(document, PolicyFile)
    table, version_problems = (catalogue.load(airflow), []) if airflow else _catalogue(document)
    made = _whole(document, whole, table) if whole is not None else _salvaged(document, table)
    return made, problems + version_problems


def check_end(document: Document) -> Iterator[Problem]:
    """Mistakes of a file that may be half written, by the keys that say what belongs to it.

    They must come before everything that a half-written file could lack, or such a file could lack them.
    """
    keys = list(document.data)
    for key in _ON_TOP:
        above = keys[: keys.index(key)] if document.data.get(key, False) is not False else []
        late = next((other for other in above if other in BODY), None)
        if late is not None:
            message = f"`{key}` stands below `{late}`: a file that is half written would not have it"
            yield document.problem((key,), message, "put it at the top, beside `version`", key=True)
    if document.data.get("end_mark") is True and not document.end_mark:
        hint = "if it is whole, end it with a line `...`"
        yield document.problem(("end_mark",), "the file has no end mark: it is half written", hint, key=True)


def _whole(document: Document, whole: PolicyFile, table: catalogue.Catalogue) -> Draft:
    written = teams.Written(
        teams=dict(enumerate(whole.teams)), roles=whole.role_drafts, rules=dict(enumerate(whole.drafts))
    )
    made = teams.made(written)
    grantable = dict(enumerate(whole.grantable_drafts))
    used = built_in.used(written.roles, grantable)
    roles = built_in.completed(made.roles, used)
    return Draft(
        document=document,
        catalogue=table,
        issuers=dict(enumerate(whole.issuers)),
        roles=_with_grants(roles, grantable),
        rules=_all_rules(made, grantable),
        grantable=grantable,
        granting={of_grant(entry.id): index for index, entry in grantable.items()},
        entry_names=frozenset(entry.id for entry in grantable.values()),
        written=written,
        made=made,
        role_names=frozenset({AUTHENTICATED, *roles, *_perhaps(written, made, grantable)}),
        issuer_names=frozenset(entry.name for entry in whole.issuers),
        built_in=used,
        cases=of_whole(document, whole),
        include=dict(enumerate(whole.include)),
    )


def _salvaged(document: Document, table: catalogue.Catalogue) -> Draft:
    raw_issuers, raw_rules = (mappings(document.data.get(key)) for key in ("issuers", "rules"))
    raw_roles = document.data.get("roles")
    named = raw_roles if isinstance(raw_roles, dict) else {}
    partial: set[Loc] = set()
    entries = {
        name: slim_role(salvage(item, RoleEntry, ("roles", name), {}, partial))
        for name, item in named_mappings(raw_roles).items()
    }
    rules = {
        index: slim(salvage(item, RuleEntry, ("rules", index), {"id": f"{index}.without-id"}, partial))
        for index, item in raw_rules.items()
    }
    written = teams.Written(
        teams=_teams(document, partial), roles=entries, rules=rules, whole=_whole_teams(document, partial)
    )
    made = teams.made(written)
    grantable = {
        index: slim_grantable(salvage(item, GrantableEntry, ("grantable", index), _stand_in_entry(index), partial))
        for index, item in mappings(document.data.get("grantable")).items()
    }
    used = built_in.used(entries, grantable)
    roles = built_in.completed(made.roles, used)
    return Draft(
        document=document,
        catalogue=table,
        issuers={
            index: salvage(item, IssuerEntry, ("issuers", index), _stand_in_issuer(index), partial)
            for index, item in raw_issuers.items()
        },
        roles=_with_grants(roles, grantable),
        rules=_all_rules(made, grantable),
        grantable=grantable,
        granting={of_grant(entry.id): index for index, entry in grantable.items()},
        entry_names=_entry_names(document),
        written=written,
        made=made,
        role_names=frozenset(
            {
                AUTHENTICATED,
                *_for_each(named, made),
                *roles,
                *_mentioned(raw_roles, raw_rules.values(), "roles"),
                *_asked(raw_roles, document),
            }
        )
        | _perhaps(written, made, grantable),
        issuer_names=frozenset(
            {str(item.get("name")) for item in raw_issuers.values()}
            | _mentioned(document.data.get("issuers"), named.values(), "issuers")
        ),
        built_in=used,
        cases=of_broken(document),
        include={
            index: salvage(item, IncludeEntry, ("include", index), {"file": f"{index}.without-file.yaml"}, partial)
            for index, item in mappings(document.data.get("include")).items()
        },
        partial=frozenset(partial),
    )


def _teams(document: Document, partial: set[Loc]) -> dict[int, TeamEntry]:
    """The entries of `teams` of which names and patterns could be kept."""
    found = {}
    for index, item in mappings(document.data.get("teams")).items():
        stand_in = {"names": ("team",), "dags": ("team_*",)}
        broken: set[Loc] = set()
        entry = salvage(item, TeamEntry, ("teams", index), stand_in, broken)
        partial |= broken
        if not broken:
            found[index] = entry
    return found


def _whole_teams(document: Document, partial: set[Loc]) -> bool:
    section = document.data.get("teams", ())
    read = isinstance(section, tuple) and all(isinstance(item, dict) for item in section)
    return read and not any(loc[0] == "teams" for loc in partial)


def _for_each(names: Iterable[str], made: teams.Made) -> Iterator[str]:
    """The names of roles as they are for each team."""
    for name in names:
        yield from {teams.named(name, team.name) for team in made.teams}


def _perhaps(written: teams.Written, made: teams.Made, grantable: Mapping[int, GrantableDraft]) -> frozenset[str]:
    """Roles that rules and roles name and that may be those of a team, where not all teams are known."""
    if made.complete:
        return frozenset()
    forms = [glob_of(name.replace(TEAM, "*")) for name in written.roles if TEAM in name]
    named = {name for rule in written.rules.values() for name in rule.roles}
    named |= {name for role in written.roles.values() for name in role.includes}
    named |= {name for entry in grantable.values() for name in (*entry.roles, *entry.requesters, *entry.approvers)}
    return frozenset(name for name in named if any(form.matches(name) for form in forms))


def _mentioned(section: Any, entries: Iterable[Any], key: str) -> set[str]:
    """The names under `key` of all entries, if the section that should define them could not be read at all."""
    if section is None or (isinstance(section, tuple) and all(isinstance(item, dict) for item in section)):
        return set()
    if isinstance(section, dict):
        return set()
    listed = [entry[key] for entry in entries if isinstance(entry, dict) and isinstance(entry.get(key), tuple)]
    return {str(name) for names in listed for name in names}


def _asked(raw_roles: Any, document: Document) -> set[str]:
    entries = [*mappings(document.data.get("grantable")).values()]
    keys = ("roles", "requesters", "approvers")
    return {name for key in keys for name in _mentioned(raw_roles, entries, key)}


def _entry_names(document: Document) -> frozenset[str] | None:
    section = document.data.get("grantable", ())
    return frozenset(str(item.get("id")) for item in mappings(section).values()) if isinstance(section, tuple) else None


def _with_grants(roles: Mapping[str, RoleDraft], grantable: Mapping[int, GrantableDraft]) -> dict[str, RoleDraft]:
    """The roles, and one for each entry of `grantable`, which includes those that it gives."""
    made = dict(roles)
    for entry in grantable.values():
        given = tuple(role for role in entry.roles if role in roles)  # what is not defined is a mistake
        made[of_grant(entry.id)] = RoleDraft(includes=given, description=entry.description, grants=(entry.id,))
    return made


def _all_rules(made: teams.Made, grantable: Mapping[int, GrantableDraft]) -> tuple[tuple[Loc, RuleDraft], ...]:
    """The rules, and those of entries of `grantable`."""
    of_entries = ((("grantable", index), entry.rule) for index, entry in grantable.items())
    return (
        *((("rules", index), rule) for index, rule in made.rules),
        *((loc, rule) for loc, rule in of_entries if rule is not None),
    )


def _stand_in_entry(index: int) -> dict[str, Any]:
    return {"id": f"{index}.without-id", "requesters": (AUTHENTICATED,), "approvers": NO_APPROVAL, "longest": "1s"}


def _stand_in_issuer(index: int) -> dict[str, Any]:
    return {
        "name": f"{index}.without-name",
        "issuer": f"https://{index}.without-issuer",
        "audiences": {"inbound": (f"{index}.without-audience",)},
        "algorithms": ("RS256",),
    }


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
