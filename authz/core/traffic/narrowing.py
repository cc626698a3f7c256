"""A policy with less in it: what of each allow rule was used.

Law: each rule of the proposal is a rule of the policy with fewer roles, operations, DAGs and destinations, so no one
gains anything; and it covers all that was used of the rule, so no allowed record changes. Deny rules and public rules
stay. What cannot be narrowed safely stays as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from authz.core.documents.wording import Mistake
from authz.core.documents.yaml_document import Document
from authz.core.model import Plane
from authz.core.policy import AUTHENTICATED, Policy, Rule
from authz.core.policy.patterns import parse_one_id
from authz.core.traffic.usage import Use, Uses, allows, exact_dags

_FEW: Final = 20  # DAGs that are named one by one
_begins: Final = re.compile(r"""^(["']?)rules\1[ \t]*:""", re.MULTILINE).search
_next_section: Final = re.compile(r"^(?:[^\s#-]|\.\.\.)", re.MULTILINE)
_plain: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*").fullmatch
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})

Entry = dict[str, Any]


def proposal(document: Document, text: str, policy: Policy, uses: Uses) -> str | None:
    """The text of the policy file with narrowed rules; None if the text has no section `rules` of its own lines."""
    section = _begins(text)
    if section is None:
        return None
    ending = _next_section.search(text, section.end())
    rest = text[ending.start() :] if ending is not None else ""
    listed = document.data.get("rules") or ()
    lines = list(_lines(listed, policy, uses))
    kept = any(not line.startswith("#", 2) for line in lines)
    return f"{text[: section.start()]}rules:{'' if kept else ' []'}\n" + "".join(f"{line}\n" for line in lines) + rest


def _lines(listed: tuple[Mapping[str, Any], ...], policy: Policy, uses: Uses) -> Iterator[str]:
    names = {str(raw["id"]) for raw in listed}
    by_rule: dict[str, list[Use]] = {}
    for one in uses:
        by_rule.setdefault(one.rule, []).append(one)
    for raw in listed:
        name = str(raw["id"])
        entries = (
            _narrowed(dict(raw), policy.rules[name], by_rule.get(name, []), names) if allows(policy, name) else [raw]
        )
        yield from (f"  - {_flow(entry)}" for entry in entries)
        if not entries:
            yield f"  # {name}: not used"


def _narrowed(raw: Entry, rule: Rule, uses: list[Use], names: set[str]) -> list[Entry]:
    """The rules that take the rule's place."""
    if any(one.rest for one in uses) or not uses:
        return [raw] if uses else []
    if "roles" in raw:
        held = frozenset(role for one in uses for role in one.roles) | {AUTHENTICATED}
        raw["roles"] = tuple(role for role in raw["roles"] if role in held)
    if Plane.EGRESS in rule.planes:
        if "destinations" in raw:
            called = {one.destination for one in uses}
            raw["destinations"] = tuple(name for name in raw["destinations"] if name in called)
        return [_about(raw, rule, uses) if "dags" in raw else raw]
    if "operations" not in raw:
        return [_about(raw, rule, uses) if "dags" in raw else raw]
    return _by_operation(raw, rule, uses, names)


def _by_operation(raw: Entry, rule: Rule, uses: list[Use], names: set[str]) -> list[Entry]:
    """Operations of which DAGs were named, and the others."""
    of_operation: dict[str, list[Use]] = {}
    for one in uses:
        of_operation.setdefault(one.operation, []).append(one)
    named = {name for name, found in of_operation.items() if exact_dags(found) is not None}
    other = of_operation.keys() - named
    about = [one for one in uses if one.operation in named]
    entries = []
    if named:
        entries.append(_about({**raw, "operations": tuple(sorted(named))}, rule, about))
    if other:
        entries.append({**raw, "operations": tuple(sorted(other))})
    if len(entries) > 1:
        entries[1]["id"] = _fresh(raw["id"], names)
    return entries


def _about(raw: Entry, rule: Rule, uses: list[Use]) -> Entry:
    """The rule for the DAGs that were used: one by one if they are few, else its own patterns that they match."""
    dags = exact_dags(uses)
    if dags is None:
        return raw
    if len(dags) <= _FEW and all(map(_is_id, dags)):
        return {**raw, "dags": tuple(dags)}
    matching = tuple(glob.text for glob in rule.dags if any(glob.matches(dag) for dag in dags))
    return {**raw, "dags": matching} if matching else raw


def _is_id(dag: str) -> bool:
    try:
        return parse_one_id(dag, "DAG") == dag
    except Mistake:
        return False


def _fresh(name: str, names: set[str]) -> str:
    """An id that no rule has."""
    made = next(made for number in range(2, len(names) + 3) if (made := f"{name}-{number}") not in names)
    names.add(made)
    return made


def _flow(value: Any) -> str:
    """Plain data in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    text = value if isinstance(value, str) else json.dumps(value)
    plain = not isinstance(value, str) or (_plain(text) and text.lower() not in _WORDS)
    return text if plain else json.dumps(text, ensure_ascii=False)
