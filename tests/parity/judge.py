"""Both sides asked, and held against each other: `make parity` and its test."""

from authz.core import catalogue
from tests.parity import ours, theirs
from tests.parity.asks import asked_routes
from tests.parity.compare import Cell, Report, compare, read

VERSION = "3.3"


def judge(airflow: theirs.Airflow) -> Report:
    """The report on a running Airflow."""
    table, listed = catalogue.load(VERSION), read()
    allowed, unclear = theirs.verdicts(airflow.answers(table), listed)
    we_allow = ours.verdicts(table)
    operations = {f"{method} {template}": name for (method, template), name in asked_routes(table).items()}
    cells = [
        Cell(operation=operations[route], route=route, who=who, airflow=answer, ours=we_allow[who, route])
        for (who, route), answer in allowed.items()
    ]
    report = compare(cells, listed.differences)
    return Report(cells=report.cells, listed=report.listed, wrong=(*unclear, *report.wrong))
