"""From the tests that people wrote to cases, or every mistake in them.

Law: all mistakes of all files at once, each with its place. The requests of all tests together are bounded, because
every load decides them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from authz.core.cases.asking import ASKED, names_host
from authz.core.cases.callers import Caller
from authz.core.cases.case import ALLOW, DENY, Case, Expected
from authz.core.cases.questions import Questions, Setting
from authz.core.cases.shape import ONE_QUESTION, Found, answer, form_of, plane_of, shape
from authz.core.cases.who import Callers, shown
from authz.core.documents.wording import Mistake, Vocabulary
from authz.core.documents.yaml_document import Loc
from authz.core.errors import Problem
from authz.core.model import Plane, Request
from authz.core.policy import Effect
from authz.core.policy.case_draft import CaseSection
from authz.core.policy.case_schema import ANONYMOUS, EVERYONE, NO_ONE, CaseDraft
from authz.core.policy.draft import Draft
from authz.core.policy.rule_checks import all_rules
from authz.core.policy.rule_schema import RuleDraft
from authz.core.reasons import Reason

MOST_REQUESTS: Final = 100_000
"""Requests of all tests together: every load decides each of them, in some 15 µs."""

MOST_INCLUDED_REQUESTS: Final = 5_000
"""Requests of the tests of one file that `include` names. They do not count with the others."""

_APART: Final = "say plane: egress, or ask for requests to Airflow in a test without runs"

_Cell = tuple[Loc, str, Caller, tuple[Request, ...], Expected]
"""Where in the test, which row, who asks, what, and what must be decided."""


def compiled(draft: Draft, sections: Iterable[CaseSection]) -> tuple[list[Case], list[Problem]]:
    """The cases of all files, in their order, and the mistakes in their callers and tests."""
    compiler = _Compiler(draft)
    for section in sections:
        compiler.add(section)
    for included in draft.included:
        if included.section is not None:
            compiler.add_alone(included.section)
    return compiler.cases, compiler.problems


class _Compiler:
    """Collects the cases and the mistakes of one policy."""

    def __init__(self, draft: Draft) -> None:
        self.cases: list[Case] = []
        self.problems: list[Problem] = []
        self._draft = draft
        self._questions = Questions(draft.catalogue)
        self._rules = _Rules(draft)
        self._most = self._left = MOST_REQUESTS

    def add_alone(self, section: CaseSection) -> None:
        """The tests of a file whose requests do not count with those of others."""
        self._most = self._left = MOST_INCLUDED_REQUESTS
        self.add(section)

    def add(self, section: CaseSection) -> None:
        """The tests of one more file."""
        document, callers = section.document, Callers(self._draft, section)
        self.problems += [*callers.problems(), *_equal_names(section)]
        for index, entry in section.tests.items():
            loc = ("tests", index)
            if self._left < 0:
                return  # each mistake would be one more of a file that is too large already
            test = _Test(entry, callers, self._questions, self._rules, whole=loc not in section.partial)
            for cell in test.cells():
                self.cases.append(self._case(section, entry, loc, cell))
                if self._left < 0:
                    break
            self.problems += [
                document.problem((*loc, *inner), message, hint, key=_is_row(inner))
                for inner, message, hint in test.found
            ]
            if self._left < 0:
                hint = "name fewer operations and callers, or ask for single requests"
                message = f"with this test the tests have more than {self._most} requests in all"
                self.problems.append(document.problem(loc, message, hint))

    def _case(self, section: CaseSection, entry: CaseDraft, loc: Loc, cell: _Cell) -> Case:
        inner, row, caller, requests, expected = cell
        self._left -= len(requests)
        line, column = section.document.place((*loc, *inner), key=bool(inner))
        return Case(
            test=entry.name or _name(entry),
            row=row,
            file=section.document.file,
            line=line,
            column=column,
            caller=caller,
            requests=requests,
            expected=expected,
        )


class _Test:
    """Reads one test; `found` has its mistakes."""

    def __init__(
        self, entry: CaseDraft, callers: Callers, questions: Questions, rules: "_Rules", *, whole: bool
    ) -> None:
        """`whole`: the entry has lost no key, so what it lacks is a mistake."""
        self.found: list[Found] = []
        self._entry = entry
        self._callers = callers
        self._questions = questions
        self._form = form_of(entry)
        self._caller = self._who() if entry.who else Caller()
        plane = plane_of(entry, self._caller)
        self._setting = Setting(
            plane=plane,
            host=entry.host,
            destination=entry.destination,
            base=entry.base,
            narrowed=entry.narrowed or bool(entry.shows or entry.hides),
        )
        amiss = [*shape(entry, plane, self._caller)] if whole else []
        self._clear = whole and not amiss and self._caller is not None
        self.found += amiss
        if self._form in {"", *ONE_QUESTION}:
            self.found += answer(entry, rules.effects, rules.near)

    def cells(self) -> Iterator[_Cell]:
        """Its cells, as far as it is clear what the test asks; those of a test with mistakes are of no use."""
        if not self._clear or self._caller is None:
            return
        if self._form == "matrix":
            yield from self._matrix(self._entry.among or (ANONYMOUS, *self._callers.named))
        elif self._form == "table":
            yield from self._table(self._caller)
        else:
            requests = self._one()
            if not self.found:
                yield (), "", self._caller, requests, _expected(self._entry)

    def _who(self) -> Caller | None:
        """The caller; None if it has a mistake."""
        who = self._entry.who
        if isinstance(who, str) and self._callers.known_badly(who):
            return None
        try:
            return self._callers.of_name(who) if isinstance(who, str) else self._callers.made(who)
        except Mistake as mistake:
            self.found.append((("who",), mistake.message, mistake.hint))
            return None

    def _one(self) -> tuple[Request, ...]:
        entry, setting = self._entry, self._setting
        never = entry.expect == "deny"
        try:
            if self._form == "request":
                requests = self._questions.of_request(entry.request, setting)
            else:
                requests = self._questions.of_operation(entry.operation, entry.dag, setting, never=never)
            if entry.shows or entry.hides:
                self._questions.check_narrowed(requests)
        except Mistake as mistake:
            self.found.append(((self._form,), mistake.message, mistake.hint))
            return ()
        return requests

    def _row(self, text: str, *, never: bool) -> tuple[Request, ...]:
        try:
            return self._questions.of_row(text, self._setting, never=never)
        except Mistake as mistake:
            self.found.append(((self._form, text), mistake.message, mistake.hint))
            return ()

    def _table(self, caller: Caller) -> Iterator[_Cell]:
        for text, outcome in self._entry.table.items():
            requests = self._row(text, never=outcome == "deny")
            yield ("table", text), text, caller, requests, ALLOW if outcome == "allow" else DENY

    def _matrix(self, names: Sequence[str]) -> Iterator[_Cell]:
        """A cell for each row and caller: those that the row names are allowed, and no others."""
        among = self._among(names)
        near = Vocabulary(among).near
        for text, allowed in self._entry.matrix.items():
            may = () if allowed == NO_ONE else tuple(among) if allowed == EVERYONE else allowed
            for position, name in enumerate(may):
                if name not in among and not self._callers.known_badly(name):
                    hint = near(name) or "define it under `callers`, or name it in `among`"
                    self.found.append((("matrix", text, position), f"`{name}` is not among the callers", hint))
            requests = self._row(text, never=False)
            runs = self._runs_that_cannot(requests, among)
            if runs and not self._entry.among:
                self.found += self._misplaced(text, () if allowed == EVERYONE else may, runs)
            for name, caller in among.items():
                if name not in runs:
                    yield ("matrix", text), f"{text}, {name}", caller, requests, ALLOW if name in may else DENY

    def _among(self, names: Sequence[str]) -> dict[str, Caller]:
        """The callers of a matrix."""
        among: dict[str, Caller] = {}
        for position, name in enumerate(names):
            if not self._callers.known_badly(name):
                try:
                    among[name] = self._callers.of_name(name)
                except Mistake as mistake:
                    self.found.append((("among", position), mistake.message, mistake.hint))
        return among

    def _runs_that_cannot(self, requests: Sequence[Request], among: Mapping[str, Caller]) -> frozenset[str]:
        """The runs, if the row is inbound: it does not ask for them, and one that `among` names is a mistake."""
        if not any(request.plane is Plane.INBOUND for request in requests):
            return frozenset()
        runs = frozenset(name for name, caller in among.items() if caller.run is not None)
        for position, name in enumerate(self._entry.among):
            mistake = ("among", position), f"`{name}` is a run, which calls on egress", _APART
            if name in runs and mistake not in self.found:
                self.found.append(mistake)
        return runs

    def _misplaced(self, row: str, may: Sequence[str], runs: frozenset[str]) -> Iterator[Found]:
        """What shows that an inbound row was meant for egress: a host that need not be Airflow's, or a run in it."""
        method, _, url = row.partition(" ")
        named = [name for name in may if name in runs]
        if self._setting.plane is None and method in ASKED and (self._entry.host or names_host(method, url)):
            message = f"`{row}` has a host, and runs are among the callers: either plane may be meant"
            yield ("matrix", row), message, "say plane: egress, or plane: inbound"
        elif named:
            yield ("matrix", row), f"`{named[0]}` is a run, which calls on egress", "name callers with a token"


