"""Files of configuration: several documents, JSON, aliases, and errors that show nothing of the text."""

import pytest

from authz.core.doctor import reading
from authz.core.doctor.reading import UnreadableError, documents

CANARY = "canary-5ecret"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\n---\nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
        ('{"a": {"b": [1]}}', [{"a": {"b": [1]}}]),
        ("{a: 1}", [{"a": 1}]),
        ("\ufeffa: 1", [{"a": 1}]),
        ("", []),
        ("x: &x {a: 1}\ny: *x\nz: {<<: *x, b: 2}", [{"x": {"a": 1}, "y": {"a": 1}, "z": {"a": 1, "b": 2}}]),
        ("1: a", [{"1": "a"}]),
    ],
)
def test_documents_of_every_form_are_read(text, found):
    assert documents(text.encode()) == found


@pytest.mark.parametrize(
    "text",
    [
        f"a: {CANARY}\na: 2",
        f'{{"a": "{CANARY}", "a": 2}}',
        f"a: [{CANARY}",
        f"a: !!python/object:{CANARY} x",
        f"a: {CANARY}\n\x00",
        f"? [{CANARY}]\n: 1\n? {{a: b}}\n: [",
        f"a: 2001-99-99 {CANARY}\nb: 2001-99-99",
        "a: " + "[" * 250 + CANARY + "]" * 250,
        "a: &a [*a]",
        f'{{"a": {"[" * 100_000}',
    ],
)
def test_an_error_shows_nothing_of_the_text(text):
    with pytest.raises(UnreadableError) as caught:
        documents(text.encode())
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(UnreadableError, match="UTF-8"):
        documents(b"\xff\xfe")


def test_aliases_cannot_make_a_document_grow_without_bound(monkeypatch):
    monkeypatch.setattr(reading, "_MOST_NODES", 1000)
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 6))
    with pytest.raises(UnreadableError, match="too large"):
        documents(text.encode())
