from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from authz.core.documents import yaml_document, yaml_reader
from authz.core.documents.wording import Worded
from authz.core.errors import MOST_PROBLEMS, ConfigError, PolicyError, Problem, ProblemsError
from tests.support.examples import examples


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Part(Strict):
    name: str
    size: int = 0


class Whole(Strict):
    parts: tuple[Part, ...] = ()
    table: dict[str, Part] = {}
    either: Part | str = ""
    word: Literal["left", "right"] = "left"


def data(text):
    return yaml_document.parse(text.encode(), "f.yaml").data


def problems(text):
    """Every problem of the text as `line:column message (hint)`, from the parser or from the model."""
    try:
        document = yaml_document.parse(text.encode() if isinstance(text, str) else text, "f.yaml")
    except ProblemsError as failure:
        found = failure.problems
    else:
        found = yaml_document.validate(document, Whole)[1]
    return [str(problem).removeprefix("f.yaml").removeprefix(":") for problem in found]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("yes", "yes"), ("y", "y"), ("Off", "Off"),
        ("true", True), ("True", True), ("TRUE", True), ("tRue", "tRue"), ("false", False), ("FALSE", False),
        ("", None), ("~", None), ("null", None), ("Null", None), ("nULL", "nULL"), ("~a", "~a"),
        ("0", 0), ("-12", -12), ("+7", 7), ("010", 10), ("0o17", 15), ("0x1F", 31), ("0b1", "0b1"), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("-1e3", -1000.0), ("1e-3", 0.001), ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        (".inf", ".inf"), (".nan", ".nan"), ("2026-01-01", "2026-01-01"), ("-", "-x"), ("0o8", "0o8"),
        ("'1'", "1"), ('"true"', "true"), ("'~'", "~"), ('""', ""), ("|\n  12\n", "12\n"),
        ("[1, a, []]", (1, "a", ())), ("{b: {}}", {"b": {}}),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text, value):
    text, value = ("-x", value) if text == "-" else (text, value)
    found = data(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_resolved_by_the_same_rules():
    assert data('on: 1\n"true": 2\n"<<": 3\n') == {"on": 1, "true": 2, "<<": 3}


def test_a_byte_order_mark_is_passed_over():
    assert yaml_document.parse(b"\xef\xbb\xbfa: 1", "f").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["the file is empty"]),
        ("# only a comment\n", ["the file is empty"]),
        ("---\n", ["2:1: the file is not a mapping"]),
        ("- a\n", ["1:1: the file is not a mapping"]),
        ("text\n", ["1:1: the file is not a mapping"]),
        ("*a\n", ["1:1: the alias", "1:1: the file is not a mapping"]),
        (b"a: \xff\n", ["1:4: the file is not UTF-8"]),
        ("a: é\nb: é".encode() + b"\xc3", ["2:5: the file is not UTF-8"]),
        ("a: 1".encode("utf-16"), ["1:1: the file is not UTF-8"]),
        ("a: 1".encode("utf-16-be"), ["1:1: not valid YAML: control characters are not allowed"]),
        ("é: 1\né: \x01", ["2:4: not valid YAML: control characters are not allowed"]),
        ("a:\n\t- b\n", ["2:1: not valid YAML: found character that cannot start any token"]),
        ("a: [*]\n", ["1:6: not valid YAML"]),
        ("a: [/x/{id}]\n", ["1:8: not valid YAML"]),
        ("a: b: c\n", ["1:5: not valid YAML: mapping values are not allowed in this context"]),
        ("a: 1\na: 1\nb: [\n", ["2:1: the key `a` is given twice", "4:1: not valid YAML"]),
        ("a: " + "[" * 31 + "]" * 31, ["1:1: unknown key `a`"]),
        ("a: " + "[" * 32 + "]" * 32, ["1:35: nested more than 32 deep"]),
        ("a: " + "[" * 100_000, ["1:35: nested more than 32 deep"]),
        ("a:\n" + "- " * 100, ["2:63: nested more than 32 deep"]),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused(text, expected):
    found = problems(text)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.removeprefix(" ").startswith(start)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word: left\nword: right\n", "2:1: the key `word` is given twice (the first is on line 1)"),
        ("table: {x: {name: a, name: b}}\n", "1:22: the key `name` is given twice (the first is on line 1)"),
        ("word: &a left\n", "1:7: the anchor `&a` is not allowed here (write the value out where it is used)"),
        ("either: *a\n", '1:9: the alias `*a` is not allowed here (for a pattern write "*a")'),
        ("parts: [*a]\n", '1:9: the alias `*a` is not allowed here (for a pattern write "*a")'),
        ("either: !!str x\n", "1:9: a tag (`!…`) is not allowed here (remove it, or put the text in quotes)"),
        ("either: ! x\n", "1:9: a tag (`!…`) is not allowed here (remove it, or put the text in quotes)"),
        ("table: !!map {}\n", "1:8: a tag (`!…`) is not allowed here (remove it, or put the text in quotes)"),
        ("parts: !!python/object:os.system []\n", "1:8: a tag"),
        ("<<: {word: left}\n", "1:1: the merge key `<<` is not allowed here (write the keys out)"),
        ("1: x\n", "1:1: this key is not text (put it in double quotes)"),
        ("true: x\n", "1:1: this key is not text (put it in double quotes)"),
        ("? [a, b]\n: x\n", "1:3: this key is not text (put it in double quotes)"),
        ("? {<<: b}\n: x\n", "1:3: this key is not text (put it in double quotes)"),
        ("*a : x\n", '1:1: the alias `*a` is not allowed here (for a pattern write "*a")'),
        ("either: 1" + "0" * 50 + "\n", "1:9: the number is too large (put it in double quotes if it is text)"),
        ("either: 1e999\n", "1:9: the number is too large (put it in double quotes if it is text)"),
        (
            "word: left\n---\nword: left\n",
            "2:1: a second document is not allowed here (remove the line `---` before it)",
        ),
        ("%YAML 1.1\n---\nword: left\n", "1:1: a `%` directive is not allowed here (our files are YAML 1.2)"),
        ("%TAG ! tag:x:\n---\nword: left\n", "1:1: a `%` directive is not allowed here (our files are YAML 1.2)"),
    ],
)
def test_traps_are_refused_once_with_their_place(text, expected):
    found = problems(text)
    assert found[0].startswith(expected)
    assert len(found) == (2 if text.startswith("? {") else 1)


