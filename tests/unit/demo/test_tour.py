"""The tour judges: a wrong answer, a wrong reason and a broken row all count as failed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from demo import tour as tour_module
from demo import tour_client
from demo.files import Layout, Ports
from demo.main import _table
from demo.tour import Row, Tour, forged, runs, spoofed, unsigned
from demo.tour_client import Answer, DecisionLog, until

PORTS = Ports(gate=1, egress=2, envoy_admin=3, authz=4, authz_admin=5, airflow=6, idp=7, orders=8, execution=9)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TOKEN = jwt.encode({"sub": "user-ann"}, KEY, algorithm="RS256", headers={"kid": "k1", "typ": "at+jwt"})


class OneRow(Tour):
    """A tour of one row."""

    def __init__(self, layout, row):
        super().__init__(layout, issuer=None, log=DecisionLog(layout.decisions, wait_s=0.1))
        self._row = row

    def _rows(self):
        yield self._row


@pytest.fixture
def layout(tmp_path):
    layout = Layout(directory=tmp_path, ports=PORTS)
    record = {"type": "decision", "id": "d1", "reason": "rule", "rule": "readers"}
    layout.audit_log.mkdir()
    layout.decisions.write_text(json.dumps({"type": "identity", "id": "i1"}) + "\n" + json.dumps(record) + "\n")
    return layout


def answer(status=200, decision="d1", body=b"{}"):
    return Answer(status=status, decision=decision, body=body)


RIGHT = Row("ann", "list DAGs", "200 rule readers", answer)


def outcome(layout, **changes):
    (found,) = OneRow(layout, replace(RIGHT, **changes)).run()
    return found


def test_a_right_row_has_no_problem(layout):
    assert outcome(layout).problem == ""


@pytest.mark.parametrize("expected", ["403 rule readers", "200 public readers", "200 rule admins", "200", "200 rule"])
def test_a_difference_is_a_problem_that_names_both(layout, expected):
    assert outcome(layout, expected=expected).problem == f"200 rule readers instead of {expected}"


def test_what_the_check_finds_is_the_problem(layout):
    assert (
        outcome(layout, check=lambda _answer: "the call reached the upstream").problem
        == "the call reached the upstream"
    )


def test_a_row_that_cannot_be_asked_is_a_failed_row(layout):
    def refuse():
        raise ConnectionRefusedError("nobody there")

    assert outcome(layout, ask=refuse).problem == "ConnectionRefusedError: nobody there"


def test_a_decision_that_is_not_in_the_log_is_a_problem(layout):
    assert outcome(layout, ask=lambda: answer(decision="other")).problem == "200 instead of 200 rule readers"


def test_the_table_marks_wrong_rows(layout):
    right, wrong = outcome(layout), outcome(layout, expected="403")
    marks = list(_table([right, wrong]).columns[0].cells)
    assert ("✓" in marks[0], "wrong" in marks[1]) == (True, True)


def test_the_log_is_read_as_it_grows_and_half_lines_wait(tmp_path):
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(path, wait_s=0.1)
    assert log.find("a") == {}
    with path.open("w") as file:
        file.write('{"type": "decision", "id": "a", "n": 1}\n{"type": "decision", "id": "b"')
        file.flush()
        assert log.find("a")["n"] == 1
        assert log.find("b") == {}
        file.write(', "n": 2}\n')
        file.flush()
        assert log.find("b")["n"] == 2
    assert log.find("") == {}


def test_until_gives_up():
    assert until(lambda: True, 0) is not None
    assert until(lambda: False, 0.1) is None


def test_attacks_are_what_they_say():
    fake = forged(TOKEN)
    assert jwt.get_unverified_header(fake) == jwt.get_unverified_header(TOKEN)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(fake, KEY.public_key(), algorithms=["RS256"])
    bare = unsigned(TOKEN)
    assert jwt.get_unverified_header(bare)["alg"] == "none"
    assert jwt.decode(bare, options={"verify_signature": False}) == {"sub": "user-ann"}
    assert bare.endswith(".")
    assert jwt.get_unverified_header(spoofed()["x-authz-assertion"])["alg"] == "none"
    assert runs("x") == "/api/v2/dags/x/dagRuns"


def test_the_checks_of_rows_can_fail():
    state, both = tour_module._state, tour_module._lists_both_dags

    def body(**content):
        return answer(body=json.dumps(content).encode())

    assert state(body(state="success"), "success") == ""
    assert "failed" in state(body(state="failed"), "success")
    assert both(body(dags=[{"dag_id": "sales_daily"}, {"dag_id": "finance_close"}])) == ""
    assert "sales_daily" in both(body(dags=[{"dag_id": "sales_daily"}]))


def test_a_look_that_took_too_long_is_not_the_last_one(monkeypatch):
    """What is waited for came while the upstream was slow to answer the look before."""
    clock = iter([0.0, 0.0, 9.0, 9.0])
    time = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None)
    monkeypatch.setattr(tour_client, "time", time)
    looks = iter([False, True])
    assert tour_client.until(lambda: next(looks), 3.0) == 9.0


def test_what_does_not_come_is_not_waited_for_longer(monkeypatch):
    clock = iter([0.0, 0.0, 2.0, 4.0])
    time = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None)
    monkeypatch.setattr(tour_client, "time", time)
    assert tour_client.until(lambda: False, 3.0) is None
    assert next(clock, None) is None
