"""What a line of the log is: a decision, an identity entry, or a word that says why it is neither."""

import json

import orjson
import pytest

from authz.core.model import Plane
from authz.core.record import (
    DECISION,
    SKIPPED,
    Skipped,
    decision_in,
    entry_in,
    fields_of,
    identity_id,
    record_in,
    written,
)
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import ISSUER, load

ALICE = claims(ISSUER, 'al"ice\\', groups=["data-readers", "ü"])
ASKED = request(Plane.INBOUND, "GET", "airflow.test", "/api/v2/dags/sales")


@pytest.fixture(scope="module")
def lines():
    """An identity entry, and two decisions that differ in id and time only."""
    writer = Writer(load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read']}"), gate='a "gate"\\')
    for _ in range(2):
        writer.ask(ASKED, ALICE)
    return b"".join(writer.sink.lines).splitlines()


def test_a_decision_is_read_as_it_was_written(lines):
    _entry, first, second = lines
    one, other = decision_in(first), decision_in(second)
    told = json.loads(first)
    assert (one.id, one.time) == (told["id"], told["time"])
    assert one.rest == other.rest
    assert (one.id, one.time) != (other.id, other.time)
    own = {"type", "time", "latency_us", "trace", "source", "upstream", "gate", "worker"}
    assert fields_of(one) == {key: value for key, value in told.items() if key not in own}


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("indent", [", ", ","])
def test_a_line_that_a_program_wrote_anew_means_the_same(lines, sort, indent):
    anew = json.dumps({**json.loads(lines[1]), "shipper": {"host": "x"}}, sort_keys=sort, separators=(indent, ": "))
    one, as_written = decision_in(anew.encode()), decision_in(lines[1])
    assert (one.id, one.time) == (as_written.id, as_written.time)
    assert fields_of(one) == {**fields_of(as_written), "shipper": {"host": "x"}}


def test_a_line_without_source_is_read_too(lines):
    told = json.loads(lines[1])
    del told["source"]
    one = decision_in(orjson.dumps(told))
    assert one == decision_in(lines[1])
    assert fields_of(one)["path"] == "/api/v2/dags/sales"


@pytest.mark.parametrize(
    ("change", "id_and_time"),
    [({"time": 7}, ("d1", "")), ({"time": "yesterday"}, ("d1", "")), ({"id": 7}, ("", "2026-11-22T02:39:35.500000Z"))],
)
def test_what_has_another_form_is_left_empty(change, id_and_time):
    line = orjson.dumps({"type": "decision", "v": 1, "id": "d1", "time": "2026-11-22T02:39:35.500000Z", **change})
    assert decision_in(line)[:2] == id_and_time


@pytest.mark.parametrize(("fields", "version"), [({}, None), ({"v": 2}, 2), ({"v": 1}, 1)])
def test_it_keeps_the_version(fields, version):
    one = decision_in(orjson.dumps({"time": 1.5, "id": "d", **fields}))  # older formats had neither types nor versions
    assert fields_of(one) == {"v": version, "id": "d"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", Skipped.EMPTY),
        (b"  \r", Skipped.EMPTY),
        (b"{", Skipped.BROKEN),
        (b"[]", Skipped.BROKEN),
        (b"\xff\x00", Skipped.BROKEN),
        (b'{"type":"checkpoint","v":1}', Skipped.OTHER_TYPE),
        (b'{"type":["decision"]}', Skipped.OTHER_TYPE),
        (b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", Skipped.BROKEN),
    ],
)
def test_other_lines_say_why_they_are_none(line, expected):
    assert decision_in(line) is expected


def test_a_line_that_was_cut_is_broken_wherever_it_was_cut(lines):
    for end in range(1, len(lines[1])):
        parts = decision_in(lines[1][:end])
        assert parts is Skipped.BROKEN or fields_of(parts) is None


def test_an_entry_is_no_decision_and_is_read_by_its_id(lines):
    entry = lines[0]
    assert decision_in(entry) is None
    name, found = entry_in(entry)
    assert name == json.loads(lines[1])["identity"]
    assert found == {
        "issuer": ISSUER, "subject": 'al"ice\\', "client": "", "user": 'al"ice\\', "groups": ["data-readers", "ü"]
    }  # fmt: skip
    assert entry_in(json.dumps(json.loads(entry)).encode()) == (name, found)


def test_an_entry_that_does_not_say_what_its_id_says_is_none(lines):
    told = json.loads(lines[0])
    for change in ({"groups": ["admins"]}, {"id": 7}, {"v": 2}, {"type": "other", "note": '"type":"identity"'}):
        assert entry_in(orjson.dumps({**told, **change})) is None
    assert entry_in(lines[1]) is None
    assert entry_in(lines[0][:-1]) is None


def test_an_entry_nested_without_end_is_none():
    for depth in (300, 1000):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        assert entry_in(b'{"v":1,"type":"identity","id":"x","issuer":' + deep + b"}") is None


def test_fewer_fields_make_another_entry():
    body = {"issuer": ISSUER, "client": ""}
    name = identity_id(written(body))
    assert entry_in(orjson.dumps({"v": 1, "type": "identity", "id": name, **body})) == (name, body)


def test_every_reason_is_explained():
    assert set(SKIPPED) == set(Skipped)


def test_a_line_that_begins_as_a_decision_is_no_entry_whatever_follows():
    body = {"issuer": "https://idp.test", "subject": "a", "client": "", "user": "", "groups": []}
    name = identity_id(written(body))
    entry = b'{"v":1,"type":"identity","id":"%b",%b' % (name.encode(), written(body)[1:])
    assert entry_in(entry) == (name, body)
    assert entry_in(entry.replace(b'"v":1,', b'"v":1,"type":"decision",')) is None


@pytest.mark.parametrize(("depth", "kind"), [(200, dict), (300, Skipped), (1000, Skipped), (5000, Skipped)])
def test_a_line_that_is_nested_too_deeply_to_be_written_again_is_broken(depth, kind):
    """Else what prints it would fail, and with it all other lines."""
    found = record_in(b'{"v":1,"type":"decision","x":' + b"[" * depth + b"]" * depth + b"}")
    assert isinstance(found[1] if isinstance(found, tuple) else found, kind)


def test_a_name_with_many_braces_is_no_nesting():
    found = record_in(b'{"v":1,"type":"decision","dag":"' + b"[{" * 500 + b'"}')
    assert found == (DECISION, {"v": 1, "type": "decision", "dag": "[{" * 500})