def test_yaml_12_may_be_declared():
    assert data("%YAML 1.2\n---\na: 1\n") == {"a": 1}


def test_a_billion_laughs_cost_nothing():
    layers = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    with_aliases = yaml_document.parse("\n".join(layers).encode(), "f")
    assert len(with_aliases.problems) == 20 + 19 * 9
    assert all(len(items) <= 9 for items in with_aliases.data.values())


def test_a_file_over_the_limit_is_not_read():
    found = problems(b"a: 1\n" + b" " * yaml_document.MAX_BYTES)
    assert found == [" the file is too large (the limit is 16777216 bytes)"]


def test_parse_raises_the_class_that_it_is_given():
    with pytest.raises(ConfigError) as caught:
        yaml_document.parse(b"", "f.yaml", error=ConfigError)
    assert caught.value.problems == (Problem("f.yaml", 0, 0, "the file is empty"),)


def test_validate_returns_the_model():
    document = yaml_document.parse(b"parts: [{name: a, size: 3}]\ntable: {x: {name: b}}\neither: {name: c}\n", "f")
    assert yaml_document.validate(document, Whole) == (
        Whole(parts=(Part(name="a", size=3),), table={"x": Part(name="b")}, either=Part(name="c")),
        [],
    )


def test_a_model_is_not_returned_when_the_parser_had_complaints():
    document = yaml_document.parse(b"word: &x left\n", "f")
    model, found = yaml_document.validate(document, Whole)
    assert model is None
    assert len(found) == 1


def test_all_problems_of_parser_and_model_come_sorted_by_place():
    text = "words: left\nparts:\n  - {nam: a}\n  - {name: a, name: b, size: 1.5}\ntable: {x: 3}\nword: up\n"
    assert problems(text) == [
        "1:1: unknown key `words` (did you mean `word`?)",
        "3:5: `name` is missing",
        "3:6: unknown key `nam` (did you mean `name`?)",
        "4:15: the key `name` is given twice (the first is on line 4)",
        "4:30: expected a whole number, found a number",
        "5:12: expected a mapping, found a number (a mapping consists of `key: value` pairs)",
        "6:7: expected `left` or `right`, found `up`",
    ]


