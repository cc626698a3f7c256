"""Checks rules, and entries of `never`: conditions that are missing, must not be there, or refer to nothing.

Law: a rule that could silently mean more or less than its author thought is a mistake. An entry of `never` is checked
as the deny rule that says the same. `authz.core.policy.reach` checks whether conditions that are each right can hold
together.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from authz.core.catalogue.routes import TASKS_ONLY
from authz.core.documents.wording import Vocabulary
from authz.core.documents.yaml_document import Document, Loc
from authz.core.errors import Problem
from authz.core.policy import built_in
from authz.core.policy.case_draft import CaseSection
from authz.core.policy.case_schema import ANONYMOUS
from authz.core.policy.draft import Draft
from authz.core.policy.operations import Words
from authz.core.policy.outbound import is_tunnel
from authz.core.policy.patterns import TEAM
from authz.core.policy.reach import Reach
from authz.core.policy.rule_schema import NeverDraft, RuleDraft
from authz.core.policy.rules import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, RESERVED, of_grant
from authz.core.policy.synonyms import OperationHints

MAX_COMBINATIONS: Final = 100_000
MAX_IN_ALL: Final = 1_000_000
"""Combinations of all rules together: the index keeps each of them, in some 350 bytes."""
MOST_COMPARED: Final = 5_000_000
"""Combinations of all entries of `never` times those of all rules, without roles: every load compares them."""

Found = tuple[tuple[str | int, ...], str, str]
"""Where in the rule (keys and positions), what, what to do."""


def check_rules(draft: Draft) -> Iterator[Problem]:
    """Every mistake that concerns rules."""
    if not built_in.suffice(draft.document, draft.built_in):
        hint = "who may do what; without them, give a built-in role to a group: airflow.viewer: {groups: [...]}"
        yield draft.document.problem((), "`rules` is missing", hint)
    yield from in_all(draft.document, draft.rules, MAX_IN_ALL)
    yield from equal_ids(draft.document, ((("rules", index), entry) for index, entry in draft.written.rules.items()))
    known = Known(draft)
    reach = Reach(draft.catalogue, known.words)
    of_teams: set[Loc] = set()
    for place, entry in draft.rules:
        complete = place not in draft.partial
        named = (
            replace(entry, roles=()) if place[0] == "grantable" else entry
        )  # its role is its own, and not in the file
        found = [*(shape(entry) if complete else ()), *references(named, draft, known)]
        if complete and not found:
            found += reach.unreachable(entry)
        for inner, message, hint in found:
            loc = (*place, *inner)
            if entry.team and (loc in of_teams or _has_team(draft.document, loc)):
                continue  # it was found for another team, or `authz.core.policy.team_checks` finds it
            of_teams.add(loc)
            yield draft.document.problem(loc, message, hint)


def equal_ids(document: Document, rules: Iterable[tuple[Loc, RuleDraft]]) -> Iterator[Problem]:
    """Rules of one file that have the id of one before them."""
    first: dict[str, Loc] = {}
    for loc, entry in rules:
        if first.setdefault(entry.id, loc) != loc:
            exact = () if document.only_counted(loc) else ("id",)
            line = document.place((*first[entry.id], *exact))[0]
            message = f"the rule `{entry.id}` is there twice"
            yield document.problem((*loc, "id"), message, f"the first is on line {line}: choose another id")


def _has_team(document: Document, loc: Loc) -> bool:
    """Whether it is a role with `{team}`."""
    return loc[2:3] == ("roles",) and len(loc) > len(("rules", 0, "roles")) and TEAM in str(document.at(loc))


def check_never(
    draft: Draft, sections: Sequence[CaseSection], rules: Iterable[tuple[Loc, RuleDraft]] | None = None
) -> Iterator[Problem]:
    """Every mistake in the entries of `never` of these files. `rules` count for their limit; all when not given."""
    if not any(section.never for section in sections):
        return
    known = Known(draft)
    reach = Reach(draft.catalogue, known.words)
    compared = sum(_compared(entry) for _, entry in (all_rules(draft) if rules is None else rules))
    left = MOST_COMPARED
    for section in sections:
        first: dict[str, int] = {}
        for index, entry in section.never.items():
            before, left = left, left - _compared(entry.rule) * compared
            if left < 0 <= before:
                message = (
                    f"with this entry `never` and the rules have more than {MOST_COMPARED} combinations of entries"
                )
                hint = "use wildcards, and several roles or operations in one entry"
                yield section.document.problem(("never", index), message, hint)
            complete = ("never", index) not in section.partial
            found = [*(_never_shape(entry) if complete else ()), *references(entry.rule, draft, known)]
            found += _exceptions(entry, draft, known)
            if complete and not found:
                found += reach.unreachable(entry.rule)
            if entry.name and first.setdefault(entry.name, index) != index:
                line = section.document.place(("never", first[entry.name]))[0]
                hint = f"the first is on line {line}: choose another name"
                found.append((("name",), f"there is another entry `{entry.name}`", hint))
            for loc, message, hint in found:
                yield section.document.problem(("never", index, *loc), message, hint)


def all_rules(draft: Draft) -> Iterator[tuple[Loc, RuleDraft]]:
    """The rules of all files."""
    yield from draft.rules
    for one in draft.included:
        yield from one.rules


def _compared(entry: RuleDraft) -> int:
    """The combinations of a rule that are compared one by one: not its roles, operations and methods."""
    return math.prod(count for key, count in conditions(entry).items() if key not in {"roles", "operations", "methods"})


def _never_shape(entry: NeverDraft) -> Iterator[Found]:
    if conditions(entry.rule).keys() <= {"roles"}:
        hint = "name what must never be allowed, such as operations: [connections:*]; everything is " + 'paths: ["/**"]'
        yield (), "the entry names nothing that must never be allowed", hint
        return
    yield from shape(entry.rule)


def _exceptions(entry: NeverDraft, draft: Draft, known: "Known") -> Iterator[Found]:
    named = [(position, role) for position, role in enumerate(entry.excepted) if role != ANONYMOUS]
    yield from unknown_roles("except", named, draft, known)
    for position, role in enumerate(entry.excepted):
        if role in entry.rule.roles:
            yield ("except", position), f"`{role}` is among `roles` too", "remove one of them"
        if role == ANONYMOUS and ANONYMOUS in draft.role_names:
            hint = "give the role another name: here the word means callers without a token"
            yield ("except", position), f"`{ANONYMOUS}` is a role of the policy too", hint
        if role == AUTHENTICATED and ANONYMOUS in entry.excepted:
            hint = f"`{AUTHENTICATED}` and `{ANONYMOUS}` are everyone together: remove one of them"
            yield ("except", position), "the entry is about no one", hint


def conditions(entry: RuleDraft) -> Mapping[str, int]:
    """The conditions that the rule has, and how many entries each of them has."""
    keys = ("roles", "operations", "hosts", "destinations", "methods", "paths", "dags", "tasks", "identity")
    return {key: 1 if key == "identity" else len(entries) for key in keys if (entries := getattr(entry, key))}


def in_all(document: Document, rules: Iterable[tuple[Loc, RuleDraft]], most: int) -> Iterator[Problem]:
    """The rule at which the combinations of a file's rules exceed their limit. DAGs on the inbound plane make none."""
    total = 0
    for loc, entry in rules:
        counts = conditions(entry)
        made = math.prod(count for key, count in counts.items() if key != "dags" or entry.plane != "inbound")
        if made <= MAX_COMBINATIONS:  # else the rule is a mistake of its own
            total += made
        if total > most:
            message = f"with the rule `{entry.id}` the rules have more than {most} combinations of entries in all"
            hint = "use wildcards, or one role for many: a rule has one for each role with each path, host and method"
            yield document.problem(loc, message, hint)
            return


