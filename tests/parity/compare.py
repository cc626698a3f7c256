"""The comparison of two sets of answers, and the reviewed list of what may differ.

Law: nothing differs that the list does not name, and the list names nothing that does not differ: an entry that no
longer says the truth is as wrong as a difference that nobody has looked at.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from authz.core.documents import yaml_document

LISTED = Path(__file__).with_name("differences.yaml")


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Difference(_Section):
    """What Airflow and we judge differently, on purpose: for whom, on which operations or routes, and why.

    With `methods` only these methods of them.
    """

    who: tuple[str, ...]
    operations: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    airflow: Literal["allows", "refuses"]
    why: str

    def names(self, cell: "Cell") -> bool:
        """Whether the entry is about this question."""
        meant = cell.operation in self.operations or cell.route in self.routes
        return meant and cell.who in self.who and (not self.methods or cell.route.partition(" ")[0] in self.methods)


class NotThere(_Section):
    """Routes that the compared Airflow does not have, or has not switched on: everyone gets one of `statuses`."""

    routes: tuple[str, ...]
    statuses: tuple[int, ...] = (404, 405)
    why: str


class Answered(_Section):
    """Routes whose answer to whoever may ask is an error, with these statuses, and no refusal."""

    routes: tuple[str, ...]
    statuses: tuple[int, ...]
    why: str


class Listed(_Section):
    """The whole list."""

    differences: tuple[Difference, ...]
    not_there: tuple[NotThere, ...] = ()
    answered: tuple[Answered, ...] = ()


@dataclass(frozen=True, order=True)
class Cell:
    """One question and both answers: True is "may"."""

    operation: str
    route: str
    who: str
    airflow: bool
    ours: bool

    def __str__(self) -> str:
        airflow, ours = ("allows" if answer else "refuses" for answer in (self.airflow, self.ours))
        return f"{self.who}: {self.route} ({self.operation}): Airflow {airflow}, we {ours.removesuffix('s')}"


@dataclass(frozen=True)
class Report:
    """What came of it. `wrong` is empty when all is well."""

    cells: tuple[Cell, ...]
    listed: tuple[Cell, ...]
    wrong: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people: the verdict last."""
        yield from self.wrong
        right = sum(cell.airflow == cell.ours for cell in self.cells) + len(self.listed)
        yield f"parity {right} of {len(self.cells)}, {len(self.listed)} listed differences"


def read(path: Path = LISTED) -> Listed:
    """The reviewed list. Raises AssertionError with its mistakes."""
    found, problems = yaml_document.validate(yaml_document.parse(path.read_bytes(), path.name), Listed)
    assert found is not None, "\n".join(map(str, problems))
    return found


def compare(cells: Iterable[Cell], differences: Iterable[Difference]) -> Report:
    """Hold the answers against each other and against the list."""
    cells = tuple(sorted(cells))
    allowed = {"allows": True, "refuses": False}
    listed: set[Cell] = set()
    wrong: list[str] = []
    for entry in differences:
        named = [cell for cell in cells if entry.names(cell)]
        differing = [cell for cell in named if cell.airflow == allowed[entry.airflow] != cell.ours]
        wrong += [f"listed, and no difference: {cell} ({entry.why})" for cell in named if cell not in differing]
        wrong += [f"listed, and not asked: {name} ({entry.why})" for name in _unused(entry, named)]
        listed.update(differing)
    wrong += [f"differs: {cell}" for cell in cells if cell.airflow != cell.ours and cell not in listed]
    return Report(cells=cells, listed=tuple(sorted(listed)), wrong=tuple(wrong))


def _unused(entry: Difference, named: Iterable[Cell]) -> Iterator[str]:
    """The parts of an entry that stand for nothing."""
    found = tuple(named)
    for key, said in (("who", entry.who), ("operation", entry.operations), ("route", entry.routes)):
        yield from sorted(set(said) - {getattr(cell, key) for cell in found})


def statuses(entries: Iterable[NotThere | Answered]) -> Mapping[str, tuple[int, ...]]:
    """The statuses that each listed route may answer."""
    return {route: entry.statuses for entry in entries for route in entry.routes}
