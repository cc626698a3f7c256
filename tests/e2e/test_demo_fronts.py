"""`make demo FRONT=lighttpd` as a person uses it: callers with bearer tokens go through that server."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from authz.fronts.render import FRONTS
from demo.files import Layout
from demo.fronts import STARTS, MissingServerError
from demo.tour_client import DecisionLog, until
from tests.support.missing import skip_or_fail
from tests.support.sites.demo import READY, demo, printed_commands

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
LOGGED_WITHIN_S = 30
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    try:
        STARTS["lighttpd"](folder)
    except MissingServerError as missing:
        skip_or_fail(str(missing))
    with demo(folder / ".demo", "--front", "lighttpd") as site:
        yield site


def decisions(directory):
    """Those that the front's access log names. It is written a moment later than the answers."""
    lines = (directory / "front" / "access.log").read_text().splitlines()
    return {json.loads(line)["decision"] for line in lines} - {"", "-"}


def test_the_rows_of_the_tour_are_asked_through_the_front(running):
    process, said, directory = running
    text = said.read_text()
    assert process.poll() is None, text
    passed, failed = map(int, READY.search(text).groups())
    assert (passed >= 24, failed) == (True, 0), text
    assert until(lambda: len(decisions(directory)) >= 22, LOGGED_WITHIN_S) is not None
    log = DecisionLog(Layout(directory=directory, ports=None).decisions)
    assert {log.find(decision)["plane"] for decision in decisions(directory)} == {"inbound"}


def test_the_printed_commands_go_through_the_front_and_work_as_they_stand(running):
    _, said, directory = running
    script = printed_commands(said)
    assert script.count(f"curl -i --cacert {directory / 'front.crt'}") == 2
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.count("HTTP/1.1 200 OK") == 3
    asked = set(re.findall(r"(?i)^x-authz-decision: (\w+)", ran.stdout, re.MULTILINE))
    assert until(lambda: len(asked & decisions(directory)) == 2, LOGGED_WITHIN_S) is not None


def test_there_is_a_demo_of_every_front():
    assert {*STARTS} == {*FRONTS}


def test_an_unknown_front_is_refused_with_the_names_that_there_are():
    done = subprocess.run(["make", "demo", "FRONT=iis"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert all(f"'{name}'" in done.stderr for name in STARTS)