def test_places():
    document = yaml_document.parse(b"parts:\n  - name: a\n    size: 1\ntable: {x: {name: [1, 2]}}\n", "f")
    assert document.place(()) == (1, 1)
    assert document.place(("parts",)) == (2, 3)
    assert document.place(("parts",), key=True) == (1, 1)
    assert document.place(("parts", 0)) == (2, 5)
    assert document.place(("parts", 0, "size")) == (3, 11)
    assert document.place(("parts", 0, "size"), key=True) == (3, 5)
    assert document.place(("parts", 0, "missing")) == (2, 5)
    assert document.place(("parts", 7)) == (2, 3)
    assert document.place(("table", "Part", "x", "name", "tuple[int]", 1)) == (4, 23)
    assert document.place(("table", "x", "name", 1), key=True) == (4, 23)
    assert document.at(("table", "x", "name", 1)) == 2
    with pytest.raises(LookupError):
        document.at(("table", "y"))


def test_only_the_places_near_the_top_are_kept_until_a_deeper_one_is_asked_for():
    text = "".join(f"- {{name: n{number}, size: 1, more: {{a: [1, 2]}}}}\n" for number in range(100))
    document = yaml_document.parse(f"parts:\n{text}".encode(), "f")
    before = document.data
    assert document.place(("parts", 99)) == (101, 3)
    assert len(document._places) == 2
    assert document.data is before
    assert document.place(("parts", 99, "more", "a", 1)) == (101, 38)
    assert len(document._places) == 2 + 3
    assert document.data is before
    assert document.place(("parts", 98, "size"), key=True) == (100, 15)


# Twice as long as a column can count. Only the length matters, so the keys are long and few: each one costs time.
LONG_LINE = "".join(f"k{number:0100}: 1, " for number in range(20_000))


@pytest.mark.parametrize(
    ("text", "loc", "place"),
    [
        ("parts: [x: {name: [1, 2]}, y: {name: [3]}]\n", ("parts", 1, "y", "name", 0), (1, 39)),
        (f"a: {{b: {{{LONG_LINE}\n d: {{e: 2}}}}, f: {{g: 3}}}}\n", ("a", "b", "d", "e"), (2, 9)),
        (f"a: {{{LONG_LINE}c: {{d: [1, 2]}}}}\n", ("a", "c", "d", 1), (1, 1_048_576)),
    ],
    ids=["a pair that is a mapping only in a list", "a long line in an entry", "an entry far to the right"],
)
def test_places_in_an_entry_that_cannot_be_read_alone(text, loc, place):
    document = yaml_document.parse(text.encode(), "f")
    assert document.place(loc) == place


@pytest.mark.parametrize(("index", "column"), [(0, 13), (1, 20)])
def test_places_in_an_entry_that_reads_otherwise_alone(index, column):
    """Out of its list, `id: x, ` is a mapping whose text ends with a comma."""
    document = yaml_document.parse(b"rules: [id: x, id: y]", "f")
    assert document.place(("rules", index, "id")) == (1, column)


def test_equal_words_are_one_object():
    first, second = data("list: [{name: viewer}, {name: viewer}]")["list"]
    assert first["name"] is second["name"]
    assert next(iter(first)) is next(iter(second))


def test_a_place_far_to_the_right_stays_on_its_line():
    wide = "a: {b: '" + "x" * 1_800_000 + "', c: 2}"
    document = yaml_document.parse(b"x: 1\n" + wide.encode(), "f")
    assert document.place(("a", "c"))[0] == 2


@examples(150)
@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!#|>%@`'\"\n ,?<~019.", max_size=60).map(str.encode))
def test_parse_is_total(raw):
    try:
        document = yaml_document.parse(raw, "f")
    except ProblemsError as failure:
        problems_found = failure.problems
    else:
        problems_found = ("none",)
        assert isinstance(document.data, dict)
        yaml_document.validate(document, Whole)
    assert problems_found


def every_place(document):
    def walk(loc, node):
        yield loc
        for part in node if isinstance(node, dict) else range(len(node)) if isinstance(node, tuple) else ():
            yield from walk((*loc, part), node[part])

    return {(loc, key): document.place(loc, key=key) for loc in walk((), document.data) for key in (False, True)}


