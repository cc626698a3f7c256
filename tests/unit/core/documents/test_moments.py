"""An end is one moment, wherever it is read; what could be two is refused."""

from datetime import UTC, datetime

import pytest

from authz.core.documents.moments import moment_text, parse_end, parse_moment
from authz.core.documents.wording import Mistake


def at(*parts):
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-31T18:00Z", at(2026, 12, 31, 18)),
        ("2026-12-31T18:00:30Z", at(2026, 12, 31, 18, 0, 30)),
        ("2026-12-31T18:00+01:00", at(2026, 12, 31, 17)),
        ("2026-12-31T18:00-09:30", at(2027, 1, 1, 3, 30)),
        ("2026-12-31", at(2027, 1, 1)),
        ("2024-02-29", at(2024, 3, 1)),
        ("1970-01-01T00:00Z", 0.0),
    ],
)
def test_a_time_is_exact_and_a_date_is_the_end_of_that_day_in_utc(text, moment):
    assert parse_end(text) == moment
    assert parse_end(moment_text(moment)) == moment


def test_a_moment_is_shown_in_utc_with_seconds_only_where_it_has_some():
    assert moment_text(at(2026, 12, 31, 18)) == "2026-12-31T18:00Z"
    assert moment_text(at(2026, 12, 31, 18, 0, 30)) == "2026-12-31T18:00:30Z"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2026-12-31T18:00", "`2026-12-31T18:00` does not say in which time zone"),
        ("2026-12-31T18:00 CET", "`2026-12-31T18:00 CET` does not end in a time zone that is known"),
        ("2026-12-31T18:00+1", "`2026-12-31T18:00+1` does not end in a time zone that is known"),
        ("2026-12-31T18:00:30.5Z", "`2026-12-31T18:00:30.5Z` does not end in a time zone that is known"),
        ("2026-12-31T18:00z", "`2026-12-31T18:00z` does not end in a time zone that is known"),
        ("2026-12-31 18:00Z", "`2026-12-31 18:00Z` is not a date or a time"),
        ("31.12.2026", "`31.12.2026` is not a date or a time"),
        ("2026-12-31T18Z", "`2026-12-31T18Z` is not a date or a time"),
        ("٢٠٢٦-12-31", "`٢٠٢٦-12-31` is not a date or a time"),
        ("", "`` is not a date or a time"),
        ("2026-02-30", "`2026-02-30` is no moment of the calendar"),
        ("2026-12-31T25:00Z", "`2026-12-31T25:00Z` is no moment of the calendar"),
        ("2026-12-31T18:00+25:00", "`2026-12-31T18:00+25:00` is no moment of the calendar"),
        ("2026-06-30T23:59:60Z", "`2026-06-30T23:59:60Z` is no moment of the calendar"),
        ("9999-12-31", "`9999-12-31` is no moment of the calendar"),
        ("0001-01-01T00:00+14:00", "`0001-01-01T00:00+14:00` is no moment of the calendar"),
        (2026, "expected a date or a time, found a number"),
        (None, "expected a date or a time, found nothing"),
        (("2026-12-31",), "expected a date or a time, found a list"),
    ],
)
def test_what_could_be_another_moment_elsewhere_is_refused(value, message):
    with pytest.raises(Mistake) as error:
        parse_end(value)
    assert (error.value.message, bool(error.value.hint)) == (message, True)


def test_a_question_about_a_date_alone_is_not_clear():
    assert parse_moment("2026-12-31T18:00Z") == at(2026, 12, 31, 18)
    with pytest.raises(Mistake, match="`2026-12-31` does not say at what time"):
        parse_moment("2026-12-31")
