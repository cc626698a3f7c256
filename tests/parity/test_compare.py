"""The comparison itself: nothing that differs can slip through, and nothing can stay on the list for ever."""

import pytest

from authz.core import catalogue
from tests.parity import ours
from tests.parity.asks import PEOPLE, asked_routes
from tests.parity.compare import Answered, Cell, Difference, Listed, NotThere, compare, read
from tests.parity.theirs import verdicts

ROUTE = "GET /a"


def cell(who="viewer", *, airflow=True, mine=True, route=ROUTE, operation="a:read"):
    return Cell(operation=operation, route=route, who=who, airflow=airflow, ours=mine)


def entry(who="viewer", *, airflow="allows", operations=("a:read",), routes=()):
    return Difference(who=(who,), operations=operations, routes=routes, airflow=airflow, why="because")


def lines(cells, *entries):
    return list(compare(cells, entries).lines())


def test_equal_answers_are_parity():
    assert lines([cell(), cell("op"), cell("user", airflow=False, mine=False)]) == [
        "parity 3 of 3, 0 listed differences"
    ]


def test_a_difference_that_is_not_listed_is_wrong_in_either_direction():
    assert lines([cell(mine=False), cell("op", airflow=False)]) == [
        "differs: op: GET /a (a:read): Airflow refuses, we allow",
        "differs: viewer: GET /a (a:read): Airflow allows, we refuse",
        "parity 0 of 2, 0 listed differences",
    ]


@pytest.mark.parametrize("named", [entry(), entry(operations=(), routes=(ROUTE,))])
def test_a_listed_difference_is_parity(named):
    assert lines([cell(mine=False), cell("op")], named) == ["parity 2 of 2, 1 listed differences"]


def test_an_entry_for_another_role_or_the_other_direction_excuses_no_difference():
    assert len(lines([cell(mine=False), cell("op")], entry("op"))) == 3
    told = lines([cell(mine=False)], entry(airflow="refuses"))
    assert told[0].startswith("listed, and no difference: viewer: GET /a")
    assert told[1].startswith("differs: viewer")


def test_an_entry_that_is_not_true_any_more_is_wrong():
    told = lines([cell()], entry())
    assert told == [
        "listed, and no difference: viewer: GET /a (a:read): Airflow allows, we allow (because)",
        "parity 1 of 1, 0 listed differences",
    ]


def test_an_entry_about_nothing_is_wrong():
    told = lines([cell(mine=False)], entry(operations=("a:read", "b:read"), routes=("GET /b",)))
    assert told[:2] == ["listed, and not asked: b:read (because)", "listed, and not asked: GET /b (because)"]


NOTHING = Listed(differences=())


def said(status, *, admin=200, listed=NOTHING):
    found, unclear = verdicts({("viewer", ROUTE): status, ("admin", ROUTE): admin}, listed)
    return unclear or found.get(("viewer", ROUTE))


@pytest.mark.parametrize(("status", "expected"), [(200, True), (302, True), (401, False), (403, False)])
def test_statuses_200_and_302_are_a_yes_and_401_and_403_are_a_no(status, expected):
    assert said(status) is expected


def test_hiding_what_is_there_is_a_refusal():
    assert said(404, admin=200) is False
    assert said(404, admin=404) == [f"neither allowed nor refused: {who}: GET /a → 404" for who in ("viewer", "admin")]


@pytest.mark.parametrize("status", [400, 405, 409, 422, 500])
def test_another_error_is_unclear(status):
    assert said(status) == [f"neither allowed nor refused: viewer: GET /a → {status}"]


def test_an_error_that_is_listed_as_an_answer_is_one():
    listed = Listed(differences=(), answered=(Answered(routes=(ROUTE,), statuses=(400,), why="x"),))
    assert said(400, admin=400, listed=listed) is True
    assert said(403, admin=400, listed=listed) is False
    assert said(422, admin=400, listed=listed) == ["neither allowed nor refused: viewer: GET /a → 422"]


def test_a_route_listed_as_not_there_must_answer_404_and_is_not_compared():
    listed = Listed(differences=(), not_there=(NotThere(routes=(ROUTE,), why="x"),))
    assert said(404, admin=404, listed=listed) is None
    assert said(403, admin=404, listed=listed) == ["listed as not there: viewer: GET /a → 403"]
    assert said(404, admin=200, listed=listed) == ["listed as not there: admin: GET /a → 200"]


def test_what_is_listed_must_be_a_route():
    listed = Listed(differences=(), not_there=(NotThere(routes=("GET /b",), why="x"),))
    assert said(200, listed=listed) == ["listed, and no route: GET /b"]


def test_our_verdicts_cover_every_asked_route_for_every_person():
    table = catalogue.load("3.3")
    routes = {f"{method} {template}" for method, template in asked_routes(table)}
    assert len(routes) > 170
    verdicts = ours.verdicts(table)
    assert set(verdicts) == {(who, route) for who in PEOPLE for route in routes}
    assert not any(allowed for (who, _), allowed in verdicts.items() if who in {"nobody", "stranger"})


def test_every_listed_thing_has_a_reason_and_is_listed_once():
    listed = read()
    assert listed.differences
    for one in (*listed.differences, *listed.not_there, *listed.answered):
        assert len(one.why) > 20
    pairs = [
        (who, what)
        for one in listed.differences
        for who in one.who
        for what in (*one.operations, *one.routes)
    ]  # fmt: skip
    assert len(pairs) == len(set(pairs))


def test_an_unknown_key_in_the_list_is_an_error(tmp_path):
    path = tmp_path / "differences.yaml"
    path.write_text("differences:\n  - {whoo: [viewer], airflow: allows, why: x}\n")
    with pytest.raises(AssertionError, match="unknown key `whoo`"):
        read(path)
