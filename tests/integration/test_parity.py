"""Our built-in roles, our auth manager's levels and Airflow's own roles are one: a real Airflow with FAB is the judge.

tests/parity asks every route of the catalogue as everybody, over HTTP. What may differ stands with its reason in
tests/parity/differences.yaml.
"""

import pytest

from authz.airflow import levels
from tests.parity.asks import PEOPLE
from tests.parity.judge import judge
from tests.parity.theirs import running
from tests.support.missing import skip_or_fail
from tests.support.sites.airflow import FAB

pytestmark = pytest.mark.timeout(300)
ROLES = ("viewer", "user", "op", "admin")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    if not FAB.exists():
        skip_or_fail("FAB is not installed: run `make .fab/.installed`")
    with running(tmp_path_factory.mktemp("parity") / "airflow") as airflow:
        yield airflow


def test_every_route_has_airflows_answer_or_a_listed_difference(airflow):
    report = judge(airflow)
    assert report.wrong == ()
    *_, verdict = report.lines()
    assert verdict == f"parity {len(report.cells)} of {len(report.cells)}, {len(report.listed)} listed differences"
    assert {cell.who for cell in report.cells} == set(PEOPLE)
    assert len(report.cells) > 1000
    for role in ROLES:  # the roles differ from each other, in our eyes and in Airflow's
        for stronger in ROLES[ROLES.index(role) + 1 :]:
            assert allowed(report, role) < allowed(report, stronger)


def allowed(report, who):
    """The routes that both let somebody use."""
    return {cell.route for cell in report.cells if cell.who == who and cell.airflow and cell.ours}


def our_level(who, asked):
    """What our auth manager's levels say to a question that FAB was asked."""
    what, _, word = asked.partition(" ")
    role = who if who in ROLES else ""
    if what == "view":
        return levels.may_view(role, word)
    if what.startswith("dag."):
        return levels.may_dag(role, word, what.removeprefix("dag."))
    return levels.may_dag(role, word.removeprefix("dag "), None) if what == "one" else levels.may(role, word, what)


def test_our_auth_managers_levels_are_those_of_fabs_default_roles(airflow):
    questions = airflow.fab["admin"].keys()
    assert len(questions) > 80
    granted = {asked for answers in airflow.fab.values() for asked, answer in answers.items() if answer}
    for who, answers in airflow.fab.items():
        differing = {asked for asked in questions if answers[asked] != our_level(who, asked)}
        # What FAB has no permission for at all, Airflow does not ask today; our levels keep it for admins.
        assert differing == (questions - granted if who == "admin" else set())
    for who in ("user", "op", "admin"):
        assert sum(airflow.fab[who].values()) > sum(airflow.fab["viewer"].values())
    assert not any(airflow.fab["stranger"].values())
