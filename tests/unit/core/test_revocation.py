"""The table of what is revoked, and the lines of its file: pure, on made-up times."""

import json

import pytest

from authz.core import tokens
from authz.core.model import Issuer, Plane
from authz.core.revocation import (
    LONGEST_LINE,
    Kind,
    PendingRevocation,
    Revocation,
    Revoked,
    Shares,
    encode,
    of_token,
    parse,
)
from tests.support.factories.tokens import ISS, NOW, access_claims, make_key, sign

KEY = make_key("ES256")
HOUR = 3600


def issuer(iss=ISS):
    return Issuer(
        name="corp", issuer=iss, audiences={Plane.INBOUND: frozenset({"airflow"})}, algorithms=frozenset({"ES256"})
    )


def parsed(**claims):
    return tokens.parse(sign(access_claims(**{"sid": None, "jti": None, **claims}), KEY), max_bytes=1 << 16)


def revocation(kind=Kind.SID, value="s1", *, iss=ISS, until=NOW + 60, **fields):
    return Revocation(issuer=iss, kind=kind, value=value, until=until, **fields)


def revoked(*revocations):
    table = Revoked(b"k" * 32)
    table.add(revocations)
    return table


def covers(table, token, *, iss=ISS, skew=30):
    claims = tokens.read_claims(token, issuer(iss))
    return table.covers(table.marks(token, issuer(iss)), claims, skew)


# --- what is found


def test_nothing_is_revoked_at_first():
    table = revoked()
    assert (table.any, len(table)) == (False, 0)
    assert not covers(table, parsed(sid="s1", jti="j1"))


@pytest.mark.parametrize(
    ("one", "token", "found"),
    [
        (revocation(Kind.SID, "s1"), {"sid": "s1", "jti": "j1"}, True),
        (revocation(Kind.SID, "s1"), {"sid": "s1", "jti": None}, True),
        (revocation(Kind.SID, "s1"), {"sid": "s2", "jti": "s1"}, False),
        (revocation(Kind.SID, "s1"), {"sid": "s1 ", "jti": "j1"}, False),
        (revocation(Kind.JTI, "j1"), {"sid": "s1", "jti": "j1"}, True),
        (revocation(Kind.JTI, "j1"), {"jti": "j1"}, True),
        (revocation(Kind.JTI, "j1"), {"sid": "j1", "jti": "j2"}, False),
        (revocation(Kind.SID, "s1", iss="https://other"), {"sid": "s1", "jti": "j1"}, False),
        (revocation(Kind.JTI, "j1", iss="https://other"), {"jti": "j1"}, False),
        (revocation(Kind.SID, "x" * 5000), {"sid": "x" * 5000}, True),
        (revocation(Kind.SID, "x" * 5000), {"sid": "x" * 4999}, False),
    ],
)
def test_a_session_and_a_token_are_found_by_their_names_at_their_issuer(one, token, found):
    assert covers(revoked(one), parsed(**token)) is found
    assert covers(revoked(parse(encode(one))), parsed(**token)) is found


@pytest.mark.parametrize(
    ("before", "issued_at", "found"),
    [
        (NOW, NOW - 5, True),
        (NOW, NOW, True),
        (NOW, NOW + 30, True),  # by the issuer's clock, which may be ahead
        (NOW, NOW + 31, False),
        (NOW, None, True),  # nobody knows when
    ],
)
def test_of_a_subject_what_was_issued_up_to_a_moment_is_revoked(before, issued_at, found):
    table = revoked(revocation(Kind.SUBJECT, "alice", before=before))
    times = {"iat": issued_at, "exp": (issued_at or NOW) + 300}
    assert covers(table, parsed(**times)) is found
    assert not covers(table, parsed(sub="bob", **times))


def test_a_revoked_subject_of_another_issuer_does_not_cover_ours():
    assert not covers(revoked(revocation(Kind.SUBJECT, "alice", before=NOW + HOUR, iss="https://other")), parsed())


