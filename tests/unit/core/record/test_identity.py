"""Identity entries: one line of JSON, and an id that follows from what is written."""

import hashlib
import json

import pytest

from authz.core.record import DecisionLine, IdentityLine, identity_id, written

ALICE = {
    "issuer": "https://idp.test",
    "subject": "alice",
    "client": "cli",
    "user": "alice.a",
    "groups": ("data-readers", "x"),
}
ENTRY = IdentityLine("gate-1", 2)
STAMP = DecisionLine("gate-1", 2).stamp


def entry_of(memberships, time=1795315175.25):
    body = written(memberships)
    return ENTRY(identity_id(body), body, STAMP(time))


def test_an_entry_is_one_line_of_json_in_the_order_of_its_fields():
    line = entry_of(ALICE)
    assert line.count(b"\n") == 1
    found = json.loads(line)
    own = {"v": 1, "type": "identity", "id": found["id"], "time": "2026-11-22T02:39:35.250000Z"}
    assert found == {**own, "gate": "gate-1", "worker": 2, **ALICE, "groups": ["data-readers", "x"]}
    assert list(found) == [*own, "gate", "worker", *ALICE]


def test_the_id_is_a_digest_of_the_end_of_the_line():
    line = entry_of(ALICE)
    end = b"{" + line[line.index(b'"issuer"') : -1]
    assert json.loads(line)["id"] == hashlib.sha256(end).hexdigest()[:24]


def test_the_same_memberships_have_the_same_id_whenever_and_wherever_they_are_written():
    body = written(ALICE)
    other = IdentityLine("gate-2", 0)(identity_id(body), body, STAMP(5.0))
    assert json.loads(other)["id"] == json.loads(entry_of(ALICE))["id"]


@pytest.mark.parametrize("field", ALICE)
def test_other_memberships_have_another_id(field):
    other = ("y",) if field == "groups" else "other"
    assert json.loads(entry_of({**ALICE, field: other}))["id"] != json.loads(entry_of(ALICE))["id"]


@pytest.mark.parametrize("nasty", ["a\nb", 'x","groups":["admin"]', "\u2028", "\x00", "é"])
@pytest.mark.parametrize("field", ALICE)
def test_whatever_a_claim_holds_it_stays_one_valid_line(field, nasty):
    line = entry_of({**ALICE, field: (nasty,) if field == "groups" else nasty})
    assert line.count(b"\n") == 1
    assert json.loads(line)[field] == ([nasty] if field == "groups" else nasty)


def test_half_a_surrogate_is_replaced_and_nothing_is_cut():
    groups = ("\ud800", "x" * 5000)
    found = json.loads(entry_of({**ALICE, "groups": groups}))
    assert found["groups"] == ["\ufffd", "x" * 5000]
    assert found["id"] == identity_id(written({**ALICE, "groups": ("\ufffd", "x" * 5000)}))
