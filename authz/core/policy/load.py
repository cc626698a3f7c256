"""Policy file → compiled policy, or every mistake in it at once.

Law: all or nothing. A file with any mistake is refused as a whole, and each mistake has its place.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from authz.core import collector
from authz.core.caching.interning import Shared
from authz.core.catalogue import Catalogue
from authz.core.documents.yaml_document import parse
from authz.core.errors import PolicyError
from authz.core.model import Level, Plane
from authz.core.policy import built_in
from authz.core.policy.compiled import Gate, Policy
from authz.core.policy.draft import Draft, check_end, draft
from authz.core.policy.index import Index
from authz.core.policy.issuers import check_issuers, compile_issuer
from authz.core.policy.operations import expand
from authz.core.policy.roles import Roster, check_roles, compile_roles
from authz.core.policy.rule_checks import check_rules
from authz.core.policy.rules import AIRFLOW_ROLES, Effect, Role, Rule
from authz.core.policy.schema import RuleDraft


def load(data: bytes, file: str) -> Policy:
    """Compile the bytes of a policy file; `file` is its name, for problems and for files that it names.

    Raises:
        PolicyError: with every problem, sorted by place.
    """
    with collector.resting():
        return _load(data, file)


def _load(data: bytes, file: str) -> Policy:
    document = parse(data, file, error=PolicyError)
    drafted, problems = draft(document)
    problems += [*check_end(document), *check_issuers(drafted), *check_roles(drafted), *check_rules(drafted)]
    if problems:
        raise PolicyError(problems)
    catalogue, end_mark = drafted.catalogue, document.end_mark
    roles = compile_roles(drafted)
    rules = {rule.id: rule for rule in sorted(_all_rules(drafted), key=lambda rule: rule.id)}
    airflow = _airflow_roles(roles, rules.values(), catalogue)
    issuers = [compile_issuer(entry, file) for entry in drafted.issuers.values()]
    del document, drafted  # the tables take the memory that they had
    return Policy(
        file=file,
        revision=hashlib.sha256(data).hexdigest(),
        end_mark=end_mark,
        catalogue=catalogue,
        issuers=MappingProxyType({issuer.issuer: issuer for issuer in issuers}),
        roles=MappingProxyType(roles),
        rules=MappingProxyType(rules),
        airflow_roles=MappingProxyType(airflow),
        roster=Roster(roles.values(), [issuer.name for issuer in issuers], airflow),
        gates=MappingProxyType({plane: _gate(rules.values(), plane, catalogue) for plane in Plane}),
    )


def _all_rules(drafted: Draft) -> Iterable[Rule]:
    return [*_rules(drafted), *built_in.rules(drafted.built_in, drafted.document)]


def _rules(drafted: Draft) -> Iterable[Rule]:
    """The compiled rules; equal parts are one object, because there may be ten thousand rules."""
    share: Shared[Any] = Shared(sys.maxsize)
    planes_of = {"": frozenset(Plane), **{plane.value: frozenset({plane}) for plane in Plane}}
    for index, entry in drafted.rules.items():
        line, column = drafted.document.place(("rules", index))
        effect = Effect.DENY if entry.deny else Effect.PUBLIC if entry.public else Effect.ALLOW
        plane = entry.plane or (Plane.INBOUND if entry.public else "")
        yield Rule(
            id=entry.id,
            effect=effect,
            planes=planes_of[plane],
            roles=share(entry.roles),
            operations=share(entry.operations),
            hosts=share(entry.hosts),
            methods=share(entry.methods),
            paths=entry.paths,
            dags=share(entry.dags),
            destinations=share(entry.destinations),
            tasks=share(entry.tasks),
            identity=_least(entry, effect, plane),
            description=entry.description,
            line=line,
            column=column,
        )


def _least(entry: RuleDraft, effect: Effect, plane: str) -> Level | None:
    """The level that an allow rule requires; the strongest if it names runs but no level."""
    if effect is not Effect.ALLOW or plane == Plane.INBOUND:
        return None
    if entry.identity:
        return Level(entry.identity)
    return Level.VERIFIED if entry.dags or entry.tasks else None


def _gate(rules: Iterable[Rule], plane: Plane, catalogue: Catalogue) -> Gate:
    deny, public, allow = (
        Index(rules, plane=plane, effect=effect, catalogue=catalogue)
        for effect in (Effect.DENY, Effect.PUBLIC, Effect.ALLOW)
    )
    return Gate(deny=deny, public=public, allow=allow)


def _airflow_roles(roles: Mapping[str, Role], rules: Iterable[Rule], catalogue: Catalogue) -> dict[str, str]:
    """Each role's role in Airflow: from the policy; else by its own name; else the most that its rules grant."""
    granted: dict[str, int] = {}
    needed: dict[tuple[str, ...], int] = {}
    for rule in rules:
        if rule.effect is Effect.ALLOW and rule.operations:
            if rule.operations not in needed:
                names = {name for word in rule.operations for name in expand(word, catalogue, never=False)}
                needed[rule.operations] = max(AIRFLOW_ROLES.index(catalogue.operations[n].airflow_role) for n in names)
            for role in rule.roles:
                granted[role] = max(granted.get(role, 0), needed[rule.operations])
    found = {name: AIRFLOW_ROLES[rank] for name, rank in granted.items()}
    found |= {name: name for name in roles if name in AIRFLOW_ROLES}
    return found | {role.name: role.airflow for role in roles.values() if role.airflow}
