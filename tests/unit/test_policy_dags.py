"""Rules that go by DAG: which concern one DAG, what they name together, and what of it is remembered."""

import pytest

from authz.policy import Effect, dags
from authz.policy.dags import MAX_BYTES, NO_DAG, Applying, Limited, Unions
from authz.policy.patterns import parse_dag
from authz.policy.rules import Rule


def rule(name, *globs):
    return Rule(id=name, effect=Effect.ALLOW, planes=frozenset(), dags=tuple(map(parse_dag, globs)))


def place(plain, **rules):
    return Limited(plain, [rule(name, *globs) for name, globs in sorted(rules.items())])


FEW = place("", b=["sales_*", "x"], c=["x"])
MANY = place("m", **{f"n{number}": [f"team{number}_*", "x"] for number in range(5)}, z=["*"])


@pytest.mark.parametrize(
    ("where", "dag_id", "expected"),
    [
        (FEW, "sales_a", "b"),
        (FEW, "x", "b"),
        (FEW, "y", ""),
        (FEW, "", ""),
        (FEW, "*", ""),
        (FEW, "sales_*", "b"),
        (MANY, "team3_", "n3"),
        (MANY, "x", "n0"),
        (MANY, "y", "z"),
        (MANY, "~", "z"),
        (place("", a=[f"t{number}" for number in range(9)]), "t9", ""),
    ],
)
def test_the_smallest_rule_about_a_dag(where, dag_id, expected):
    assert where.about(dag_id) == expected


def test_what_stands_at_a_place():
    assert (FEW.rule, FEW.first, FEW.every) == ("", "b", "")
    assert (MANY.rule, MANY.first, MANY.every) == ("m", "n0", "z")


@pytest.mark.parametrize(
    ("applying", "one", "every", "any_"),
    [
        (Applying(""), "", "", ""),
        (Applying("k"), "k", "k", "k"),
        (Applying("", (FEW,)), "b", "", "b"),
        (Applying("a", (FEW,)), "a", "a", "a"),
        (Applying("k", (FEW,)), "b", "k", "b"),
        (Applying("m", (MANY,)), "m", "m", "m"),
        (Applying("", (MANY, FEW)), "b", "z", "b"),
        (Applying("", (FEW, MANY)), "b", "z", "b"),
        (Applying("", (place("", q=["y"]), FEW)), "b", "", "b"),
    ],
)
def test_the_smallest_of_the_rules_that_apply(applying, one, every, any_):
    assert (applying.to_dag("x"), applying.to_every_dag(), applying.to_any_dag()) == (one, every, any_)


@pytest.mark.parametrize(
    ("applying", "globs"),
    [
        (Applying(""), ()),
        (Applying("k"), ("*",)),
        (Applying("k", (FEW,)), ("*",)),
        (Applying("", (FEW,)), ("sales_*", "x")),
        (Applying("", (FEW, place("", q=["y"]))), ("sales_*", "x", "y")),
        (Applying("", (FEW, MANY)), ("*",)),
    ],
)
def test_what_rules_name_together(applying, globs):
    found = Unions().of(applying)
    assert found.globs == found.alone.allowed == globs
    assert found.alone.denied == ()
    assert found.size <= MAX_BYTES


def test_no_rule_names_no_dag():
    assert Unions().of(Applying("")) is NO_DAG


def test_equal_questions_are_answered_once():
    unions = Unions()
    assert unions.of(Applying("", (FEW,))) is unions.of(Applying("", (FEW,)))
    assert unions.of(Applying("", (FEW,))) is not unions.of(Applying("", (place("", b=["x"]),)))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(dags, "_MOST_KNOWN", 3)
    unions = Unions()
    for number in range(10):
        assert unions.of(Applying("", (place("", a=[f"t{number}"]),))).globs == (f"t{number}",)
        assert len(unions._known) <= 3


@pytest.mark.parametrize("letter", ["a", "é"])
def test_what_is_too_long_to_be_told_has_no_globs(letter):
    width = len(letter.encode())
    size = 100 * width + len('"",')
    count = MAX_BYTES // size
    texts = [f"{letter * 98}{number:0{2 * width}}" for number in range(count + 1)]
    fits, more = (Unions().of(Applying("", (place("", a=part),))) for part in (texts[:-1], texts))
    assert len(fits.globs) == count
    assert fits.size <= MAX_BYTES < more.size
    assert more.globs == more.alone.allowed == ()
