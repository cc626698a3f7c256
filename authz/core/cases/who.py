"""The callers of tests: from what people write to `Caller`s, and their mistakes.

Law: a caller that no token and no run could be is a mistake. A group that no role lists is none: that is how one tests
strangers.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from authz.core.cases.callers import Caller, run_of
from authz.core.documents.wording import Mistake, Vocabulary
from authz.core.errors import Problem
from authz.core.model import Level
from authz.core.policy.case_draft import CaseSection
from authz.core.policy.case_schema import ANONYMOUS, AUTHENTICATED, CallerDraft
from authz.core.policy.draft import Draft

_BUILT_IN: Final[Mapping[str, Caller]] = {ANONYMOUS: Caller(), AUTHENTICATED: Caller(token=True)}


class Callers:
    """The callers that the tests of one file may name: its own, and those of the policy file."""

    def __init__(self, draft: Draft, section: CaseSection) -> None:
        self._issuers = draft.issuer_names
        self._near_issuer = Vocabulary(draft.issuer_names).near
        self._granted = draft.entry_names
        self._near_granted = Vocabulary(draft.entry_names or ()).near
        self._section = section
        self._shared = draft.cases.callers if section is not draft.cases else {}
        self._broken = {loc[1] for part in (draft.cases, section) for loc in part.partial if loc[0] == "callers"}
        self.named: dict[str, Caller] = {}
        for name, entry in {**self._shared, **section.callers}.items():
            try:
                self.named[name] = self.made(entry)
            except Mistake:
                self._broken.add(name)  # `problems` reports it where it is defined
        self._near = Vocabulary([*_BUILT_IN, *self.named]).near

    def problems(self) -> Iterator[Problem]:
        """The mistakes in this file's `callers`."""
        for name, entry in self._section.callers.items():
            if name in self._shared:
                message = f"the policy file has a caller `{name}` too"
                hint = "it is known here: remove this one, or choose another name"
                yield self._section.document.problem(("callers", name), message, hint, key=True)
            if ("callers", name) not in self._section.partial:
                try:
                    self.made(entry)
                except Mistake as mistake:
                    yield self._section.document.problem(("callers", name), mistake.message, mistake.hint)

    def known_badly(self, name: str) -> bool:
        """Whether the caller of this name has a mistake, so that no test of it can be read."""
        return name in self._broken

    def of_name(self, name: str) -> Caller:
        """The caller of a name. Raises Mistake."""
        found = _BUILT_IN.get(name) or self.named.get(name)
        if found is None:
            raise Mistake(f"unknown caller `{name}`", self._near(name) or "define it under `callers`")
        return found

    def made(self, entry: CallerDraft) -> Caller:
        """The caller that an entry describes. Raises Mistake."""
        token = bool(entry.groups or entry.client or entry.subject or entry.issuer or entry.grants)
        if not token and entry.run is None:
            raise Mistake("the caller has nothing", f"for one without groups write {AUTHENTICATED}, or {ANONYMOUS}")
        if entry.issuer and entry.issuer not in self._issuers:
            hint = self._near_issuer(entry.issuer) or "it must be the `name` of an issuer of the policy"
            raise Mistake(f"unknown issuer `{entry.issuer}`", hint)
        for name in entry.grants:
            if self._granted is not None and name not in self._granted:
                hint = self._near_granted(name) or "it must be the `id` of an entry of `grantable` of the policy"
                raise Mistake(f"unknown grant `{name}`", hint)
        run = None
        if entry.run is not None:
            dag, task, level = entry.run
            if token and level not in {"", Level.ASSERTED.value}:
                raise Mistake("a service account can only assert which run it is", "remove `identity`, or the account")
            run = run_of(dag, task, Level(level or (Level.ASSERTED if token else Level.VERIFIED)))
        return Caller(
            token=token,
            issuer=entry.issuer,
            subject=entry.subject,
            client=entry.client,
            groups=entry.groups,
            grants=entry.grants,
            run=run,
        )


def shown(who: str | CallerDraft) -> str:
    """A caller in the name of a test that has no name."""
    if isinstance(who, str):
        return who
    run = f"DAG {who.run[0]}" if who.run is not None else ""
    client, granted = f"client {who.client}" if who.client else "", f"grant {' and '.join(who.grants)}"
    parts = [" and ".join(who.groups), client, who.subject, granted if who.grants else "", run]
    return ", ".join(filter(None, parts)) or f"a token of {who.issuer}"