def shape(entry: RuleDraft) -> Iterator[Found]:
    """Conditions that are missing, or must not be there."""
    present = conditions(entry)
    if math.prod(present.values()) > MAX_COMBINATIONS:
        yield (), f"the rule has more than {MAX_COMBINATIONS} combinations of entries", "split it, or use wildcards"
    if entry.plane == "egress" and entry.operations:
        yield (
            ("operations",),
            "operations are Airflow's own, on the inbound plane",
            "an egress rule has hosts or destinations, and paths",
        )
    if entry.plane != "egress":
        yield from _not_inbound(entry, present)
    elif is_tunnel(entry.methods):
        yield from _tunnel(entry)
    if entry.deny and entry.public:
        yield ("public",), "a rule cannot be both `deny` and `public`", "remove one of them"
    elif entry.deny:
        if not present:
            hint = "to deny everything, say so with a path: " + 'paths: ["/**"]'
            yield (), "a deny rule without conditions would deny everything", hint
        if entry.identity:
            hint = "remove `identity`: deny rules with `dags` or `tasks` apply to every run that is not verified"
            yield ("identity",), "a deny rule has no `identity`", hint
    elif entry.public:
        yield from _public(entry)
    else:
        yield from _allow(entry, present)


def _public(entry: RuleDraft) -> Iterator[Found]:
    """Public access is limited to a short list of exact paths and methods."""
    if entry.plane == "egress":
        yield ("plane",), "a public rule is for the inbound plane", "remove `public`, or the plane"
    if entry.roles:
        yield ("roles",), "a public rule is for everyone, so it has no roles", "remove `roles`, or `public`"
    if entry.dags:
        yield ("dags",), "a public rule is for exact paths, so it has no dags", "remove `dags`, or `public`"
    if not entry.operations and not entry.paths:
        yield (), "a public rule names exact paths or operations", 'add paths: ["/api/v2/version"]'
    if entry.paths and not entry.methods:
        yield (), "a public rule with paths names its methods", "add methods: [GET]"
    for position, path in enumerate(entry.paths):
        if not path.literal:
            yield (
                ("paths", position),
                f"`{path.text}` stands for many paths, and everyone could reach them",
                "write out the paths",
            )
    for position, host in enumerate(entry.hosts):
        if host.text.startswith("*"):
            yield (
                ("hosts", position),
                f"`{host.text}` stands for many hosts, and a public rule is exact",
                "write out the hosts",
            )


