"""The attack on the signed log's promise works, in small: one kill, one fault, and the page's tables."""

import pytest

from bench import chaos_audit, chaos_faults, chaos_kills
from bench.chaos_gate import KEY
from tests.support.simulators.idp import IdP

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
RATE = 500


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


def test_a_kill_and_a_full_disk_lose_no_record_and_are_rows_of_the_page(tmp_path, idp):
    place = tmp_path / "killed"
    place.mkdir()
    killed = chaos_kills.writer(place, idp, 2, RATE)
    assert not killed.bad, vars(killed)
    assert killed.answers.count > 50
    assert set(killed.answers.statuses) == {200, 403}
    assert len(killed.answers.ids) == killed.answers.count, "each answer has an id"
    full = chaos_faults.run("full disk of the log", tmp_path / "full", idp, "deny", RATE)
    assert not full.bad, vars(full)
    if not full.not_run:
        assert full.answers.statuses[503] > 50
        assert full.refused_after < 5
        assert "No space left on device" in full.reason

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chaos: kills -->\nold\n<!-- chaos: end -->\nafter\n")
    chaos_audit.written(page, {"kills": [chaos_audit.kill_cells(killed), chaos_audit.fault_cells(full)]})
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[2].startswith(f"| the log's writer | 2 | {killed.answers.count:,} | 0 | 0 | 0 | passes | 0 |")
    assert lines[3].startswith("| full disk of the log | deny |")
    assert lines[4:] == ["<!-- chaos: end -->", "after"]


def test_what_is_not_in_the_log_is_noticed(tmp_path, idp):
    """A row is bad if one answer has no record, or one record is there twice."""
    place = tmp_path / "killed"
    place.mkdir()
    row = chaos_kills.Row(name="none", kills=0)
    gate = chaos_kills.ChaosGate(place, idp)
    gate.audit.mkdir()
    line = b'{"v":1,"type":"decision","id":"0000000000000000000000fa"}\n'
    (gate.audit / "decisions.jsonl").write_bytes(line * 2)
    row.answers.add([(200, "0000000000000000000000fa"), (403, "0000000000000000000000fb"), (503, "")])
    row.judge(gate)
    assert (row.lost, row.doubled, row.bad) == (1, 1, True)
    assert row.verify != 0
    cells = chaos_audit.kill_cells(row)
    assert "| 1 | 1 | **fails" in cells