class _Rules:
    """The effect of every rule by its id; None where some rules are not known, so that nothing is unknown."""

    def __init__(self, draft: Draft) -> None:
        self.effects: dict[str, Effect] | None = None
        whole = draft.made.complete and len(draft.included) == len(draft.include)
        whole &= all(one.document is not None for one in draft.included)
        whole &= not any(loc[0] == "rules" for loc in draft.partial)
        if whole and isinstance(draft.document.data.get("rules", ()), tuple):
            made = ((entry.id, _effect(entry)) for _, entry in all_rules(draft))
            self.effects = dict(made) | dict.fromkeys(draft.built_in, Effect.ALLOW)
        self.near = Vocabulary(self.effects or ()).near


def _effect(entry: RuleDraft) -> Effect:
    return Effect.DENY if entry.deny else Effect.PUBLIC if entry.public else Effect.ALLOW


def _equal_names(section: CaseSection) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, entry in section.tests.items():
        if entry.name and first.setdefault(entry.name, index) != index:
            line = section.document.place(("tests", first[entry.name]))[0]
            message = f"there is another test `{entry.name}`"
            hint = f"the first is on line {line}: choose another name"
            yield section.document.problem(("tests", index, "name"), message, hint)


def _is_row(inner: Loc) -> bool:
    return len(inner) == len(("table", "row")) and inner[0] in {"table", "matrix"}


def _expected(entry: CaseDraft) -> Expected:
    return Expected(
        allow=entry.expect == "allow",
        reason=Reason(entry.reason) if entry.reason else None,
        rule=entry.rule,
        shows=entry.shows,
        hides=entry.hides,
    )


def _name(entry: CaseDraft) -> str:
    """The name of a test that has none."""
    form = form_of(entry)
    if form == "matrix":
        return "matrix"
    asked = {"request": entry.request, "operation": f"{entry.operation} {entry.dag}".strip(), "table": "table"}
    return f"{shown(entry.who)}: {asked[form]}"