@examples(100)
@given(st.data())
def test_places_that_are_read_later_are_those_of_the_whole_file(data):
    leaf = st.sampled_from(["viewer", "a b", "é: #", "", "1", 'x"y', "long " * 40, "two\nlines\n"]) | st.integers(0, 9)
    inner = st.recursive(
        leaf,
        lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from("abcd"), some, max_size=3),
        max_leaves=8,
    )
    value = data.draw(st.dictionaries(st.sampled_from("rstu"), inner, min_size=1))
    text = yaml.dump(
        value,
        default_flow_style=data.draw(st.sampled_from([True, False, None])),
        allow_unicode=True,
        width=data.draw(st.sampled_from([20, 80])),
        indent=data.draw(st.sampled_from([2, 4])),
    )
    whole = yaml_reader.Reader("f", text)
    expected = yaml_document.Document("f", text, whole.document(), whole.places, ())
    assert every_place(yaml_document.parse(text.encode(), "f")) == every_place(expected)


_PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=6)


@examples(100)
@given(
    st.recursive(
        _PRINTABLE | st.integers(-(10**9), 10**9) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_PRINTABLE, inner, max_size=3),
        max_leaves=12,
    )
)
def test_what_json_writes_is_read_back(value):
    import json

    def frozen(node):
        if isinstance(node, list):
            return tuple(frozen(item) for item in node)
        return {key: frozen(item) for key, item in node.items()} if isinstance(node, dict) else node

    document = yaml_document.parse(json.dumps({"value": value}, ensure_ascii=False).encode(), "f")
    assert document.data == {"value": frozen(value)}


@pytest.mark.parametrize(
    "line",
    ["a: [*x]\n", "a: [&x 1]\n", "a: [!x 1]\n", "1: a\n", "a: 1\n", "a: [1e999]\n", "<<: a\n"],
    ids=["aliases", "anchors", "tags", "keys that are no text", "duplicate keys", "too large numbers", "merge keys"],
)
def test_of_a_flood_of_broken_yaml_a_thousand_mistakes_are_kept_and_the_others_counted(line):
    reader = yaml_reader.Reader("f.yaml", "first: 1\n" + line * 1500)
    reader.document()
    assert len(reader.problems) == MOST_PROBLEMS
    assert reader.more >= 499  # the first of equal keys is none
    found = problems_of("first: 1\n" + line * 1500)
    assert found[:-1] == tuple(sorted(reader.problems))
    assert found[-1] == Problem("f.yaml", 0, 0, f"and {reader.more} more mistakes", "correct these first")


def test_the_count_of_mistakes_is_also_there_where_reading_ends_early():
    flood = "a: [" + "*x, " * 1500
    assert problems_of(flood + "}")[-1].message == "and 501 more mistakes"  # not valid YAML is one
    assert problems_of(flood + "[" * 40)[-1].message == "and 501 more mistakes"  # nested too deep is one


class Names(Strict):
    names: tuple[str, ...]


def test_of_a_flood_of_wrong_values_a_thousand_are_worded_and_the_others_counted(monkeypatch):
    """Four rules with 400,000 numbers as roles, 3 MB: to place and word each of them took 30 s."""
    worded = []
    monkeypatch.setattr(yaml_document, "word", lambda detail, _model: worded.append(detail) or Worded("wrong", ""))
    document = yaml_document.parse(b"names: [" + b"1," * 5000 + b"]\n", "f.yaml", error=PolicyError)
    with pytest.raises(PolicyError) as caught:
        yaml_document.validate(document, Names)
    assert len(worded) == MOST_PROBLEMS
    assert [problem.message for problem in caught.value.problems] == ["wrong"] * MOST_PROBLEMS + [
        "and 4000 more mistakes"
    ]


@pytest.mark.parametrize(("begin", "entry"), [("a: [", "1,"), ("a: {", "b: 1,")], ids=["list", "mapping"])
def test_a_list_or_mapping_of_more_entries_than_any_file_needs_is_not_read_on(begin, entry):
    """4 MiB of `{}` as rules took 64 s and 1.8 GB."""
    text = begin + entry * (yaml_reader.MAX_ENTRIES + 1) + "]}"  # which would be a mistake of its own
    reader = yaml_reader.Reader("f.yaml", text)
    with pytest.raises(ProblemsError) as caught:
        reader.document()
    [problem] = caught.value.problems
    assert problem.message == f"the mapping or list has more than {yaml_reader.MAX_ENTRIES} entries"
    assert problem.hint == "none of our files needs that: write fewer"


def problems_of(text):
    with pytest.raises(ProblemsError) as caught:
        yaml_document.parse(text.encode(), "f.yaml")
    return caught.value.problems