def test_of_two_that_name_the_same_the_longer_one_counts():
    table = revoked(revocation(until=NOW + 500), revocation(until=NOW + 10))
    subject = [revocation(Kind.SUBJECT, "alice", before=before, until=until) for before, until in ((9, 99), (5, 999))]
    table.add(subject)
    assert len(table) == 2
    table.forget(NOW + HOUR + 499)
    assert covers(table, parsed(sid="s1"))
    assert table._subjects == {}


@pytest.mark.parametrize("kind", [Kind.SID, Kind.SUBJECT])
def test_what_is_revoked_already_for_as_long_is_no_news(kind):
    table = revoked()
    first, longer = revocation(kind, "alice", until=NOW + 10), revocation(kind, "alice", until=NOW + 20)
    other = revocation(kind, "bob", until=NOW + 10)
    assert table.add([first, first, other]) == [first, other]
    assert table.add([first, longer, longer]) == [longer]
    assert table.add([first, longer, other]) == []


# --- what is forgotten


def test_nothing_is_forgotten_before_its_time_and_an_hour_more():
    table = revoked(revocation(until=NOW), revocation(Kind.SUBJECT, "alice", before=NOW, until=NOW))
    table.forget(NOW + HOUR - 1)
    assert len(table) == 2
    table.forget(NOW + HOUR)
    assert (len(table), table.any) == (0, False)
    assert revocation(until=NOW).is_over(NOW + HOUR)
    assert not revocation(until=NOW).is_over(NOW + HOUR - 1)


def test_a_clock_that_goes_back_brings_nothing_back():
    table = revoked(revocation(until=NOW))
    table.forget(NOW - 10**9)
    assert covers(table, parsed(sid="s1"))


# --- what ends a session


@pytest.mark.parametrize(
    ("claims", "kind", "value"),
    [
        ({"sid": "s1", "jti": "j1"}, Kind.SID, "s1"),
        ({"jti": "j1"}, Kind.JTI, "j1"),
        ({"sid": "", "jti": "j1"}, Kind.JTI, "j1"),
    ],
)
def test_signing_out_ends_the_session_or_else_the_token(claims, kind, value):
    one = of_token(parsed(**claims), issuer(), now=NOW, ends=NOW + 100.5, keep=1000, note="n")
    assert (one.issuer, one.kind, one.value, one.note) == (ISS, kind, value, "n")
    assert one.until == (NOW + 1001 if kind is Kind.SID else NOW + 101)


def test_a_session_is_remembered_at_least_as_long_as_its_token_lives():
    assert of_token(parsed(sid="s"), issuer(), now=NOW, ends=NOW + 5000, keep=60).until == NOW + 5001


def test_a_token_without_any_name_is_named_by_what_is_signed_of_it_and_not_by_its_signature():
    claims = access_claims(jti=None, sid=None)
    first, second = (tokens.parse(sign(claims, KEY), max_bytes=9999) for _ in range(2))
    assert first.signature != second.signature  # ECDSA: anybody can even make another one from the first
    one = of_token(first, issuer(), now=NOW, ends=NOW + 100, keep=1000)
    assert one.kind is Kind.TOKEN
    assert covers(revoked(one), second)
    assert not covers(revoked(one), parsed(jti=None, sub="bob"))


def test_an_attempt_in_memory_is_made_at_once():
    table, attempt = revoked(), PendingRevocation(revocation())
    assert table.revoke(attempt, lambda: pytest.fail("it has ended already")) is False
    assert attempt.made
    assert covers(table, parsed(sid="s1"))


def test_marks_depend_on_the_key_and_have_60_bits():
    one, other = Revoked(b"1" * 32), Revoked(b"2" * 32)
    token = parsed(sid="s1", jti="j1")
    session, of_token = divmod(one.marks(token, issuer()), 1 << 60)
    assert {session, of_token} & set(divmod(other.marks(token, issuer()), 1 << 60)) == set()
    assert all(0 < mark < 1 << 60 for mark in (session, of_token))
    assert one.marks(parsed(jti="j1"), issuer()) == of_token
    assert one.marks(parsed(sid="s1", jti=None), issuer()) == session << 60