def _not_inbound(entry: RuleDraft, present: Mapping[str, int]) -> Iterator[Found]:
    """Conditions for outbound calls only. In a rule for both planes they would silently apply to one."""
    for key in ("destinations", "tasks", "identity"):
        if key in present:
            yield (key,), f"`{key}` is about outbound calls", "add plane: egress, or remove it"
    if is_tunnel(entry.methods):
        yield ("methods",), "CONNECT is a method of outbound calls", "add plane: egress, or remove it"


def _tunnel(entry: RuleDraft) -> Iterator[Found]:
    """RFC 9110 §9.3.6: a tunnel shows only host and port, not what goes through it."""
    if len(entry.methods) > 1:
        yield (
            ("methods",),
            "CONNECT stands alone: a tunnel shows no other method",
            "give the others a rule of their own",
        )
    if entry.paths:
        yield ("paths",), "a tunnel shows no path", "remove `paths`, or give the paths a rule without CONNECT"
    if not (entry.deny or entry.hosts or entry.destinations):
        yield (), "a rule that allows tunnels names hosts or destinations", "add hosts: [orders.internal]"


def _allow(entry: RuleDraft, present: Mapping[str, int]) -> Iterator[Found]:
    of_runs = entry.plane == "egress" and not present.keys().isdisjoint({"dags", "tasks", "identity"})
    if not entry.roles and not of_runs:
        more = "" if entry.plane == "inbound" else "; on egress also dags: [...], tasks: [...] or identity: verified"
        yield (), "an allow rule names its roles", f"add roles: [...], or say `public: true` or `deny: true`{more}"
    if entry.plane == "inbound":
        if not (entry.operations or entry.paths):
            yield (), "an inbound allow rule names operations or paths", "add operations: [dags:read]"
    elif entry.plane == "egress":
        yield from _allow_outbound(entry)
    elif not (entry.hosts and entry.paths) or entry.operations:
        message = (
            "without `plane` the rule is for both planes, and on egress it needs hosts and paths, and no operations"
        )
        yield (), message, "add plane: inbound, or plane: egress"


def _allow_outbound(entry: RuleDraft) -> Iterator[Found]:
    if is_tunnel(entry.methods):
        return  # `_tunnel` says what it needs
    missing = [] if entry.hosts or entry.destinations else ["hosts or destinations"]
    missing += [] if entry.paths else ["paths"]
    if missing:
        message = f"an egress allow rule names hosts or destinations, and paths: {' and '.join(missing)} missing"
        yield (), message, "add them"


class Known:
    """Names that rules refer to: the file's roles and the catalogue's operations."""

    def __init__(self, draft: Draft) -> None:
        self.words = Words(draft.catalogue)
        self.roles = Vocabulary(draft.role_names | BUILT_IN.keys())
        self.operations = OperationHints(draft.catalogue)


def references(entry: RuleDraft, draft: Draft, known: Known) -> Iterator[Found]:
    """Roles and operations that there are not, or that the rule must not name."""
    yield from unknown_roles("roles", enumerate(entry.roles), draft, known)
    for position, word in enumerate(entry.operations):
        loc = ("operations", position)
        if not known.words.known(word, never=entry.deny):
            hint = known.operations.for_unknown(word, never=entry.deny)
            yield loc, f"unknown operation `{word}` (Airflow {draft.catalogue.version})", hint
        elif word == TASKS_ONLY and not entry.deny:
            message = f"`{word}`: Airflow's execution API is for its tasks, which do not come through the gate"
            yield loc, message, "remove it: no one else has a token for it"
        elif entry.public and word not in draft.catalogue.operations:
            yield loc, f"`{word}` stands for many operations, and everyone could do them", "write out the operations"
        elif entry.public:
            operation = draft.catalogue.operations[word]
            if operation.never or not operation.literal:
                yield loc, f"`{word}` has routes with parameters, or is never public", "name exact paths instead"


def unknown_roles(key: str, named: Iterable[tuple[int, str]], draft: Draft, known: Known) -> Iterator[Found]:
    """Roles that no one has or that are not defined."""
    for position, role in named:
        if role in BUILT_IN and role not in draft.role_names:
            hint = f"give it to a group under `roles`: {role}: {{groups: [...]}}"
            yield (key, position), f"no one has the built-in role `{role}`", hint
        elif role not in draft.role_names:
            yield (key, position), f"unknown role `{role}`", _instead(role, known)


def _instead(role: str, known: Known) -> str:
    if role in AIRFLOW_ROLES:
        return f"define it under `roles`, or use the built-in role `{RESERVED}{role}`"
    if role.startswith(of_grant("")):
        return (
            "the role of an entry of `grantable` cannot be named: give the entry a role of its own under its `roles`,"
            " and name that"
        )
    return known.roles.near(role) or "define it under `roles`"
