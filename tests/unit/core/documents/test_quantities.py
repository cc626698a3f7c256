import pytest

from authz.core.documents.quantities import octets, seconds, size_text


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 0.5), ("90s", 90.0), ("15m", 900.0), ("1h", 3600.0), ("7d", 604800.0), ("1.5s", 1.5)]
)
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["90", 90, "1 h", "-1s", "1w", "", "1h30m", None, True, "1S"])
def test_a_duration_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="number and a unit"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("512B", 512), ("16KiB", 16384), ("1MiB", 1048576)])
def test_sizes(text, value):
    assert octets(text) == value
    assert size_text(value) == text


@pytest.mark.parametrize("text", ["512", 512, "1KB", "1.5KiB", "-1B", None])
def test_a_size_without_a_known_unit_is_refused(text):
    with pytest.raises(ValueError, match="number and a unit"):
        octets(text)
