"""Rules that go by DAG: which concern one DAG, what they name together, and what of it is remembered."""

import base64
import hashlib

import pytest

from authz.core.model import DagGrant
from authz.core.policy import Effect, dags
from authz.core.policy.dags import MAX_BYTES, NO_DAG, Applying, Limited, Unions, grant_json, reference_of
from authz.core.policy.patterns import parse_dag
from authz.core.policy.rules import Rule


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
    assert found.alone.reference == ""


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
def test_what_is_too_large_for_an_assertion_has_a_reference(letter):
    width = len(letter.encode())
    size = 100 * width + len('"",')
    count = MAX_BYTES // size
    texts = [f"{letter * 98}{number:0{2 * width}}" for number in range(count + 1)]
    fits, more = (Unions().of(Applying("", (place("", a=part),))) for part in (texts[:-1], texts))
    assert len(fits.globs) == count
    assert fits.size <= MAX_BYTES < more.size
    assert fits.alone.reference == ""
    assert more.globs == more.alone.allowed == tuple(sorted(texts))
    assert more.alone.reference == reference_of(grant_json(more.alone))


def test_a_reference_is_the_digest_of_what_the_gate_answers():
    data = grant_json(DagGrant(("a", "é_*"), ("x",)))
    assert data == '{"allowed":["a","é_*"],"denied":["x"]}'.encode()
    digest = hashlib.sha256(data).digest()
    assert reference_of(data) == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_grant_of_two_unions_has_a_reference_where_both_together_are_too_large(monkeypatch):
    monkeypatch.setattr(dags, "MAX_BYTES", 20)
    unions = Unions()
    allowed, small, large = (
        unions.of(Applying("", (place("", a=globs),))) for globs in (["sales_*"], ["x"], ["secret_*", "other"])
    )
    assert unions.grant(allowed, NO_DAG) is allowed.alone
    assert unions.grant(allowed, small) == DagGrant(("sales_*",), ("x",))
    found = unions.grant(allowed, large)
    assert found[:2] == (("sales_*",), ("other", "secret_*"))
    assert found.reference == reference_of(grant_json(found))
    assert unions.grant(allowed, large) is found
    assert hash(found) == hash(found.reference)
    assert hash(DagGrant(("a",))) == hash(DagGrant(("a",), ()))


def test_grants_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(dags, "MAX_BYTES", 1)
    monkeypatch.setattr(dags, "_MOST_KNOWN", 3)
    unions, denied = Unions(), Unions()
    allowed = unions.of(Applying("", (place("", a=["x"]),)))
    for number in range(10):
        without = denied.of(Applying("", (place("", a=[f"t{number}"]),)))
        assert unions.grant(allowed, without).denied == (f"t{number}",)
        assert len(unions._grants) <= 3


def test_unions_that_are_remembered_are_bounded_by_what_they_name(monkeypatch):
    monkeypatch.setattr(dags, "_MOST_GLOBS", 10)
    unions = Unions()
    for number in range(10):
        unions.of(Applying("", (place("", a=[f"t{number}_{part}" for part in range(4)]),)))
        assert sum(len(known.globs) for known in unions._known.values()) <= 10
    large = unions.of(Applying("", (place("", a=[f"x{part}" for part in range(40)]),)))
    assert len(large.globs) == 40
    assert unions._known.keys() == {key for key, known in unions._known.items() if known is large}


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (["sales_*", "sales_eu_*", "sales_eu_x"], ["sales_*"]),
        (["sales_*", "sales", "hr_x"], ["hr_x", "sales", "sales_*"]),
        (["*_secret", "hr_secret", "hr_*_secret"], ["*_secret"]),
        (["a*b*c", "a*bx*c", "abc", "a*c"], ["a*c"]),
        (["a*b*c", "a*bx*c", "abc", "ac"], ["a*b*c", "ac"]),
        (["*a*", "ba", "ab*", "b"], ["*a*", "b"]),
        (["a*", "*a"], ["*a", "a*"]),
        (["a*b", "a*b*", "a*"], ["a*"]),
        (["a.b", "a*b", "aXb"], ["a*b"]),
    ],
)
def test_what_another_glob_covers_is_left_out(globs, left):
    found = Unions().of(Applying("", (place("", a=globs),)))
    assert found.globs == tuple(left)
    assert found.size == sum(len(glob) + 3 for glob in left)


def test_nothing_is_left_out_where_finding_it_could_take_long(monkeypatch):
    monkeypatch.setattr(dags, "_MOST_PROBES", 5)
    assert Unions().of(Applying("", (place("", a=["a*", "ab*", "c"]),))).globs == ("a*", "ab*", "c")
