import difflib
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from authz.core.documents.wording import BROKEN, EXTRA, Mistake, Vocabulary, kind, near, was_reported, word


def refuse(value):
    raise Mistake("refused", "choose another")


def refuse_plainly(value):
    raise ValueError("refused plainly")


class Inner(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    colour: Annotated[str, Field(description="x")] = ""


class Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    text: str = ""
    flag: bool = False
    whole: int = 0
    number: float = 0.0
    items: tuple[str, ...] = ("x",)
    full: Annotated[tuple[str, ...], Field(min_length=1)] = ("x",)
    two: Annotated[tuple[str, ...], Field(min_length=2)] = ("x", "y")
    long: Annotated[str, Field(min_length=3)] = "xxx"
    table: dict[str, int] = {}
    inner: Inner | None = None
    inners: tuple[Annotated[Inner, Field(description="one")], ...] = ()
    by_name: dict[str, Annotated[Inner | str, Field()]] = {}
    direction: Literal["left", "right"] = "left"
    version: Literal[1] = 1
    own: Annotated[str, AfterValidator(refuse)] = ""
    plain: Annotated[str, AfterValidator(refuse_plainly)] = ""
    bounded: Annotated[int, Field(ge=10)] = 10
    pattern: Annotated[str, Field(pattern="^a$")] = "a"


class Required(BaseModel):
    name: Annotated[str, Field(description="what people call it")]
    size: int


def words(value, model=Model):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    found = [(detail, None if was_reported(detail) else word(detail, model)) for detail in caught.value.errors()]
    return [worded and (worded.message, worded.hint, detail["type"] == EXTRA) for detail, worded in found]


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"text": 3.3}, "expected text, found a number", "put it in double quotes"),
        ({"text": True}, "expected text, found the boolean true", "put it in double quotes"),
        ({"text": None}, "expected text, found nothing", "give it a value, or leave the key out"),
        ({"text": 1}, "expected text, found a number", "put it in double quotes"),
        ({"direction": ""}, "expected `left` or `right`, found empty text", ""),
        ({"text": ()}, "expected text, found a list", ""),
        ({"text": {}}, "expected text, found a mapping", ""),
        ({"flag": "yes"}, "expected true or false, found the text `yes`", "YAML 1.2 has only true and false"),
        ({"flag": "On"}, "expected true or false, found the text `On`", "YAML 1.2 has only true and false"),
        ({"flag": "hunter2"}, "expected true or false, found text", ""),
        ({"flag": 1}, "expected true or false, found a number", ""),
        ({"whole": "1"}, "expected a whole number, found text", ""),
        ({"whole": 1.5}, "expected a whole number, found a number", ""),
        ({"whole": True}, "expected a whole number, found the boolean true", ""),
        ({"number": "1"}, "expected a number, found text", ""),
        ({"items": "a"}, "expected a list, found text", "write it as [item, item]"),
        ({"items": {}}, "expected a list, found a mapping", ""),
        ({"table": ()}, "expected a mapping, found a list", "a mapping consists of `key: value` pairs"),
        ({"inner": "x"}, "expected a mapping, found text", "a mapping consists of `key: value` pairs"),
        ({"direction": "lft"}, "expected `left` or `right`, found `lft`", "did you mean `left`?"),
        ({"direction": "up"}, "expected `left` or `right`, found `up`", ""),
        ({"direction": 3}, "expected `left` or `right`, found 3", ""),
        ({"direction": True}, "expected `left` or `right`, found the boolean true", ""),
        ({"version": 2}, "expected 1, found 2", ""),
        ({"version": 1.5}, "expected 1, found a number", ""),
        ({"version": "1"}, "expected 1, found text", "write the number without quotes"),
        ({"own": ""}, "refused", "choose another"),
        ({"plain": ""}, "refused plainly", ""),
        ({"full": ()}, "this is empty", "give at least one entry, or leave the key out where it is optional"),
        ({"two": ("x",)}, "too short: at least 2", ""),
        ({"long": "x"}, "too short: at least 3", ""),
        ({"bounded": 3}, "it should be greater than or equal to 10", ""),
        ({"pattern": "b"}, "String should match pattern '^a$'", ""),
    ],
)
def test_every_kind_of_error_in_our_words(value, message, hint):
    assert words(value) == [(message, hint, False)]


def test_no_value_is_shown_that_may_be_a_secret():
    secret = "hunter2-hunter2"
    for key in ("flag", "whole", "number", "items", "table", "inner", "own", "pattern", "bounded"):
        assert secret not in str(words({key: secret}))


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"flg": 1}, "unknown key `flg`", "did you mean `flag`?"),
        ({"inner": {"color": 1}}, "unknown key `color`", "did you mean `colour`?"),
        ({"inners": ({"color": 1},)}, "unknown key `color`", "did you mean `colour`?"),
        ({"by_name": {"a": {"colr": 1}}}, "unknown key `colr`", "did you mean `colour`?"),
        ({"inner": {"zzz": 1}}, "unknown key `zzz`", "known keys: colour"),
    ],
)
def test_an_unknown_key_is_compared_with_the_keys_of_its_own_section(value, message, hint):
    assert words(value)[0] == (message, hint, True)


def test_a_missing_key():
    assert words({}, Required) == [
        ("`name` is missing", "what people call it", False),
        ("`size` is missing", "", False),
    ]


def test_what_was_reported_already_is_not_reported_again():
    assert words({"text": BROKEN}) == [None]


def test_a_list_is_not_too_short_because_of_an_item_that_was_reported():
    assert words({"full": (1,)}) == [("expected text, found a number", "put it in double quotes", False), None]


def test_an_error_of_the_whole_file():
    assert words("text") == [("expected a mapping, found text", "a mapping consists of `key: value` pairs", False)]


def test_near():
    assert near("viewr", ["viewer", "user"]) == "did you mean `viewer`?"
    assert near("zzz", ["viewer", "user"]) == ""


def test_kind():
    assert [kind(value) for value in (None, False, 1, 1.5, "x", "", (), {})] == [
        "nothing", "the boolean false", "a number", "a number", "text", "empty text", "a list", "a mapping",
    ]  # fmt: skip


class TestVocabulary:
    def test_a_vocabulary_suggests_the_name_that_near_suggests(self):
        names = Vocabulary(["dags:read", "dags:edit"])
        assert names.near("dags:reed") == near("dags:reed", ["dags:read", "dags:edit"]) == "did you mean `dags:read`?"
        assert names.near("dags:reed") == "did you mean `dags:read`?"
        assert names.near("pools") == ""

    def test_among_very_many_names_only_those_beside_it_are_compared(self, monkeypatch):
        compared = []
        monkeypatch.setattr(difflib, "get_close_matches", lambda text, names, n: compared.append(len(names)) or [])
        Vocabulary(f"name-{number}" for number in range(100_000)).near("name-5x")
        assert compared[0] <= 400

    def test_a_near_name_is_found_among_very_many(self):
        assert Vocabulary(f"team-{number:06}" for number in range(100_000)).near("team-05000x")

    def test_the_work_for_one_file_is_bounded(self, monkeypatch):
        compared = []
        monkeypatch.setattr(difflib, "get_close_matches", lambda text, names, n: compared.append(text) or [])
        names = Vocabulary(["read"])
        for number in range(10_000):
            names.near(f"reed{number}")
        names.near("reed1")
        names.near("r" * 100_000)
        assert len(compared) <= 200
