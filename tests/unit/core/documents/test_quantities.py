import pytest

from authz.core.documents.quantities import format_version, octets, seconds, size_text


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 0.5), ("90s", 90.0), ("15m", 900.0), ("1h", 3600.0), ("7d", 604800.0), ("1.5s", 1.5)]
)
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["90", 90, "1 h", "-1s", "1w", "", "1h30m", None, True, "1S", "\u0661\u0662h", "1.\uff15s", "1h\n"]
)
def test_a_duration_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="number and a unit"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("512B", 512), ("16KiB", 16384), ("1MiB", 1048576)])
def test_sizes(text, value):
    assert octets(text) == value
    assert size_text(value) == text


@pytest.mark.parametrize("text", ["512", 512, "1KB", "1.5KiB", "-1B", None, "\u0661\u0662B", "9" * 5000 + "B"])
def test_a_size_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="number and a unit"):
        octets(text)


def test_a_duration_has_an_end_that_can_be_counted_to():
    assert seconds("36500d") == 36500 * 86400.0
    for text in ("36501d", "36500.1d", "9" * 400 + "d"):
        with pytest.raises(ValueError, match="at most 36500d"):
            seconds(text)


@pytest.mark.parametrize(
    ("value", "found"),
    [(True, "the boolean true"), (False, "the boolean false"), (1.0, "a decimal number"), (2.5, "a decimal number")],
)
def test_what_merely_equals_a_whole_number_is_no_format_version(value, found):
    with pytest.raises(ValueError, match=f"^expected 1, found {found}$"):
        format_version(value)


@pytest.mark.parametrize("value", [1, 2, "1", None])
def test_any_other_format_version_is_left_to_the_schema(value):
    assert format_version(value) is value
