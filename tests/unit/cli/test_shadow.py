"""`authz shadow report`: what it prints, and how it ends."""

import json

import pytest
from click.testing import CliRunner

from authz.cli.main import main
from tests.unit.core.shadow.test_report import GAIN, LOSS, SAME, record


def run(*words, **options):
    return CliRunner().invoke(main, ["shadow", "report", *map(str, words)], **options)


@pytest.fixture
def log(tmp_path):
    def write(*records, name="decisions.jsonl", more=""):
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in records) + more)
        return path

    return write


def test_the_differences_are_grouped_with_a_witness(log):
    denied = {"decision": "deny", "reason": "no_rule", "rule": ""}
    issuer = {"revision": "c1", "unknown": "issuer"}
    gain = record(GAIN, subject="bob", **denied)
    found = run(log(record(SAME), record(LOSS), record(LOSS, id="d2"), gain, record(issuer), record()))
    assert found.exit_code == 1
    assert found.output.splitlines() == [
        "candidate c1, beside aaaaaaaaaaaa: 4 decisions compared",
        "    1 agree, 1 would be allowed, 2 would be denied, 0 would have other rights",
        "    1 not known: the candidate has another entry for the caller's issuer, or none: see `authz diff`",
        "would be allowed bob, 1 time: no_rule → rule `wide`",
        "    2026-11-30T08:00:00.000000Z d1: GET /api/v2/dags at airflow",
        "would be denied alice, 2 times: rule `readers` → no_rule",
        "    2026-11-30T08:00:00.000000Z d1: GET /api/v2/dags at airflow",
        "1 decision was not compared: no candidate was there, or no policy decided",
    ]


def test_it_says_which_rights_differ_where_both_allow(log):
    rights = {"airflow": ["viewer", "op"], "dags": {"lost": ["sales_\x1b[2K"]}}
    path = log(record({"revision": "c1", "rights": rights}), record({"revision": "c1", "rights": {"agent": False}}))
    assert run(path).output.splitlines() == [
        "candidate c1, beside aaaaaaaaaaaa: 2 decisions compared",
        "    0 agree, 0 would be allowed, 0 would be denied, 2 would have other rights",
        "would have other rights alice, 1 time: rule `readers`",
        "    no longer marked as an agent",
        "    2026-11-30T08:00:00.000000Z d1: GET /api/v2/dags at airflow",
        "would have other rights alice, 1 time: rule `readers`",
        r"    role in Airflow viewer → op; no longer the DAGs sales_\x1b[2K",
        "    2026-11-30T08:00:00.000000Z d1: GET /api/v2/dags at airflow",
    ]
    [first, _] = json.loads(run(path, "--json").output)["candidates"][0]["differences"]
    assert first["rights"] == ["no longer marked as an agent"]


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([record(SAME)], 0),
        ([record(LOSS), record({"revision": "c2"})], 0),  # the candidate of today
        ([record({"revision": "c2"}), record(LOSS)], 1),
        ([record({"revision": "c1", "unknown": "issuer"})], 1),
        ([record(SAME), record({"revision": "c1", "unknown": "issuer"})], 1),  # whose tokens it may refuse
        ([record(SAME), record({"revision": "c1", "unknown": "error"})], 1),
        ([record(SAME), record({"revision": "c1", "unknown": "token"})], 0),  # no caller, on a public route
        ([record({"revision": "c2", "unknown": "issuer"}), record(SAME)], 0),
        ([record({"revision": "c1", "rights": {"agent": True}})], 1),
        ([record(SAME), record(revision="c1")], 0),  # after the promotion it says what it said before
        ([record(LOSS), record(revision="c1")], 1),
        ([record()], 1),
        ([], 1),
    ],
)
def test_it_ends_with_0_only_if_the_candidate_of_today_was_compared_and_agrees(log, records, status):
    assert run(log(*records)).exit_code == status


def test_several_files_and_standard_input_are_one_log(log):
    found = run("-", log(record(LOSS)), "--json", input=json.dumps(record(LOSS)) + "\nbroken\n[]\n")
    shown = json.loads(found.output)
    [candidate] = shown["candidates"]
    assert (candidate["compared"], candidate["loss"], candidate["agree"], shown["malformed"]) == (2, 2, 0, 2)
    [difference] = candidate["differences"]
    assert (difference["caller"], difference["count"], difference["witness"]["id"]) == ("alice", 2, "d1")
    assert difference["candidate_reason"] == "no_rule"


def test_more_groups_than_fit_are_counted(log):
    found = run(log(*(record(LOSS, subject=f"user-{number:03}") for number in range(60))))
    assert found.output.splitlines()[-1] == "and 10 more that differ: see --json"


def test_a_name_from_a_token_writes_no_second_line_and_no_control_character(log):
    found = run(log(record(LOSS, subject="a\x1b[2K\nwould be allowed")))
    assert "\x1b" not in found.output
    assert len(found.output.splitlines()) == 4


def test_the_log_of_the_settings_is_read(log, tmp_path):
    log(record(SAME))
    settings = tmp_path / "authz.yaml"
    settings.write_text("version: 1\nlog: {decisions: decisions.jsonl}\n")
    assert run("--settings", settings).exit_code == 0
    settings.write_text("version: 1\n")
    refused = run("--settings", settings)
    assert (refused.exit_code, "standard output" in refused.output) == (2, True)
    assert run("--settings", settings, tmp_path / "decisions.jsonl").exit_code == 2
    assert run(tmp_path / "absent.jsonl").exit_code == 2


def test_without_a_candidate_it_says_so(log):
    found = run(log(record(), more="half a li"))
    assert found.output.splitlines()[0] == "no decision was compared with a candidate"
    assert found.output.splitlines()[-1] == "1 line skipped: not the gate's, or incomplete"