# --- lines


@pytest.mark.parametrize(
    "one",
    [
        revocation(Kind.SID, "s1", note="authz revoke"),
        revocation(Kind.JTI, 'j"\n\\\u2028é', until=0),
        revocation(Kind.TOKEN, "ab" * 32),
        revocation(Kind.SUBJECT, "alice", before=NOW),
        revocation(Kind.SID, "[" * 100, note="{" * 100),
    ],
)
def test_a_line_says_what_was_written(one):
    line = encode(one)
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert parse(line) == one
    assert one.value not in repr(one)


LINE = {"issuer": ISS, "sid": "s1", "until": NOW}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        json.dumps(LINE)[:-1].encode(),
        json.dumps(LINE).encode() * 2,
        b'{"sid":"a",' + json.dumps(LINE)[1:].encode(),
        b" " * LONGEST_LINE + json.dumps(LINE).encode(),
        *(
            json.dumps({name: value for name, value in {**LINE, **change}.items() if value != "-"}).encode()
            for change in (
                {"sid": "-"},
                {"sid": ""},
                {"sid": 1},
                {"sid": None},
                {"sid": ["s1"]},
                {"jti": "j1"},
                {"issuer": "-"},
                {"issuer": ""},
                {"issuer": None},
                {"until": "-"},
                {"until": "1"},
                {"until": True},
                {"until": 1.5},
                {"until": -1},
                {"until": 10**12},
                {"before": NOW},
                {"note": 1},
                {"note": ""},
                {"unless": "x"},
                {"sid": "-", "subject": "alice"},
                {"sid": "-", "subject": "alice", "before": "now"},
            )
        ),
    ],
)
def test_any_other_line_is_refused_and_not_repeated(line):
    with pytest.raises(ValueError, match=r".") as caught:
        parse(line)
    assert "s1" not in str(caught.value)


# --- shares


def attempts(subject, *values, until=NOW + 60):
    return [PendingRevocation(revocation(value=value, until=until), subject=subject) for value in values]


@pytest.fixture
def shares(monkeypatch):
    monkeypatch.setattr("authz.core.revocation.SHARE", 2)
    monkeypatch.setattr("authz.core.revocation.ISSUER_SHARE", 3)
    return Shares()


def taken(shares, subject, *values, now=NOW, until=NOW + 60):
    return [shares.take(attempt, now) for attempt in attempts(subject, *values, until=until)]


def test_each_subject_has_its_share_and_an_issuer_that_names_none_has_a_larger_one(shares):
    assert taken(shares, "a", "1", "2", "3") == [True, True, False]
    assert taken(shares, "b", "4") == [True]
    assert taken(shares, "", "5", "6", "7", "8") == [True, True, True, False]


def test_the_same_session_again_takes_nothing(shares):
    assert taken(shares, "a", "1", "1", "1", "2", "2", "1", "3") == [True] * 6 + [False]
    assert len(shares) == 2


def test_what_is_over_makes_room_and_is_let_go(shares):
    assert taken(shares, "a", "1", "2", until=NOW + 60) == [True, True]
    assert taken(shares, "a", "3", now=NOW + 3659) == [False]
    assert taken(shares, "a", "3", now=NOW + 3660, until=NOW + 9999) == [True]
    assert taken(shares, "b", "4") == [True]
    shares.forget(NOW + 3660)
    assert len(shares) == 1
    shares.forget(NOW + 99_999)
    assert len(shares) == 0


def test_what_was_not_made_is_given_back(shares):
    made, failed = attempts("a", "1", "2")
    assert shares.take(made, NOW)
    assert shares.take(failed, NOW)
    shares.give_back(failed)
    shares.give_back(failed)
    assert taken(shares, "a", "3", "4") == [True, False]


def test_a_share_shows_no_subject():
    assert "canary" not in repr(attempts("canary", "1"))
