"""A record is evaluated by the policy as it was at the record's time: without what had ended."""

import json

import pytest

from authz.core.documents.moments import moment_text, parse_end
from authz.core.model import Plane
from authz.core.policy import as_of
from authz.core.traffic import evaluating
from authz.core.traffic.changes import Comparison, Outcome
from authz.core.traffic.evaluating import Traffic
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import load

ALLOW = '{id: a, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01}'
WRITTEN = load(ALLOW)
END = parse_end("2026-12-01")


def test_an_edition_is_made_once_and_few_are_kept(monkeypatch):
    monkeypatch.setattr(evaluating, "_MOST_EDITIONS", 1)
    later = load(f'{ALLOW}\n{{id: b, plane: inbound, roles: [op], operations: ["dags:read"], until: 2026-12-02}}')
    traffic = Traffic(later, lambda evaluated: evaluated)
    assert traffic._edition(END - 1) is later
    after = traffic._edition(END)
    assert after.edition == as_of(later, END).edition
    assert traffic._edition(END + 1) is after
    assert not traffic._edition(parse_end("2026-12-02")).rules
    assert traffic._edition(END) is not after, "it was let go"


def record_at(at, **changes):
    """The lines of one reader's call under a policy without an end, decided at a time."""
    lasting = load(ALLOW.replace(", until: 2026-12-01", ""))
    writer = Writer(lasting)
    (issuer,) = lasting.issuers
    writer.time = at
    writer.ask(
        request(Plane.INBOUND, "GET", "gate.test", "/api/v2/dags/a"),
        claims(issuer, "ada", groups=["data-readers"]),
        step=0,
    )
    *entries, line = b"".join(writer.sink.lines).splitlines()
    return entries, json.dumps({**json.loads(line), **changes}).encode()


@pytest.mark.parametrize(
    ("time", "changes", "outcome"),
    [
        (END - 1, {}, Outcome.SAME),
        (END, {}, Outcome.DENIED),
        (END - 1, {"since": moment_text(END)}, Outcome.DENIED),  # the clock had been set back
    ],
)
def test_what_ends_in_a_candidate_counts_at_the_time_of_each_record(time, changes, outcome):
    """As a gate that had served it then: `until` says until when a right is there, whichever policy decided."""
    entries, line = record_at(time, **changes)
    traffic = Traffic(WRITTEN, Comparison(WRITTEN))
    for one in (*entries, line):
        traffic.learn(one)
    for _ in range(2):  # the second time from memory
        assert traffic.read(line) is None
    [(kind, tally)] = traffic.found.items()
    assert (kind.outcome, tally.count) == (outcome, 2)


def test_equal_records_of_different_times_are_decided_each_at_its_own():
    traffic = Traffic(WRITTEN, Comparison(WRITTEN))
    for time in (END - 1, END, END - 1):
        entries, line = record_at(time)
        for one in (*entries, line):
            traffic.read(one)
    assert {kind.outcome: tally.count for kind, tally in traffic.found.items()} == {
        Outcome.SAME: 2,
        Outcome.DENIED: 1,
    }


@pytest.mark.parametrize("time", ["2026-13-41T00:00:00.000000Z", "", "yesterday"])
def test_a_record_without_a_time_of_the_calendar(time):
    """A time that no calendar has is a gap; without one, `since` says what had ended."""
    entries, line = record_at(END, time=time)
    traffic = Traffic(WRITTEN, Comparison(WRITTEN))
    for one in (*entries, line):
        traffic.learn(one)
    traffic.read(line)
    assert bool(traffic.unknown) is time.startswith("2026")
