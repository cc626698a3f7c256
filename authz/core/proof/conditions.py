"""What no comparison of rules shows: who is a caller, what a request is, what the gate says, who may ask, confines.

Law: pure. The contents of key files are given. Beside equal conditions the difference between the rules is complete.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Final

from authz.core.catalogue import Catalogue
from authz.core.model import Identity, Issuer, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import AIRFLOW_ROLES, AUTHENTICATED
from authz.core.policy.targets import Target
from authz.core.proof.callers import Caller, callers
from authz.core.proof.condition import Condition
from authz.core.proof.confined import about_confines
from authz.core.proof.grantable import about_grantable
from authz.core.proof.upgrades import text_of, together
from authz.core.proof.wording import few_of

_NOTHING: Final = "none"
_NO_LEVEL: Final = "no role"

KeyFiles = Mapping[str, str]
"""Issuer → what says which keys its file has: a digest of the content, or the file's place if it cannot be read."""


def conditions(old: Policy, new: Policy, keys: tuple[KeyFiles, KeyFiles] | None = None) -> Iterator[Condition]:
    """What the difference between the rules does not show. Without `keys`, key files are compared by their paths."""
    if old.catalogue is not new.catalogue:
        yield from _of_airflow(old.catalogue, new.catalogue)
    for url in sorted(old.issuers.keys() | new.issuers.keys()):
        before, after = old.issuers.get(url), new.issuers.get(url)
        if before is None:
            yield Condition(text=f"tokens of a new issuer are accepted: {url}", widens=True)
        elif after is None:
            yield Condition(text=f"tokens of this issuer are no longer accepted: {url}", widens=False)
        else:
            yield from _of_issuer(before, after, keys)
    yield from _told_to_airflow(old, new)
    yield from about_grantable(old, new)
    yield from about_confines(old, new)


def _of_airflow(old: Catalogue, new: Catalogue) -> Iterator[Condition]:
    """What another version of Airflow changes beside what rules allow, and what is not compared because of it."""
    text = f"every route of Airflow {old.version} is compared with the same request to Airflow {new.version}"
    yield Condition(text=text, widens=False)
    levels: dict[Condition, None] = {}
    for target in together(old, new):
        was = target.was
        if was is None or not (target.operation and was.operation) or target.method == "HEAD":  # it is what GET is
            continue
        now, before = (table.operations[one.operation].airflow_role for table, one in ((new, target), (old, was)))
        if now != before:
            named = target.operation if target.operation == was.operation else f"{target.operation} ({was.operation})"
            raised = AIRFLOW_ROLES.index(now) > AIRFLOW_ROLES.index(before)
            text = f"calls of {named} have at least the level {now} in Airflow, and had {before}"
            levels[Condition(text=text, widens=raised)] = None
        if _shows_other_dags(target, was):
            route = f"{target.method} {text_of(target.shape, target.template)}"
            text = (
                f"{route} names a DAG in one version and is a list of DAGs in the other: which it shows is not compared"
            )
            levels[Condition(text=text, widens=True)] = None
    yield from levels


def _shows_other_dags(target: Target, was: Target) -> bool:
    """Whether one names a DAG where Airflow narrows the other."""
    alike = target.dag_at == was.dag_at and target.any_dag == was.any_dag
    return not alike and any(
        one.narrowed and other.dag_at >= 0 and not other.any_dag for one, other in ((target, was), (was, target))
    )


def _of_issuer(before: Issuer, after: Issuer, keys: tuple[KeyFiles, KeyFiles] | None) -> Iterator[Condition]:
    url = after.issuer
    in_files = keys is not None and before.jwks_file is not None and after.jwks_file is not None
    old, new = dict(_said(before)), dict(_said(after))
    for name in dict.fromkeys((*old, *new)):
        was, now = old.get(name, _NOTHING), new.get(name, _NOTHING)
        if was != now and not (in_files and name == "jwks_file"):
            changed = f"the issuer {url}, {name}: {was} → {now}"
            yield Condition(
                text=f"whose tokens are accepted, or what is read in them, has changed: {changed}", widens=True
            )
    if in_files and keys is not None and keys[0].get(url) != keys[1].get(url):
        text = f"whose tokens are accepted has changed: the keys in the file of the issuer {url}, or one cannot be read"
        yield Condition(text=text, widens=True)


def _said(issuer: Issuer) -> Iterator[tuple[str, str]]:
    """What an entry of `issuers` says, by its keys in the file. `discovery` is no key: the others say it."""
    for name in (field.name for field in fields(issuer) if field.name != "discovery"):
        value = getattr(issuer, name)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", _listed(value[key])) for key in sorted(value))
        elif name == "groups":
            yield name, _listed(".".join(path) for path in value)
        elif isinstance(value, frozenset):
            yield name, _listed(value)
        elif isinstance(value, str):
            yield name, _listed([value])
        else:
            yield name, _NOTHING if value is None else json.dumps(value)


def _listed(values: Iterable[str]) -> str:
    """The values in order. One that could be taken for several, or for none, is quoted: others have another text."""
    return (
        ", ".join(json.dumps(one, ensure_ascii=False) if _doubtful(one) else one for one in sorted(values)) or _NOTHING
    )


def _doubtful(value: str) -> bool:
    return "," in value or '"' in value or value == _NOTHING


def _told_to_airflow(old: Policy, new: Policy) -> Iterator[Condition]:
    """What the assertion says beside the grant: the level in Airflow (`airflow:`), and whether the caller is an agent.

    Both are the most that a single membership gives, so that one membership is enough to see a change.
    """
    found: dict[tuple[str, bool], dict[str, None]] = defaultdict(dict)
    whose: dict[tuple[str, bool], list[Caller]] = defaultdict(list)
    for caller in callers(Plane.INBOUND, old, new):
        if caller.issuer:
            before, after = caller.identified(old), caller.identified(new)
            for text, widens, role in (*_level(before, after, old, new), *_agent(before, after, old, new)):
                found[text, widens][role] = None
                whose[text, widens].append(caller)
    for (text, widens), roles in found.items():
        who = few_of(whose[text, widens], of_issuer=len(new.issuers) > 1)
        named = f"callers with the role{'s' if len(roles) > 1 else ''} {', '.join(roles)} ({who})"
        yield Condition(text=text.format(named), widens=widens)


def _level(before: Identity, after: Identity, old: Policy, new: Policy) -> Iterator[tuple[str, bool, str]]:
    """What is said of some callers, whether it gives them more, and their role."""
    was, now = before.airflow_role, after.airflow_role
    ranks = [AIRFLOW_ROLES.index(one) if one else -1 for one in (was, now)]
    if ranks[0] != ranks[1]:
        raised = ranks[1] > ranks[0]
        holder, policy = (after, new) if raised else (before, old)
        held = (AUTHENTICATED, *sorted(holder.roles))
        role = next(one for one in held if policy.airflow_roles.get(one) == holder.airflow_role)
        change = f"{'raised' if raised else 'lowered'} from {was or _NO_LEVEL} to {now or _NO_LEVEL}"
        yield f"the level in Airflow of {{}} is {change}", raised, role


def _agent(before: Identity, after: Identity, old: Policy, new: Policy) -> Iterator[tuple[str, bool, str]]:
    if before.agent != after.agent:
        holder, policy = (before, old) if before.agent else (after, new)
        role = next(one for one in sorted(holder.roles) if policy.roles[one].agent)
        yield f"{{}} are {'no longer' if before.agent else 'now'} marked as agents", before.agent, role
