"""The benchmark works: tiny counts, every system, a peer beside ours. The numbers themselves mean nothing here."""

import json
import shutil
import subprocess
import sys

import pytest

from bench import checks, machine, report
from bench.direct import RULES
from bench.sender import ask, send
from bench.servers import Fleet
from tests.support.missing import skip_or_fail

JUDGED = {
    "cpu_vs_echo",
    "cpu_vs_aio",
    "http_vs_grpc",
    "rules_10k_vs_10",
    "uncached_rs256_extra_us",
    "throughput_vs_native",
    "p50_vs_native",
    "parked_4000_vs_none",
    "worker_rss_mb",
    "ready_s",
}
SERVED = {"echo", "ours", "log_on", "headers_40", "deny", "tcp", "http", "aio", "threads", "peer", "peer_deny"}
SERVED |= {f"rules_{rules}" for rules in RULES if rules != 100}
TOKENS = {"token_cached", "token_RS256", "token_ES256", "token_EdDSA", "token_assertion"}
EGRESS = {"egress_service", "egress_proxy", "egress_proof", "parked_0", "parked_4000"}
CALLS = {f"call_{name}" for name in ("direct", "unguarded", "service", "credential", "proxy", "proof")}
GUARDED = {"none", "native", "guarded_by_echo", "ours_tcp", "ours_http", "ours_1", "ours_2", "guarded_by_peer"}

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def generators():
    missing = [program for program in ("h2load", "wrk") if shutil.which(program) is None]
    if missing:
        skip_or_fail(f"{missing} not found: run scripts/system-packages")


@pytest.fixture(scope="module")
def keys_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    checks.keys(folder)
    return folder


@pytest.fixture(scope="module")
def peer(keys_folder):
    """One more of our own servers, as if it were somebody else's."""
    with Fleet(keys_folder) as fleet:
        server = fleet.gate("peer", tcp=True)
        server.start()
        body = checks.framed(checks.request(checks.token(checks.keys(keys_folder)["RS256"])))
        server.wait_allowed(lambda: body)
        yield server


@pytest.fixture(scope="module")
def result(keys_folder, peer, tmp_path_factory):
    output = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, "-m", "bench", "--plan", "tiny", "--output", output, "--state", keys_folder]
    command += ["--peer", peer.endpoints[0]]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text()) | {"printed": done.stdout}


def test_the_result_has_every_ratio_that_has_a_goal(result):
    assert set(result["ratios"]) == JUDGED == set(report.GOALS)
    assert all(isinstance(value, float | int) for value in result["ratios"].values())
    assert result["ratios"]["cpu_vs_echo"] > 1, "our check cannot cost less than a fixed answer"


def test_every_system_is_measured(result):
    rows = {(row["group"], row["key"]): row for row in result["rows"]}
    expected = {("check", key) for key in SERVED} | {("token", key) for key in TOKENS}
    expected |= {("egress", key) for key in EGRESS} | {("call", key) for key in CALLS}
    expected |= {("envoy", key) for key in GUARDED} | {("size", "start"), ("size", "memory")}
    assert set(rows) == expected
    for group, key in expected - {("size", "start"), ("size", "memory")}:
        measures = {"rate", "p50_us", "p99_us", "envoy_cpu_us" if group == "envoy" else "cpu_us"}
        measures = {"one_p50_us", "one_p99_us"} if group == "call" else measures
        assert all(rows[group, key][name]["median"] > 0 for name in measures), (group, key)
    assert rows["check", "peer"]["cpu_us"]["median"] > 0, "the CPU time of a peer on this machine is seen"


def test_everything_is_printed(result):
    for row in result["rows"]:
        assert row["label"] in result["printed"]
    for name in result["ratios"]:
        assert name in result["printed"]


def publish(result, folder, **about):
    source, page = folder / "bench.json", folder / "page.md"
    source.write_text(json.dumps(result | {"about": result["about"] | about}))
    page.write_text("before\n<!-- measured -->\nold\n<!-- end -->\nafter\n")
    command = [sys.executable, machine.ROOT / "scripts" / "performance.py", source, page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done, page.read_text()


def test_a_full_run_on_an_idle_machine_can_be_published(result, tmp_path):
    done, page = publish(result, tmp_path, plan="full", others_percent=0.4, stolen_percent=0.0)
    assert done.returncode == 0, done.stderr
    assert page.startswith("before\n<!-- measured -->\nMeasured 2")
    assert page.endswith("|\n<!-- end -->\nafter\n")
    assert "\nold\n" not in page
    assert all(row["label"] in page for row in result["rows"])


@pytest.mark.parametrize("about", [{"plan": "quick"}, {"others_percent": 21.3}, {"stolen_percent": 9.0}])
def test_a_quick_run_or_one_on_a_busy_machine_cannot_be_published(about, result, tmp_path):
    idle = {"plan": "full", "others_percent": 0.0, "stolen_percent": 0.0}
    done, page = publish(result, tmp_path, **(idle | about))
    assert done.returncode == 1
    assert "quick run" in done.stderr or "busy" in done.stderr
    assert "\nold\n" in page


def test_the_sender_keeps_every_answer_and_counts_failed_calls(peer, keys_folder):
    bodies = list(checks.fresh_bodies(checks.keys(keys_folder)["ES256"], range(1, 301)))
    sent = send(peer.address, bodies, keep=True)
    assert (len(sent.latencies), len(sent.answers), sent.failed) == (300, 300, 0)
    assert all(map(checks.allows, sent.answers))
    forged = bodies[0].replace(b"Bearer ey", b"Bearer eZ")
    assert not checks.allows(ask(peer.address, forged))
    too_long = checks.framed(b"x" * 10)[:-5] + b"y"  # fewer bytes than its prefix says
    assert send(peer.address, [too_long], connections=1).failed == 1


def test_the_soak_accounts_for_every_check(tmp_path):
    checks.keys(tmp_path)
    with Fleet(tmp_path) as fleet:
        from bench import soak

        done = soak.run(fleet, checks.keys(tmp_path), tmp_path, 400)
    assert (done["checks"], done["failed"], done["unaccounted"]) == (400, 0, 0)
