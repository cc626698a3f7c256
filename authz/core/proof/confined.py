"""What two policies say differently about the files of teams: which may have rules, and within which confines.

Law: never too little. Confines are wider unless each of the widest rules that they permit is within one that the others
permit, by `authz.core.policy.coverage`, which finds fewer containments than there are. A team changes its file alone,
so what its confines permit is given with them.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from authz.core.policy.compiled import Policy
from authz.core.policy.confines import Confines
from authz.core.policy.coverage import covers
from authz.core.policy.operations import Words
from authz.core.policy.rules import Effect
from authz.core.proof.condition import Condition

_MEANS: Final = "what its team may give without another change of the policy file"
_KEYS: Final = ("roles", "dags", "operations", "destinations")


def about_confines(old: Policy, new: Policy) -> Iterator[Condition]:
    """The differences, file by file."""
    for name in sorted(old.confines.keys() | new.confines.keys()):
        before, after = old.confines.get(name), new.confines.get(name)
        if after is None:
            yield Condition(text=f"the file `{name}` may have no rules any more", widens=False)
        elif before is None:
            said = "; ".join(f"{key}: {_said(after, key)}" for key in _KEYS)
            yield Condition(text=f"the file `{name}` may have rules now, {_MEANS}: {said}", widens=True)
        else:
            yield from _of_file(before, after, Words(new.catalogue))


def _of_file(before: Confines, after: Confines, words: Words) -> Iterator[Condition]:
    said = [(key, _said(before, key), _said(after, key)) for key in _KEYS]
    changes = "; ".join(f"{key}: {was} → {now}" for key, was, now in said if was != now)
    if not changes:
        return
    if not _within(after, before, words):
        text = f"the confines of `{before.name}`, {_MEANS}, have become wider: {changes}"
        yield Condition(text=text, widens=True)
        return
    same = _within(before, after, words)
    what = "are written otherwise, and permit the same" if same else "have become narrower"
    yield Condition(text=f"the confines of `{before.name}` {what}: {changes}", widens=False)


def _within(inner: Confines, outer: Confines, words: Words) -> bool:
    """Whether whatever the inner confines permit, the outer ones do. Both are those of one file."""
    widest = {rule.id: rule for rule in outer.widest(Effect.ALLOW)}
    return all(
        (wide := widest.get(rule.id)) is not None and {*rule.roles} <= {*wide.roles} and covers(wide, rule, words)
        for rule in inner.widest(Effect.ALLOW)
    )


def _said(confines: Confines, key: str) -> str:
    """What the confines have under a key; `any` where its absence permits everything."""
    if key == "dags":
        return _listed((glob.text for glob in confines.dags), "any" if confines.operations else "none")
    if key == "operations":
        return _listed(confines.operations, "any on the DAGs" if confines.dags else "none")
    return _listed(getattr(confines, key), "none")


def _listed(items: Iterable[str], without: str) -> str:
    return ", ".join(sorted(set(items))) or without
